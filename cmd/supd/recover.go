package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"supd/executor/keeper"
	"supd/journal"
	"supd/journal/control"
	"supd/journal/event"
	"supd/projector"
)

// recovered is what the journal says when an engine starts.
type recovered struct {
	state    *projector.State
	base     event.Seq // the fold started here
	replayed int       // records folded behind it
	heard    int64     // CLOCK_BOOTTIME of the last of them, 0 if there was none
	broken   bool      // records are missing from the fold
	poisoned string    // the input that killed the engine twice
}

// recover opens the journal and folds what it holds.
func (e *engine) recover(safe bool) (was recovered, err error) {
	e.auth = control.NewAuthentication(e.args.Node)
	// The journal's limits are those of the configuration that is applied or
	// about to be; both are at hand before the journal is.
	set, raw, err := e.applied.pending()
	if err != nil {
		return was, err
	}
	e.pending = &reading{set: set, raw: raw}
	cfg := journal.Config{
		StateDir: e.args.Places.State, RuntimeDir: e.args.Places.Runtime, Node: e.args.Node,
		RunLogSize: set.Journal.RunLog, MaxRecords: set.Journal.MaxRecords, MaxBytes: set.Journal.MaxSize,
		MemoryFD: keeper.MemoryFD, LockWait: lockWait, Safe: safe, Authentication: e.auth, Options: e.auth.Configure, MaxConsumers: control.MaxConsumers,
		Log:    e.log,
		Notify: journal.Notify{Durable: e.durable, Degraded: e.degraded, Healed: e.healed, Forked: e.forked, Damaged: e.damaged},
	}
	if set.Journal.Sync == "interval" {
		cfg.SyncInterval = 200 * time.Millisecond
	}
	j, rec, err := journal.Open(context.Background(), cfg)
	if err != nil {
		return was, err
	}
	e.journal, e.identity, e.boot = j, rec.Identity, rec.Boot
	s := projector.New()
	if rec.Base.State != nil {
		if s, err = projector.Parse(rec.Base.State, rec.Base.Seq, rec.Base.Hash); err != nil {
			return was, err
		}
	}
	was.base, was.broken = rec.Base.Seq, rec.Lost != ""
	hollow := false
	for r, err := range rec.Records {
		var hole *journal.HoleError
		if errors.As(err, &hole) {
			e.log.Error("the state is rebuilt across a hole in the journal", "error", hole)
			was.broken, hollow = true, true
			if s, err = projector.Parse(s.Kept(), hole.After.Seq, hole.After.Hash); err == nil {
				continue
			}
		}
		if err == nil {
			err = s.Apply(r)
		}
		if hollow && errors.Is(err, projector.ErrImpossible) {
			// It speaks of something that went with the hole: what it says
			// is lost as well, what comes after it is not.
			s, err = projector.Parse(s.Kept(), r.Record.Seq, r.Hash)
		}
		if err != nil {
			return was, fmt.Errorf("cannot rebuild the state: %w; see what is wrong with `supreplay verify --from %s`; to start anew, stop supd and move that folder aside", err, e.args.Places.State)
		}
		was.replayed++
		was.heard = r.Record.Mono
	}
	if was.broken, err = stillMissing(e.args.Places.Runtime, was.broken); err != nil {
		e.log.Error("an engine that follows this one too soon will not look for services without a record", "error", err)
	}
	if rec.Source != journal.FromRunLog {
		if err := (journalPort{j: j}).Compact(s.Kept(), s.Seq(), s.Hash()); err != nil {
			return was, err
		}
	}
	if rec.Deaths >= 2 {
		was.poisoned = rec.InHand
	}
	was.state = s
	return was, nil
}

// missingMark is there while records of this boot are missing and nobody has
// looked to the end for who lives without them. An engine that makes a run log
// anew and dies, or that cannot end them all, leaves one in which nothing is
// missing: what its successor started would run beside them (P1).
const missingMark = "records-missing"

// stillMissing notes in the runtime folder that records are missing, before there
// is a run log again, and tells whether this or an earlier engine found that.
func stillMissing(runtime string, missing bool) (bool, error) {
	path := filepath.Join(runtime, missingMark)
	if missing {
		return true, os.WriteFile(path, nil, 0o600)
	}
	_, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	} else {
		missing = true // where it cannot be told, looking does no harm
	}
	return missing, err
}

// noneMissing ends what stillMissing noted: recovery is over.
func noneMissing(runtime string) error {
	if err := os.Remove(filepath.Join(runtime, missingMark)); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// strangers is what ends those who live without a record; nil if none is missing.
func (e *engine) strangers(missing bool) func(string, func(string) bool) ([]keeper.Stranger, error) {
	if !missing {
		return nil
	}
	return func(folder string, known func(string) bool) ([]keeper.Stranger, error) {
		ended, err := keeper.EndStrangers(folder, e.identity.NodeID, known)
		for _, s := range ended {
			e.log.Warn("ended a running service that the damaged journal does not know", "service", s.Service, "instance", s.Instance, "processes", s.Processes)
		}
		return ended, err
	}
}
