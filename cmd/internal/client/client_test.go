package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"supd/journal/control"
	"supd/journal/control/controltest"
	"supd/journal/event"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func dial(t *testing.T, socket string) *Client {
	t.Helper()
	c, err := Dial(t.Context(), socket, Options{Name: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func request(verb event.Verb, patterns ...string) event.CommandRequest {
	return event.CommandRequest{ID: uuid.Must(uuid.NewV7()).String(), Verb: verb, Patterns: patterns, SentAt: time.Now()}
}

func TestCommandAndAsk(t *testing.T) {
	rig := controltest.Start(t, controltest.Options{})
	c := dial(t, rig.Socket)
	if c.Node() != controltest.Node || c.Actor() != fmt.Sprintf("uid-%d", os.Getuid()) {
		t.Errorf("node %q, actor %q", c.Node(), c.Actor())
	}
	accepted := 0
	reply, err := c.Command(t.Context(), request(event.VerbStop, "web"), func(event.CommandReply) { accepted++ })
	if err != nil || reply.Outcome != event.Done || accepted != 1 {
		t.Fatalf("%+v, %v, accepted %d times", reply, err, accepted)
	}
	seen, _, _ := rig.Engine.Seen()
	if len(seen) != 1 || seen[0].Client.PID != os.Getpid() || seen[0].Client.Comm == "" {
		t.Errorf("commands: %+v", seen)
	}
	var info event.Info
	if err := c.Ask(t.Context(), event.AskInfo, nil, &info); err != nil || info.Actor != c.Actor() {
		t.Errorf("%+v, %v", info, err)
	}
	var ask *AskError
	err = c.Ask(t.Context(), event.AskResult, event.ResultRequest{Command: "x"}, nil)
	if !errors.As(err, &ask) || ask.Code != "unknown-command" {
		t.Errorf("unknown command: %v", err)
	}
	_, err = c.Command(t.Context(), request(event.VerbStart, "wbe"), nil)
	var rejected *Rejected
	if !errors.As(err, &rejected) || rejected.Reply.Reason != event.RejectUnknownService {
		t.Errorf("unknown service: %v", err)
	}
}

// A long answer comes in parts and whole.
func TestAskLong(t *testing.T) {
	rig := controltest.Start(t, controltest.Options{})
	want := strings.Repeat("0123456789", 300_000)
	rig.Engine.OnAsk = func(string, control.Request) (any, error) { return want, nil }
	c := dial(t, rig.Socket)
	for range 3 {
		var got string
		if err := c.Ask(t.Context(), event.AskDump, nil, &got); err != nil || got != want {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
	}
}

// A command whose engine dies is sent again with the same id, and ends.
func TestCommandAcrossEngines(t *testing.T) {
	dir := t.TempDir()
	rig := controltest.Start(t, controltest.Options{Dir: dir})
	c := dial(t, rig.Socket)
	req := request(event.VerbRestart, "slow")
	accepted := make(chan struct{})
	type result struct {
		reply event.CommandReply
		err   error
	}
	done := make(chan result, 1)
	go func() {
		reply, err := c.Command(t.Context(), req, func(event.CommandReply) { close(accepted) })
		done <- result{reply, err}
	}()
	<-accepted
	rig.Close()
	next := controltest.NewEngine()
	next.Results[req.ID] = event.CommandReply{Status: event.ReplyEnded, Command: req.ID, Outcome: event.Done}
	start := time.Now()
	controltest.Start(t, controltest.Options{Dir: dir, Socket: rig.Socket, Handler: next})
	r := <-done
	if r.err != nil || r.reply.Outcome != event.Done {
		t.Fatalf("%+v, %v", r.reply, r.err)
	}
	t.Logf("ended %v after the next engine's start began", time.Since(start))
	var info event.Info
	if err := c.Ask(t.Context(), event.AskInfo, nil, &info); err != nil {
		t.Error(err)
	}
}

func TestTimeoutKeepsTheCommand(t *testing.T) {
	rig := controltest.Start(t, controltest.Options{})
	c := dial(t, rig.Socket)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := c.Command(ctx, request(event.VerbStop, "slow"), nil); !errors.Is(err, ErrTimeout) {
		t.Errorf("got %v", err)
	}
}

func TestBusy(t *testing.T) {
	engine := controltest.NewEngine()
	engine.Hold = make(chan struct{})
	rig := controltest.Start(t, controltest.Options{Handler: engine, Inbox: 1})
	t.Cleanup(func() { close(engine.Hold) })
	c := dial(t, rig.Socket)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var busy atomic.Int32
	for range 8 {
		go func() {
			if _, err := c.Command(ctx, request(event.VerbStop, "web"), nil); errors.Is(err, ErrBusy) {
				busy.Add(1)
			}
		}()
	}
	eventually(t, func() bool { return busy.Load() >= 6 }) // one at the handler, one in the inbox
}

func TestShutdownEndsWithSupd(t *testing.T) {
	rig := controltest.Start(t, controltest.Options{Handler: onlyAccepts{}})
	c := dial(t, rig.Socket)
	closed := make(chan struct{})
	reply, err := c.Command(t.Context(), request(event.VerbShutdown), func(event.CommandReply) {
		go func() { defer close(closed); rig.Close() }()
	})
	<-closed
	if err != nil || reply.Outcome != event.Done {
		t.Errorf("%+v, %v", reply, err)
	}
}

type onlyAccepts struct{}

func (onlyAccepts) Command(r control.Request, reply func(event.CommandReply)) {
	reply(event.CommandReply{Status: event.ReplyAccepted, Command: r.Command.ID})
}
func (onlyAccepts) Ask(context.Context, string, control.Request) (any, error) { return nil, nil }
func (onlyAccepts) Denied(string, string)                                     {}
func (onlyAccepts) Rejected(string, string, string, *string)                  {}

func TestDialErrors(t *testing.T) {
	dir := t.TempDir()
	_, err := Dial(t.Context(), filepath.Join(dir, "none.sock"), Options{})
	var e *Error
	if !errors.Is(err, ErrUnreachable) || !errors.As(err, &e) || e.Hint == "" || !strings.Contains(err.Error(), "no such socket") {
		t.Errorf("no socket: %v", err)
	}
	rig := controltest.Start(t, controltest.Options{})
	socket := rig.Socket
	c, err := Dial(t.Context(), socket, Options{Gone: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	rig.Close()
	if err := c.Ask(t.Context(), event.AskInfo, nil, nil); !errors.Is(err, ErrUnreachable) {
		t.Errorf("supd has gone: %v", err)
	}
}

func TestLogs(t *testing.T) {
	rig := controltest.Start(t, controltest.Options{})
	c := dial(t, rig.Socket)
	rig.Engine.Print("web", "1", "2", "3", "4", "5")
	var got []string
	take := func(l event.LogLine) error { got = append(got, string(l.Data)); return nil }
	if err := c.Logs(t.Context(), event.LogsRequest{Service: "web", Tail: 4}, false, take); err != nil {
		t.Fatal(err)
	}
	if want := []string{"2", "3", "4", "5"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go rig.Engine.Print("web", "6", "7", "8")
	got = nil
	err := c.Logs(ctx, event.LogsRequest{Service: "web", Tail: 1}, true, func(l event.LogLine) error {
		got = append(got, string(l.Data))
		if string(l.Data) == "8" {
			cancel()
		}
		return nil
	})
	if err != nil || got[len(got)-1] != "8" {
		t.Errorf("followed %v, %v", got, err)
	}
}

func starting(service string) event.Draft {
	return event.Draft{Subject: service, Data: event.InstanceStartingData{Instance: "i"}}
}

func exited(service string) event.Draft {
	return event.Draft{Subject: service, Data: event.InstanceExitedData{Instance: "i"}}
}

func TestEvents(t *testing.T) {
	rig := controltest.Start(t, controltest.Options{})
	c := dial(t, rig.Socket)
	if err := c.Events(t.Context(), EventsQuery{}, func(Stored) error { return errors.New("not empty") }); err != nil {
		t.Fatal(err)
	}
	stored := rig.Append(t, starting("web"), starting("a.b"), exited("web"), exited("a.b"), starting("web"))
	tests := []struct {
		name  string
		query EventsQuery
		want  []event.Seq
	}{
		{"all", EventsQuery{}, []event.Seq{1, 2, 3, 4, 5}},
		{"service", EventsQuery{Services: []string{"a.b"}}, []event.Seq{2, 4}},
		{"kind", EventsQuery{Kinds: []string{"instance.exited"}}, []event.Seq{3, 4}},
		{"group", EventsQuery{Kinds: []string{"instance"}, Services: []string{"web"}}, []event.Seq{1, 3, 5}},
		{"none", EventsQuery{Services: []string{"none"}}, nil},
		{"tail", EventsQuery{Tail: 2}, []event.Seq{4, 5}},
		{"tail of service", EventsQuery{Tail: 2, Services: []string{"web"}}, []event.Seq{3, 5}},
		{"from", EventsQuery{From: 4}, []event.Seq{4, 5}},
		{"from beyond", EventsQuery{From: 40}, nil},
		{"since future", EventsQuery{Since: later(time.Hour)}, nil},
		{"since past", EventsQuery{Since: later(-time.Hour), Tail: 1}, []event.Seq{5}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []event.Seq
			err := c.Events(t.Context(), tt.query, func(s Stored) error {
				got = append(got, s.Record.Seq)
				if want := stored[s.Record.Seq-1].Bytes; string(s.Bytes) != string(want) {
					t.Errorf("bytes differ from what is stored: %s", s.Bytes)
				}
				return s.Err
			})
			if err != nil || !slices.Equal(got, tt.want) {
				t.Errorf("got %v, %v, want %v", got, err, tt.want)
			}
		})
	}
}

func later(d time.Duration) *time.Time { t := time.Now().Add(d); return &t }

// A follow goes on with the next engine, without loss or repetition.
func TestFollowAcrossEngines(t *testing.T) {
	dir := t.TempDir()
	rig := controltest.Start(t, controltest.Options{Dir: dir})
	c := dial(t, rig.Socket)
	rig.Append(t, starting("web"), exited("web"))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	got := make(chan event.Seq, 100)
	done := make(chan error, 1)
	go func() {
		done <- c.Events(ctx, EventsQuery{Follow: true, Tail: 1}, func(s Stored) error {
			got <- s.Record.Seq
			return s.Err
		})
	}()
	expect := func(want event.Seq) {
		t.Helper()
		select {
		case seq := <-got:
			if seq != want {
				t.Fatalf("got record %d, want %d", seq, want)
			}
		case <-time.After(time.Minute):
			t.Fatalf("record %d did not come", want)
		}
	}
	expect(2)
	rig.Append(t, starting("web"))
	expect(3)
	rig.Close()
	start := time.Now()
	next := controltest.Start(t, controltest.Options{Dir: dir, Socket: rig.Socket})
	next.Append(t, exited("web"))
	expect(4)
	t.Logf("went on %v after the next engine's start began", time.Since(start))
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// supctl must start fast and stay small: it speaks to a server, it is none.
func TestDoesNotLinkTheServer(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "-json=ImportPath", "supd/cmd/supctl").Output()
	if err != nil {
		t.Fatal(err)
	}
	dec := json.NewDecoder(strings.NewReader(string(out)))
	for dec.More() {
		var p struct{ ImportPath string }
		if err := dec.Decode(&p); err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(p.ImportPath, "github.com/nats-io/nats-server") {
			t.Errorf("supctl links %s: 11 MB and the server's start-up cost; clients take names from journal/control/wire instead of journal/control", p.ImportPath)
		}
	}
}

func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	for until := time.Now().Add(time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatal("did not come true in time")
		}
	}
}
