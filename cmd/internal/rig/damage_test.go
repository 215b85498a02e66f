package rig_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"supd/cmd/internal/rig"
	"supd/cmd/internal/rig/account"
	"supd/journal/event"
)

const damageConfig = `
[service.web]
command = ["sleep", "3600"]
`

// checked is what supd check --journal says of the rig's state folder.
func checked(t *testing.T, r *rig.Rig) (code int, out string) {
	t.Helper()
	cmd := exec.Command(r.Programs.Supd, "check", "--journal", "--state-dir", r.State)
	b, _ := cmd.CombinedOutput()
	return cmd.ProcessState.ExitCode(), string(b)
}

// TestJournalDamaged: all of supd is killed and a bit of its journal flips. The
// next supd goes on with the same processes, or after a reboot with what can
// still be folded, tells of the damage, keeps the evidence and leaves a sound
// journal behind (P3, P4, P8).
func TestJournalDamaged(t *testing.T) {
	for name, reboot := range map[string]bool{"same boot": false, "reboot": true} {
		t.Run(name, func(t *testing.T) {
			rig.ReapActors(t)
			r := rig.New(t, damageConfig)
			r.Run()
			r.UntilPhase("web", event.PhaseRunning)
			r.Supctl("stop", "web").OK()
			r.Supctl("start", "web").OK()
			before := r.UntilPhase("web", event.PhaseRunning)
			if code, out := checked(t, r); code != 0 {
				t.Errorf("check of a live journal: %d %s", code, out)
			}
			r.KillAll()
			block := filepath.Join(r.State, "journal", "jetstream", "$G", "streams", "JOURNAL", "msgs", "1.blk")
			b, err := os.ReadFile(block)
			if err != nil {
				t.Fatal(err)
			}
			b[len(b)*2/3] ^= 1
			if err := os.WriteFile(block, b, 0o600); err != nil {
				t.Fatal(err)
			}
			if code, out := checked(t, r); code != 6 || !strings.Contains(out, "1.blk") {
				t.Errorf("check of a damaged journal: %d %s", code, out)
			}
			if reboot {
				r.Kill(*before.PID) // a reboot ends all processes and cgroups
				r.Until("its cgroup is gone", func() bool { return noCgroups(r) })
				if err := os.Remove(filepath.Join("/dev/shm", "supd-"+r.Node(), "runlog")); err != nil {
					t.Fatal(err)
				}
			}
			r.Run()
			after := r.UntilPhase("web", event.PhaseRunning)
			if !reboot && *after.PID != *before.PID {
				t.Errorf("P8: web was pid %d and is %d", *before.PID, *after.PID)
			}
			r.Until("the damage is told", func() bool {
				return strings.Contains(r.Supctl("events", "--kind", "journal.damaged", "-o", "json").Out, "1.blk")
			})
			r.Until("a base follows it", func() bool {
				return strings.Contains(r.Supctl("events", "--kind", "state.base", "-o", "json").Out, "state.base")
			})
			if code, out := checked(t, r); code != 0 {
				t.Errorf("check after mending: %d %s", code, out)
			}
			evidence, err := filepath.Glob(filepath.Join(r.State, "damaged", "*-1.blk"))
			if err != nil || len(evidence) != 1 {
				t.Errorf("evidence %v, %v", evidence, err)
			} else if kept, err := os.ReadFile(evidence[0]); err != nil || string(kept) != string(b) {
				t.Errorf("the evidence is not what was there: %v", err)
			}
			r.Shutdown()
			if code, out := checked(t, r); code != 0 {
				t.Errorf("check after the end: %d %s", code, out)
			}
			// After a reboot: JOURNAL alone, across or behind the hole.
			r.Run()
			r.UntilPhase("web", event.PhaseRunning)
			r.Shutdown()
		})
	}
}

// noCgroups removes the empty cgroups of instances; false if one is not empty.
func noCgroups(r *rig.Rig) bool {
	gone := true
	for _, root := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/*"} {
		dirs, _ := filepath.Glob(filepath.Join(root, "supd-"+r.Node()[:8], "*-*"))
		for _, d := range dirs {
			gone = os.Remove(d) == nil && gone
		}
	}
	return gone
}

// TestNobodyBesideStranger: all of supd is killed, the run log is lost, and with
// a hole in JOURNAL the only record of a service that lives. Nothing knows it but
// the kernel; it is ended before another one is started (P1, R4).
func TestNobodyBesideStranger(t *testing.T) {
	rig.ReapActors(t)
	r := rig.New(t, `
[supd]
node = "rig"

[service.web]
command = ["ACTOR", "-dir", "DIR", "-forks", "2"]
`)
	r.Run()
	stop := r.Watch()
	r.UntilPhase("web", event.PhaseRunning)
	for range 2 { // so that the hole does not end at the journal's end
		r.Supctl("stop", "web").OK()
		r.Supctl("start", "web").OK()
	}
	before := r.UntilPhase("web", event.PhaseRunning)
	for range 3 {
		r.Supctl("signal", "USR1", "web").OK()
	}
	r.Until("all is durable", func() bool {
		var info event.Info
		r.Supctl("info", "-o", "json").OK().JSON(&info)
		return info.RunLog.KeptNotDurable == 0
	})
	r.KillAll()
	block := filepath.Join(r.State, "journal", "jetstream", "$G", "streams", "JOURNAL", "msgs", "1.blk")
	b, err := os.ReadFile(block)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.LastIndex(b, []byte(`supd.instance.starting.v1`))
	if at < 0 {
		t.Fatal("the record of the start is not in the first block")
	}
	b[at] ^= 1
	if err := os.WriteFile(block, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join("/dev/shm", "supd-"+r.Node(), "runlog")); err != nil {
		t.Fatal(err)
	}
	r.Run()
	after := r.UntilPhase("web", event.PhaseRunning)
	if *after.PID == *before.PID {
		t.Errorf("web is pid %d, whose record is lost", *after.PID)
	}
	settled := r.Supctl("events", "--kind", "recovery.settled", "-o", "json").OK().Out
	if !strings.Contains(settled, `"row":9`) || !strings.Contains(settled, *before.Instance) {
		t.Errorf("no row 9 for instance %s:\n%s", *before.Instance, settled)
	}
	r.Shutdown()
	for _, seen := range stop() {
		t.Error(seen)
	}
	violations, err := account.Violations(r.Dir)
	if err != nil || len(violations) > 0 {
		t.Errorf("P1: %v %v", violations, err)
	}
}
