package starve_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"supd/cmd/internal/exitcode"
)

func faults() []fault {
	const short = time.Second
	nothing := func(*scene) {}
	fill, free := func(s *scene) { s.disk.fill() }, func(s *scene) { s.disk.free() }
	on := func(size string, below ...string) func(*scene) {
		return func(s *scene) { s.disk = tmpfs(s.t, filepath.Join(append([]string{s.State}, below...)...), size) }
	}
	crumbs := func(s *scene) { s.disk.crumb() }
	frozen := func(s *scene) { s.disk = ext4(s.t, s.State, 192<<20) }
	freeze, thaw := func(s *scene) { s.disk.freeze() }, func(s *scene) { s.disk.thaw() }
	felt, degraded := []string{"resource.pressed"}, []string{"journal.degraded"}
	both := append(felt, degraded...)
	return []fault{
		{name: "nothing", span: short, begin: nothing, end: nothing},
		{name: "output disk full, block", span: short, before: on("8m", "output"), begin: fill, end: free, shows: felt},
		{name: "output disk full, drop", onFull: "drop", span: short, before: on("8m", "output"), begin: fill, end: free, shows: felt},
		{name: "journal disk full", span: short, before: on("32m", "journal"), begin: fill, end: free, shows: degraded},
		{name: "one disk for both full, block", span: short, before: on("64m"), begin: fill, end: free, shows: both},
		{name: "one disk for both full, drop", onFull: "drop", span: short, before: on("64m"), begin: fill, end: free, shows: both},
		{name: "hog takes every freed byte, block", span: short, before: on("8m", "output"), begin: fill, while: crumbs, end: free, shows: felt},
		{name: "hog takes every freed byte, drop", onFull: "drop", span: short, before: on("8m", "output"), begin: fill, while: crumbs, end: free, shows: felt},
		{name: "full at first boot", alone: fullAtFirstBoot},
		{name: "disk hangs, block", span: 5 * short / 4, before: frozen, begin: freeze, end: thaw, shows: degraded},
		{name: "disk hangs, drop", onFull: "drop", span: 5 * short / 4, before: frozen, begin: freeze, end: thaw, shows: degraded},
		{name: "disk hangs 30 s, drop", onFull: "drop", long: true, span: 30 * time.Second / 4, before: frozen, begin: freeze, end: thaw, shows: degraded},
		{name: "no descriptors (EMFILE)", span: short, noStart: true, newEngine: true, newLogger: true, begin: noDescriptors, end: descriptors},
		{name: "no processes (EAGAIN)", span: short, noStart: true, newEngine: true, before: limited("pids"), begin: noProcesses, end: processes},
		{name: "engine in 64 MiB", span: short, more: crashing, before: limited("memory"), ready: littleMemory, begin: nothing, end: memory},
		{name: "CPU hogs on every core", span: short, begin: hogCPU, end: leaveCPU},
	}
}

const crashing = `
[service.crash]
count = 5
command = ["ACTOR", "-dir", "DIR", "-life", "5ms,50ms", "-exits", "1,SIGKILL"]
backoff = { initial = "10ms", max = "50ms" }
`

// fullAtFirstBoot: supd may refuse to start, with words; when there is space
// it starts.
func fullAtFirstBoot(s *scene) {
	s.disk = tmpfs(s.t, s.State, "64m")
	s.disk.fill()
	cmd := exec.Command(s.Programs.Supd, "run", "-c", s.Config, "--state-dir", s.State, "--runtime-dir", s.Runtime)
	s.Start(cmd)
	answers := make(chan bool, 1)
	go func() {
		for range 40 {
			if s.Call(nil, "info").Code == exitcode.Done {
				answers <- true
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
		answers <- false
	}()
	if <-answers {
		s.row.note("it starts all the same")
		began := time.Now()
		s.disk.free()
		s.Until("output goes on", func() bool { return s.heard() > 0 })
		s.row.resumed = time.Since(began)
		s.settle()
		return
	}
	if code := s.Exit(); code == exitcode.Done || !strings.Contains(s.Log(), "no space left") {
		s.row.fail("exit code %d without words of the cause\n%s", code, s.Log())
		return
	}
	s.row.note("it refuses to start and says why")
	s.disk.free()
	began := time.Now()
	s.Run()
	s.Until("output comes", func() bool { return s.heard() > 0 })
	s.row.resumed = time.Since(began)
	s.settle()
}

// noDescriptors leaves every process of supd's the descriptors that it has.
func noDescriptors(s *scene) {
	for name, p := range s.parts {
		if name == "talk" {
			continue
		}
		open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.PID))
		if err != nil {
			s.t.Fatal(err)
		}
		highest := 0
		for _, e := range open {
			n, _ := strconv.Atoi(e.Name())
			highest = max(highest, n)
		}
		s.setDescriptors(p.PID, uint64(highest+1))
	}
}

func descriptors(s *scene) {
	for name, p := range s.parts {
		if name != "talk" && p.Live() {
			s.setDescriptors(p.PID, 1<<20)
		}
	}
}

func (s *scene) setDescriptors(pid int, n uint64) {
	var old unix.Rlimit
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &old); err != nil {
		s.t.Fatal(err)
	}
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: min(n, old.Max), Max: old.Max}, nil); err != nil {
		s.t.Fatal(err)
	}
}

// limit is a cgroup of its own.
type limit struct {
	root, dir string
	unified   bool // version 2
}

// limited makes one for a controller.
func limited(controller string) func(*scene) {
	return func(s *scene) {
		root, unified := filepath.Join("/sys/fs/cgroup", controller), false
		if _, err := os.Stat(filepath.Join(root, "cgroup.procs")); err != nil {
			root, unified = "/sys/fs/cgroup", true
			if err := os.WriteFile(filepath.Join(root, "cgroup.subtree_control"), []byte("+"+controller), 0o600); err != nil {
				s.t.Skipf("NOT RUN: needs the cgroup controller %s: %v", controller, err)
			}
		}
		dir, err := os.MkdirTemp(root, "supd-starve-")
		if err != nil {
			s.t.Skipf("NOT RUN: needs a cgroup of its own: %v", err)
		}
		s.limit = &limit{root, dir, unified}
		s.t.Cleanup(func() {
			members, _ := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
			for _, pid := range strings.Fields(string(members)) {
				_ = os.WriteFile(filepath.Join(root, "cgroup.procs"), []byte(pid), 0o600)
			}
			for range 100 {
				if err = os.Remove(dir); err == nil {
					return
				}
				time.Sleep(10 * time.Millisecond)
			}
			s.t.Error(err)
		})
	}
}

func (s *scene) set(file, value string) {
	if err := os.WriteFile(filepath.Join(s.limit.dir, file), []byte(value), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func (s *scene) get(file string) int64 {
	b, _ := os.ReadFile(filepath.Join(s.limit.dir, file))
	n, _ := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	return n
}

// noProcesses: neither a process nor a thread more for all of supd.
func noProcesses(s *scene) {
	for name, p := range s.parts {
		if name != "talk" {
			s.set("cgroup.procs", strconv.Itoa(p.PID))
		}
	}
	s.set("pids.max", strconv.FormatInt(s.get("pids.current"), 10))
}

func processes(s *scene) { s.set("pids.max", "max") }

// littleMemory has a new engine born in the cgroup, since what a process has
// before it moves there is not counted.
func littleMemory(s *scene) {
	file := "memory.limit_in_bytes"
	if s.limit.unified {
		file = "memory.max"
	}
	s.set(file, "64M")
	keeper := strconv.Itoa(s.Keeper())
	s.set("cgroup.procs", keeper)
	old := s.Engine()
	s.Kill(old)
	s.Until("another engine", func() bool { now := s.Engine(); return now != 0 && now != old })
	if err := os.WriteFile(filepath.Join(s.limit.root, "cgroup.procs"), []byte(keeper), 0o600); err != nil {
		s.t.Fatal(err)
	}
	s.Answers()
}

func memory(s *scene) {
	file := "memory.max_usage_in_bytes"
	if s.limit.unified {
		file = "memory.peak"
	}
	s.row.note("it took at most %d MiB", s.get(file)>>20)
	s.Supctl("stop", "crash").OK()
}

var hogs []*exec.Cmd

func hogCPU(s *scene) {
	for range 2 * runtime.NumCPU() {
		cmd := exec.Command("/bin/sh", "-c", "while :; do :; done")
		cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
		if err := cmd.Start(); err != nil {
			s.t.Fatal(err)
		}
		hogs = append(hogs, cmd)
	}
	s.t.Cleanup(func() { leaveCPU(s) })
}

func leaveCPU(*scene) {
	for _, cmd := range hogs {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	hogs = nil
}
