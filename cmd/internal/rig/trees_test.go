package rig_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
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

// hasCgroups tells that services have cgroups of their own.
func hasCgroups(r *rig.Rig) bool {
	return regexp.MustCompile(`(?m)^cgroup +/`).MatchString(r.Supctl("info").OK().Out)
}

// TestEvilTrees: a stop and a restart leave nothing of a tree, whatever it does,
// with cgroups and without.
func TestEvilTrees(t *testing.T) {
	t.Parallel()
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
			if cgroups := hasCgroups(r); cgroups != (how == "root") {
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

// TestMemberOfAnotherUser: supd without privilege may not end a process of another
// user in a service's tree. It is named with pid and command, nothing is started
// beside it (P1, R4), and the service goes on when it has ended.
func TestMemberOfAnotherUser(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		need(t, "root, to become somebody else")
	}
	setpriv, err := exec.LookPath("setpriv")
	if err != nil {
		need(t, "setpriv")
	}
	r := rig.New(t, `
[service.web]
command = ["/bin/sh", "-c", "if [ ! -e DIR/once ]; then : >DIR/once; DIR/become --reuid 0 --regid 0 --clear-groups sleep 600 & fi; exec sleep 1000"]
stop.timeout = "300ms"
`)
	become := filepath.Join(r.Dir, "become")
	b, err := os.ReadFile(setpriv)
	if err == nil {
		err = os.WriteFile(become, b, 0o755)
	}
	if err == nil {
		err = os.Chmod(become, 0o755|os.ModeSetuid)
	}
	const uid = 65534
	if err == nil {
		err = os.Chown(r.Config, uid, uid)
	}
	if err != nil {
		t.Fatal(err)
	}
	supd := exec.Command(r.Programs.Supd, "run", "-c", r.Config, "--state-dir", r.State, "--runtime-dir", r.Runtime)
	supd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	r.Start(supd)
	r.Answers()
	r.UntilPhase("web", event.PhaseRunning)
	var root rig.Process
	if !rig.Wait(rig.Patience, func() bool {
		for _, p := range r.Left() {
			st, err := os.Stat(fmt.Sprintf("/proc/%d", p.PID))
			if p.Comm == "sleep" && err == nil && st.Sys().(*syscall.Stat_t).Uid == 0 && p.Getenv("SUPD_SERVICE") == "web" {
				root = p
				return true
			}
		}
		return false
	}) {
		r.Abandon()
		t.Skip("NOT RUN: needs a file system that lets programs change their user")
	}
	first := *r.Status("web").Instance
	r.Supctl("restart", "web", "--timeout", "2s")
	r.Until("it is named in the log", func() bool { return strings.Contains(r.Log(), fmt.Sprintf("%d sleep (", root.PID)) })
	r.Until("it is named in the journal", func() bool {
		out := r.Supctl("events", "--since", "1h", "--service", "web").OK().Out
		return strings.Contains(out, fmt.Sprintf("1 survived (sleep[%d])", root.PID))
	})
	if out := r.Supctl("status", "web").Out; !strings.Contains(out, fmt.Sprintf("survives KILL: sleep[%d]", root.PID)) {
		t.Errorf("the status does not name it:\n%s", out)
	}
	if s := r.Status("web"); s.Instance != nil && *s.Instance != first {
		t.Errorf("P1: %s was started beside it", *s.Instance)
	}
	if err := syscall.Kill(root.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	r.Until("the service goes on", func() bool {
		s := r.Status("web")
		return s.State == event.PhaseRunning && *s.Instance != first
	})
	r.Shutdown()
}
