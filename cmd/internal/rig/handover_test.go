package rig_test

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"supd/cmd/internal/rig"
	"supd/journal/event"
)

const handoverConfig = `
[defaults]
backoff = { initial = "20ms" }
max_retries = -1
[service.background]
command = ["HANDOVER", "DIR", "background"]
ready = { notify = true }
watchdog = "5s"
[service.upgrade]
command = ["HANDOVER", "DIR", "upgrade"]
ready = { notify = true }
stop.mode = "main"
user = "nobody"
[service.late]
command = ["HANDOVER", "DIR", "late"]
ready = { notify = true }
restart = "never"
[service.hostile]
command = ["HANDOVER", "DIR", "hostile"]
ready = { notify = true }
user = "nobody"
autostart = false
[service.other]
command = ["sleep", "1000"]
user = "nobody"
`

// server is the process that serves for a service, by its own word.
func server(t *testing.T, r *rig.Rig, service string) rig.Process {
	t.Helper()
	var p rig.Process
	r.Until(service+" serves", func() bool {
		b, err := os.ReadFile(filepath.Join(r.Dir, service+".pid"))
		if err != nil {
			return false
		}
		pid, _ := strconv.Atoi(strings.TrimSpace(string(b)))
		var ok bool
		p, ok = rig.ReadProcess(pid)
		return ok && p.Live()
	})
	return p
}

// TestHandover: a service whose main process hands over to another one of its tree
// stays the same instance and the same run, whatever of supd dies meanwhile; its
// end is the end of the one that serves.
func TestHandover(t *testing.T) {
	t.Parallel()
	for _, cgroups := range []bool{true, false} {
		t.Run(fmt.Sprintf("cgroups=%v", cgroups), func(t *testing.T) { handover(t, cgroups) })
	}
}

func handover(t *testing.T, cgroups bool) {
	if os.Geteuid() != 0 {
		need(t, "root, to become somebody else")
	}
	text := handoverConfig
	if !cgroups {
		text = strings.ReplaceAll(text, "user = \"nobody\"\n", "") // supd is that itself
	}
	r := rig.New(t, text)
	run := func() {
		supd := exec.Command(r.Programs.Supd, "run", "-c", r.Config, "--state-dir", r.State, "--runtime-dir", r.Runtime)
		if !cgroups {
			const uid = 65534
			supd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
			if err := os.Chown(r.Config, uid, uid); err != nil {
				t.Fatal(err)
			}
		}
		r.Start(supd)
		r.Answers()
	}
	run()
	if has := hasCgroups(r); has != cgroups {
		r.Abandon()
		t.Skipf("NOT RUN: needs a cgroup for root and none for others: cgroups %v", has)
	}
	serves := map[string]rig.Process{}
	for _, service := range []string{"background", "upgrade"} {
		s, p := r.UntilPhase(service, event.PhaseRunning), server(t, r, service)
		if *s.PID != p.PID || s.Restarts != 0 {
			t.Fatalf("%s: pid %d with %d restarts, and %d serves\n%s", service, *s.PID, s.Restarts, p.PID, r.Log())
		}
		serves[service] = p
	}
	touch(t, r, "upgrade.go") // the old one ends, and nothing follows from that
	restarts := 0             // of background
	same := func(when string) {
		t.Helper()
		for service, p := range serves {
			s := r.UntilPhase(service, event.PhaseRunning)
			if *s.PID != p.PID || service == "background" && s.Restarts != restarts || !p.Live() {
				t.Fatalf("%s: %s has pid %d and %d restarts, %d served", when, service, *s.PID, s.Restarts, p.PID)
			}
		}
	}
	r.Until("the old one ends", func() bool { return len(processesOf(r, "upgrade")) == 1 })
	same("the old one has ended")
	r.Supctl("signal", "USR1", "background").OK()
	r.Until("it has the signal", func() bool { _, err := os.Stat(filepath.Join(r.Dir, "background.usr1")); return err == nil })
	r.Kill(r.Engine())
	r.Answers()
	same("the engine was killed")
	r.Supctl("upgrade").OK()
	same("supd was upgraded in place")
	// What the server ends by is what is known, and another run follows.
	p := serves["background"]
	first := maps.Clone(serves)
	if err := syscall.Kill(p.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	r.Until("the next run", func() bool {
		s := r.Status("background")
		serves["background"] = server(t, r, "background")
		return s.State == event.PhaseRunning && s.Restarts == 1 && *s.PID != p.PID && *s.PID == serves["background"].PID
	})
	restarts = 1
	old := r.Keeper()
	r.KillKeeper()
	r.Reborn(old)
	same("the keeper was killed")
	r.KillAll()
	run()
	same("all of supd was killed")
	r.Supctl("restart", "upgrade").OK() // by TERM to the main process alone
	r.UntilPhase("upgrade", event.PhaseRunning)

	// Too late is too late: the instance has ended, and its rest is ended with it.
	r.UntilPhase("late", event.PhaseFatal)
	r.Until("nothing of it is left", func() bool { return len(processesOf(r, "late")) == 0 })

	hostile(t, r)
	r.Supctl("stop", "background", "upgrade", "hostile").OK()
	for _, service := range []string{"background", "upgrade", "hostile"} {
		if left := processesOf(r, service); len(left) != 0 {
			t.Errorf("left of %s: %+v", service, left)
		}
	}
	for _, args := range [][]string{{"history", "upgrade"}, {"why", "background"}, {"events", "--since", "1h", "--service", "background"}} {
		out := r.Supctl(args...).OK().Out
		if args[0] == "events" && !strings.Contains(out, "is the main process now: the service said so") {
			t.Errorf("%v says nothing of it:\n%s", args, out)
		}
	}
	r.Shutdown()
	handedOver(t, r, first)
}

// hostile has a service name whoever it may not.
func hostile(t *testing.T, r *rig.Rig) {
	t.Helper()
	other := r.UntilPhase("other", event.PhaseRunning)
	names := fmt.Sprintf("1\n0\n-1\n\nseven\n99999999999999999999\n%d\n%d\n%d\n%d\n%d\n",
		os.Getpid(), r.Keeper(), r.Engine(), r.Logger(), *other.PID)
	if err := os.WriteFile(filepath.Join(r.Dir, "hostile.names"), []byte(names), 0o644); err != nil {
		t.Fatal(err)
	}
	r.Supctl("start", "hostile").OK()
	s, p := r.UntilPhase("hostile", event.PhaseRunning), server(t, r, "hostile")
	if *s.PID != p.PID || *r.Status("other").PID != *other.PID {
		t.Errorf("hostile has pid %d, %d serves", *s.PID, p.PID)
	}
	if n := strings.Count(r.Log(), "named a main process that is not followed"); n != 1 {
		t.Errorf("complained %d times about it", n)
	}
}

// handedOver reads in the journal what must be there.
func handedOver(t *testing.T, r *rig.Rig, serves map[string]rig.Process) {
	t.Helper()
	h := r.History()
	starts, live := map[string]int{}, map[string]string{}
	named := map[string]int{}
	var ended []string
	for _, e := range h {
		service := e.Record.Subject
		switch d := e.Record.Data.(type) {
		case event.InstanceStartingData:
			if starts[service]++; live[service] != "" {
				t.Errorf("P1: %s of %s starts beside %s", d.Instance, service, live[service])
			}
			live[service] = d.Instance
		case event.InstanceAdoptedData:
			if d.By != event.AdoptedByNotify {
				continue
			}
			if named[service]++; named[service] == 1 && serves[service].PID != 0 && (d.PID != serves[service].PID || d.StartTime != serves[service].Start) {
				t.Errorf("%s: adopted %+v, %+v served", service, d, serves[service])
			}
		case event.InstanceExitedData:
			live[service] = ""
			if service == "background" {
				ended = append(ended, fmt.Sprint(d.Cause, " ", d.Signal != nil && *d.Signal == event.Kill, " ", d.Expected))
			}
		}
	}
	want := map[string]int{"background": 2, "upgrade": 2, "late": 1, "hostile": 1}
	for service, n := range want {
		if starts[service] != n {
			t.Errorf("%s was started %d times, want %d", service, starts[service], n)
		}
		if follows := n * map[bool]int{true: 1}[serves[service].PID != 0]; named[service] != follows {
			t.Errorf("%s was followed %d times, want %d", service, named[service], follows)
		}
	}
	// The second end is unknown where whoever reaps orphans took his time.
	if len(ended) != 2 || ended[0] != "signaled true false" || !strings.HasSuffix(ended[1], " true") {
		t.Errorf("background ended %q", ended)
	}
	for service := range serves {
		if out := r.Output(service, "stdout"); strings.Count(out, "serving") != 2 {
			t.Errorf("P3: %s wrote %q", service, out)
		}
	}
}

// processesOf are the live processes of a service.
func processesOf(r *rig.Rig, service string) (of []rig.Process) {
	for _, p := range r.Left() {
		if p.Getenv("SUPD_SERVICE") == service {
			of = append(of, p)
		}
	}
	return of
}

// A service that hands over again and again, killed at once each time, never runs
// twice and never stops for good.
func TestHandoverStorm(t *testing.T) {
	t.Parallel()
	r := rig.New(t, `
[defaults]
backoff = { initial = "5ms", max = "5ms" }
max_retries = -1
[service.background]
command = ["HANDOVER", "DIR", "background"]
ready = { notify = true }
`)
	r.Run()
	for round := range 12 {
		p := server(t, r, "background")
		if round%3 == 2 {
			r.Kill(r.Engine())
		}
		_ = syscall.Kill(p.PID, syscall.SIGKILL)
		r.Until("another one serves", func() bool { return !p.Live() && server(t, r, "background").PID != p.PID })
		time.Sleep(time.Duration(round) * 3 * time.Millisecond)
	}
	r.Answers()
	r.UntilPhase("background", event.PhaseRunning)
	r.Shutdown()
	live := ""
	for _, e := range r.History() {
		switch d := e.Record.Data.(type) {
		case event.InstanceStartingData:
			if live != "" {
				t.Errorf("P1: %s starts beside %s", d.Instance, live)
			}
			live = d.Instance
		case event.InstanceExitedData:
			live = ""
			if !d.Expected && (d.Signal == nil || *d.Signal != event.Kill) {
				t.Errorf("it ended otherwise than by KILL: %+v", d)
			}
		}
	}
}
