package rig

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"supd/cmd/internal/client"
	"supd/cmd/internal/exitcode"
	"supd/cmd/internal/terminaltest"
	"supd/journal/event"
)

// Patience is how long a rig waits for what must come. It is far beyond what
// a loaded machine needs: to run into it is a failure.
const Patience = 60 * time.Second

// envRig marks everything that a rig started.
const envRig = "RIG_FOLDER"

// Rig is one supd under test, which may be run several times, one after the
// other. Its methods end the test when they cannot do what they say; those
// that do not are safe for concurrent use, as is Call.
type Rig struct {
	t        testing.TB
	Programs Programs
	Dir      string // of the test: what is below belongs to it
	State    string
	Runtime  string
	Config   string // the configuration's path
	Socket   string

	cmd     *exec.Cmd
	exited  chan struct{} // closed when the keeper is reaped
	status  *os.ProcessState
	log     *os.File
	abandon bool
}

// New makes the folders and writes the configuration. In it, DIR stands for
// the rig's folder, ACTOR for the actor's path and HANDOVER for that of handover.
func New(t testing.TB, config string) *Rig {
	t.Helper()
	programs := Build(t)
	// Not t.TempDir, whose long names do not fit into a socket's address.
	dir, err := os.MkdirTemp("", "supd-rig-")
	if err != nil {
		t.Fatal(err)
	}
	r := &Rig{
		t: t, Programs: programs, Dir: dir,
		State: filepath.Join(dir, "state"), Runtime: filepath.Join(dir, "run"),
		Config: filepath.Join(dir, "supd.toml"), Socket: filepath.Join(dir, "run", "supd.sock"),
	}
	if err := os.Chmod(dir, 0o777|os.ModeSticky); err != nil {
		t.Fatal(err)
	}
	r.log, err = os.OpenFile(filepath.Join(dir, "supd.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	r.Configure(config)
	t.Cleanup(r.cleanup)
	return r
}

// Configure writes another configuration, for the next Run.
func (r *Rig) Configure(config string) {
	r.t.Helper()
	config = strings.NewReplacer("DIR", r.Dir, "ACTOR", r.Programs.Actor, "HANDOVER", r.Programs.Handover).Replace(config)
	if err := os.WriteFile(r.Config, []byte(config), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// Run starts supd and waits until it answers.
func (r *Rig) Run(flags ...string) {
	r.t.Helper()
	args := append([]string{"run", "-c", r.Config, "--state-dir", r.State, "--runtime-dir", r.Runtime}, flags...)
	r.Start(exec.Command(r.Programs.Supd, args...))
	r.Until("supd supervises, or ends", func() bool {
		select {
		case <-r.exited:
			return true
		default:
			return r.Keeper() == r.cmd.Process.Pid // a keeper that it takes over from may still answer
		}
	})
	r.Answers()
}

// Start starts supd by a command of the test's own, whose process becomes the
// keeper. Its environment comes on top of the rig's; output that it leads
// nowhere goes to the log.
func (r *Rig) Start(cmd *exec.Cmd) {
	r.t.Helper()
	cmd.Env = append(append(os.Environ(), envRig+"="+r.Dir), cmd.Env...)
	if cmd.Stdout == nil {
		cmd.Stdout = r.log
	}
	if cmd.Stderr == nil {
		cmd.Stderr = r.log
	}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setsid = true // a terminal's interrupt is the test's alone
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.started(cmd)
}

// StartOn starts supd as Start does, at the head of a terminal's session.
func (r *Rig) StartOn(term *terminaltest.Terminal, cmd *exec.Cmd) {
	r.t.Helper()
	cmd.Env = append(append(os.Environ(), envRig+"="+r.Dir), cmd.Env...)
	term.Start(cmd)
	r.started(cmd)
}

// started has the keeper reaped when it ends.
func (r *Rig) started(cmd *exec.Cmd) {
	exited := make(chan struct{})
	r.cmd, r.exited = cmd, exited
	go func() {
		_ = cmd.Wait()
		r.status = cmd.ProcessState
		close(exited)
	}()
}

// Answers waits until supd answers.
func (r *Rig) Answers() {
	r.t.Helper()
	r.Until("supd answers", func() bool {
		select {
		case <-r.exited:
			r.t.Fatalf("supd run ended: %v\n%s", r.status, r.Log())
		default:
		}
		return r.Call(nil, "info").Code == exitcode.Done
	})
}

// Until waits for a condition.
func (r *Rig) Until(what string, condition func() bool) {
	r.t.Helper()
	if !Wait(Patience, condition) {
		r.t.Fatalf("not within %v: %s\n%s", Patience, what, r.Log())
	}
}

// Wait polls a condition, often at first; false if the time is over.
func Wait(limit time.Duration, condition func() bool) bool {
	deadline, pause := time.Now().Add(limit), 2*time.Millisecond
	for !condition() {
		if time.Now().After(deadline) {
			return false
		}
		time.Sleep(pause)
		pause = min(2*pause, 100*time.Millisecond)
	}
	return true
}

// Log is the end of what supd wrote to stderr.
func (r *Rig) Log() string {
	const most = 12000
	b, err := os.ReadFile(r.log.Name())
	if err != nil {
		return err.Error()
	}
	return "supd's log ends:\n" + string(b[max(0, len(b)-most):])
}

// Result is what one call of a program gave.
type Result struct {
	t        testing.TB
	what     string
	Code     int // -1: killed, for it took too long
	Out, Err string
}

// Call runs supctl with extra environment and never fails.
func (r *Rig) Call(env []string, args ...string) Result {
	return r.program(env, r.Programs.Supctl, append(args, "--socket", r.Socket)...)
}

// Supctl runs supctl. It is killed when it takes longer than Patience.
func (r *Rig) Supctl(args ...string) Result {
	r.t.Helper()
	return r.Call(nil, args...)
}

// SupctlAt runs supctl with another socket, which may be a URL.
func (r *Rig) SupctlAt(socket string, args ...string) Result {
	return r.program(nil, r.Programs.Supctl, append(args, "--socket", socket)...)
}

// Supreplay runs supreplay on the state folder.
func (r *Rig) Supreplay(args ...string) Result { return r.SupreplayOf(r.State, args...) }

// SupreplayOf runs supreplay on another source.
func (r *Rig) SupreplayOf(source string, args ...string) Result {
	return r.program(nil, r.Programs.Supreplay, append(args, "--from", source)...)
}

func (r *Rig) program(env []string, path string, args ...string) Result {
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = append(append(os.Environ(), envRig+"="+r.Dir, "NO_COLOR=1"), env...)
	cmd.WaitDelay = time.Second
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	res := Result{t: r.t, what: filepath.Base(path) + " " + strings.Join(args, " "), Out: out.String(), Err: errOut.String()}
	var failed *exec.ExitError
	switch {
	case errors.As(err, &failed):
		res.Code = failed.ExitCode()
	case err != nil:
		res.Code, res.Err = -1, err.Error()
	}
	return res
}

// Is fails the test unless the exit code is code.
func (s Result) Is(code int) Result {
	s.t.Helper()
	if s.Code != code {
		s.t.Fatalf("%s: exit code %d, want %d\n%s%s", s.what, s.Code, code, s.Out, s.Err)
	}
	return s
}

// OK fails the test unless the exit code is 0.
func (s Result) OK() Result {
	s.t.Helper()
	return s.Is(exitcode.Done)
}

// JSON decodes stdout.
func (s Result) JSON(v any) {
	s.t.Helper()
	if err := json.Unmarshal([]byte(s.Out), v); err != nil {
		s.t.Fatalf("%s: %v\n%s%s", s.what, err, s.Out, s.Err)
	}
}

// Dial connects a client for the time of the test.
func (r *Rig) Dial() *client.Client {
	r.t.Helper()
	c, err := client.Dial(r.t.Context(), r.Socket, client.Options{Name: "rig", Connect: Patience, Gone: Patience})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(c.Close)
	return c
}

// Status is one service as supctl shows it.
func (r *Rig) Status(service string) event.ServiceStatus {
	r.t.Helper()
	var all []event.ServiceStatus
	r.Supctl("status", "-o", "json").OK().JSON(&all)
	for _, s := range all {
		if s.Name == service {
			return s
		}
	}
	r.t.Fatalf("no service %s in %v", service, all)
	return event.ServiceStatus{}
}

// UntilPhase waits until a service is in a phase.
func (r *Rig) UntilPhase(service string, phase event.Phase) event.ServiceStatus {
	r.t.Helper()
	var s event.ServiceStatus
	r.Until(fmt.Sprintf("%s is %s", service, phase), func() bool {
		s = r.Status(service)
		return s.State == phase
	})
	return s
}
