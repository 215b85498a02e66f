package keeper

import (
	"bytes"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"supd/executor/keeper/wire"
)

// A task is a hook or a probe: a process that runs beside an instance, in a slot
// of its own. Its gate is opened as soon as its stub waits there, so the one Park
// that names it is what runs it, once (R4). The keeper ends its whole tree when
// its deadline has come, when its main process has ended, and when the instance
// is killed, so that nothing of it needs an engine that lives. Its exit is told
// when nothing of it is left.

// tailPause is how long a probe that writes without end is not read.
const tailPause = 10 * time.Millisecond

// TaskVariable is the beginning of the environment variable that a task must be
// given, with the id of its slot.
const TaskVariable = taskMark

// taskMark is the variable that keeps a task's processes from counting as its
// instance's where there are no cgroups.
const taskMark = "SUPD_TASK="

// taskPrefix begins the names of tasks' cgroups.
const taskPrefix = "task-"

// taskCgroup is the folder of a task's own cgroup: beside that of its instance,
// whose tree and limits it does not count for.
func (k *keeper) taskCgroup(instance string) string {
	return k.info.Cgroup + "/" + taskPrefix + instance
}

// taskParked puts a new task under watch.
func (k *keeper) taskParked(s *slot, m *wire.Park) {
	s.Task, s.Owner, s.Deadline = m.Task, m.Owner, m.Deadline
	k.taskWatched(s)
}

// taskWatched lists a task and sets its deadline.
func (k *keeper) taskWatched(s *slot) {
	if k.tasks == nil {
		k.tasks = map[string][]*slot{}
	}
	k.tasks[s.Owner] = append(k.tasks[s.Owner], s)
	if s.Deadline == 0 {
		return
	}
	left := time.Duration(int64(s.Deadline) - int64(bootTime()))
	k.after(max(0, left), func() {
		if s.live() && !s.gone && s.ExitedAt == 0 {
			s.TimedOut = true
			k.taskEnd(s)
		}
	})
}

// taskEnd kills a task's tree. The rest of it, if any, is ended with its exit.
func (k *keeper) taskEnd(s *slot) {
	if s.PID == 0 || s.gate >= 0 {
		s.dropping = true
		k.drop(s)
		return
	}
	if s.pidfd >= 0 {
		_ = unix.PidfdSendSignal(s.pidfd, unix.SIGKILL, nil, 0)
	}
	g, r, main := s.cgroup(k.info.Features), s.root(), s.dupPidfd()
	k.job(k.trees, func() {
		signalTree(g, r, main, k.children, unix.SIGKILL)
		closeAll(&main)
	})
}

// tasksEnd ends the tasks of an instance; all of them, or its probes only.
func (k *keeper) tasksEnd(owner string, all bool) {
	for _, s := range k.tasks[owner] {
		if s.live() && (all || s.Task == wire.TaskProbe) {
			k.taskEnd(s)
		}
	}
}

// probesEnd ends all probes: they were for an engine that is gone.
func (k *keeper) probesEnd() {
	for _, list := range k.tasks {
		for _, s := range append([]*slot(nil), list...) {
			if s.Task == wire.TaskProbe {
				k.taskDrop(s)
			}
		}
	}
}

// taskDrop ends a task of which nobody wants to hear any more.
func (k *keeper) taskDrop(s *slot) {
	s.mute, s.Forgotten = true, true
	if s.live() {
		k.taskEnd(s)
		return
	}
	k.remove(s)
}

// taskExited ends what a task's main process has left, then tells its exit.
func (k *keeper) taskExited(s *slot, leftovers bool) {
	if !leftovers {
		k.taskOver(s)
		return
	}
	g, r, main := s.cgroup(k.info.Features), s.root(), s.dupPidfd()
	k.job(k.trees, func() {
		_, _, survived := sweep(g, r, main, k.children)
		closeAll(&main)
		k.poller.post(func() {
			if survived > 0 {
				k.log.Error("processes of a hook or probe cannot be ended", "service", s.Service, "task", s.Task.String(),
					"processes", survived, "cgroup", s.Cgroup)
			}
			k.taskOver(s)
		})
	})
}

// taskOver tells a task's exit.
func (k *keeper) taskOver(s *slot) {
	s.State = wire.StateExited
	k.taskHeard(s)
	k.poller.drop(&s.words)
	if s.Cgroup != "" {
		s.cgroup(k.info.Features).remove()
	}
	if s.mute {
		k.remove(s)
		return
	}
	k.changed(s)
	k.release(s)
}

// taskListen has the last words of a probe kept.
func (k *keeper) taskListen(s *slot) {
	s.words, s.pipes[0].fd = s.pipes[0].fd, -1
	s.StdoutPiped, s.StderrPiped = false, false
	if s.words < 0 {
		return
	}
	err := k.poller.watch(s.words, unix.EPOLLIN, func(uint32) {
		if !k.taskHeard(s) {
			k.poller.drop(&s.words)
			return
		}
		k.poller.change(s.words, 0)
		k.after(tailPause, func() {
			if s.words >= 0 {
				k.poller.change(s.words, unix.EPOLLIN)
			}
		})
	})
	if err != nil {
		k.log.Warn("the words of a probe cannot be heard", "service", s.Service, "error", err)
	}
}

// taskHeard reads what a probe has written, no more than its pipe holds; false at
// its end.
func (k *keeper) taskHeard(s *slot) bool {
	for range 32 { // more than a pipe holds: a megabyte
		if s.words < 0 {
			return false
		}
		n, err := unix.Read(s.words, k.scratch)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			return true
		case n <= 0:
			return false
		}
		s.Tail = append(s.Tail, k.scratch[:n]...)
		s.Tail = append([]byte(nil), s.Tail[max(0, len(s.Tail)-wire.MaxTail):]...)
	}
	return true
}

// readyListen waits for the newline by which a service says that it is ready.
func (k *keeper) readyListen(s *slot, fd int) {
	s.ready = fd
	if fd < 0 {
		return
	}
	err := k.poller.watch(fd, unix.EPOLLIN, func(uint32) { k.readyHeard(s) })
	if err != nil {
		k.log.Warn("the readiness of a service cannot be heard", "service", s.Service, "error", err)
	}
}

func (k *keeper) readyHeard(s *slot) {
	var b [256]byte
	n, err := unix.Read(s.ready, b[:])
	switch {
	case err == unix.EAGAIN || err == unix.EINTR:
	case n > 0 && bytes.IndexByte(b[:n], '\n') >= 0:
		s.Ready = true
		k.changed(s)
		k.poller.drop(&s.ready)
	case n <= 0:
		k.poller.drop(&s.ready)
	}
}

// endForeignTasks ends what an earlier keeper's tasks left: their results are
// lost with it, and nobody else bounds them.
func (k *keeper) endForeignTasks(folder string) {
	left, _ := filepath.Glob(filepath.Join(folder, taskPrefix+"*"))
	for _, path := range left {
		g := cgroup{path, cgroupFeatures(path)}
		k.job(k.trees, func() {
			var r report
			g.kill(&r)
			g.waitEmpty(time.Second)
			g.remove()
		})
	}
}
