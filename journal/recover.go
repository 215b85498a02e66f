package journal

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"time"

	"supd/journal/event"
)

// recover finds the newest state: the run log of this boot, else the newest
// base and tail of JOURNAL (R2).
//
//	what is found                          what is done
//	run log of this boot                   start from it, JOURNAL opens later
//	no run log, or one of another boot     start from JOURNAL; Lost if this boot had one
//	run log damaged                        set it aside as evidence, start from JOURNAL; Lost
//	run log not readable or too new        refuse: an operator or another version can mend it
func (j *Journal) recover(ctx context.Context) (*Recovered, error) {
	log, got, err := openRunLog(j.path, j.identity.NodeID, j.boot)
	switch {
	case err == nil:
		return j.fromRunLog(log, got)
	case errors.Is(err, ErrNoRunLog), errors.Is(err, ErrOtherBoot):
		rec, err := j.fromJournal(ctx)
		if err == nil && j.identity.Boot == j.boot {
			rec.Lost = "the run log of this boot is gone"
			j.lost = &event.JournalDamagedData{File: j.path, Seqs: []event.SeqRange{}, Why: rec.Lost + "; what was kept and not yet durable is lost"}
		}
		return rec, err
	case errors.Is(err, errFormat), errors.Is(err, ErrChain):
		return j.fromDamaged(ctx, err)
	}
	return nil, err
}

// fromDamaged recovers from JOURNAL and, behind its end, from whole frames of a
// damaged run log.
func (j *Journal) fromDamaged(ctx context.Context, why error) (*Recovered, error) {
	aside := ""
	if !inMemory(j.path) {
		aside = j.path + ".damaged-" + time.Now().UTC().Format("20060102T150405")
		if err := os.Rename(j.path, aside); err != nil {
			return nil, fmt.Errorf("cannot set damaged run log aside: %w", errors.Join(err, why))
		}
	}
	rec, err := j.fromJournal(ctx)
	if err != nil {
		return nil, err
	}
	rec.Lost = why.Error()
	j.lost = &event.JournalDamagedData{
		File: j.path, Seqs: []event.SeqRange{}, Evidence: aside,
		Why: rec.Lost + "; what was kept, not yet durable and unreadable is lost",
	}
	var region *regionError
	if !errors.As(why, &region) {
		return rec, nil
	}
	durable := rec.Records
	rec.Records = func(yield func(event.Encoded, error) bool) {
		for e, err := range durable {
			if !yield(e, err) {
				return
			}
		}
		for _, e := range region.records {
			if e.Record.Seq != j.q.end().Seq+1 || e.Record.Prev != j.q.end().Hash {
				continue // durable already, or behind a hole
			}
			j.q.push([]event.Encoded{e})
			j.lost.Salvaged++
			rec.End = LinkOf(e)
			if !yield(e, nil) {
				return
			}
		}
	}
	return rec, nil
}

func (j *Journal) fromRunLog(log *runLog, got found) (*Recovered, error) {
	j.log = log
	log, err := j.resized(log, got)
	if err != nil {
		return nil, err
	}
	j.log, j.q = log, newQueue(log.mark)
	rec := &Recovered{Source: FromRunLog, Base: got.base, End: log.last, Cut: got.cut, InHand: log.hand, Deaths: log.deaths}
	var fold []event.Encoded
	for _, e := range got.records {
		if e.Record.Seq > got.base.Seq {
			fold = append(fold, e)
		}
		if e.Record.Seq > log.mark.Seq {
			j.q.push([]event.Encoded{e})
		}
	}
	j.count(got.records)
	rec.Records = list(fold)
	return rec, nil
}

// resized makes a run log of the configured size out of one of another size.
func (j *Journal) resized(log *runLog, got found) (*runLog, error) {
	if log.region == regionFor(j.cfg.RunLogSize, got.base) || inMemory(j.path) {
		return log, nil
	}
	recs := make([]rawRecord, len(got.records))
	for i, e := range got.records {
		recs[i] = rawRecord{seq: uint64(e.Record.Seq), bytes: e.Bytes}
	}
	other, err := createRunLog(j.path, j.cfg.RunLogSize, j.identity.NodeID, j.boot, got.base, log.mark, recs)
	if errors.Is(err, ErrRunLogFull) {
		j.cfg.Log.Warn("run log keeps its size: what is in it does not fit the configured one", "error", err)
		return log, nil
	}
	if err != nil {
		return nil, err
	}
	other.hand, other.deaths, other.last = log.hand, log.deaths, log.last
	return other, errors.Join(other.reserveAll(), other.writeInHand(), log.close())
}

func list(recs []event.Encoded) iter.Seq2[event.Encoded, error] {
	return func(yield func(event.Encoded, error) bool) {
		for _, e := range recs {
			if !yield(e, nil) {
				return
			}
		}
	}
}
