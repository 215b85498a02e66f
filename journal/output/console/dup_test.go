package console

import (
	"os"

	"golang.org/x/sys/unix"
)

// dup gives the logger a descriptor of its own, which it will close.
func dup(f *os.File) (int, error) {
	defer f.Close()
	return unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 3)
}
