package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"supd/journal/event"
)

// compact starts a new generation: the base, then what is not yet durable.
func (l *runLog) compact(base Base) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if base.Link != l.last {
		return fmt.Errorf("cannot compact run log: base is of record %d, the newest is %d", base.Seq, l.last.Seq)
	}
	recs, err := l.carried()
	if err != nil {
		return fmt.Errorf("cannot compact run log: %w", err)
	}
	if err := l.beginOrGrow(base, recs); err != nil {
		return fmt.Errorf("cannot compact run log: %w", err)
	}
	return nil
}

// beginOrGrow is begin for a state of any size: one that has outgrown the
// regions gets a larger run log, complete before it takes the old one's name.
// What is not durable alone never makes it grow: that is bounded (R10, P9).
func (l *runLog) beginOrGrow(base Base, recs []rawRecord) error {
	err := l.begin(base, recs)
	if !errors.Is(err, ErrRunLogFull) || base.frameSize() <= l.region/4 || inMemory(l.path) {
		return err
	}
	if e := l.become(l.region, base, recs); e != nil {
		return errors.Join(err, e)
	}
	l.last = base.Link
	return nil
}

// grow gives the run log regions of at least this size, with what is in it. It
// returns ErrRunLogFull where there is no memory for them.
func (l *runLog) grow(region int64) error {
	region = max(region, 2*l.region)
	if inMemory(l.path) {
		l.cramped = time.Now()
		return fmt.Errorf("%w: one in a memfd cannot grow; raise journal.run_log", ErrRunLogFull)
	}
	c, err := l.regionOf(l.gen)
	if err != nil {
		return err
	}
	if err := l.become(region, c.base, c.records); err != nil {
		return err
	}
	return nil
}

// become moves to a run log with regions of at least this size, which is complete
// before it takes the old one's name.
func (l *runLog) become(region int64, base Base, recs []rawRecord) error {
	larger, err := createRunLog(l.path, regionStart+2*region, l.head.node, l.head.boot, base, l.mark, recs)
	if err != nil {
		l.cramped = time.Now()
		return fmt.Errorf("%w, and there is no memory for a larger one: %w", ErrRunLogFull, err)
	}
	larger.hand, larger.deaths = l.hand, l.deaths
	if err := errors.Join(larger.reserveAll(), larger.writeInHand()); err != nil {
		return errors.Join(err, larger.close())
	}
	_ = l.f.Close()
	l.f, l.w, l.head, l.region, l.gen, l.end, l.fixed = larger.f, larger.f, larger.head, larger.region, larger.gen, larger.end, larger.fixed
	l.active, l.durable, l.inHand = larger.active, larger.durable, larger.inHand
	l.pending, l.pendBytes = larger.pending, larger.pendBytes
	return nil
}

// replace starts a new generation with the base and these records alone: what
// was not durable is given up (R10). The first record must be a gap that
// covers it.
func (l *runLog) replace(base Base, batch []event.Encoded) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(batch) == 0 {
		return fmt.Errorf("cannot drop records from run log: no gap record that follows record %d", l.last.Seq)
	}
	// The gap may reach beyond what is here: over a batch that found no room.
	gap, ok := batch[0].Record.Data.(event.JournalGapData)
	if !ok || gap.Last < l.last.Seq || gap.First > l.last.Seq+1 || len(l.pending) > 0 && gap.First > l.pending[0].seq {
		return fmt.Errorf("cannot drop records from run log: record %d is no gap that covers what is not durable", batch[0].Record.Seq)
	}
	recs := make([]rawRecord, len(batch))
	link := Link{Seq: gap.Last, Hash: gap.LastHash}
	for i, e := range batch {
		next, err := link.Next(e)
		if err != nil {
			return fmt.Errorf("cannot drop records from run log: %w", err)
		}
		link, recs[i] = next, rawRecord{seq: uint64(next.Seq), bytes: e.Bytes}
	}
	if base.Link != link {
		return fmt.Errorf("cannot drop records from run log: base is of record %d, the newest is %d", base.Seq, link.Seq)
	}
	if err := l.beginOrGrow(base, recs); err != nil {
		return fmt.Errorf("cannot drop records from run log: %w", err)
	}
	return nil
}

// carried reads back the records that are not yet durable.
func (l *runLog) carried() ([]rawRecord, error) {
	if len(l.pending) == 0 {
		return nil, nil
	}
	b := make([]byte, l.end)
	if _, err := io.ReadFull(io.NewSectionReader(l.f, l.offset(l.gen), l.end), b); err != nil {
		return nil, err
	}
	c, err := decodeRegion(b, l.gen)
	if err != nil {
		return nil, err
	}
	for i, r := range c.records {
		if event.Seq(r.seq) == l.pending[0].seq && len(c.records)-i == len(l.pending) {
			return c.records[i:], nil
		}
	}
	return nil, fmt.Errorf("%w region: the %d records that are not durable are not in it", errFormat, len(l.pending))
}

// begin writes a region and makes it the active one. Whatever happens before
// the last write, the old region stays as it was.
func (l *runLog) begin(base Base, recs []rawRecord) error {
	gen := l.gen + 1
	need := base.frameSize() + frameEnd
	if len(recs) > 0 {
		need += frameHeader + 5
	}
	for _, r := range recs {
		need += r.size()
	}
	if need > l.region {
		return fmt.Errorf("%w: base and records not yet durable take %d bytes of %d; raise journal.run_log", ErrRunLogFull, need, l.region)
	}
	b, err := appendBase(make([]byte, frameHeader, need), base)
	if err != nil {
		return err
	}
	b = sealFrame(b, gen, 0)
	end := int64(len(b)) - frameEnd
	if len(recs) > 0 {
		frame := sealFrame(appendRecords(make([]byte, frameHeader, need-end), recs), gen, end)
		b = append(b[:end], frame...)
		end = int64(len(b)) - frameEnd
	}
	if _, err := l.w.WriteAt(b, l.offset(gen)); err != nil {
		return err
	}
	if err := l.active.write(l.w, binary.LittleEndian.AppendUint64(nil, gen)); err != nil {
		return err
	}
	l.gen, l.end, l.fixed = gen, end, base.frameSize()
	l.pending, l.pendBytes = nil, 0
	if base.Seq >= l.last.Seq {
		l.last = base.Link
	}
	for _, r := range recs {
		l.note(event.Seq(r.seq), r.size())
	}
	return nil
}

// crampedPause is how long growing is not tried again after it was refused.
const crampedPause = time.Second

// roomToDrop tells whether a gap and twice the state, as it was last, fit into a
// region, and makes it so if there is memory. replace must not fail: who calls it
// has decided the gap already.
func (l *runLog) roomToDrop() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	need := l.region/2 + 3*l.fixed
	if need <= l.region {
		return true
	}
	return time.Since(l.cramped) >= crampedPause && l.grow(need) == nil
}

// mayCompact tells that no compaction failed just now.
func (l *runLog) mayCompact() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Since(l.cramped) >= crampedPause
}

// fill level of the active region.
type runLogUse struct {
	size        int64 // of the region
	used        int64
	reclaimable int64 // what a compaction would free
}

func (l *runLog) use() runLogUse {
	l.mu.Lock()
	defer l.mu.Unlock()
	return runLogUse{size: l.region, used: l.end, reclaimable: max(0, l.end-l.fixed-l.pendBytes)}
}
