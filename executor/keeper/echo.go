package keeper

import (
	"syscall"
	"time"
)

// echoWithin bounds the time between a signal that asks for the end and its
// echo. Programs that end a process send it to the process and to its group, as
// timeout(1) does: that is one wish, and a second one would force the end. No
// person asks twice so fast.
const echoWithin = 200 * time.Millisecond

// hostSignal is a signal that asked for the end, and when it came.
type hostSignal struct {
	signal int
	at     time.Time
}

// echoed tells that sig repeats the last wish to end, and notes it if not.
func (l *hostSignal) echoed(sig int, now time.Time) bool {
	switch syscall.Signal(sig) {
	case syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT:
	default:
		return false
	}
	if sig == l.signal && now.Sub(l.at) < echoWithin {
		return true
	}
	*l = hostSignal{sig, now}
	return false
}
