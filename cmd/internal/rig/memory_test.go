package rig_test

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"supd/cmd/internal/rig"
	"supd/journal/event"
)

// TestRunLogInMemoryOfKeeper: on a machine without any tmpfs the run log is in
// memory that keeper and engine hold. An engine that is killed is followed by one
// that goes on with the same process, so is a keeper, and info says where the run
// log is (R1, P8).
func TestRunLogInMemoryOfKeeper(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("NOT RUN: needs root for a mount namespace")
	}
	rig.ReapActors(t)
	r := rig.New(t, damageConfig)
	// ramfs is no tmpfs; the runtime folder is below /tmp.
	hide := `mount -t ramfs ramfs /dev/shm && exec "$@"`
	cmd := exec.Command("unshare", "-m", "sh", "-c", hide, "sh", r.Programs.Supd, "run", "-c", r.Config, "--state-dir", r.State, "--runtime-dir", r.Runtime)
	if out, err := exec.Command("unshare", "-m", "sh", "-c", `mount -t ramfs ramfs /dev/shm && [ "$(stat -f -c %T `+r.Dir+`)" != tmpfs ]`).CombinedOutput(); err != nil {
		t.Skipf("NOT RUN: needs a mount namespace and a /tmp that is no tmpfs: %v %s", err, out)
	}
	r.Start(cmd)
	r.Answers()
	before := r.UntilPhase("web", event.PhaseRunning)
	r.Until("the stream is on disk", func() bool { // killed as it is made, its description would be found damaged
		var info event.Info
		r.Supctl("info", "-o", "json").OK().JSON(&info)
		return info.Journal.Last > 0 && info.RunLog.KeptNotDurable == 0
	})
	for range 2 {
		engine := r.Engine()
		r.Kill(engine)
		r.Until("another engine is there", func() bool { return r.Engine() != engine && r.Engine() != 0 })
		r.Answers()
		after := r.UntilPhase("web", event.PhaseRunning)
		if *after.PID != *before.PID || *after.Instance != *before.Instance {
			t.Errorf("P8: web was pid %d and is %d", *before.PID, *after.PID)
		}
	}
	// The engine has a copy, which it passes on to the keeper that it starts.
	old := r.Keeper()
	r.KillKeeper()
	r.Reborn(old)
	if after := r.UntilPhase("web", event.PhaseRunning); *after.PID != *before.PID {
		t.Errorf("P8: web was pid %d and is %d", *before.PID, *after.PID)
	}
	if out := r.Supctl("info").Out; !strings.Contains(out, "memfd") {
		t.Errorf("info does not say where the run log is:\n%s", out)
	}
	r.Shutdown()
	h := r.History()
	var modes []string
	for _, d := range rig.Of[event.EngineStartedData](h)[1:] {
		modes = append(modes, d.Mode)
	}
	if want := []string{event.ModeCrash, event.ModeCrash, event.ModeKeeperLost}; !slices.Equal(modes, want) {
		t.Errorf("engines started as %v, want %v", modes, want)
	}
	if lost := rig.Of[event.JournalDamagedData](h); len(lost) > 0 {
		t.Errorf("damage: %+v", lost)
	}
}
