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
		aside := j.path + ".damaged-" + time.Now().UTC().Format("20060102T150405")
		if e := os.Rename(j.path, aside); e != nil {
			return nil, fmt.Errorf("cannot set damaged run log aside: %w", errors.Join(e, err))
		}
		rec, e := j.fromJournal(ctx)
		if e == nil {
			rec.Lost = err.Error()
			j.lost = &event.JournalDamagedData{File: j.path, Seqs: []event.SeqRange{}, Evidence: aside, Why: rec.Lost + "; what was kept and not yet durable is lost"}
		}
		return rec, e
	}
	return nil, err
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
	if log.region == regionSize(j.cfg.RunLogSize) {
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
	return other, errors.Join(other.writeInHand(), log.close())
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
