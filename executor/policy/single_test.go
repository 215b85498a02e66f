package policy_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"supd/executor/policy"
	"supd/journal/event"
	"supd/projector"
)

// machine decides inputs and keeps what came of them.
type machine struct {
	t     *testing.T
	state *projector.State
	now   policy.Now
}

func newMachine(t *testing.T, keeper int) *machine {
	m := &machine{t: t, state: projector.New(), now: policy.Now{
		Wall: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Mono: int64(time.Hour), Boot: "boot-1",
	}}
	m.decide(policy.Started{Keeper: event.KeeperStartedData{PID: keeper, StartTime: 7}})
	return m
}

// decide returns the records of one input, one line each: kind, subject, actor
// and data.
func (m *machine) decide(in policy.Input) (records []string, effects []policy.Effect) {
	m.t.Helper()
	tx := policy.NewTx(m.state, m.now, 0, func(d event.Draft) (event.Encoded, error) {
		n := m.state.Seq() + 1
		return event.Encode(event.Record{
			ID: fmt.Sprintf("0190aaaa-0000-7000-8000-%012d", n), Source: "supd/test/0", Kind: d.Data.Kind(), Subject: d.Subject,
			Time: m.now.Wall, Mono: m.now.Mono, Boot: m.now.Boot, Seq: n, Prev: m.state.Hash(), Cause: d.Cause, Actor: d.Actor, Data: d.Data,
		})
	})
	policy.Decide(tx, in)
	for _, r := range tx.Records {
		records = append(records, fmt.Sprintf("%s %s %s %+v", r.Record.Kind, r.Record.Subject, r.Record.Actor, r.Record.Data))
	}
	return records, tx.Effects
}

func holds(records []string, part string) bool {
	return strings.Contains(strings.Join(records, "\n"), part)
}

// Who asks for a command wants it to run, whatever became of it before; other
// configurations never change a want.
func TestWantedServiceIsWantedAgain(t *testing.T) {
	m := newMachine(t, 100)
	once := baseSpec("main")
	once.Restart, once.Autostart = event.RestartNever, true
	in := policy.Configure{Actor: "supd", Digest: "d", Services: []policy.Definition{{Name: "main", Spec: once}}}
	if got, _ := m.decide(in); !holds(got, "{Want:up") {
		t.Fatalf("not wanted at first: %v", got)
	}
	start := policy.Parked{Service: "main", Instance: "i1", PID: 200, SpecDigest: m.state.Services["main"].Digest}
	m.decide(start)
	m.decide(policy.Executed{Service: "main", Instance: "i1"})
	if got, _ := m.decide(policy.Exited{Service: "main", Instance: "i1", Code: 3}); !holds(got, "{Want:down Reason:completed") {
		t.Fatalf("not completed: %v", got)
	}
	if got, _ := m.decide(in); holds(got, "Want:up") {
		t.Errorf("a configuration changed the want: %v", got)
	}
	in.Wanted = []string{"main"}
	if got, _ := m.decide(in); !holds(got, "service.wanted main supd {Want:up Reason:autostart}") {
		t.Errorf("not wanted again: %v", got)
	}
	if v := m.state.Services["main"]; !policy.Startable(m.state, v, m.now) {
		t.Errorf("it does not start: %+v", v)
	}
	if got, _ := m.decide(in); holds(got, "Want:up") {
		t.Errorf("wanted twice: %v", got)
	}
}

// The end of the one command is nobody's order: supd itself decides it.
func TestCompletedShutdownIsSupds(t *testing.T) {
	for reason, actor := range map[string]string{event.ReasonCompleted: "supd", event.ReasonSignal: "signal"} {
		m := newMachine(t, 100)
		got, effects := m.decide(policy.Shutdown{Reason: reason})
		if !holds(got, "supd.stopping  "+actor+" {Reason:"+reason) || !holds(got, "supd.stopped ") {
			t.Errorf("%s: %v", reason, got)
		}
		if len(effects) != 1 {
			t.Errorf("%s: %v", reason, effects)
		}
	}
}

// PID 1 takes every process with it when it ends, so it cannot leave any.
func TestPID1KeepsNoServices(t *testing.T) {
	command := policy.Command{Actor: "uid-0", Request: event.CommandRequest{
		ID: "019b7ca9-8c88-7000-8000-000000000001", Verb: event.VerbShutdown, Args: map[string]string{event.ArgKeepServices: "true"},
	}}
	for keeper, refused := range map[int]bool{1: true, 100: false} {
		m := newMachine(t, keeper)
		got, _ := m.decide(command)
		if holds(got, "command.rejected") != refused || holds(got, "supd.stopping") == refused {
			t.Errorf("keeper %d: %v", keeper, got)
		}
	}
	m := newMachine(t, 1)
	command.Request.Args = nil
	if got, _ := m.decide(command); !holds(got, "supd.stopping") {
		t.Errorf("PID 1 does not stop: %v", got)
	}
}
