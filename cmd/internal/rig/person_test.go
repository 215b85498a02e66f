package rig_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"supd/cmd/internal/exitcode"
	"supd/cmd/internal/rig"
	"supd/cmd/internal/terminaltest"
	"supd/journal/event"
)

// What stop.mode main leaves alive is named in the journal.
func TestLeftoversAreNamed(t *testing.T) {
	t.Parallel()
	r := rig.New(t, `
[service.web]
command = ["sh", "-c", "sleep 1000 & echo $! >DIR/left; exec sleep 2000"]
stop.mode = "main"
`)
	r.Run()
	r.UntilPhase("web", event.PhaseRunning)
	left := 0
	r.Until("the other is there", func() bool {
		b, _ := os.ReadFile(filepath.Join(r.Dir, "left"))
		n, _ := fmt.Sscan(string(b), &left)
		return n == 1
	})
	t.Cleanup(func() { _ = syscall.Kill(left, syscall.SIGKILL) })
	r.Supctl("stop", "web").OK()
	if info := r.Supctl("info").OK().Out; !strings.Contains(info, "/supd-") {
		t.Skip("NOT RUN: needs cgroups")
	}
	want := fmt.Sprintf("1 survived (sleep[%d])", left)
	if out := r.Supctl("events", "--service", "web", "--kind", "instance.swept").OK().Out; !strings.Contains(out, want) {
		t.Errorf("no %q in\n%s", want, out)
	}
	if p, ok := rig.ReadProcess(left); !ok || !p.Live() {
		t.Error("it was killed")
	}
	if err := syscall.Kill(left, syscall.SIGKILL); err != nil {
		t.Error(err)
	}
	r.Until("it is gone", func() bool { p, ok := rig.ReadProcess(left); return !ok || !p.Live() })
	r.Supctl("shutdown").OK()
	r.Exit()
}

// A terminal that closes is HUP, which applies the configuration and ends
// nothing: neither supd nor its services, nor what is shown to nobody now.
func TestTerminalCloses(t *testing.T) {
	t.Parallel()
	r := rig.New(t, "[service.tick]\ncommand = [\"sh\", \"-c\", \"while :; do echo tick; sleep 0.05; done\"]\n")
	term := terminaltest.New(t, 80, 24)
	cmd := exec.Command(r.Programs.Supd, "run", "-c", r.Config, "--state-dir", r.State, "--runtime-dir", r.Runtime)
	r.StartOn(term, cmd)
	r.Answers()
	term.Until("output is shown on the terminal", func(text string) bool { return strings.Contains(text, "tick | ") })
	before := r.Status("tick")
	term.Close()
	r.Until("HUP applied the configuration", func() bool {
		return strings.Contains(r.Supctl("events", "--kind", "command.accepted").OK().Out, "apply")
	})
	shown := len(r.Output("tick", "stdout"))
	r.Until("output is kept", func() bool { return len(r.Output("tick", "stdout")) > shown })
	r.Kill(r.Engine())
	r.Answers()
	if now := r.Status("tick"); *now.PID != *before.PID {
		t.Errorf("the service was started again: pid %d is %d", *before.PID, *now.PID)
	}
	r.Shutdown()
}

// Somebody who is not root, without cgroups, with the folders of their own.
func TestOrdinaryUser(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		need(t, "root, to become somebody else")
	}
	r := rig.New(t, "")
	home := filepath.Join(r.Dir, "home")
	config := filepath.Join(home, "config", "supd", "supd.toml")
	text := "[service.web]\ncommand = [\"sh\", \"-c\", \"echo I am $(id -u); sleep 1000 & sleep 1000\"]\n"
	for _, dir := range []string{home, filepath.Dir(config), filepath.Join(home, "run")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	const uid = 65534
	err := filepath.WalkDir(home, func(path string, _ os.DirEntry, err error) error {
		if err == nil {
			err = os.Chown(path, uid, uid)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	env := []string{
		"HOME=" + home, "XDG_CONFIG_HOME=" + filepath.Join(home, "config"), "XDG_STATE_HOME=" + filepath.Join(home, "state"),
		"XDG_RUNTIME_DIR=" + filepath.Join(home, "run"), "NO_COLOR=1",
	}
	as := &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	r.Socket = filepath.Join(home, "run", "supd", "supd.sock")
	r.State, r.Runtime = filepath.Join(home, "state", "supd"), filepath.Join(home, "run", "supd")
	supd := exec.Command(r.Programs.Supd, "run")
	supd.Env, supd.SysProcAttr, supd.Dir = env, as, home
	r.Start(supd)
	r.Answers()

	// Theirs by the same folders, without --socket.
	supctl := func(args ...string) (string, int) {
		cmd := exec.Command(r.Programs.Supctl, args...)
		cmd.Env, cmd.SysProcAttr, cmd.Dir = append(os.Environ(), env...), as, home
		out, _ := cmd.CombinedOutput()
		return string(out), cmd.ProcessState.ExitCode()
	}
	r.Until("web has spoken", func() bool {
		out, _ := supctl("logs", "web")
		return out == fmt.Sprintf("I am %d\n", uid)
	})
	info, code := supctl("info")
	if code != exitcode.Done {
		t.Fatal(info)
	}
	words := strings.Join(strings.Fields(info), " ") // however wide the columns are
	for _, weaker := range []string{
		"cgroup none: ", "trees are ended by search, a process that hides from it survives",
		"change_user no: services run as the user of supd", fmt.Sprintf("you are uid-%d", uid),
	} {
		if !strings.Contains(words, weaker) {
			t.Errorf("info does not say %q:\n%s", weaker, info)
		}
	}
	for _, args := range [][]string{{"restart", "web"}, {"stop", "web"}, {"start", "web"}, {"apply"}} {
		if out, code := supctl(args...); code != exitcode.Done {
			t.Errorf("%v: exit code %d\n%s", args, code, out)
		}
	}
	r.Kill(r.Engine())
	r.Answers()
	if out, code := supctl("shutdown"); code != exitcode.Done {
		t.Errorf("exit code %d\n%s", code, out)
	}
	if code := r.Exit(); code != exitcode.Done {
		t.Errorf("exit code %d\n%s", code, r.Log())
	}
	r.Until("no process is left", func() bool { return len(r.Left()) == 0 })
}
