package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
)

// accept answers one connection to the first socket of sd_listen_fds(3).
func accept() {
	if got := os.Getenv("LISTEN_PID"); got != strconv.Itoa(os.Getpid()) {
		check(fmt.Errorf("LISTEN_PID is %q, the process %d", got, os.Getpid()))
	}
	if os.Getenv("LISTEN_FDS") != "1" {
		check(errors.New("LISTEN_FDS is not 1"))
	}
	l, err := net.FileListener(os.NewFile(3, "socket"))
	check(err)
	c, err := l.Accept()
	check(err)
	_, err = fmt.Fprintf(c, "hello from process %d\n", os.Getpid())
	check(err)
	check(c.Close())
}
