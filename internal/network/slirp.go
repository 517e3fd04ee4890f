package network

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
)

// slirp prepares slirp4netns. It says by one pipe that it is ready and ends when the other is closed, which the
// kernel does when gcr ends, however it ends.
func (u *userNet) slirp(c *Connection, pid int) (ready func() error, err error) {
	readyR, readyW, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make pipe: %w", err)
	}
	exitR, exitW, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make pipe: %w", err)
	}
	args := slirpArgs(pid)
	api := filepath.Join(c.who.Dir, "slirp")
	if len(c.record.Ports) > 0 {
		args = append([]string{"--api-socket", api}, args...)
	}
	u.cmd = exec.Command(c.plan.Program, args...)
	u.cmd.ExtraFiles = []*os.File{readyW, exitR}
	c.held = append(c.held, holder{Closer: exitW})
	return func() error {
		readyW.Close()
		exitR.Close()
		defer readyR.Close()
		if n, _ := readyR.Read(make([]byte, 1)); n != 1 {
			<-u.ended
			return u.failed()
		}
		for _, p := range c.record.Ports {
			if err := slirpForward(api, p); err != nil {
				return err
			}
		}
		return nil
	}, nil
}

// forward is a request for a port.
type forward struct {
	Execute   string `json:"execute"`
	Arguments struct {
		Proto     string `json:"proto"`
		HostAddr  string `json:"host_addr"`
		HostPort  int    `json:"host_port"`
		GuestPort int    `json:"guest_port"`
	} `json:"arguments"`
}

func newForward(p Port) forward {
	f := forward{Execute: "add_hostfwd"}
	f.Arguments.Proto, f.Arguments.HostAddr = p.Proto, "0.0.0.0"
	if p.Host.IsValid() {
		f.Arguments.HostAddr = p.Host.String()
	}
	f.Arguments.HostPort, f.Arguments.GuestPort = int(p.HostPort), int(p.ContainerPort)
	return f
}

// slirpForward asks for a port (slirp4netns(1), "API socket").
func slirpForward(api string, p Port) error {
	conn, err := net.Dial("unix", api)
	if err != nil {
		return &Error{What: "publish " + p.String(), Flag: "-p", Cause: errSlirp}
	}
	defer conn.Close()
	err = json.NewEncoder(conn).Encode(newForward(p))
	if err == nil {
		err = conn.(*net.UnixConn).CloseWrite()
	}
	var answer struct {
		Error *struct {
			Desc string `json:"desc"`
		} `json:"error"`
	}
	if err == nil {
		err = json.NewDecoder(conn).Decode(&answer)
	}
	if err != nil {
		return &Error{What: "publish " + p.String(), Flag: "-p", Cause: errSlirp}
	}
	if answer.Error != nil {
		return &Error{What: "publish " + p.String(), Flag: "-p", Cause: text(answer.Error.Desc)}
	}
	return nil
}
