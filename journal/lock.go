package journal

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// stateLock is the engine's flock on the state folder. JetStream takes no lock
// of its own, and two servers on one store overwrite each other's acknowledged
// records, so nothing in the folder is opened before this is held (R5).
type stateLock struct{ f *os.File }

// lockState takes the lock, trying for at most wait. The kernel drops it when
// the last thread of the holder is gone, which for a process stuck in a disk
// write is later than its death by SIGKILL: hence the wait. Nothing is written,
// so that a disk that hangs or is full keeps no engine from starting (P5).
func lockState(path string, wait time.Duration) (*stateLock, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot lock state folder: %w", err)
	}
	for deadline := time.Now().Add(wait); ; time.Sleep(10 * time.Millisecond) {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return &stateLock{f: f}, nil
		}
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.EWOULDBLOCK) && time.Now().Before(deadline) {
			continue
		}
		break
	}
	defer f.Close()
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, fmt.Errorf("cannot lock %s: %w by %s; stop it first", path, ErrLocked, lockHolder(f))
	}
	return nil, fmt.Errorf("cannot lock %s: %w", path, err)
}

// lockHolder asks the kernel who holds the flock on f: lines of /proc/locks
// read "1: FLOCK ADVISORY WRITE <pid> <major>:<minor>:<inode> 0 EOF".
func lockHolder(f *os.File) string {
	const unknown = "another process"
	var st unix.Stat_t
	locks, err := os.ReadFile("/proc/locks")
	if err != nil || unix.Fstat(int(f.Fd()), &st) != nil {
		return unknown
	}
	file := fmt.Sprintf("%02x:%02x:%d", unix.Major(st.Dev), unix.Minor(st.Dev), st.Ino)
	for line := range strings.Lines(string(locks)) {
		w := strings.Fields(line)
		if len(w) < 6 || w[1] != "FLOCK" || w[5] != file {
			continue
		}
		if comm, err := os.ReadFile("/proc/" + w[4] + "/comm"); err == nil {
			return "pid " + w[4] + " (" + strings.TrimSpace(string(comm)) + ")"
		}
		return "pid " + w[4]
	}
	return unknown
}

func (l *stateLock) release() error { return l.f.Close() }
