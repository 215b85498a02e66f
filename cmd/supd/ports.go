package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"supd/executor"
	"supd/executor/policy"
	"supd/journal"
	"supd/journal/event"
	"supd/projector"
)

// loggerNote reads what the logger reports.
func loggerNote(data []byte) (policy.Note, error) {
	var e struct {
		Kind    event.Kind      `json:"kind"`
		Service string          `json:"service"`
		Data    json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(data, &e); err != nil {
		return policy.Note{}, err
	}
	switch e.Kind {
	case event.OutputGap, event.OutputTrimmed, event.ResourcePressed, event.ResourceRelieved:
	default:
		return policy.Note{}, fmt.Errorf("the logger may not report %q", e.Kind)
	}
	d, err := event.DecodeData(e.Kind, e.Data)
	return policy.Note{Subject: e.Service, Data: d}, err
}

// journalPort is the journal as the executor needs it.
type journalPort struct {
	j   *journal.Journal
	log *slog.Logger // told what an operator should see; nil: nothing
}

func (p journalPort) Append(batch []event.Encoded) error {
	err := p.j.Append(batch)
	if errors.Is(err, journal.ErrRunLogFull) {
		return fmt.Errorf("%w: %w", executor.ErrFull, err)
	}
	if err == nil && p.log != nil {
		tell(p.log, batch)
	}
	return err
}

func (p journalPort) Pressure() executor.Pressure {
	return executor.Pressure{Base: p.j.NeedBase(), Compact: p.j.NeedCompact(), Full: p.j.NeedDrop()}
}

func (p journalPort) Undurable(state int64, more ...event.Encoded) event.JournalGapData {
	return p.j.Undurable(state, more...)
}

func (p journalPort) Drop(batch []event.Encoded, state []byte, seq event.Seq, hash string) error {
	err := p.j.Drop(batch, journal.Base{Link: journal.Link{Seq: seq, Hash: hash}, Version: projector.Version, State: state})
	if err == nil && p.log != nil {
		tell(p.log, batch) // P4: the log is all that says so until the journal takes records again
	}
	return err
}

func (p journalPort) Compact(state []byte, seq event.Seq, hash string) error {
	err := p.j.Compact(journal.Base{Link: journal.Link{Seq: seq, Hash: hash}, Version: projector.Version, State: state})
	if errors.Is(err, journal.ErrRunLogFull) && p.log != nil {
		// No reason to end: what fits is kept, and it is tried again.
		p.log.Error("the run log cannot grow with the state; free memory or raise journal.run_log", "error", err)
		return nil
	}
	return err
}

func (p journalPort) NoteInHand(id string) { _ = p.j.NoteInHand(id) }
func (p journalPort) ClearInHand()         { _ = p.j.NoteInHand("") }

type inProcess struct{ j *journal.Journal }

func (p inProcess) InProcessConn() (net.Conn, error) { return p.j.InProcessConn() }

// clock draws time, chance and ids for the executor.
type clock struct{ boot string }

func (c clock) Now() policy.Now {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) // cannot fail with a valid clock and pointer
	return policy.Now{Wall: time.Now().UTC().Round(0), Mono: ts.Nano(), Boot: c.boot}
}

func (clock) Rand() float64 { return rand.Float64() }

func (clock) ID() string { return uuid.Must(uuid.NewV7()).String() }
