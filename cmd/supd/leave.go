package main

import (
	"syscall"

	"supd/executor/keeper"
	"supd/executor/keeper/wire"
)

// quitter is what an engine needs of its keeper at the end. *keeper.Client is
// one.
type quitter interface {
	Events() <-chan keeper.Event
	Drop(instance string) error
	Quit(code uint8, keep bool) error
}

// leave has the keeper end and waits until it has. The journal says that
// nothing lives, but a keeper that must leave nothing running refuses while it
// holds a stub, which is no instance and so in no record (R3): it is let go,
// and the keeper is asked again. Whoever sends another TERM or INT waits for
// nothing any more.
func leave(k quitter, code uint8, keep bool) error {
	if err := k.Quit(code, keep); err != nil {
		return err
	}
	// From here on an error only says that the keeper is going, which ends its
	// events too.
	for e := range k.Events() {
		switch e := e.(type) {
		case keeper.Parked:
			_ = k.Drop(e.Slot.Instance)
		case keeper.Unchanged: // what the keeper says with its refusal
			if e.Slot.State == wire.StateParked {
				_ = k.Drop(e.Slot.Instance)
			}
		case keeper.Dropped, keeper.ParkFailed, keeper.Exited:
			_ = k.Quit(code, keep)
		case keeper.HostSignal:
			switch syscall.Signal(e.Signal) {
			case syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT:
				keep = true
				_ = k.Quit(code, keep)
			}
		}
	}
	return nil
}
