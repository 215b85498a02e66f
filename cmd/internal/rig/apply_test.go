package rig_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"supd/cmd/internal/exitcode"
	"supd/cmd/internal/rig"
	"supd/cmd/internal/rig/account"
	"supd/journal/event"
)

// file is a configuration made of services: a name, and what is below it
// beside the command.
type file map[string]string

func (f file) text(head string) string {
	names := make([]string, 0, len(f))
	for name := range f {
		names = append(names, name)
	}
	slices.Sort(names)
	text := head
	for _, name := range names {
		text += "[service." + name + "]\ncommand = [\"ACTOR\", \"-dir\", \"DIR\"]\n" + f[name] + "\n"
	}
	return text
}

const applyHead = "[supd]\nnode = \"rig\"\n"

// pids are the running services by name.
func pids(r *rig.Rig) map[string]int {
	all := map[string]int{}
	var list []event.ServiceStatus
	r.Supctl("status", "-o", "json").OK().JSON(&list)
	for _, s := range list {
		if all[s.Name] = 0; s.PID != nil && s.State == event.PhaseRunning {
			all[s.Name] = *s.PID
		}
	}
	return all
}

// results are what an apply says of each service.
func results(res rig.Result) map[string]event.Outcome {
	var reply event.CommandReply
	res.JSON(&reply)
	all := map[string]event.Outcome{}
	for _, r := range reply.Results {
		all[r.Service] = r.Outcome
	}
	return all
}

func plan(r *rig.Rig) map[string]string {
	var p event.Plan
	r.Supctl("plan", "-o", "json").OK().JSON(&p)
	all := map[string]string{}
	for _, s := range p.Services {
		all[s.Service] = s.Action
	}
	return all
}

func sameMap[V comparable](t *testing.T, what string, got, want map[string]V) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) { // maps print sorted
		t.Errorf("%s\n got %v\nwant %v", what, got, want)
	}
}

// TestApply: a changed configuration does what the plan says, and nothing to
// the others (P7).
func TestApply(t *testing.T) {
	t.Parallel()
	r := rig.New(t, file{
		"stays": "", "goes": "", "changes": "", "n": "count = 2", "one": "",
	}.text(applyHead))
	r.Run()
	for _, name := range []string{"stays", "goes", "changes", "n-0", "n-1", "one"} {
		r.UntilPhase(name, event.PhaseRunning)
	}
	first := pids(r)
	r.Supctl("apply").OK()
	sameMap(t, "nothing changed", pids(r), first)

	next := file{
		"stays": "", "changes": "nice = 1", "n": "count = 3\nmax_retries = 7", "one": "count = 1", "new": "", "off": "autostart = false",
	}
	r.Configure(next.text(applyHead + "log_level = \"debug\"\n[journal]\ninbox = 77\n[control]\nmode = \"0600\"\n"))
	sameMap(t, "plan", plan(r), map[string]string{
		"stays": "stay", "goes": "stop", "changes": "restart", "n-0": "update", "n-1": "update", "n-2": "start",
		"one": "stop", "one-0": "start", "new": "start", "off": "add",
	})
	sameMap(t, "only planned", pids(r), first)
	const done = event.Done
	sameMap(t, "apply", results(r.Supctl("apply", "-o", "json").OK()), map[string]event.Outcome{
		"goes": done, "changes": done, "n-0": done, "n-1": done, "n-2": done, "one": done, "one-0": done, "new": done, "off": done,
	})
	second := pids(r)
	for _, name := range []string{"stays", "n-0", "n-1"} {
		if second[name] != first[name] {
			t.Errorf("P7: %s was pid %d and is %d", name, first[name], second[name])
		}
	}
	for _, name := range []string{"changes", "n-2", "one-0", "new"} {
		if second[name] == 0 || second[name] == first[name] {
			t.Errorf("%s was pid %d and is %d", name, first[name], second[name])
		}
	}
	if len(second) != 8 || second["off"] != 0 {
		t.Errorf("services are %v", second)
	}
	r.Until("the socket's mode is changed", func() bool {
		st, err := os.Stat(r.Socket)
		return err == nil && st.Mode().Perm() == 0o600
	})
	if res := r.Supctl("plan").OK(); !strings.Contains(res.Out, "journal.inbox  takes effect when supd is started again") {
		t.Errorf("the plan does not name what needs a restart of supd:\n%s", res.Out)
	}
	if n := plan(r); n["changes"] != "stay" || len(n) != 8 {
		t.Errorf("after the apply the plan is %v", n)
	}

	// A broken file changes nothing, at apply as at HUP.
	r.Configure(next.text(applyHead) + "[service.broken]\ncolour = 1\n")
	for _, verb := range []string{"plan", "apply"} {
		if res := r.Supctl(verb).Is(exitcode.Configuration); !strings.Contains(res.Err, r.Config+":") || !strings.Contains(res.Err, "colour") {
			t.Errorf("%s of a broken file says\n%s%s", verb, res.Out, res.Err)
		}
	}
	hup(t, r)
	r.Until("HUP is answered in the log", func() bool { return strings.Contains(r.Log(), "HUP did not apply") })
	sameMap(t, "a broken file", pids(r), second)

	// What is not applied does not count, not even for the next engine (R11).
	delete(next, "new")
	next["n"] = "count = 1"
	r.Configure(next.text(applyHead))
	r.Kill(r.Engine())
	sameMap(t, "an edited file", pids(r), second)
	hup(t, r)
	r.Until("HUP has removed three services", func() bool { return len(pids(r)) == 5 })
	third := pids(r)
	if third["stays"] != first["stays"] || third["n-0"] != first["n-0"] {
		t.Errorf("P7: after all, %v were %v", third, first)
	}
	r.Shutdown()
	h := r.History()
	applied := false
	for _, e := range h { // and each has come after its config.applied
		switch e.Record.Data.(type) {
		case event.ConfigAppliedData:
			applied = true
		case event.CommandAcceptedData, event.CommandEndedData:
			applied = false
		case event.ServiceDefinedData, event.ServiceRemovedData:
			if !applied {
				t.Errorf("R11: record %d (%s %s) comes before its config.applied", e.Record.Seq, e.Record.Kind, e.Record.Subject)
			}
		}
	}
	if n := len(rig.Of[event.ConfigRejectedData](h)); n != 2 {
		t.Errorf("%d config.rejected, want 2", n)
	}
}

func hup(t *testing.T, r *rig.Rig) {
	t.Helper()
	if err := syscall.Kill(r.Keeper(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
}

// TestApplyAndCrash: the engine is killed around applies. Each has one end,
// what is applied is the newest file, and who is not concerned is not touched.
func TestApplyAndCrash(t *testing.T) {
	t.Parallel()
	version := func(n int) string {
		f := file{"stays": "", "changes": fmt.Sprintf("environment = { N = \"%d\" }", n)}
		if n%2 == 1 {
			f["odd"] = ""
		}
		return f.text(applyHead)
	}
	r := rig.New(t, version(0))
	r.Run()
	stop := r.Watch()
	stays := *r.UntilPhase("stays", event.PhaseRunning).PID
	const rounds = 12
	for n := 1; n <= rounds; n++ {
		r.Configure(version(n))
		var wg sync.WaitGroup
		wg.Go(func() {
			time.Sleep(time.Duration(n) * 3 * time.Millisecond) // before, at and after: wherever it is then
			r.Kill(r.Engine())
		})
		res := r.Call(nil, "apply", "-o", "json")
		wg.Wait()
		want := map[string]event.Outcome{"changes": event.Done, "odd": event.Done}
		sameMap(t, fmt.Sprintf("apply %d", n), results(res.OK()), want)
		if got := pids(r); got["stays"] != stays || (got["odd"] != 0) != (n%2 == 1) {
			t.Fatalf("P7: after apply %d services are %v, stays was %d", n, got, stays)
		}
		p, _ := rig.ReadProcess(pids(r)["changes"])
		if p.Getenv("N") != fmt.Sprint(n) {
			t.Fatalf("R11: after apply %d the service has N=%s", n, p.Getenv("N"))
		}
	}
	for _, v := range stop() {
		t.Error(v)
	}
	r.Shutdown()
	h := r.History()
	accepted, ended := map[string]bool{}, map[string]int{}
	for _, d := range rig.Of[event.CommandAcceptedData](h) {
		accepted[d.Command] = d.Verb == event.VerbApply
	}
	for _, d := range rig.Of[event.CommandEndedData](h) {
		if accepted[d.Command] {
			ended[d.Command]++
		}
	}
	if len(ended) != rounds {
		t.Errorf("P2: %d applies ended, want %d", len(ended), rounds)
	}
	for id, n := range ended {
		if n != 1 {
			t.Errorf("P2: apply %s ended %d times", id, n)
		}
	}
	if n := len(rig.Of[event.ConfigAppliedData](h)); n != rounds+1 {
		t.Errorf("%d config.applied, want %d and that of the start", n, rounds)
	}
}

// TestApplyOutput: output settings take effect while the service runs, also
// for a logger that is started later.
func TestApplyOutput(t *testing.T) {
	t.Parallel()
	config := func(settings string) string {
		return applyHead + "[service.talk]\ncommand = [\"ACTOR\", \"-dir\", \"DIR\", \"-stdout\", \"2000\"]\n" + settings
	}
	r := rig.New(t, config(""))
	r.Run()
	pid := *r.UntilPhase("talk", event.PhaseRunning).PID
	segments := func() int {
		found, err := filepath.Glob(filepath.Join(r.State, "output", "talk", "stdout.log*"))
		if err != nil {
			t.Fatal(err)
		}
		return len(found)
	}
	if n := segments(); n > 1 {
		t.Fatalf("%d segments before anything was changed", n)
	}
	r.Configure(config("output.max_size = \"4KiB\"\noutput.max_files = 100\n"))
	r.Supctl("apply").OK()
	r.Until("the logger closes small segments", func() bool { return segments() > 3 })
	r.Kill(r.Logger())
	before := segments()
	r.Until("the next logger does so too", func() bool { return segments() > before+2 })
	if now := *r.Status("talk").PID; now != pid {
		t.Errorf("P7: talk was pid %d and is %d", pid, now)
	}
	r.Shutdown()
}

// TestReload: reload.signal goes to the main process, once.
func TestReload(t *testing.T) {
	t.Parallel()
	r := rig.New(t, file{"web": "reload.signal = \"USR1\"", "db": "", "off": "reload.signal = \"USR1\"\nautostart = false"}.text(applyHead))
	r.Run()
	pid := *r.UntilPhase("web", event.PhaseRunning).PID
	r.UntilPhase("db", event.PhaseRunning)
	r.Supctl("reload", "web").OK()
	if res := r.Supctl("reload", "db").Is(exitcode.Failed); !strings.Contains(res.Out, "reload.signal") {
		t.Errorf("a reload without a signal says %s", res.Out)
	}
	r.Supctl("reload", "off").Is(exitcode.NotRunning)
	got := func() (n int) {
		entries, err := account.Read(r.Dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if e.What == account.Got && e.Signal == "SIGUSR1" && e.PID == pid {
				n++
			}
		}
		return n
	}
	r.Until("web has the signal", func() bool { return got() > 0 })
	r.Shutdown()
	if n := got(); n != 1 {
		t.Errorf("R4: web got %d signals", n)
	}
	if reloads := rig.Of[event.InstanceReloadingData](r.History()); len(reloads) != 1 || reloads[0].By != event.ReloadBySignal {
		t.Errorf("instance.reloading: %+v", reloads)
	}
}

// TestApplyWaitsForItsDisk: a configuration that cannot be read for now, here
// because nobody writes into the FIFO that it is, holds up nobody but who asked
// for it (P5). The apply goes on when it can be read.
func TestApplyWaitsForItsDisk(t *testing.T) {
	t.Parallel()
	r := rig.New(t, file{"web": ""}.text(applyHead))
	r.Run()
	r.UntilPhase("web", event.PhaseRunning)
	if err := os.Remove(r.Config); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(r.Config, 0o600); err != nil {
		t.Fatal(err)
	}
	first := make(chan rig.Result, 1)
	go func() { first <- r.Call(nil, "apply", "-o", "json") }()
	r.Supctl("apply", "--timeout", "200ms").Is(exitcode.TimedOut)
	hup(t, r)
	// Longer than supctl waits before it sends again: that is no second apply.
	r.Supctl("apply", "--timeout", "2500ms").Is(exitcode.TimedOut)
	r.Supctl("stop", "web").OK() // P5: would wait for ever
	r.Supctl("start", "web").OK()
	busy := false
	for range 10 { // who waits is bounded (P9)
		code := r.Supctl("apply", "--timeout", "50ms").Code
		busy = busy || code == exitcode.Busy
	}
	if !busy {
		t.Error("P9: everybody may wait for the disk")
	}
	text := strings.NewReplacer("DIR", r.Dir, "ACTOR", r.Programs.Actor).Replace(file{"web": "", "new": ""}.text(applyHead))
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			if f, err := os.OpenFile(r.Config, os.O_WRONLY|syscall.O_NONBLOCK, 0); err == nil { // somebody reads
				_, _ = f.WriteString(text)
				_ = f.Close()
			}
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	})
	select {
	case res := <-first:
		res.OK()
	case <-time.After(rig.Patience):
		t.Error("the first apply does not end")
	}
	r.UntilPhase("new", event.PhaseRunning)
	r.Until("all that waited is done", func() bool { return r.Supctl("apply", "--timeout", "5s").Code == exitcode.Done })
	close(stop)
	wg.Wait()
	r.Shutdown()
}
