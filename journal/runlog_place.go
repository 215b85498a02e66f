package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	runLogName = "runlog"
	sharedDir  = "/dev/shm"
)

// runLogPath chooses where the run log lives: in the runtime folder if that is
// tmpfs, else in a folder of its own in /dev/shm, else in a memfd that outlives
// the engine. On anything but memory a write could wait for a disk, which is
// what the run log exists to avoid (P5).
func runLogPath(runtimeDir, node string, memory int) (string, error) {
	if isTmpfs(runtimeDir) {
		return filepath.Join(runtimeDir, runLogName), nil
	}
	if !isTmpfs(sharedDir) {
		if memory > 0 {
			return memoryPrefix + strconv.Itoa(memory), nil
		}
		return "", fmt.Errorf("cannot place run log: neither %s nor %s is tmpfs; mount a tmpfs on one of them", runtimeDir, sharedDir)
	}
	dir := filepath.Join(sharedDir, "supd-"+node)
	if err := ownFolder(dir); err != nil {
		return "", fmt.Errorf("cannot place run log: %w", err)
	}
	return filepath.Join(dir, runLogName), nil
}

// isTmpfs is replaced in tests of machines that have none.
var isTmpfs = func(dir string) bool {
	var st unix.Statfs_t
	return unix.Statfs(dir, &st) == nil && int64(st.Type) == unix.TMPFS_MAGIC
}

// memoryPrefix begins the path of a run log that is in a memfd.
const memoryPrefix = "/proc/self/fd/"

func inMemory(path string) bool { return strings.HasPrefix(path, memoryPrefix) }

// openPlace opens a run log that is there; os.ErrNotExist if there is none.
func openPlace(path string) (*os.File, error) {
	if inMemory(path) {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return nil, err
		}
		// One without a header was never completed.
		magic := make([]byte, len(runLogMagic))
		if _, err := f.ReadAt(magic, 0); err != nil || string(magic) != runLogMagic {
			return nil, errors.Join(fs.ErrNotExist, f.Close())
		}
		return f, nil
	}
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if err := checkOwner(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// memoryFactor makes up for a run log in a memfd being unable to grow: there
// is no second file that could take its name. Memory is used as it is written.
const memoryFactor = 4

// createInMemory makes the run log in the memfd, which has no predecessor worth
// keeping: it is made only if there is none.
func createInMemory(path string, size int64, node, boot string, base Base, durable Link, recs []rawRecord) (*runLog, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_TRUNC, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot create run log: %w", err)
	}
	l := newRunLog(f)
	l.path, l.sparse, l.head = path, true, header{region: memoryFactor * regionFor(size, base), node: node, boot: boot}
	if err := l.fill(base, durable, recs); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot create run log in memory: %w", err), f.Close())
	}
	return l, nil
}

// removePlace gives up a run log.
func removePlace(path string) error {
	if inMemory(path) {
		return os.Truncate(path, 0)
	}
	return os.Remove(path)
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
