package keeper

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// LockedError says that another keeper owns the runtime folder.
type LockedError struct {
	Path      string
	PID       int    // of the holder; 0 if it has not said yet
	StartTime uint64 // of the holder, clock ticks since boot
	Born      bool   // the holder was started by an orphaned engine: see TakeOver
}

// Error names the holder.
func (e *LockedError) Error() string {
	if e.PID == 0 {
		return fmt.Sprintf("cannot run: another supd holds %s", e.Path)
	}
	return fmt.Sprintf("cannot run: supd pid %d holds %s", e.PID, e.Path)
}

// Lock takes the keeper's lock in dir, the runtime folder, until the file is
// closed (R5). The descriptor is close-on-exec: nobody inherits the lock. If it
// is taken, the error is a *LockedError. The file is never removed: a lock on a
// file without a name would exclude nobody.
func Lock(dir string) (*os.File, error) {
	path := filepath.Join(dir, "lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("cannot lock the runtime folder: %w", err)
	}
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err != unix.EINTR {
			break
		}
	}
	if err != nil {
		defer f.Close()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("cannot lock %s: %w", path, err)
		}
		held := &LockedError{Path: path}
		_, _ = fmt.Fscanf(f, "%d %d %t\n", &held.PID, &held.StartTime, &held.Born)
		return nil, held
	}
	if err := signLock(f, false); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// signLock writes down who holds the lock.
func signLock(f *os.File, born bool) error {
	me, err := readStat(os.Getpid())
	if err == nil {
		err = f.Truncate(0)
	}
	if err == nil {
		_, err = f.WriteAt(fmt.Appendf(nil, "%d %d %t\n", me.pid, me.start, born), 0)
	}
	if err != nil {
		return fmt.Errorf("cannot write the keeper's lock: %w", err)
	}
	return nil
}

// heirsPath is the socket of those who take over.
func heirsPath(dir string) string { return filepath.Join(dir, "keeper.sock") }
