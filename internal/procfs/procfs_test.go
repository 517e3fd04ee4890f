package procfs_test

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"

	"gcr/internal/procfs"

	"golang.org/x/sys/unix"
)

func TestReadAndWrite(t *testing.T) {
	b, err := procfs.Read("version")
	if err != nil || !strings.HasPrefix(string(b), "Linux") {
		t.Errorf("version %q: %v", b, err)
	}
	pid := os.Getpid()
	if err := procfs.Write(pid, "coredump_filter", "0x33"); err != nil {
		t.Fatal(err)
	}
	f, err := procfs.Open(pid, "coredump_filter", unix.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	buf := make([]byte, 16)
	if n, _ := f.Read(buf); !strings.HasSuffix(strings.TrimSpace(string(buf[:n])), "33") {
		t.Errorf("coredump_filter %q", buf[:n])
	}
}

func TestLeadsNowhereElse(t *testing.T) {
	for _, name := range []string{"self/exe", "self/root/etc/passwd", "../etc/passwd", "/etc/passwd"} {
		f, err := procfs.OpenPath(name, unix.O_RDONLY)
		if err == nil {
			f.Close()
			t.Errorf("%s opened", name)
		}
	}
	if _, err := procfs.OpenPath("nothing", unix.O_RDONLY); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}
