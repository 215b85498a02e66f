package rig_test

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"supd/cmd/internal/exitcode"
	"supd/cmd/internal/rig"
	"supd/journal/event"
)

// asPID1 starts supd as the first process of a pid namespace, as a container
// does.
func asPID1(t *testing.T, r *rig.Rig, args ...string) (out, errOut *screen) {
	t.Helper()
	if os.Geteuid() != 0 {
		need(t, "root, for namespaces")
	}
	const enter = `mount --make-rprivate / && mount -t proc proc /proc && exec "$@"`
	args = append([]string{"-c", enter, "sh", r.Programs.Supd, "run", "--state-dir", r.State, "--runtime-dir", r.Runtime}, args...)
	cmd := exec.Command("/bin/sh", args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS}
	out, errOut = &screen{}, &screen{}
	cmd.Stdout, cmd.Stderr = out, errOut
	r.Start(cmd)
	return out, errOut
}

// zombies are dead children of supd that nobody has reaped.
func zombies(r *rig.Rig) (n int) {
	keeper := r.Keeper()
	for _, p := range rig.Processes() {
		if p.Parent == keeper && p.State == 'Z' {
			n++
		}
	}
	return n
}

func TestPID1RunsOneCommand(t *testing.T) {
	t.Parallel()
	r := rig.New(t, "")
	// A hundred orphans: each is a child of a shell that has ended.
	out, errOut := asPID1(t, r, "--", "sh", "-c", `i=0; while [ $i -lt 100 ]; do (sleep 0.0$((i % 10)) &); i=$((i + 1)); done
trap 'echo bye; exit 37' TERM; echo "$PPID up"; while :; do sleep 1000 & wait; done`)
	r.Until("main is up", func() bool { return strings.HasSuffix(out.String(), "up\n") })
	if !strings.HasPrefix(out.String(), "1 up") {
		t.Errorf("main's parent is not pid 1: %q", out)
	}
	r.Until("no zombie is left", func() bool { return zombies(r) == 0 })
	r.Answers()
	if err := syscall.Kill(r.Keeper(), syscall.SIGTERM); err != nil { // from outside, as `docker stop` does
		t.Fatal(err)
	}
	if code := r.Exit(); code != 37 {
		t.Errorf("exit code %d, want 37\n%s", code, errOut)
	}
	if !strings.HasSuffix(out.String(), "bye\n") {
		t.Errorf("the last line is missing: %q", out)
	}
	r.Until("no process is left", func() bool { return len(r.Left()) == 0 })
}

func TestPID1RunsServices(t *testing.T) {
	t.Parallel()
	r := rig.New(t, `
[service.one]
command = ["sh", "-c", "echo hello; sleep 1000"]

[service.other]
command = ["sh", "-c", "echo world >&2; sleep 1000"]

[service.quiet]
command = ["sh", "-c", "echo secret; sleep 1000"]
output.console = false
`)
	out, errOut := asPID1(t, r, "-c", r.Config)
	r.Answers()
	r.UntilPhase("one", event.PhaseRunning)
	// PID 1 copies output to its own by itself: it is the container's log.
	r.Until("both have spoken", func() bool {
		s := out.String()
		return strings.Contains(s, "one   | hello\n") && strings.Contains(s, "other | world\n")
	})
	if res := r.Supctl("shutdown", "--keep-services"); res.Code == exitcode.Done || !strings.Contains(res.Err, "PID 1") {
		t.Errorf("keeping services as PID 1: exit code %d, %s%s", res.Code, res.Out, res.Err)
	}
	r.UntilPhase("other", event.PhaseRunning)
	for _, sig := range []syscall.Signal{syscall.SIGUSR1, syscall.SIGUSR2} { // ends whoever does not expect it
		if err := syscall.Kill(r.Keeper(), sig); err != nil {
			t.Fatal(err)
		}
	}
	r.Kill(r.Engine())
	r.UntilPhase("one", event.PhaseRunning)
	if err := syscall.Kill(r.Keeper(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := r.Exit(); code != exitcode.Done {
		t.Errorf("exit code %d\n%s", code, errOut)
	}
	r.Until("no process is left", func() bool { return len(r.Left()) == 0 })
	if strings.Contains(out.String(), "secret") {
		t.Errorf("quiet was shown:\n%s", out)
	}
}

// The same state folder in the next container: everything is started anew, for
// nothing of the last one can be alive.
func TestPID1Again(t *testing.T) {
	t.Parallel()
	r := rig.New(t, "[service.one]\ncommand = [\"sleep\", \"1000\"]\n")
	for run := 1; run <= 2; run++ {
		asPID1(t, r, "-c", r.Config)
		r.Answers()
		if s := r.UntilPhase("one", event.PhaseRunning); int(*s.Run) != run {
			t.Errorf("run %d, want %d", *s.Run, run)
		}
		// A container's end is a reboot: it takes what is only kept.
		r.Until("all is durable", func() bool {
			var info event.Info
			r.Supctl("info", "-o", "json").OK().JSON(&info)
			return info.RunLog.KeptNotDurable == 0
		})
		r.Kill(r.Keeper()) // and with it, the kernel kills all others
		r.Exit()
		r.Until("no process is left", func() bool { return len(r.Left()) == 0 })
	}
}
