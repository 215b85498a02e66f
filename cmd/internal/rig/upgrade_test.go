package rig_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"supd/cmd/internal/exitcode"
	"supd/cmd/internal/rig"
	"supd/journal/event"
)

const upgradeConfig = `
[supd]
node = "rig"

[defaults]
output = { max_size = "1MiB", max_files = 10000 }
backoff = { initial = "20ms", max = "100ms" }

[service.stable]
count = 3
command = ["ACTOR", "-dir", "DIR"]

[service.talk]
command = ["ACTOR", "-dir", "DIR", "-stdout", "2000", "-stderr", "500"]

[service.crash]
count = 6
command = ["ACTOR", "-dir", "DIR", "-life", "5ms,200ms", "-exits", "0,1,7,42,SIGKILL,SIGHUP", "-stdout", "200"]

[service.forker]
command = ["ACTOR", "-dir", "DIR", "-forks", "3", "-life", "100ms,500ms", "-exits", "0,9"]
`

// TestUpgrade replaces supd twenty times while services talk, crash and leave
// trees: same pids, every line, every exit code, one instance each (P1, P3, P8).
func TestUpgrade(t *testing.T) {
	t.Parallel()
	r := rig.New(t, upgradeConfig)
	r.Run()
	stop := r.Watch()
	live := []string{"stable-0", "stable-1", "stable-2", "talk"}
	before := map[string]event.ServiceStatus{}
	for _, name := range live {
		before[name] = r.UntilPhase(name, event.PhaseRunning)
	}
	keeper := r.Keeper()
	const rounds = 20
	for i := range rounds {
		engine, args := r.Engine(), []string{"upgrade"} // to the file that it was started from
		if i%2 != 0 {
			args = append(args, r.Programs.Supd)
		}
		r.Until("supd has time for an upgrade", func() bool { // a busy one does nothing, and says that it may be asked again
			res := r.Supctl(args...)
			if res.Code != exitcode.Busy {
				res.OK()
			}
			return res.Code == exitcode.Done
		})
		if r.Keeper() != keeper || r.Engine() == engine {
			t.Fatalf("keeper %d was %d, engine %d was %d: the keeper stays, its engine is another", r.Keeper(), keeper, r.Engine(), engine)
		}
	}
	var info event.Info
	r.Supctl("info", "-o", "json").OK().JSON(&info)
	if info.Mode != event.ModeUpgrade {
		t.Errorf("the engine's mode is %s", info.Mode)
	}
	for _, name := range live {
		if s := r.Status(name); *s.PID != *before[name].PID || s.Restarts != 0 {
			t.Errorf("P8: %s was pid %d and is %d", name, *before[name].PID, *s.PID)
		}
	}
	r.Shutdown()
	c := newCheck(t, r)
	c.all(stop)
	outcomes := rig.Of[event.UpgradeEndedData](c.history)
	done := slices.DeleteFunc(outcomes, func(d event.UpgradeEndedData) bool { return d.Outcome != event.Done })
	if len(done) != rounds || len(rig.Of[event.UpgradeStartedData](c.history)) != rounds {
		t.Errorf("%d upgrades are recorded as done, want %d", len(done), rounds)
	}
	if n := len(rig.Of[event.KeeperStartedData](c.history)); n != 1 {
		t.Errorf("%d keepers are recorded", n)
	}
	if n := len(rig.Of[event.InstanceAdoptedData](c.history)); n != 0 {
		t.Errorf("%d instances were adopted: they were never anybody else's", n)
	}
	t.Log(c.summary())
}

// TestUpgradeRefused: whatever is wrong with a program, nothing happens.
func TestUpgradeRefused(t *testing.T) {
	t.Parallel()
	r := rig.New(t, `
[supd]
node = "rig"
[service.stable]
command = ["ACTOR", "-dir", "DIR"]
`)
	r.Run()
	before := r.UntilPhase("stable", event.PhaseRunning)
	engine := r.Engine()
	file := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(r.Dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for path, want := range map[string]string{
		"/nonexistent":                      "no such file",
		r.Dir:                               "no regular file",
		file("plain", "x", 0o600):           "not executable",
		file("open", "x", 0o722):            "others may write",
		file("other", "#!/bin/sh\n", 0o700): "does not answer like a supd",
	} {
		res := r.Supctl("upgrade", path).Is(exitcode.Failed)
		if !strings.Contains(res.Err, want) {
			t.Errorf("%s: %q is not in %q", path, want, res.Err)
		}
	}
	if s := r.Status("stable"); *s.PID != *before.PID || r.Engine() != engine {
		t.Error("something was restarted")
	}
	r.Shutdown()
}
