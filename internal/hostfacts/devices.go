package hostfacts

import (
	"io/fs"
	"os"
	"path/filepath"
)

// Device is a device node on the host.
type Device struct {
	Path string
	File
}

// Devices returns the device nodes at path: the one that it names, or, for a directory, every one
// below it in lexical order. In a directory, symbolic links are left out (udev's are names for nodes
// that are there anyway), as are /dev/pts, /dev/shm, /dev/mqueue and /dev/console, of which a container
// has its own.
func Devices(path string) ([]Device, error) {
	f, err := Stat(path)
	if err != nil {
		return nil, err
	}
	if f.Type != 'd' {
		return []Device{{path, f}}, nil
	}
	var out []Device
	err = filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			if p == path || !os.IsPermission(err) && !os.IsNotExist(err) {
				return err
			}
			return fs.SkipDir // not for this caller, or gone since
		}
		switch p {
		case "/dev/pts", "/dev/shm", "/dev/mqueue":
			return fs.SkipDir
		case "/dev/console":
			return nil
		}
		if d.Type()&fs.ModeDevice == 0 {
			return nil
		}
		f, err := Stat(p)
		if os.IsNotExist(err) {
			return nil
		}
		if err == nil {
			out = append(out, Device{p, f})
		}
		return err
	})
	return out, err
}
