package executor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"supd/executor/keeper"
	"supd/executor/keeper/wire"
	"supd/executor/policy"
	"supd/journal/event"
	"supd/projector"
)

// loopRig is a running Loop between a keeper and a journal in memory, in a
// bubble of its own time: nothing waits for real, and a goroutine that the
// loop leaves behind fails the test.
type loopRig struct {
	t       *testing.T
	host    *fakeHost
	journal *memoryJournal
	loop    *Loop
	state   *projector.State
	cancel  context.CancelFunc
	ended   chan error
	reloads int
	serial  int
	log     strings.Builder
}

// inLoop runs f beside a loop. setup may change the configuration before the
// loop is made.
func inLoop(t *testing.T, setup func(r *loopRig, c *LoopConfig), f func(t *testing.T, r *loopRig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &loopRig{t: t, host: newFakeHost(), journal: &memoryJournal{}, state: projector.New(), ended: make(chan error, 1)}
		c := LoopConfig{
			Core: Config{
				State: r.state, Journal: r.journal, Launches: r, Clock: &bubbleClock{start: time.Now()}, Source: "supd/test/0",
				Inbox: 2 * callQueue, Concurrency: 4,
			},
			Host: r.host, Log: slog.New(slog.NewTextHandler(&r.log, nil)),
			Engine: event.EngineStartedData{Version: "test", PID: 1},
			LoggerEvent: func(data []byte) (policy.Note, error) {
				if string(data) == "bad" {
					return policy.Note{}, errors.New("bad")
				}
				return policy.Note{Subject: string(data), Data: event.OutputTrimmedData{Stream: "stdout"}}, nil
			},
			Reload: func(done func()) { r.reloads++; done() },
			Ready: func(c *Core) error {
				if c.State().Config.Digest != "" {
					return nil
				}
				return c.Step(configure(rigSpec("db"), rigSpec("web")))
			},
		}
		if setup != nil {
			setup(r, &c)
		}
		r.loop = NewLoop(c)
		r.journal.durable = r.loop.SetDurable
		ctx, cancel := context.WithCancel(context.Background())
		r.cancel = cancel
		defer cancel()
		go func() { r.ended <- r.loop.Run(ctx) }()
		f(t, r)
	})
}

// table tells the loop the keeper's table and waits until it is settled.
func (r *loopRig) table(t keeper.Table) {
	if t.Info.PID == 0 {
		t.Info = keeper.Info{PID: 100, StartTime: 7, EngineStarts: 1}
	}
	for _, s := range t.Slots {
		r.host.slots[s.Instance] = &s
	}
	r.tell(t)
}

// tell hands the loop events and waits until they have had their effect.
func (r *loopRig) tell(events ...keeper.Event) {
	for _, e := range events {
		r.host.events <- e
	}
	synctest.Wait()
}

// pass lets time pass.
func (r *loopRig) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// command sends a command and returns where its answers go.
func (r *loopRig) command(verb event.Verb, patterns ...string) *answers {
	r.t.Helper()
	r.serial++
	a := &answers{}
	cmd := policy.Command{Actor: "uid-0", Request: event.CommandRequest{
		ID: rigID(time.Now(), 1<<30+r.serial), Verb: verb, Patterns: patterns,
	}}
	a.err = r.loop.Command(cmd, func(reply event.CommandReply) {
		a.replies = append(a.replies, reply)
		a.at = append(a.at, time.Now())
	})
	return a
}

type answers struct {
	replies []event.CommandReply
	at      []time.Time
	err     error
}

// end waits for the loop's end.
func (r *loopRig) end() error {
	r.t.Helper()
	synctest.Wait()
	select {
	case err := <-r.ended:
		return err
	default:
		r.t.Fatalf("the loop has not ended\n%s", r.journal)
		return nil
	}
}

// runs tells that the loop has not ended.
func (r *loopRig) runs() {
	r.t.Helper()
	synctest.Wait()
	select {
	case err := <-r.ended:
		r.t.Fatalf("the loop has ended: %v\n%s", err, r.journal)
	default:
	}
}

// Launch implements Launches.
func (r *loopRig) Launch(service, _ string) (event.Launch, error) {
	return event.Launch{
		Paths: []string{"/usr/bin/" + service, "/bin/" + service}, Args: []string{service}, Directory: "/srv",
		Env: []string{"A=1"}, SetUser: service == "web", UID: 1000,
		Hooks:      map[string]event.LaunchExec{event.HookPreStart: {Paths: []string{"/bin/prepare"}, Args: []string{"prepare"}}},
		HealthExec: &event.LaunchExec{Paths: []string{"/bin/check"}, Args: []string{"check"}},
	}, nil
}

// bubbleClock is the bubble's time.
type bubbleClock struct {
	start  time.Time
	serial int
}

func (c *bubbleClock) Now() policy.Now {
	return policy.Now{Wall: time.Now().UTC(), Mono: int64(time.Hour + time.Since(c.start)), Boot: "boot"}
}
func (c *bubbleClock) Rand() float64 { return 0.5 }
func (c *bubbleClock) ID() string    { c.serial++; return rigID(time.Now(), c.serial) }

// memoryJournal keeps records, and makes them durable at once unless it hangs.
type memoryJournal struct {
	mu      sync.Mutex
	records []event.Record
	hang    bool
	fail    error
	durable func(event.Seq)
}

func (j *memoryJournal) Append(batch []event.Encoded) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.fail != nil {
		return j.fail
	}
	for _, e := range batch {
		j.records = append(j.records, e.Record)
	}
	if !j.hang {
		j.durable(j.records[len(j.records)-1].Seq)
	}
	return nil
}

func (j *memoryJournal) Pressure() Pressure { return Pressure{} }
func (j *memoryJournal) Compact([]byte, event.Seq, string) error {
	return errors.New("never asked for")
}

func (j *memoryJournal) Undurable(int64, ...event.Encoded) event.JournalGapData {
	return event.JournalGapData{}
}

func (j *memoryJournal) Drop([]event.Encoded, []byte, event.Seq, string) error {
	return errors.New("never asked for")
}
func (j *memoryJournal) NoteInHand(string) {}
func (j *memoryJournal) ClearInHand()      {}

func (j *memoryJournal) set(hang bool, fail error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.hang, j.fail = hang, fail
}

// of lists the records of a kind.
func (j *memoryJournal) of(kind event.Kind) []event.Record {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(j.records), func(r event.Record) bool { return r.Kind != kind })
}

func (j *memoryJournal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	var b strings.Builder
	for _, r := range j.records {
		fmt.Fprintf(&b, "%d %s %s %+v\n", r.Seq, r.Kind, r.Subject, r.Data)
	}
	return b.String()
}

// fakeHost is a keeper whose services do as they are told. Its verbs are
// called on the loop's goroutine only.
type fakeHost struct {
	events     chan keeper.Event
	slots      map[string]*keeper.Slot
	done       []uint64 // host signals that were dealt with
	sent       []string // signals, in order
	forgotten  []string
	granted    []uint32
	tasks      []keeper.Park
	parked     []keeper.Park
	silent     bool // stubs are not told of
	unkillable bool
	undrained  bool // output has pipes, and nobody drains them
	fail       error
	pids       int
	followed   []keeper.Follow
	mute       bool // nothing is answered to Follow
}

func newFakeHost() *fakeHost {
	return &fakeHost{events: make(chan keeper.Event, 256), slots: map[string]*keeper.Slot{}}
}

func (h *fakeHost) Events() <-chan keeper.Event { return h.events }

func (h *fakeHost) HostSignalDone(number uint64) error {
	h.done = append(h.done, number)
	return h.fail
}

func (h *fakeHost) Park(p keeper.Park) error {
	if h.fail != nil || h.silent {
		return h.fail
	}
	if p.Task != 0 {
		h.tasks = append(h.tasks, p)
		return nil
	}
	h.parked = append(h.parked, p)
	h.pids++
	s := &keeper.Slot{Service: p.Service, Instance: p.Instance, State: wire.StateParked, PID: 1000 + h.pids, StartTime: 5}
	s.StdoutPiped = h.undrained
	h.slots[p.Instance] = s
	h.events <- keeper.Parked{Slot: *s}
	return nil
}

func (h *fakeHost) Open(instance string) error {
	s := h.slots[instance]
	s.State, s.Execed = wire.StateOpen, true
	h.events <- keeper.Execed{Slot: *s}
	return h.fail
}

func (h *fakeHost) Drop(instance string) error {
	if s := h.slots[instance]; s != nil {
		s.State = wire.StateDropped
		h.events <- keeper.Dropped{Slot: *s}
	}
	return h.fail
}

func (h *fakeHost) Forget(instance string) error {
	h.forgotten = append(h.forgotten, instance)
	return h.fail
}
func (h *fakeHost) Grant(uid uint32) error   { h.granted = append(h.granted, uid); return h.fail }
func (h *fakeHost) Adopt(keeper.Adopt) error { return h.fail }

// Follow takes processes above 1000 for main ones, and refuses all others.
func (h *fakeHost) Follow(f keeper.Follow) error {
	h.followed = append(h.followed, f)
	if h.mute {
		return h.fail
	}
	s := h.slots[f.Instance]
	s.Named, s.Refused = f.PID, wire.RefusalStranger
	if f.PID <= 1000 {
		h.events <- keeper.Unchanged{Slot: *s}
		return h.fail
	}
	s.PID, s.State, s.Leftovers, s.Refused = f.PID, wire.StateOpen, false, wire.RefusalNone
	h.events <- keeper.Followed{Slot: *s}
	return h.fail
}

func (h *fakeHost) Signal(instance, operation string, sig syscall.Signal, scope keeper.Scope) error {
	h.sent = append(h.sent, event.SignalName(int(sig)))
	h.events <- keeper.Signaled{Operation: keeper.Operation{
		Instance: instance, ID: operation, Signal: int(sig), Scope: scope, Done: true, Count: 1,
	}}
	if (sig == syscall.SIGTERM || sig == syscall.SIGKILL) && !h.unkillable {
		h.exit(instance, syscall.WaitStatus(sig))
	}
	return h.fail
}

func (h *fakeHost) Sweep(instance, operation, _ string) error {
	h.events <- keeper.Swept{Operation: keeper.Operation{Instance: instance, ID: operation, Sweep: true, Done: true}}
	return h.fail
}

// exit ends an instance's main process.
func (h *fakeHost) exit(instance string, status syscall.WaitStatus) {
	s := h.slots[instance]
	s.State, s.Exit = wire.StateExited, keeper.Exit{Known: true, Status: status}
	h.events <- keeper.Exited{Slot: *s}
}

// of finds the newest slot of a service.
func (h *fakeHost) of(service string) *keeper.Slot {
	var newest *keeper.Slot
	for _, s := range h.slots {
		if s.Service == service && (newest == nil || s.PID > newest.PID) {
			newest = s
		}
	}
	return newest
}

func hostSignal(number uint64, sig syscall.Signal) keeper.HostSignal {
	return keeper.HostSignal{HostSignal: wire.HostSignal{Number: number, Signal: int(sig)}}
}
