package rig

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"supd/cmd/internal/exitcode"
)

// Keeper is the pid of the keeper: the one that was started, or the one that an
// orphaned engine has started since; 0 while there is none.
func (r *Rig) Keeper() int { return r.part("keeper") }

// Engine is the pid of the engine; 0 while there is none.
func (r *Rig) Engine() int { return r.part("engine") }

// Logger is the pid of the logger; 0 while there is none.
func (r *Rig) Logger() int { return r.part("logger") }

// part finds a process of supd by its mode: the youngest, for one that is dying
// may still be there.
func (r *Rig) part(mode string) int {
	all := map[int]Process{}
	for _, p := range Processes() {
		if p.State == 'Z' {
			continue
		}
		if args := p.Args(); len(args) > 1 && args[0] == "supd" && args[1] == mode && p.Getenv(envRig) == r.Dir {
			all[p.PID] = p
		}
	}
	var found Process
	for _, p := range all {
		// A child that has not executed anything yet still looks like its parent.
		if _, copied := all[p.Parent]; !copied && p.Start >= found.Start {
			found = p
		}
	}
	return found.PID
}

// Kill sends SIGKILL to one of supd's processes.
func (r *Rig) Kill(pid int) {
	r.t.Helper()
	if pid == 0 {
		r.t.Fatal("there is no such process to kill")
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		r.t.Fatalf("cannot kill %d: %v", pid, err)
	}
}

// KillAll kills keeper, engine and logger at once and waits for their end.
func (r *Rig) KillAll() {
	r.t.Helper()
	var parts []Process
	for _, pid := range []int{r.Keeper(), r.Engine(), r.Logger()} {
		if p, ok := ReadProcess(pid); ok {
			parts = append(parts, p)
			r.Kill(pid)
		}
	}
	r.Ended(parts...)
}

// KillKeeper kills the keeper alone. Its engine lives on for a while, and
// starts another one if nobody runs supd again.
func (r *Rig) KillKeeper() {
	r.t.Helper()
	keeper, _ := ReadProcess(r.Keeper())
	r.Kill(keeper.PID)
	r.Ended(keeper)
}

// KillBoth kills keeper and engine at once, and waits until the logger has
// followed them.
func (r *Rig) KillBoth() {
	r.t.Helper()
	var parts []Process
	for _, pid := range []int{r.Keeper(), r.Engine(), r.Logger()} {
		p, _ := ReadProcess(pid)
		parts = append(parts, p)
	}
	r.Kill(parts[0].PID)
	r.Kill(parts[1].PID)
	r.Ended(parts...)
}

// Reborn waits until an engine has started another keeper, which answers.
func (r *Rig) Reborn(old int) {
	r.t.Helper()
	r.Until("another keeper answers", func() bool {
		k := r.Keeper()
		return k != 0 && k != old && r.Call(nil, "info").Code == exitcode.Done
	})
}

// Ended waits until the processes have ended.
func (r *Rig) Ended(parts ...Process) {
	r.t.Helper()
	for _, p := range parts {
		r.Until(p.Comm+" ends", func() bool { return !p.Live() })
		if p.PID == r.cmd.Process.Pid {
			<-r.exited
		}
	}
}

// Shutdown ends supd in good order and checks that it left nothing behind.
func (r *Rig) Shutdown() {
	r.t.Helper()
	r.Supctl("shutdown").OK()
	r.Gone()
}

// Gone waits for supd's own end, of which exit code 0 is expected, and checks
// that nothing it started is left.
func (r *Rig) Gone() {
	r.t.Helper()
	if r.Lost() {
		r.Until("supd ends", func() bool { return r.Keeper() == 0 }) // no child of ours
	} else if code := r.Exit(); code != exitcode.Done {
		r.t.Errorf("supd ended with %v\n%s", r.status, r.Log())
	}
	r.Until("no process is left", func() bool { return len(r.Left()) == 0 })
	if dir := r.cgroup(); dir != "" {
		below, _ := filepath.Glob(filepath.Join(dir, "*-*"))
		r.t.Errorf("cgroup %s is left, with %v in it", dir, below)
	}
	if mounts, err := os.ReadFile("/proc/self/mountinfo"); err != nil || strings.Contains(string(mounts), r.Runtime+"/") {
		r.t.Errorf("mounts are left (%v):\n%s", err, mounts)
	}
}

// Lost tells that the process that was started has been killed, so that the
// keeper, if there is one, is a child of nobody here.
func (r *Rig) Lost() bool {
	select {
	case <-r.exited:
		return r.status.Sys().(syscall.WaitStatus).Signaled()
	default:
		return false
	}
}

// Exit waits for supd's own end and returns its exit code.
func (r *Rig) Exit() int {
	r.t.Helper()
	select {
	case <-r.exited:
	case <-time.After(Patience):
		r.t.Fatalf("supd does not end\n%s", r.Log())
	}
	return r.status.ExitCode()
}

// Left are the live processes that this rig has started, directly or not.
func (r *Rig) Left() []Process {
	var left []Process
	for _, p := range Processes() {
		if p.State != 'Z' && p.Getenv(envRig) == r.Dir {
			left = append(left, p)
		}
	}
	return left
}

// Node is the identity in the state folder; empty before the first Run.
func (r *Rig) Node() string {
	var node struct {
		NodeID string `json:"node_id"`
	}
	b, err := os.ReadFile(filepath.Join(r.State, "node.json"))
	if err == nil {
		err = json.Unmarshal(b, &node)
	}
	if err != nil {
		return ""
	}
	return node.NodeID
}

// cgroup is the folder of the services' cgroups; empty if there is none.
func (r *Rig) cgroup() string {
	node := r.Node()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || node == "" {
		return ""
	}
	for line := range strings.Lines(string(mounts)) {
		w := strings.Fields(line)
		if !strings.Contains(line, " - cgroup2 ") || len(w) < 5 {
			continue
		}
		found := ""
		_ = filepath.WalkDir(w[4], func(path string, d os.DirEntry, err error) error {
			if err == nil && d.IsDir() && d.Name() == "supd-"+node[:8] {
				found = path
				return filepath.SkipAll
			}
			return nil // a cgroup that is gone meanwhile
		})
		if found != "" {
			return found
		}
	}
	return ""
}

// Abandon says that the test leaves supd and its services running: cleanup
// ends them without a complaint.
func (r *Rig) Abandon() { r.abandon = true }

// cleanup ends what is left, by pid, and removes all that was made.
func (r *Rig) cleanup() {
	left := r.Left()
	if len(left) > 0 && !r.abandon && !r.t.Failed() {
		r.t.Errorf("left running: %v", left)
	}
	ended := Wait(Patience, func() bool {
		left := r.Left() // again each time: a keeper may have started another one
		for _, p := range left {
			_ = syscall.Kill(p.PID, syscall.SIGKILL)
		}
		return len(left) == 0
	})
	if !ended {
		r.t.Errorf("cannot end %v", r.Left())
	}
	if b, err := os.ReadFile(r.log.Name()); err != nil || strings.Contains(string(b), "DATA RACE") {
		r.t.Errorf("a data race, or no log (%v)\n%s", err, b)
	}
	_ = r.log.Close()
	if dir := r.cgroup(); dir != "" {
		below, _ := filepath.Glob(filepath.Join(dir, "*", "cgroup.procs"))
		for _, file := range below {
			Wait(time.Second, func() bool { return syscall.Rmdir(filepath.Dir(file)) == nil })
		}
		_ = syscall.Rmdir(dir)
	}
	if node := r.Node(); node != "" {
		_ = os.RemoveAll(filepath.Join("/dev/shm", "supd-"+node))
	}
	if r.t.Failed() && os.Getenv("SUPD_RIG_KEEP") == "1" {
		r.t.Logf("kept: %s", r.Dir)
		return
	}
	_ = syscall.Unmount(filepath.Join(r.Runtime, pins), syscall.MNT_DETACH)
	if err := os.RemoveAll(r.Dir); err != nil {
		r.t.Error(err)
	}
}
