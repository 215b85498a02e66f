package main

import (
	"encoding/json"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"supd/cmd/internal/exitcode"
	"supd/journal/control"
	"supd/journal/control/controltest"
	"supd/journal/event"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"supctl": main})
}

// TestScripts runs the real command against a real server behind the socket
// and a scripted engine.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			rig := controltest.Start(env.T().(testing.TB), controltest.Options{Dir: env.WorkDir + "/.jetstream"})
			rig.Engine.Print("web", "one", "two", "tab\there", "four")
			rig.Engine.Print("db", "ready")
			rig.Append(t,
				event.Draft{Subject: "web", Data: event.InstanceStartingData{Instance: "i", Run: 1, PID: 77, Reason: "autostart"}},
				event.Draft{Subject: "web", Data: event.InstanceExitedData{Instance: "i", Cause: "exited"}},
				event.Draft{Subject: "gone", Data: event.ServiceRemovedData{}},
				event.Draft{Subject: "db", Data: event.InstanceStartingData{Instance: "j", Run: 1, PID: 78, Reason: "command"}},
			)
			env.Setenv("SUPD_SOCKET", rig.Socket)
			env.Setenv("NO_COLOR", "1")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code": code, "isjson": isJSON,
		},
	})
}

// code runs a command and compares its exit code: code 3 supctl status db.
func code(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N COMMAND [ARG…]")
	}
	got := "0"
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		got = strings.TrimPrefix(err.Error(), "exit status ")
	}
	if got != args[0] {
		ts.Fatalf("exit code %s, want %s", got, args[0])
	}
}

// isjson checks that stdout is JSON: one value, or with "lines" one a line.
func isJSON(ts *testscript.TestScript, _ bool, args []string) {
	text := ts.ReadFile("stdout")
	pieces := []string{text}
	if len(args) > 0 {
		pieces = strings.Split(strings.TrimSpace(text), "\n")
	}
	for _, p := range pieces {
		if !json.Valid([]byte(p)) {
			ts.Fatalf("not JSON: %s", p)
		}
	}
}

func TestParseSince(t *testing.T) {
	now := time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)
	tests := []struct {
		in   string
		want time.Time
		seq  event.Seq
		bad  bool
	}{
		{in: "", want: time.Time{}},
		{in: "4711", seq: 4711},
		{in: "10m", want: now.Add(-10 * time.Minute)},
		{in: "03:12", want: time.Date(2026, 5, 6, 3, 12, 0, 0, time.UTC)},
		{in: "23:12", want: time.Date(2026, 5, 5, 23, 12, 0, 0, time.UTC)},
		{in: "2026-05-01T00:00:00+02:00", want: time.Date(2026, 4, 30, 22, 0, 0, 0, time.UTC)},
		{in: "2026-05-01", want: time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)},
		{in: "yesterday", bad: true},
		{in: "-10m", bad: true},
	}
	for _, tt := range tests {
		t.Run(tt.in, func(t *testing.T) {
			var at *time.Time
			var seq event.Seq
			err := parseSince(tt.in, now, &at, &seq)
			if (err != nil) != tt.bad || seq != tt.seq {
				t.Fatalf("%v, %d", err, seq)
			}
			if at == nil {
				at = &time.Time{}
			}
			if !at.Equal(tt.want) {
				t.Errorf("got %v, want %v", at, tt.want)
			}
		})
	}
}

func TestParseSignal(t *testing.T) {
	for in, want := range map[string]string{
		"HUP": "HUP", "sighup": "HUP", "SIGTERM": "TERM", "9": "KILL", "10": "USR1", "40": "40", "99": "", "x": "", "0": "",
	} {
		got, err := parseSignal(in)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%s: got %q, %v, want %q", in, got, err, want)
		}
	}
}

func TestUnknownVerb(t *testing.T) {
	root := (&app{}).root()
	for typed, want := range map[string]string{
		"restrat": "restart", "strat": "start", "tail": "logs -f", "update": "apply", "reread": "plan", "ls": "status", "PS": "status",
		"journal": "events", "enable": "start", "kill": "signal KILL", "xyzzy": "",
	} {
		text := unknownVerb(root, typed).Error()
		_, meant, _ := strings.Cut(text, ": did you mean supctl ")
		if strings.TrimSuffix(meant, "?") != want {
			t.Errorf("%s: %s", typed, text)
		}
	}
	for word, verb := range peers {
		name, _, _ := strings.Cut(verb, " ")
		if cmd, _, err := root.Find([]string{name}); err != nil || cmd == root {
			t.Errorf("%s leads to %s, which is no verb", word, verb)
		}
		if cmd, _, err := root.Find([]string{word}); err == nil && cmd != root {
			t.Errorf("%s is a verb", word)
		}
	}
}

func TestSocketPath(t *testing.T) {
	t.Setenv("SUPD_SOCKET", "")
	t.Setenv("SUPD_RUNTIME_DIR", "/r") // as supd itself reads it
	a := &app{}
	if got := a.socketPath(); got != "/r/supd.sock" {
		t.Error(got)
	}
	t.Setenv("SUPD_SOCKET", "/s.sock")
	if got := a.socketPath(); got != "/s.sock" {
		t.Error(got)
	}
	a.socket = "/flag.sock"
	if got := a.socketPath(); got != "/flag.sock" {
		t.Error(got)
	}
}

func TestPrinter(t *testing.T) {
	var b strings.Builder
	p := printer{w: &b}
	for _, l := range []event.LogLine{
		{Stream: "stdout", Data: []byte("a"), Partial: true},
		{Stream: "stdout", Data: []byte("b\xff\x00")},
		{Stream: "stdout", Data: []byte("c"), Partial: true},
		{Stream: "stderr", Data: []byte("d")},
	} {
		if err := p.print("", l); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := b.String(), "ab\xff\x00\nc\nd\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Who may not, is told so with a code of its own.
func TestNotPermitted(t *testing.T) {
	group := 60
	for name, tt := range map[string]struct {
		gid  int
		args []string
		code int
		says string
	}{
		"stranger":        {1, []string{"status"}, exitcode.NotPermitted, "uid 1000 is not permitted"},
		"reader reads":    {group, []string{"status"}, exitcode.Done, ""},
		"reader commands": {group, []string{"stop", "web"}, exitcode.NotPermitted, "cannot do that as uid-1000: not permitted"},
	} {
		t.Run(name, func(t *testing.T) {
			rig := controltest.Start(t, controltest.Options{
				Access: &control.Access{Owner: 1, ReadGroup: &group},
				Peer: func(net.Conn) (control.Peer, error) {
					return control.Peer{Client: event.Client{UID: 1000, GID: tt.gid}}, nil
				},
			})
			var out, errOut strings.Builder
			code := run(t.Context(), append(tt.args, "--socket", rig.Socket), &out, &errOut)
			if code != tt.code || !strings.Contains(errOut.String(), tt.says) {
				t.Errorf("exit code %d, want %d\n%s", code, tt.code, &errOut)
			}
		})
	}
}

func TestBusy(t *testing.T) {
	engine := controltest.NewEngine()
	engine.Hold = make(chan struct{})
	rig := controltest.Start(t, controltest.Options{Handler: engine, Inbox: 1})
	t.Cleanup(func() { close(engine.Hold) })
	var codes []int
	for range 4 { // one at the engine, one in its inbox
		var out, errOut strings.Builder
		codes = append(codes, run(t.Context(), []string{"stop", "web", "--timeout", "300ms", "--socket", rig.Socket}, &out, &errOut))
	}
	if want := []int{exitcode.TimedOut, exitcode.TimedOut, exitcode.Busy, exitcode.Busy}; !slices.Equal(codes, want) {
		t.Errorf("exit codes %v, want %v", codes, want)
	}
}
