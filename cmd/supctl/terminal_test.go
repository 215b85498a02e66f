package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"supd/cmd/internal/exitcode"
	"supd/cmd/internal/terminaltest"
	"supd/journal/control"
	"supd/journal/control/controltest"
	"supd/journal/event"
)

const commandUUID = "01890a5d-ac96-774b-bcce-b302099a8057"

// longRig serves services with names and reasons that are too long for most
// terminals, one of which is stopping.
func longRig(t *testing.T) *controltest.Rig {
	reply := event.StatusReply{Services: []event.ServiceStatus{}, Unknown: []string{}}
	code, pid := 1, 4242
	since := time.Now().Add(-3 * time.Second).UTC()
	until := since.Add(10 * time.Second)
	for n := range 30 {
		name := fmt.Sprintf("%02d-%s", n, strings.Repeat("long.", 12))
		s := event.ServiceStatus{Name: name[:40], State: event.PhaseRunning, PID: &pid, StartedAt: &since}
		s.LastExit = &event.LastExit{Code: &code, At: since, Cause: event.CauseExited}
		switch n {
		case 7:
			reason := strings.Repeat("it is broken. ", 20)
			s.State, s.Reason = event.PhaseFatal, &reason
		case 8:
			id := commandUUID
			s.Name, s.State, s.Pending = "slow", event.PhaseStopping, &id
		}
		reply.Services = append(reply.Services, s)
	}
	reply.Waits = []event.ServiceWait{{Service: "slow", Since: &since, Until: &until}}
	engine := controltest.NewEngine()
	engine.OnAsk = func(verb string, _ control.Request) (any, error) {
		if verb != event.AskStatus {
			return nil, control.Fail(control.AskMalformed, "not in this test")
		}
		return reply, nil
	}
	return controltest.Start(t, controltest.Options{Handler: engine})
}

func supctlProcess(t *testing.T, rig *controltest.Rig, env []string, args ...string) *exec.Cmd {
	t.Helper()
	path, err := exec.LookPath("supctl") // testscript.Main has put this program there
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, slices.Concat(args, []string{"--socket", rig.Socket})...)
	cmd.Env = append(os.Environ(), env...)
	return cmd
}

var escapes = regexp.MustCompile(`\x1b\[[0-9;?]*[A-Za-z]`)

// visible is a text without what steers the terminal, in lines.
func visible(text string) []string {
	return strings.Split(strings.ReplaceAll(escapes.ReplaceAllString(text, ""), "\r", ""), "\n")
}

func TestWatch(t *testing.T) {
	for _, columns := range []int{60, 80, 120} {
		for key, name := range map[string]string{"q": "q", "\x03": "interrupt"} {
			t.Run(fmt.Sprintf("%d columns, %s", columns, name), func(t *testing.T) {
				t.Parallel() // each of them waits a second
				rig := longRig(t)
				term := terminaltest.New(t, columns, 24)
				before := term.Settings()
				cmd := supctlProcess(t, rig, []string{"NO_COLOR=", "COLUMNS="}, "status", "--watch")
				term.Start(cmd)
				frames := func(text string) []string { return strings.Split(text, frameClose) }
				term.Until("two frames", func(text string) bool { return len(frames(text)) > 2 })
				if now := term.Settings(); now == before {
					t.Error("keys are echoed and need a line end")
				}
				term.Type(key)
				if code := term.Exit(cmd); code != exitcode.Done {
					t.Errorf("exit code %d\n%q", code, term.Text())
				}
				term.Until("the screen is closed", func(text string) bool { return strings.HasSuffix(text, screenClose) })
				if after := term.Settings(); after != before {
					t.Errorf("the terminal was %+v, is %+v", before, after)
				}
				text := term.Text()
				if !strings.HasPrefix(text, screenOpen) || strings.Contains(text, "\x1b[2J") {
					t.Errorf("it flickers: %q", text)
				}
				if !strings.Contains(text, "\x1b[32mrunning\x1b[0m") || !strings.Contains(text, "\x1b[31mfatal\x1b[0m") {
					t.Error("no colours")
				}
				lines := visible(frames(text)[1])
				if len(lines) > 24 {
					t.Errorf("%d lines", len(lines))
				}
				checkWidth(t, lines, columns)
			})
		}
	}
}

func checkWidth(t *testing.T, lines []string, columns int) {
	t.Helper()
	cut := false
	for _, l := range lines {
		if n := utf8.RuneCountInString(l); n > columns {
			t.Errorf("%d columns: %q", n, l)
		}
		cut = cut || strings.Contains(l, "…")
	}
	if !cut {
		t.Errorf("nothing shows that it was cut:\n%s", strings.Join(lines, "\n"))
	}
}

// The table follows the terminal, COLUMNS before it, and in a pipe is whole.
func TestTableWidth(t *testing.T) {
	for _, tt := range []struct {
		name, columns string
		want          int
	}{{"terminal", "", 72}, {"COLUMNS", "64", 64}, {"nonsense", "x", 72}} {
		t.Run(tt.name, func(t *testing.T) {
			term := terminaltest.New(t, 72, 24)
			cmd := supctlProcess(t, longRig(t), []string{"NO_COLOR=1", "COLUMNS=" + tt.columns}, "status")
			term.Start(cmd)
			term.Exit(cmd)
			term.Until("all of it is here", func(text string) bool { return strings.Contains(text, "29-long") })
			var table []string
			for _, l := range strings.Split(strings.ReplaceAll(term.Text(), "\r", ""), "\n") {
				if !strings.Contains(l, " is fatal: ") { // reasons are whole
					table = append(table, l)
				}
			}
			if strings.Contains(strings.Join(table, ""), "\x1b") {
				t.Error("colours in spite of NO_COLOR")
			}
			checkWidth(t, table, tt.want)
		})
	}
	t.Run("pipe", func(t *testing.T) {
		out, err := supctlProcess(t, longRig(t), []string{"COLUMNS=40"}, "status").Output()
		if err != nil || bytes.ContainsAny(out, "…\x1b") || !bytes.Contains(out, []byte("29-long.long.long.long.long.long.long.lo  running")) {
			t.Errorf("%v\n%s", err, out)
		}
	})
}

func TestProgress(t *testing.T) {
	args := []string{"stop", "slow", "--timeout", "2200ms", "--id", commandUUID}
	t.Run("terminal", func(t *testing.T) {
		t.Parallel()
		term := terminaltest.New(t, 80, 24)
		cmd := supctlProcess(t, longRig(t), []string{"COLUMNS="}, args...)
		term.Start(cmd)
		if code := term.Exit(cmd); code != exitcode.TimedOut {
			t.Errorf("exit code %d", code)
		}
		term.Until("the last word", func(text string) bool { return strings.Contains(text, "supctl result") })
		text := term.Text()
		if !regexp.MustCompile(`\rwaiting for slow: stopping, [0-9]+ s of 10 s\x1b\[K`).MatchString(text) {
			t.Errorf("no progress: %q", text)
		}
		if !strings.Contains(text, "\r\x1b[K"+commandUUID) {
			t.Errorf("the line was left there: %q", text)
		}
	})
	t.Run("pipe", func(t *testing.T) {
		t.Parallel()
		cmd := supctlProcess(t, longRig(t), nil, args...)
		var errOut bytes.Buffer
		cmd.Stderr = &errOut
		_ = cmd.Run()
		if text := errOut.String(); strings.Contains(text, "waiting for slow") || strings.Contains(text, "\x1b") {
			t.Errorf("not silent: %q", text)
		}
	})
}

func TestWaitingText(t *testing.T) {
	now := time.Unix(1e9, 0)
	since, until, id, pid := now.Add(-3*time.Second), now.Add(7*time.Second), commandUUID, 1
	other := "another"
	web := event.ServiceStatus{Name: "web", State: event.PhaseStopping, Pending: &id, PID: &pid}
	db := event.ServiceStatus{Name: "db", State: event.PhaseStarting, Pending: &id}
	busy := event.ServiceStatus{Name: "busy", State: event.PhaseRunning, Pending: &other, PID: &pid}
	wait := []event.ServiceWait{{Service: "web", Since: &since, Until: &until}}
	for _, tt := range []struct {
		verb     event.Verb
		services []event.ServiceStatus
		want     string
	}{
		{event.VerbStop, []event.ServiceStatus{web, busy}, "waiting for web: stopping, 3 s of 10 s"},
		{event.VerbStart, []event.ServiceStatus{db, web}, "waiting for db: starting (and 1 more)"},
		{event.VerbStop, []event.ServiceStatus{busy}, ""},
		{event.VerbShutdown, []event.ServiceStatus{busy}, "waiting for busy: running"},
		{event.VerbShutdown, nil, "waiting for supd: it ends"},
	} {
		if got := waitingText(event.StatusReply{Services: tt.services, Waits: wait}, tt.verb, id, now); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}
