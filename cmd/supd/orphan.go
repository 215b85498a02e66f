package main

import (
	"encoding/json"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"supd/executor/keeper"
)

// How long an engine without a keeper waits.
const (
	orphanWait = 500 * time.Millisecond // for a supd run to take over, before it starts a keeper itself (R5)
	heirWait   = 30 * time.Second       // for one that has the lock to ask for what is left
)

// orphaned is the end of an engine whose keeper was killed. It holds copies of
// what the keeper held, and gives them to the next one: a supd run that comes
// within half a second, as a service manager's restart does, or else a keeper
// that it starts itself. It decides nothing any more: the next engine does.
func (e *engine) orphaned() error {
	left := e.client.Estate()
	if left.Heirs < 0 {
		return errors.New("the keeper is gone, and left nothing")
	}
	if err := unix.SetNonblock(left.Heirs, true); err != nil {
		return err
	}
	e.log.Warn("the keeper is gone; waiting for another one", "slots", len(left.Slots))
	began := time.Now()
	for {
		conn, err := keeper.AcceptHeir(left.Heirs)
		if err == nil {
			err = left.Give(conn)
			if err == nil {
				return nil // by ending: the heir waits for it
			}
			e.log.Warn("nobody took over", "error", err)
		} else if err != unix.EAGAIN {
			e.log.Warn("somebody may not take over", "error", err)
		}
		switch waited := time.Since(began); {
		case waited > heirWait:
			return errors.New("the keeper is gone, and another one has its lock but does not take over")
		case waited > orphanWait:
			lock, err := keeper.Lock(e.args.Places.Runtime)
			if err == nil {
				left.Lock = int(lock.Fd())
				err = e.startKeeper(left)
				lock.Close()
				return err
			}
			var held *keeper.LockedError
			if !errors.As(err, &held) {
				return err
			}
		}
		_, _ = unix.Poll([]unix.PollFd{{Fd: int32(left.Heirs), Events: unix.POLLIN}}, 10)
	}
}

// startKeeper starts the keeper that goes on with what is left. It and this
// engine share the lock until this one has ended.
func (e *engine) startKeeper(left *keeper.Estate) error {
	args := e.args
	args.Born = true
	b, err := json.Marshal(args)
	if err != nil {
		return err
	}
	pid, err := keeper.Boot{Args: b, Estate: left}.Start("/proc/self/exe", []string{"supd", modeKeeper}, os.Environ())
	if err != nil {
		return err
	}
	e.log.Info("started another keeper", "pid", pid)
	return nil
}
