package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// links counts as the command count does, but sends each number through what it holds on to, and fails when one of them breaks:
// "tcp" is a connection to itself, "unix=PATH" a datagram socket connected to somebody else's, "lock=PATH" a
// locked file.
func links(args []string) {
	var send []func(n int) error
	for _, a := range args {
		what, path, _ := strings.Cut(a, "=")
		switch what {
		case "tcp":
			send = append(send, tcpLink())
		case "unix":
			c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Net: "unixgram", Name: path})
			check(err)
			send = append(send, func(n int) error { _, err := fmt.Fprintln(c, n); return err })
		case "lock":
			f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
			check(err)
			check(syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB))
			send = append(send, func(n int) error { _, err := fmt.Fprintln(f, n); return err })
		default:
			check(fmt.Errorf("there is no link %q", a))
		}
	}
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGUSR1)
	for n := 1; ; n++ {
		for i, s := range send {
			if err := s(n); err != nil {
				check(fmt.Errorf("%s, number %d: %w", args[i], n, err))
			}
		}
		fmt.Println(n)
		select {
		case <-end:
			os.Exit(9)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// tcpLink sends numbers over the loopback interface, and they must come back whole.
func tcpLink() func(int) error {
	// CRIU knows no multipath TCP, which Go's listeners use otherwise.
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	l, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:0")
	check(err)
	out, err := net.Dial("tcp", l.Addr().String())
	check(err)
	in, err := l.Accept()
	check(err)
	return func(n int) error {
		if _, err := fmt.Fprintln(out, n); err != nil {
			return err
		}
		got := 0
		if _, err := fmt.Fscanln(in, &got); err != nil || got != n {
			return fmt.Errorf("%d came: %w", got, err)
		}
		return nil
	}
}

// locked fails when nobody has locked the file.
func locked(path string) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	check(err)
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != syscall.EWOULDBLOCK {
		check(fmt.Errorf("the lock of %s can be had (%v)", path, err))
	}
}
