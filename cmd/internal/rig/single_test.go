package rig_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"supd/cmd/internal/rig"
	"supd/journal/event"
)

// screen takes what a program writes while others look at it.
type screen struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// single starts supd run -- args.
func single(r *rig.Rig, args ...string) (out, errOut *screen) {
	out, errOut = &screen{}, &screen{}
	cmd := exec.Command(r.Programs.Supd, append([]string{"run", "--state-dir", r.State, "--runtime-dir", r.Runtime, "--"}, args...)...)
	cmd.Stdout, cmd.Stderr = out, errOut
	r.Start(cmd)
	return out, errOut
}

func TestSingleEndsLikeItsCommand(t *testing.T) {
	t.Parallel()
	script := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	tests := []struct {
		name        string
		command     []string
		code        int
		out, errOut string // errOut: a part of it
	}{
		{"done", []string{"sh", "-c", "echo out; echo err >&2"}, 0, "out\n", "err\n"},
		{"its code", []string{"sh", "-c", "printf 'no line end'; exit 7"}, 7, "no line end", ""},
		{"a signal", []string{"sh", "-c", "kill -9 $$"}, 128 + 9, "", ""},
		{"its words", []string{"printf", "%s|", "a b", "$HOME", "*", ""}, 0, "a b|$HOME|*||", ""},
		{"no program", []string{"no-such-program"}, 127, "", "cannot run no-such-program: there is no such program"},
		{"no permission", []string{script("plain", "x", 0o644)}, 126, "", "it may not be executed"},
		{"no interpreter", []string{script("lost", "#!/no/such/shell\n", 0o755)}, 127, "", "cannot execute"},
		{"no format", []string{script("empty", "\x00\x01", 0o755)}, 126, "", "exec format error"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := rig.New(t, "")
			out, errOut := single(r, tt.command...)
			if code := r.Exit(); code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			if got := out.String(); got != tt.out {
				t.Errorf("stdout: %q, want %q", got, tt.out)
			}
			if got := errOut.String(); !strings.Contains(got, tt.errOut) {
				t.Errorf("stderr: %q, want %q in it", got, tt.errOut)
			}
		})
	}
}

// trapping is a service that says which signals it gets, and ends on TERM.
const trapping = `for s in HUP INT QUIT USR1 USR2; do trap "echo got $s" $s; done
trap 'exit 9' TERM
echo up
while :; do sleep 1000 & wait; done`

func TestSingleForwardsSignals(t *testing.T) {
	t.Parallel()
	r := rig.New(t, "")
	out, _ := single(r, "sh", "-c", trapping)
	r.Until("it is up", func() bool { return out.String() == "up\n" })
	r.UntilPhase("main", event.PhaseRunning)
	want := "up\n"
	send := func(sig syscall.Signal, name string) {
		t.Helper()
		if err := syscall.Kill(r.Keeper(), sig); err != nil {
			t.Fatal(err)
		}
		want += "got " + name + "\n"
		r.Until(name+" arrives", func() bool { return out.String() == want })
	}
	send(syscall.SIGHUP, "HUP")
	send(syscall.SIGINT, "INT")
	send(syscall.SIGQUIT, "QUIT")
	send(syscall.SIGUSR1, "USR1")
	r.Kill(r.Engine())
	send(syscall.SIGUSR2, "USR2") // nobody was there to hear it
	r.Kill(r.Engine())
	send(syscall.SIGUSR1, "USR1")
	if err := syscall.Kill(r.Keeper(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := r.Exit(); code != 9 {
		t.Errorf("exit code %d, want main's 9", code)
	}
	if got := out.String(); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	r.Until("no process is left", func() bool { return len(r.Left()) == 0 })
	forwarded := 0
	for _, c := range rig.Of[event.CommandAcceptedData](r.History()) {
		if c.Verb == event.VerbSignal {
			forwarded++
		}
	}
	if forwarded != 7 {
		t.Errorf("the journal has %d forwarded signals, want 7", forwarded)
	}
}

// A person may still steer it, and only the end of main ends supd.
func TestSingleObeysCommands(t *testing.T) {
	t.Parallel()
	r := rig.New(t, "")
	single(r, "sleep", "1000")
	r.Answers()
	first := r.UntilPhase("main", event.PhaseRunning)
	r.Supctl("restart", "main").OK()
	if second := r.UntilPhase("main", event.PhaseRunning); *second.PID == *first.PID {
		t.Error("it was not restarted")
	}
	r.Supctl("stop", "main").OK()
	if code := r.Exit(); code != 128+15 {
		t.Errorf("exit code %d, want 143", code)
	}
}

// On a state folder that is used again the command runs again, whatever became
// of it the last time; after the death of all of supd it is found again.
func TestSingleAgain(t *testing.T) {
	t.Parallel()
	r := rig.New(t, "")
	for range 2 {
		out, _ := single(r, "sh", "-c", "echo run $SUPD_RUN; exit 3")
		if code := r.Exit(); code != 3 {
			t.Fatalf("exit code %d, want 3\n%s", code, out)
		}
	}
	if got := r.Output("main", "stdout"); got != "run 1\nrun 2\n" {
		t.Errorf("output %q", got)
	}
	single(r, "sleep", "1000")
	r.Answers()
	first := r.UntilPhase("main", event.PhaseRunning)
	r.KillAll()
	single(r, "sleep", "1000")
	r.Answers()
	if s := r.UntilPhase("main", event.PhaseRunning); *s.PID != *first.PID {
		t.Errorf("P8: main was pid %d and is pid %d", *first.PID, *s.PID)
	}
	r.Supctl("shutdown").OK()
	r.Exit()
}

// Without folders, a user's supd makes its own and leaves nothing behind.
func TestSingleLeavesNothing(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		need(t, "root, to be another user")
	}
	r := rig.New(t, "")
	home := filepath.Join(r.Dir, "home")
	if err := os.Mkdir(home, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(home, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	out := &screen{}
	cmd := exec.Command(r.Programs.Supd, "run", "--", "sh", "-c", `cat; echo $HOME; find "$HOME" -name 'run-*' | sort; env | grep -E '^(NOTIFY|WATCHDOG|LISTEN)'`)
	cmd.Dir, cmd.Stdout = home, out
	cmd.Env = []string{"HOME=" + home, "XDG_RUNTIME_DIR=" + home + "/rt", "XDG_STATE_HOME=" + home + "/state", "LISTEN_FDS=1"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	r.Start(cmd)
	if code := r.Exit(); code != 1 { // grep's
		t.Errorf("exit code %d\n%s", code, r.Log())
	}
	if got := strings.Count(out.String(), "run-"); got != 2 {
		t.Errorf("want two folders of its own, got\n%s", out)
	}
	if left, _ := filepath.Glob(home + "/*/supd/*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}
