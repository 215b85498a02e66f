package keeper

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// haltLook is how often it is looked whether engine or logger are halted.
const haltLook = 5 * time.Second

// watchHalted looks for good whether engine or logger were stopped by a signal,
// as by kill -STOP. One that is at two looks in a row is killed: while the logger
// stands still, services block once their pipes are full, whatever their on_full
// says; while the engine does, nothing is supervised. Neither loses anything by
// it, and the next one is told everything again. A tracer's stop is none of it.
func (k *keeper) watchHalted() {
	every := k.cfg.haltEvery
	if every == 0 {
		every = haltLook
	}
	k.after(every, func() {
		for _, h := range []*helper{&k.engine, &k.logger} {
			was := h.halted
			if h.halted = k.quiet == nil && h.isHalted(); was && h.halted {
				k.log.Error("a process of supd was stopped by a signal; it is killed and started again", "which", h.name, "pid", h.pid)
				h.kill()
			}
		}
		k.watchHalted()
	})
}

// isHalted asks without taking the news from anybody.
func (h *helper) isHalted() bool {
	if h.pid == 0 || h.pidfd < 0 {
		return false
	}
	var info unix.Siginfo
	err := unix.Waitid(unix.P_PIDFD, h.pidfd, &info, unix.WSTOPPED|unix.WNOHANG|unix.WNOWAIT, nil)
	// si_pid, see peek; it stays zero while there is nothing to tell.
	return err == nil && *(*int32)(unsafe.Add(unsafe.Pointer(&info), 16)) != 0
}
