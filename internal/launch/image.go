package launch

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// sealedImage puts a program into memory that can be executed and never written again (memfd_create(2)).
func sealedImage(image []byte) (*os.File, error) {
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate("gcr", flags|unix.MFD_EXEC)
	if errors.Is(err, unix.EINVAL) {
		// Before Linux 6.3 every memfd was executable and the flag unknown.
		fd, err = unix.MemfdCreate("gcr", flags)
	}
	if err != nil {
		return nil, fmt.Errorf("make memfd for the container's program: %w", explainMemfd(err))
	}
	f := os.NewFile(uintptr(fd), "memfd:gcr")
	if _, err := f.Write(image); err != nil {
		f.Close()
		return nil, fmt.Errorf("write the container's program: %w", err)
	}
	const seals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, seals); err != nil {
		f.Close()
		return nil, fmt.Errorf("seal the container's program: %w", err)
	}
	return f, nil
}

func explainMemfd(err error) error {
	if errors.Is(err, unix.EACCES) {
		return fmt.Errorf("%w; the sysctl vm.memfd_noexec forbids executable memory files: set it to 0 or 1", err)
	}
	return err
}
