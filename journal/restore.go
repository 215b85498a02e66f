package journal

import (
	"fmt"
	"io"
	"strings"

	"supd/journal/event"
)

// kept is what the run log knows: the newest durable record, and all records
// that are in it.
func (j *Journal) kept() (Link, []event.Encoded) {
	if j.log == nil {
		return Link{}, nil
	}
	return j.log.durableLink(), j.log.records()
}

// damaged tells the engine.
func (j *Journal) damaged(d event.JournalDamagedData) {
	j.cfg.Log.Error("the journal is damaged", "file", d.File, "offset", d.Offset, "lost", d.Seqs, "salvaged", d.Salvaged, "evidence", d.Evidence, "why", d.Why)
	if j.cfg.Notify.Damaged != nil {
		j.cfg.Notify.Damaged(d)
	}
}

// restore goes on where JOURNAL ends, when that is before what was durable: a
// disk, a crash or a person took durable records away. What the run log still
// has of them is published again; the rest is named (P4). If the end is not
// even one of ours, it is a fork (R6).
func (j *Journal) restore(end Link) error {
	before := j.q.durableLink()
	recs, err := j.log.unmark(end)
	if err != nil {
		return err
	}
	back := j.q.restore(end, recs)
	d := event.JournalDamagedData{
		File: "journal", Seqs: []event.SeqRange{}, Salvaged: back,
		Why: fmt.Sprintf("records up to %d were durable, the journal ends with record %d", before.Seq, end.Seq),
	}
	first := before.Seq + 1 // of what is published again
	if len(recs) > 0 {
		first = min(first, recs[0].Record.Seq)
	}
	if first > end.Seq+1 {
		d.Seqs = append(d.Seqs, event.SeqRange{First: end.Seq + 1, Last: first - 1})
	}
	if back > 0 {
		d.Why += fmt.Sprintf("; %d records are published again from the run log", back)
	}
	j.damaged(d)
	return nil
}

func (l *runLog) durableLink() Link {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mark
}

// records are all records in the active region. What cannot be read is left
// out: whoever asks mends something else with them.
func (l *runLog) records() []event.Encoded {
	l.mu.Lock()
	defer l.mu.Unlock()
	recs, _ := l.readBack()
	return recs
}

func (l *runLog) readBack() ([]event.Encoded, error) {
	b := make([]byte, l.end)
	if _, err := io.ReadFull(io.NewSectionReader(l.f, l.offset(l.gen), l.end), b); err != nil {
		return nil, err
	}
	c, err := decodeRegion(b, l.gen)
	if err != nil {
		return nil, err
	}
	recs := make([]event.Encoded, 0, len(c.records))
	for _, r := range c.records {
		e, err := event.Decode(r.bytes)
		if err != nil {
			return recs, err
		}
		recs = append(recs, e)
	}
	return recs, nil
}

// unmark makes everything behind link not durable again, as far as it is here,
// and returns it. It returns ErrFork if link is not a record of ours.
func (l *runLog) unmark(link Link) ([]event.Encoded, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	recs, err := l.readBack()
	if err != nil {
		return nil, fmt.Errorf("cannot restore records from the run log: %w", err)
	}
	for i, e := range recs {
		if e.Record.Seq == link.Seq && e.Hash != link.Hash {
			return nil, fmt.Errorf("%w: JOURNAL ends with another record %d (hash %.12s…) than was durable", ErrFork, link.Seq, link.Hash)
		}
		if e.Record.Seq > link.Seq {
			recs = recs[i:]
			break
		}
		if i == len(recs)-1 {
			recs = nil
		}
	}
	if len(recs) > 0 && recs[0].Record.Seq == link.Seq+1 && recs[0].Record.Prev != link.Hash {
		return nil, fmt.Errorf("%w: JOURNAL ends with another record %d (hash %.12s…) than was durable", ErrFork, link.Seq, link.Hash)
	}
	if err := l.setDurable(link); err != nil {
		return nil, fmt.Errorf("cannot restore records from the run log: %w", err)
	}
	l.pending, l.pendBytes = nil, 0
	for _, e := range recs {
		l.note(e.Record.Seq, int64(12+len(e.Bytes)))
	}
	return recs, nil
}

// subjectLike is the subject of a record in a stream whose other records have
// subjects like that one.
func subjectLike(other string, e event.Encoded) string {
	if w := strings.SplitN(other, ".", 3); len(w) == 3 {
		return event.RecordSubject(w[1], e.Record.Subject, e.Record.Kind)
	}
	return event.RecordSubject("_", e.Record.Subject, e.Record.Kind)
}
