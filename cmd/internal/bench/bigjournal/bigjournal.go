// Package bigjournal writes journals of any length for measuring the reading
// of them: a million records in seconds, where a server would take minutes.
package bigjournal

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/minio/highwayhash"

	"supd/journal/blocks"
	"supd/journal/event"
	"supd/projector"
)

// The shape of what is written.
const (
	Services  = 50
	blockSize = 8 << 20
	baseEvery = 100_000 // records
	node      = "bench"
)

// Write makes a state folder with a journal of about n records, as a supd
// with restless services would have written it: each record follows from the
// state, with bases between them. It returns how many there are.
func Write(folder string, n int) (int, error) {
	msgs := filepath.Join(blocks.StreamDir(filepath.Join(folder, "journal")), "msgs")
	if err := os.MkdirAll(msgs, 0o700); err != nil {
		return 0, fmt.Errorf("cannot write journal: %w", err)
	}
	if err := os.WriteFile(filepath.Join(folder, "node.json"), []byte(`{"node_id":"4f3c"}`), 0o600); err != nil {
		return 0, fmt.Errorf("cannot write journal: %w", err)
	}
	w := &writer{msgs: msgs, now: time.Date(2026, 3, 4, 3, 0, 0, 0, time.UTC), prev: event.Genesis, state: projector.New()}
	w.begin()
	for run := event.Run(1); int(w.seq) < n && w.err == nil; run++ {
		for i := range Services {
			w.life(service(i), run)
		}
		if int(w.seq)-w.base >= baseEvery {
			w.base = int(w.seq)
			for _, part := range w.state.Base() {
				w.write("", "", "supd", part)
			}
		}
	}
	w.flush()
	return int(w.seq), w.err
}

func service(i int) string { return fmt.Sprintf("service-%02d", i) }

type writer struct {
	msgs  string
	block []byte
	files int
	now   time.Time
	seq   event.Seq
	prev  string
	state *projector.State
	base  int
	err   error
}

func (w *writer) begin() {
	w.write("", "", "supd", event.EngineStartedData{Version: "bench", PID: 1, Mode: event.ModeFirst})
	w.write("", "", "supd", event.KeeperStartedData{PID: 2, StartTime: 1, Version: "bench"})
	for i := range Services {
		w.write(service(i), "", "supd", event.ServiceDefinedData{Spec: event.Spec{Command: []string{"/bin/" + service(i)}}, Digest: "d"})
		w.write(service(i), "", "supd", event.ServiceWantedData{Want: event.Up, Reason: event.ReasonAutostart})
	}
}

// life is one instance from its start to the decision to start another. Every
// fifth is restarted by a person.
func (w *writer) life(name string, run event.Run) {
	id := fmt.Sprintf("0195aaaa-0000-7000-8000-%012d", w.seq)
	start := w.write(name, "", "supd", event.InstanceStartingData{
		Instance: id, Run: run, PID: 1000 + int(run%30000), StartTime: uint64(run), SpecDigest: "d", Reason: event.ReasonRestart,
	})
	w.write(name, start, "supd", event.InstanceRunningData{Instance: id, Took: event.Duration(3 * time.Millisecond)})
	if run%5 == 0 {
		w.restart(name, id)
		return
	}
	signal := "SIGSEGV"
	exit := w.write(name, "", "supd", event.InstanceExitedData{
		Instance: id, Signal: &signal, Core: true, Cause: event.CauseSignaled, Uptime: event.Duration(20 * time.Second), MaxRSS: 4 << 20,
	})
	w.write(name, exit, "supd", event.RestartScheduledData{
		Retry: 1, Delay: event.Duration(time.Second), Jitter: 0.25, NotBefore: event.Moment{Wall: w.now.Add(time.Second)},
		Exit: event.Exit{Signal: &signal}, Policy: event.RestartPolicy{Restart: event.RestartAlways, Backoff: event.Backoff{Factor: 2}},
	})
}

func (w *writer) restart(name, id string) {
	command := fmt.Sprintf("0195cccc-0000-7000-8000-%012d", w.seq)
	accepted := w.write("", "", "uid-1000", event.CommandAcceptedData{
		Command: command, Verb: event.VerbStop, Patterns: []string{name}, Targets: []string{name}, SentAt: w.now,
	})
	w.write(name, accepted, "uid-1000", event.ServiceWantedData{Want: event.Down, Reason: event.ReasonCommand})
	stop := w.write(name, accepted, "supd", event.InstanceStoppingData{
		Instance: id, Signal: "SIGTERM", Deadline: event.Moment{Wall: w.now.Add(10 * time.Second)}, Reason: event.ReasonCommand,
	})
	w.write(name, stop, "supd", event.InstanceSignaledData{
		Instance: id, Operation: projector.StopOperation(id, "SIGTERM"), Signal: "SIGTERM", Scope: event.ScopeMain, PIDs: []int{1001}, Result: "sent",
	})
	code := 0
	w.write(name, stop, "supd", event.InstanceExitedData{Instance: id, Code: &code, Cause: event.CauseExited, Expected: true})
	w.write("", accepted, "supd", event.CommandEndedData{
		Command: command, Outcome: event.Done, Results: []event.Result{{Service: name, Outcome: event.Done}},
	})
	w.write(name, accepted, "uid-1000", event.ServiceWantedData{Want: event.Up, Reason: event.ReasonCommand})
}

// write adds a record, a millisecond after the one before it, and returns its id.
func (w *writer) write(service, cause, actor string, d event.Data) (id string) {
	if w.err != nil {
		return ""
	}
	w.seq++
	w.now = w.now.Add(time.Millisecond)
	e, err := event.Encode(event.Record{
		ID: fmt.Sprintf("01950000-0000-7000-8000-%012d", w.seq), Source: "supd/" + node + "/4f3c", Kind: d.Kind(), Subject: service,
		Time: w.now, Mono: w.now.UnixNano(), Boot: "5f0ff7b9-3f3c-4d53-9c1c-0e7b24a6d8c1/4026531836",
		Seq: w.seq, Prev: w.prev, Cause: cause, Actor: actor, Data: d,
	})
	if err == nil {
		err = w.state.Apply(e)
	}
	if w.err = err; err != nil {
		return ""
	}
	w.prev = e.Hash
	w.store(event.RecordSubject(node, service, d.Kind()), e.Bytes)
	return e.Record.ID
}

// store adds a record to the block as the server writes it (the package blocks
// describes the form).
func (w *writer) store(subject string, data []byte) {
	if w.files == 0 || len(w.block)+len(data) > blockSize {
		w.flush()
	}
	key := sha256.Sum256(fmt.Appendf(nil, "%s-%d", event.Stream, w.files))
	h, err := highwayhash.New64(key[:])
	if err != nil {
		w.err = err
		return
	}
	const fixed = 22 + 8
	le, start := binary.LittleEndian, len(w.block)
	b := le.AppendUint32(w.block, uint32(fixed+len(subject)+len(data)))
	b = le.AppendUint64(b, uint64(w.seq))
	b = le.AppendUint64(b, uint64(w.now.UnixNano()))
	b = le.AppendUint16(b, uint16(len(subject)))
	b = append(append(b, subject...), data...)
	_, _ = h.Write(b[start+4 : start+20])
	_, _ = h.Write(b[start+22:])
	w.block = h.Sum(b)
}

// flush writes the block and begins the next one.
func (w *writer) flush() {
	if len(w.block) > 0 && w.err == nil {
		w.err = os.WriteFile(filepath.Join(w.msgs, fmt.Sprintf("%d.blk", w.files)), w.block, 0o600)
	}
	w.files++
	w.block = w.block[:0]
}
