package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"supd/journal/event"
	"supd/projector"
)

const testNode = "n1"

// scenario writes the history of two services as a supd would: web is
// restarted by a person, db crashes again and again.
type scenario struct {
	t       testing.TB
	now     time.Time
	state   *projector.State
	records []event.Encoded
	cause   string // of the next record
}

func newScenario(t testing.TB) *scenario {
	return &scenario{t: t, now: time.Date(2026, 3, 4, 3, 0, 0, 0, time.UTC), state: projector.New()}
}

// write appends a record, d after the one before it.
func (s *scenario) write(d time.Duration, service, actor string, data event.Data) {
	s.t.Helper()
	s.now = s.now.Add(d)
	seq, prev := event.Seq(1), event.Genesis
	if n := len(s.records); n > 0 {
		seq, prev = s.records[n-1].Record.Seq+1, s.records[n-1].Hash
	}
	e, err := event.Encode(event.Record{
		ID: fmt.Sprintf("01950000-0000-7000-8000-%012d", seq), Source: "supd/" + testNode + "/4f3c", Kind: data.Kind(),
		Subject: service, Time: s.now, Mono: s.now.UnixNano(), Boot: "boot", Seq: seq, Prev: prev, Cause: s.cause, Actor: actor, Data: data,
	})
	if err != nil {
		s.t.Fatal(err)
	}
	if s.state != nil {
		if err := s.state.Apply(e); err != nil {
			s.t.Fatal(err)
		}
	}
	s.records = append(s.records, e)
	s.cause = ""
}

// caused makes the newest record the cause of the next one.
func (s *scenario) caused() { s.cause = s.records[len(s.records)-1].Record.ID }

func (s *scenario) base() {
	for _, d := range s.state.Base() {
		s.write(0, "", "supd", d)
	}
}

func instance(service string, run int) string {
	return fmt.Sprintf("0195%s-0000-7000-8000-%012d", map[string]string{"web": "aaaa", "db": "bbbb"}[service], run)
}

func (s *scenario) start(service string, run int, reason string) {
	id := instance(service, run)
	s.write(time.Millisecond, service, "supd", event.InstanceStartingData{
		Instance: id, Run: event.Run(run), PID: 1000 + run, StartTime: uint64(run), SpecDigest: "d", Reason: reason,
	})
	s.write(3*time.Millisecond, service, "supd", event.InstanceRunningData{Instance: id, Took: event.Duration(3 * time.Millisecond)})
}

func (s *scenario) crash(run int) {
	signal := "SIGSEGV"
	s.write(20*time.Second, "db", "supd", event.InstanceExitedData{
		Instance: instance("db", run), Signal: &signal, Core: true, Cause: event.CauseSignaled,
		Uptime: event.Duration(20 * time.Second), MaxRSS: 4 << 20,
	})
	s.caused()
	s.write(0, "db", "supd", event.RestartScheduledData{
		Retry: 1, Delay: event.Duration(time.Second), NotBefore: event.Moment{Wall: s.now.Add(time.Second)},
		Exit: event.Exit{Signal: &signal}, Policy: event.RestartPolicy{Restart: event.RestartAlways},
	})
	s.now = s.now.Add(time.Second)
	s.caused()
	s.start("db", run+1, event.ReasonRestart)
}

// whole is the undamaged history: record 12 is a base, 13 to 19 are a person's
// restart of web, from 20 on db crashes, with another base at 60.
func whole(t testing.TB) *scenario {
	s := newScenario(t)
	s.write(0, "", "supd", event.EngineStartedData{Version: "test", PID: 1, Mode: event.ModeFirst})
	s.write(0, "", "supd", event.KeeperStartedData{PID: 2, StartTime: 1, Version: "test"})
	s.write(0, "", "supd", event.ConfigAppliedData{Digest: "c", Added: []string{"db", "web"}})
	for _, name := range []string{"db", "web"} {
		s.write(0, name, "supd", event.ServiceDefinedData{Spec: event.Spec{Command: []string{"/bin/" + name}}, Digest: "d"})
	}
	for _, name := range []string{"db", "web"} {
		s.write(0, name, "supd", event.ServiceWantedData{Want: event.Up, Reason: event.ReasonAutostart})
	}
	s.start("db", 1, event.ReasonAutostart)
	s.start("web", 1, event.ReasonAutostart)
	s.base()
	const command = "0195cccc-0000-7000-8000-000000000001"
	s.write(10*time.Minute, "", "uid-1000", event.CommandAcceptedData{
		Command: command, Verb: event.VerbRestart, Patterns: []string{"web"}, Targets: []string{"web"}, SentAt: s.now,
	})
	id := instance("web", 1)
	s.write(0, "web", "uid-1000", event.InstanceStoppingData{
		Instance: id, Signal: "SIGTERM", Deadline: event.Moment{Wall: s.now.Add(10 * time.Second)}, Reason: event.ReasonCommand,
	})
	s.write(0, "web", "supd", event.InstanceSignaledData{
		Instance: id, Operation: projector.StopOperation(id, "SIGTERM"), Signal: "SIGTERM", Scope: event.ScopeMain, PIDs: []int{1001}, Result: "sent",
	})
	code := 0
	s.write(2*time.Second, "web", "supd", event.InstanceExitedData{
		Instance: id, Code: &code, Cause: event.CauseExited, Expected: true, Uptime: event.Duration(602 * time.Second),
	})
	s.start("web", 2, event.ReasonCommand)
	s.write(0, "", "supd", event.CommandEndedData{
		Command: command, Outcome: event.Done, Duration: event.Duration(2 * time.Second),
		Results: []event.Result{{Service: "web", Outcome: event.Done, Instance: instance("web", 2)}},
	})
	for run := 1; len(s.records) < 240; run++ {
		s.crash(run)
		if len(s.records) == 59 {
			s.base()
		}
	}
	return s
}

// tampered gives the records of a journal that was rewritten with right
// checksums, by its name in the scripts.
func tampered(t testing.TB, name string) []event.Encoded {
	s := whole(t)
	rs := s.records
	switch name {
	case "whole", "headless":
	case "shortened": // the newest five were cut off, with nothing that tells
		rs = rs[:235]
	case "rewritten": // record 100 has another actor, and every hash behind it is made good
		for i, prev := 99, rs[98].Hash; i < len(rs); i++ {
			r := rs[i].Record
			if r.Prev = prev; i == 99 {
				r.Actor = "uid-0"
			}
			e, err := event.Encode(r)
			if err != nil {
				t.Fatal(err)
			}
			rs[i], prev = e, e.Hash
		}
	case "removed": // record 100 is not there
		rs = append(rs[:99:99], rs[100:]...)
	case "swapped": // 100 and 101 changed places
		rs[99], rs[100] = rs[100], rs[99]
	case "altered": // 100 has another time
		r := rs[99].Record
		r.Time = r.Time.Add(time.Hour)
		e, err := event.Encode(r)
		if err != nil {
			t.Fatal(err)
		}
		rs[99] = e
	case "forged-last": // the newest record has another prev
		r := rs[len(rs)-1].Record
		r.Prev = event.Hash([]byte("else"))
		e, err := event.Encode(r)
		if err != nil {
			t.Fatal(err)
		}
		rs[len(rs)-1] = e
	case "newer": // the newest record is of a kind that is not known here
		e := &rs[len(rs)-1]
		e.Bytes = bytes.Replace(e.Bytes, []byte("supd.instance.running.v1"), []byte("supd.instance.dreaming.v1"), 1)
	case "impossible": // an instance ends that never was
		s.state = nil
		s.write(0, "web", "supd", event.InstanceExitedData{Instance: instance("web", 9), Cause: event.CauseUnknown})
	case "wrong-base": // a base that says something else, with the chain made good
		s.state.Services["web"].Restarts = 99
		s.base()
	case "dropped", "late": // supd dropped 241 to 250 and said so; or said so from 238 on, but three were stored late
		s.state.Supd.Degraded = true
		last := event.Hash([]byte("250"))
		s.records = append(s.records, event.Encoded{Record: event.Record{Seq: 250}, Hash: last})
		state := s.state
		s.state = nil
		first := event.Seq(241)
		if name == "late" {
			first = 238
		}
		s.write(time.Second, "", "supd", event.JournalGapData{First: first, Last: 250, LastHash: last, Why: "the run log was full"})
		for _, d := range state.Base() {
			s.write(0, "", "supd", d)
		}
		rs = append(s.records[:240:240], s.records[241:]...)
	default:
		t.Fatalf("no journal is called %q", name)
	}
	if name == "wrong-base" || name == "impossible" {
		rs = s.records
	}
	return rs
}

// writeJournal stores records in a state folder through the real server, in
// blocks of 32 kB, which the server only makes for a stream that is limited
// at its creation.
func writeJournal(t testing.TB, folder string, records []event.Encoded, maxMsgs int64) {
	t.Helper()
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "node.json"), []byte(`{"node_id":"4f3c"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "lock"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	srv, err := server.NewServer(&server.Options{
		ServerName: "replay", DontListen: true, NoSigs: true, NoLog: true, JetStream: true,
		StoreDir: filepath.Join(folder, "journal"), JetStreamMaxStore: 1 << 30, MaxPayload: 8 << 20,
	})
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	defer func() { srv.Shutdown(); srv.WaitForShutdown() }()
	if !srv.ReadyForConnections(10 * time.Second) {
		t.Fatal("the embedded server is not ready after 10 s")
	}
	nc, err := nats.Connect("", nats.InProcessServer(srv))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	cfg := jetstream.StreamConfig{
		Name: event.Stream, Subjects: []string{event.RecordSubjects(testNode)}, Storage: jetstream.FileStorage,
		AllowAtomicPublish: true, DenyDelete: true, DenyPurge: true, MaxBytes: 100_000,
	}
	ctx := context.Background()
	if _, err := js.CreateStream(ctx, cfg); err != nil {
		t.Fatal(err)
	}
	cfg.MaxBytes, cfg.MaxMsgs = -1, maxMsgs
	if _, err := js.UpdateStream(ctx, cfg); err != nil {
		t.Fatal(err)
	}
	for i, e := range records {
		m := &nats.Msg{Subject: event.RecordSubject(testNode, e.Record.Subject, e.Record.Kind), Data: e.Bytes, Header: nats.Header{}}
		m.Header.Set("Nats-Expected-Last-Sequence", strconv.Itoa(i))
		if _, err := js.PublishMsg(ctx, m); err != nil {
			t.Fatal(err)
		}
	}
}
