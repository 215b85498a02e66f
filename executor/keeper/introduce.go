package keeper

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"supd/executor/keeper/wire"
)

// introduce finds out who and where the keeper is.
func (k *keeper) introduce(e *Estate) {
	me, _ := readStat(os.Getpid())
	if e.Keeper != nil && e.Keeper.Info.PID == me.pid {
		obtained := k.info.Features
		k.info = e.Keeper.Info // the same process: the machine can what it could
		k.info.Features = k.info.Features&^(wire.FeatureRealTime|wire.FeatureNice) | obtained
		k.info.Version = k.cfg.Version
		if k.info.Cgroup != "" {
			k.guardFreeze(k.info.Cgroup)
		}
		return
	}
	k.info.PID, k.info.StartTime, k.info.Version = me.pid, me.start, k.cfg.Version
	if os.Geteuid() == 0 {
		k.info.Features |= wire.FeatureRoot
	}
	_ = k.trial("")
	if k.cfg.CgroupRoot == "none" {
		k.info.CgroupReason = "switched off"
		return
	}
	path, features, err := cgroupFolder(k.cfg.CgroupRoot, k.cfg.CgroupName)
	if err == nil {
		err = k.tryCgroup(path)
	}
	if err != nil {
		k.info.CgroupReason = truncate(err.Error(), wire.MaxText)
		k.log.Warn("no cgroups: trees of processes are ended by search", "error", err)
		return
	}
	k.info.Cgroup = path
	k.spawner.retire(nil) // only who is alone in a cgroup may move out of it
	k.info.Features |= features | enableControllers(path)
	k.endForeignTasks(path)
	k.removeEmpty(path)
	k.after(emptyWait, func() { k.removeEmpty(path) })
}

// emptyWait is how long the stubs of a dead keeper have to end at their gates.
const emptyWait = 2 * time.Second

// removeEmpty removes the cgroups of instances that an earlier keeper parked and
// nobody knows of any more. The kernel keeps those that anybody lives in; one
// that is being started in is in a slot.
func (k *keeper) removeEmpty(folder string) {
	entries, _ := os.ReadDir(folder)
	for _, e := range entries {
		if e.IsDir() && k.slots[e.Name()] == nil && !strings.HasPrefix(e.Name(), taskPrefix) {
			_ = unix.Rmdir(filepath.Join(folder, e.Name())) // not what is below it: it may be a live service's own
		}
	}
}

// tryCgroup makes sure that the kernel and its rules permit to start in a cgroup.
func (k *keeper) tryCgroup(folder string) error {
	k.guardFreeze(folder)
	g := cgroup{path: filepath.Join(folder, "trial")}
	if err := k.trial(g.path); err != nil {
		return fmt.Errorf("cannot start in a cgroup under %s: %w", folder, err)
	}
	g.waitEmpty(time.Second)
	g.remove()
	return nil
}

func (k *keeper) guardFreeze(folder string) {
	fd, err := unix.Open(filepath.Join(folder, "cgroup.freeze"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		k.spawner.freeze.Store(int32(fd))
	}
}

// trial forks a stub that ends at once, because its launch block is empty, and
// looks what the kernel tells about the dead.
func (k *keeper) trial(cgroup string) error {
	born, dead := make(chan process, 1), make(chan struct{})
	f := k.spawner.fork(order{
		name: "trial", launch: k.memory, out: [2]int{-1, -1}, cgroup: cgroup,
		forked: func(p process) { born <- p },
		dead:   func(syscall.WaitStatus, *syscall.Rusage) { close(dead) },
	})
	if f.Step != 0 {
		return f
	}
	p := <-born
	<-dead
	if p.pidfd >= 0 {
		if _, known := pidfdStatus(p.pidfd); known {
			k.info.Features |= wire.FeaturePidfdExit
		}
	}
	closeAll(&p.gate, &p.status, &p.pidfd)
	return nil
}
