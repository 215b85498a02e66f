package keeper

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"supd/executor/keeper/wire"
)

// helper is the engine or the logger: a child of ours that is always there.
type helper struct {
	name    string
	args    []string
	pass    func() []int // descriptors after the socket
	started func()       // its process and socket are there
	obey    func(wire.Message, []int) error
	ended   func() // it is dead and nothing of it will come any more

	pid    int // 0 while there is none
	pidfd  int
	socket int // our end, -1 while there is none
	wanted uint32
	starts uint64
	death  wire.Death
	deaths []time.Time // within deathWindow
	halted bool        // stopped by a signal, at the last look
}

const (
	deathWindow = 10 * time.Second
	safeDeaths  = 5
)

// safe tells whether it died so often that it should do less (R12).
func (h *helper) safe() bool { return len(h.deaths) >= safeDeaths }

func (h *helper) describe() wire.Logger {
	return wire.Logger{PID: h.pid, Starts: h.starts, Death: h.death}
}

// helpersInit sets engine and logger up.
func (k *keeper) helpersInit() {
	if k.cfg.Exe == "" {
		// Our own file even if its name leads to another one by now. Its exec happens
		// in a stub: on a hung disk it must not hang the keeper.
		k.cfg.Exe = fmt.Sprintf("/proc/%d/exe", os.Getpid())
	}
	k.engine = helper{
		name: "engine", args: k.cfg.EngineArgs, pidfd: -1, socket: -1, obey: k.obey, started: k.table,
		pass: func() []int { return []int{k.listener, k.memory, k.notify, k.heirs, k.args} },
		ended: func() {
			k.out.engine, k.out.words, k.out.late = false, nil, nil
			k.probesEnd()
		},
	}
	k.logger = helper{
		name: "logger", args: k.cfg.LoggerArgs, pidfd: -1, socket: -1, obey: k.heed,
		pass:    func() []int { return []int{k.args} },
		started: k.loggerStarted, ended: k.loggerEnded,
	}
	k.watchHalted()
}

// helperStart starts one, now.
func (k *keeper) helperStart(h *helper) {
	if k.quiet != nil {
		k.after(10*time.Millisecond, func() { k.helperStart(h) })
		return
	}
	if k.quitting && (h == &k.engine || k.outputSafe()) {
		return
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		k.helperFailed(h, err)
		return
	}
	launch, err := k.helperLaunch(h)
	if err != nil {
		closeAll(&pair[0], &pair[1])
		k.helperFailed(h, err)
		return
	}
	o := order{name: h.name, launch: launch, out: [2]int{1, 2}, pass: append([]int{pair[1]}, h.pass()...)}
	o.dead = func(ws syscall.WaitStatus, _ *syscall.Rusage) {
		k.poller.post(func() { k.helperDied(h, ws) })
	}
	o.forked = func(p process) { k.poller.post(func() { k.helperForked(h, p, pair[0]) }) }
	k.job(k.parks, func() {
		f := k.spawner.fork(o)
		closeAll(&launch, &pair[1])
		if f.Step != 0 {
			closeAll(&pair[0])
			k.poller.post(func() { k.helperFailed(h, f) })
		}
	})
}

// helperLaunch makes the launch memfd of a helper.
func (k *keeper) helperLaunch(h *helper) (int, error) {
	args, env := h.args, k.cfg.Env
	if h == &k.engine && h.safe() {
		args = append(args[:len(args):len(args)], "--safe")
	}
	if env == nil {
		env = os.Environ()
	}
	l := Launch{Paths: []string{k.cfg.Exe}, Args: args, Env: env, Dir: k.cwd, Umask: uint32(k.umask), OOMScoreAdj: k.oom}
	block, err := l.encode(uint32(1+len(h.pass()))<<shiftPassed | flagOOM)
	if err != nil {
		return -1, err
	}
	return sealedMemory("supd-launch", block, 0)
}

func (k *keeper) helperFailed(h *helper, err error) {
	k.log.Error("cannot start a process of supd", "which", h.name, "error", err)
	k.helperAgain(h)
}

// helperForked opens the gate of a helper's stub and greets it.
func (k *keeper) helperForked(h *helper, p process, socket int) {
	_, _ = unix.Write(p.gate, []byte{1})
	closeAll(&p.gate)
	h.pid, h.pidfd, h.socket, h.wanted = p.pid, p.pidfd, socket, unix.EPOLLIN
	h.starts++
	h.halted = false
	status := p.status
	err := k.poller.watch(status, unix.EPOLLIN, func(uint32) { k.helperSpoke(h, &status) })
	if err == nil {
		err = k.poller.watch(socket, unix.EPOLLIN, func(events uint32) { k.helperReady(h, events) })
	}
	if err != nil {
		k.log.Error("cannot listen to a process of supd", "which", h.name, "error", err)
		h.kill()
	}
	h.started()
}

// helperSpoke logs why a helper's stub failed.
func (k *keeper) helperSpoke(h *helper, status *int) {
	var b [16]byte
	n, err := unix.Read(*status, b[:])
	if err == unix.EAGAIN || err == unix.EINTR {
		return
	}
	if n <= 0 {
		k.poller.drop(status)
		return
	}
	for i := range n {
		if b[i] == 'E' && n-i >= 10 {
			k.log.Error("cannot start a process of supd", "which", h.name, "error", parseFailure(b[i:]))
		}
	}
}

// helperReady reads what a helper says. One that breaks the protocol or its
// socket is killed: it is our child, and the next one is told everything again.
func (k *keeper) helperReady(h *helper, events uint32) {
	if events&(unix.EPOLLIN|unix.EPOLLHUP|unix.EPOLLERR) == 0 {
		return // writable: the loop flushes after every round
	}
	for range 64 { // others have their turn
		if h.socket < 0 || h == &k.engine && k.deaf() {
			return
		}
		m, fds, err := wire.RecvFD(h.socket, k.scratch)
		if err == unix.EAGAIN {
			return
		}
		if err == nil {
			err = h.obey(m, fds)
		}
		if err != nil {
			if errors.Is(err, wire.ErrMalformed) {
				k.log.Error("a process of supd breaks the protocol and is restarted", "which", h.name, "pid", h.pid, "error", err)
			}
			k.helperCut(h)
			return
		}
	}
}

// deaf tells that the engine is not listened to: it does not take what it is
// told, or everything is about to be given to a successor.
func (k *keeper) deaf() bool { return k.quiet != nil || k.out.full() }

// helperCut gives up a helper's socket and the helper.
func (k *keeper) helperCut(h *helper) {
	k.poller.drop(&h.socket)
	if !k.quitting {
		h.kill()
	}
}

// tell sends m; false if the socket is full. A broken socket takes everything,
// for its helper is as good as dead.
func (h *helper) tell(k *keeper, m wire.Message, fds ...int) bool {
	if h.socket < 0 {
		return true
	}
	err := wire.SendFD(h.socket, k.packet, m, fds...)
	if err == unix.EAGAIN {
		return false
	}
	if err != nil {
		k.log.Warn("cannot tell a process of supd", "which", h.name, "pid", h.pid, "error", err)
		k.helperCut(h)
	}
	return true
}

// want sets which events of the socket are waited for.
func (h *helper) want(p *poller, events uint32) {
	if h.socket >= 0 && h.wanted != events {
		h.wanted = events
		p.change(h.socket, events)
	}
}

func (h *helper) kill() {
	if h.pidfd >= 0 {
		_ = unix.PidfdSendSignal(h.pidfd, unix.SIGKILL, nil, 0)
	} else if h.pid > 0 {
		_ = unix.Kill(h.pid, unix.SIGKILL) // unreaped until helperDied, which is ours to call
	}
}

// helperDied takes the proof of death. What the helper had sent is still in the
// socket and is obeyed first.
func (k *keeper) helperDied(h *helper, ws syscall.WaitStatus) {
	for h.socket >= 0 {
		m, fds, err := wire.RecvFD(h.socket, k.scratch)
		if err == nil {
			err = h.obey(m, fds)
		}
		if err != nil {
			k.poller.drop(&h.socket)
		}
	}
	h.death = wire.Death{PID: h.pid, At: bootTime()}
	if ws.Signaled() {
		h.death.Signal = int(ws.Signal())
	} else {
		h.death.Code = ws.ExitStatus()
	}
	level := slog.LevelWarn
	if k.quitting && h.death.Signal == 0 && h.death.Code == 0 {
		level = slog.LevelDebug
	}
	k.log.Log(context.Background(), level, "a process of supd ended", "ended", h.name, "pid", h.pid, "code", h.death.Code, "signal", h.death.Signal)
	h.pid = 0
	closeAll(&h.pidfd)
	h.ended()
	if h == &k.engine && !k.quitting && k.endless() {
		k.log.Error("supd ends as it was asked to: no engine lived long enough to do it in good order, and no service is running")
		k.quit(&wire.Quit{Code: 1})
	}
	switch {
	case !k.quitting || h == &k.logger && !k.outputSafe():
		k.helperAgain(h)
	case h == &k.engine:
		k.done = k.logger.pid == 0 && k.outputSafe()
	}
}

// endless tells that the keeper was asked to end, that no engine lives long
// enough to hear it, and that there is nothing to supervise. Then, and only
// then, it ends by itself: a person must be able to stop it.
func (k *keeper) endless() bool {
	asked := slices.ContainsFunc(k.hostSignals, func(s wire.HostSignal) bool {
		return s.Signal == int(syscall.SIGTERM) || s.Signal == int(syscall.SIGINT)
	})
	return asked && len(k.slots) == 0 && len(k.engine.deaths) >= 2
}

// helperAgain starts a helper that died: the first times at once, then later and
// later, for ever (R12).
func (k *keeper) helperAgain(h *helper) {
	now := time.Now()
	recent := h.deaths[:0]
	for _, t := range h.deaths {
		if now.Sub(t) < deathWindow {
			recent = append(recent, t)
		}
	}
	h.deaths = append(recent, now)
	limit := k.cfg.restartLimit
	if limit == 0 {
		limit = time.Second
	}
	if n := len(h.deaths); n > 2 {
		k.after(min(limit, 10*time.Millisecond<<min(n-2, 10)), func() { k.helperStart(h) })
		return
	}
	k.helperStart(h)
}

// after has the loop call fn later.
func (k *keeper) after(d time.Duration, fn func()) {
	time.AfterFunc(d, func() { k.poller.post(fn) })
}
