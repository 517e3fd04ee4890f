package lifecycle

import (
	"errors"
	"fmt"
	"io/fs"

	"gcr/internal/rootfile"
)

// Accounts gives the files of users and groups of a running container, by which names become ids. Both are looked
// up inside its root directory, and may be missing.
type Accounts func() (passwd, group []byte, err error)

// accounts reads the files of a process. The caller makes sure afterwards that it is still there.
func accounts(pid int) Accounts {
	return func() (passwd, group []byte, err error) {
		root, err := rootfile.Open(fmt.Sprintf("/proc/%d/root", pid))
		if err != nil {
			return nil, nil, fmt.Errorf("read the container's users: %w", err)
		}
		defer root.Close()
		for _, f := range []struct {
			to   *[]byte
			name string
		}{{&passwd, "/etc/passwd"}, {&group, "/etc/group"}} {
			if *f.to, err = root.ReadFile(f.name, maxPasswd); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, nil, fmt.Errorf("read %s of the container: %w", f.name, err)
			}
		}
		return passwd, group, nil
	}
}
