package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"supd/cmd/internal/config"
	"supd/journal/event"
	"supd/projector"
)

func TestMainCode(t *testing.T) {
	code, kill := 7, "SIGKILL"
	exec := func(errno int) *projector.ExecFailure { return &projector.ExecFailure{Step: "exec", Errno: errno} }
	for want, v := range map[int]projector.Service{
		7:   {LastExit: &projector.LastExit{Code: &code}},
		137: {LastExit: &projector.LastExit{Signal: &kill}},
		127: {LastExit: &projector.LastExit{Code: &code, Exec: exec(2)}},
		126: {LastExit: &projector.LastExit{Code: &code, Exec: exec(13)}},
		1:   {LastExit: &projector.LastExit{Cause: event.CauseUnknown}},
	} {
		if got := mainCode(&v); got != want {
			t.Errorf("%+v: code %d, want %d", v.LastExit, got, want)
		}
	}
	for _, v := range []projector.Service{{}, {Failure: exec(11), LastExit: &projector.LastExit{Code: new(int)}}} {
		if got := mainCode(&v); got != 1 {
			t.Errorf("%+v: code %d, want 1", v, got)
		}
	}
}

// The command of a signal is known again whenever it is told again, and is no
// other signal's.
func TestForwardID(t *testing.T) {
	k := &projector.Keeper{PID: 77, StartTime: 5}
	const ms = 1_800_000_000_123
	id := forwardID(k, 3, ms)
	if projector.IDTime(id) != ms || strings.IndexByte("89ab", id[19]) < 0 {
		t.Errorf("%s is no UUIDv7 of its time", id)
	}
	s := projector.New()
	if forwarded(s, id) {
		t.Error("an empty state knows it")
	}
	s.Commands[id] = &projector.Command{ID: id}
	if !forwarded(s, forwardID(k, 3, ms+86_400_000)) {
		t.Error("told again a day later, it is not known")
	}
	delete(s.Commands, id)
	s.Ended = append(s.Ended, &projector.Ended{ID: id})
	if !forwarded(s, forwardID(k, 3, ms+1)) {
		t.Error("ended, it is not known")
	}
	if forwarded(s, forwardID(k, 4, ms)) || forwarded(s, forwardID(&projector.Keeper{PID: 77, StartTime: 6}, 3, ms)) {
		t.Error("another signal is taken for it")
	}
}

func TestPrivateFolderIsFresh(t *testing.T) {
	parent := filepath.Join(t.TempDir(), "supd")
	first, err := privateFolder(parent)
	if err != nil {
		t.Fatal(err)
	}
	second, err := privateFolder(parent)
	if err != nil || first == second {
		t.Errorf("%s, then %s, %v", first, second, err)
	}
	removeAll([]string{first, second})
	if left, _ := os.ReadDir(parent); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := privateFolder(file); err == nil || !strings.Contains(err.Error(), "--state-dir") {
		t.Errorf("below a file: %v", err)
	}
}

func TestConsoleMode(t *testing.T) {
	for _, tt := range []struct {
		key             string
		single, watched bool
		want            string
	}{
		{"auto", false, false, ""},
		{"auto", false, true, consoleNames},
		{"on", false, false, consoleNames},
		{"off", false, true, ""},
		{"auto", true, false, consolePlain},
		{"off", true, true, ""},
	} {
		if got := consoleMode(&config.Set{Supd: config.Supd{Console: tt.key}}, tt.single, tt.watched); got != tt.want {
			t.Errorf("%s, single %v: %q, want %q", tt.key, tt.single, got, tt.want)
		}
	}
}

func TestNewNotifier(t *testing.T) {
	tests := []struct {
		socket, usec, pid string
		listens           bool
		every             time.Duration
	}{
		{"", "1000000", "", false, 0},
		{"/run/n", "", "", true, 0},
		{"@n", "1000000", "", true, 500 * time.Millisecond},
		{"/run/n", "1000000", "77", true, 500 * time.Millisecond},
		{"/run/n", "1000000", "78", true, 0},
		{"/run/n", "soon", "", true, 0},
		{"/run/n", "-5", "", true, 0},
		{"vsock:2:99", "1000000", "", false, 0},
	}
	for _, tt := range tests {
		env := map[string]string{"NOTIFY_SOCKET": tt.socket, "WATCHDOG_USEC": tt.usec, "WATCHDOG_PID": tt.pid}
		n := newNotifier(func(name string) string { return env[name] }, 77, slog.New(slog.DiscardHandler))
		if (n != nil) != tt.listens || n != nil && n.watchdog != tt.every {
			t.Errorf("%+v: %+v", tt, n)
		}
	}
	var nobody *notifier // all of it is harmless
	nobody.start(nil)
	nobody.look(projector.New())
	nobody.ready(1, projector.New())
}

func TestStatusText(t *testing.T) {
	s := projector.New()
	s.Services["a"] = &projector.Service{Want: event.Up, Phase: event.PhaseRunning}
	s.Services["b"] = &projector.Service{Want: event.Up, Phase: event.PhaseBackoff}
	s.Services["c"] = &projector.Service{Want: event.Down, Phase: event.PhaseStopped}
	s.Services["d"] = &projector.Service{Want: event.Up, Phase: event.PhaseRunning, Removed: true}
	if got := statusText(s); got != "1 of 2 wanted services run" {
		t.Error(got)
	}
	s.Services["e"] = &projector.Service{Want: event.Down, Phase: event.PhaseFatal}
	s.Supd.Degraded = true
	if got := statusText(s); got != "1 of 2 wanted services run, 1 given up, the journal does not take records" {
		t.Error(got)
	}
	s.Supd.Stopping = &projector.Stopping{}
	if got := statusText(s); got != "stopping" {
		t.Error(got)
	}
}
