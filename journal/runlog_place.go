package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const (
	runLogName = "runlog"
	sharedDir  = "/dev/shm"
)

// runLogPath chooses where the run log lives: in the runtime folder if that is
// tmpfs, else in a folder of its own in /dev/shm. On anything but tmpfs a write
// could wait for a disk, which is what the run log exists to avoid (P5).
func runLogPath(runtimeDir, node string) (string, error) {
	if isTmpfs(runtimeDir) {
		return filepath.Join(runtimeDir, runLogName), nil
	}
	if !isTmpfs(sharedDir) {
		return "", fmt.Errorf("cannot place run log: neither %s nor %s is tmpfs; mount a tmpfs on one of them", runtimeDir, sharedDir)
	}
	dir := filepath.Join(sharedDir, "supd-"+node)
	if err := ownFolder(dir); err != nil {
		return "", fmt.Errorf("cannot place run log: %w", err)
	}
	return filepath.Join(dir, runLogName), nil
}

func isTmpfs(dir string) bool {
	var st unix.Statfs_t
	return unix.Statfs(dir, &st) == nil && int64(st.Type) == unix.TMPFS_MAGIC
}

// ownFolder makes the folder, or accepts it if it is ours alone. Anyone may
// create names in /dev/shm, so one that somebody prepared is refused (P10).
func ownFolder(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return fmt.Errorf("cannot read %s: %w", dir, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || st.Uid != uint32(os.Geteuid()) || st.Mode&0o077 != 0 {
		return fmt.Errorf("%s is not a folder of this user alone; look who made it and remove it", dir)
	}
	return nil
}

// checkOwner refuses a run log that is not a private regular file of ours.
func checkOwner(f *os.File) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Uid != uint32(os.Geteuid()) || st.Mode&0o077 != 0 || st.Nlink > 1 {
		return errors.New("it is not a private file of this user; look who made it and remove it")
	}
	return nil
}
