package rig_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"supd/cmd/internal/rig"
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
