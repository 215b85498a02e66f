package rig_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"supd/cmd/internal/rig"
	"supd/journal/event"
)

// evil are services whose trees do not want to die, as shell scripts. Each makes
// the file up-NAME when all of its tree is there.
var evil = map[string]string{
	"stubborn": `trap "" TERM INT HUP; : >DIR/up-stubborn; while :; do sleep 1000; done`,
	"daemons":  `for n in 1 2 3; do (setsid sh -c 'trap "" TERM HUP; (setsid sleep 1000 &); : >>DIR/up-daemons; while :; do sleep 1000; done' &); done; exec sleep 1000`,
	"runner":   `trap "" TERM; DIR/runner & exec sleep 1000`,
	"deserter": `setsid sh -c '(setsid sleep 1000 &); : >DIR/up-deserter; sleep 1000' & sleep 0.05; exec sleep 1000`,
}

// runner forks again and again: whoever looks for it finds one that is gone.
const runner = `#!/bin/sh
trap '' TERM INT HUP
sleep 0.01
[ -e DIR/up-runner ] || : >DIR/up-runner
DIR/runner &
exit 0
`

// TestEvilTrees: a stop and a restart leave nothing of a tree, whatever it does,
// with cgroups and without.
func TestEvilTrees(t *testing.T) {
	if os.Geteuid() != 0 {
		need(t, "root, to become somebody else")
	}
	for _, how := range []string{"root", "nobody"} {
		t.Run(how, func(t *testing.T) {
			text := ""
			for name, script := range evil {
				text += fmt.Sprintf("[service.%s]\ncommand = ['/bin/sh', '-c', '''%s''']\nstop.timeout = \"300ms\"\n", name, script)
			}
			r := rig.New(t, text)
			script := filepath.Join(r.Dir, "runner")
			if err := os.WriteFile(script, []byte(strings.ReplaceAll(runner, "DIR", r.Dir)), 0o755); err != nil {
				t.Fatal(err)
			}
			supd := exec.Command(r.Programs.Supd, "run", "-c", r.Config, "--state-dir", r.State, "--runtime-dir", r.Runtime)
			if how == "nobody" {
				const uid = 65534
				supd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
				if err := os.Chown(r.Config, uid, uid); err != nil {
					t.Fatal(err)
				}
			}
			r.Start(supd)
			r.Answers()
			if cgroups := strings.Contains(r.Supctl("info").OK().Out, "cgroup       /"); cgroups != (how == "root") {
				t.Skipf("NOT RUN: needs a cgroup for root and none for others: cgroups %v", cgroups)
			}
			up := func() {
				t.Helper()
				for name := range evil {
					r.Until(name+" is up", func() bool { _, err := os.Stat(filepath.Join(r.Dir, "up-"+name)); return err == nil })
				}
			}
			up()
			before := map[string]string{}
			for name := range evil {
				before[name] = *r.Status(name).Instance
				if err := os.Remove(filepath.Join(r.Dir, "up-"+name)); err != nil {
					t.Fatal(err)
				}
			}
			r.Supctl("restart", "all").OK()
			for _, p := range r.Left() {
				for name, instance := range before {
					if p.Getenv("SUPD_INSTANCE") == instance && p.Live() {
						t.Errorf("%s is restarted, and of its old tree is left: %d %s", name, p.PID, p.Comm)
					}
				}
			}
			up()
			r.Supctl("stop", "all").OK()
			for _, p := range r.Left() {
				if name := p.Getenv("SUPD_SERVICE"); name != "" && p.Live() {
					t.Errorf("%s is stopped, and of its tree is left: %d %s", name, p.PID, p.Comm)
				}
			}
			r.Supctl("shutdown").OK()
			r.Exit()
			for _, d := range rig.Of[event.InstanceSweptData](r.History()) {
				if d.Survived > 0 {
					t.Errorf("%+v", d)
				}
			}
		})
	}
}
