package journal

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"supd/journal/event"
)

// baseSubject finds bases of all nodes: the node's name may have changed.
var baseSubject = event.RecordSubject("*", "", event.StateBase)

// readAhead bounds how many messages are in memory while the tail is read.
const readAhead = 500

// foundBase is a complete base in JOURNAL.
type foundBase struct {
	base  Base
	first uint64 // position of its first part; 0 if there is no base
}

// newestBase finds the newest complete base. A base is complete when all its
// parts are there, one after the other; an engine may have died in between.
func (j *jetStream) newestBase(ctx context.Context) (foundBase, error) {
	none := foundBase{base: Base{Link: Origin()}}
	msg, err := j.stream.GetLastMsgForSubject(ctx, baseSubject)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return none, nil
	}
	if err != nil {
		return none, fmt.Errorf("cannot find base: %w", err)
	}
	part, data, err := decodePart(msg)
	if err != nil {
		return none, err
	}
	if data.Part == data.Parts {
		return j.assemble(ctx, msg.Sequence-uint64(data.Parts-1), part.Record.Seq-event.Seq(data.Parts-1), data.Parts)
	}
	return j.olderBase(ctx, none)
}

// olderBase walks through all parts of all bases, of which there are few: the
// newest base is torn and the one before it is wanted.
func (j *jetStream) olderBase(ctx context.Context, none foundBase) (foundBase, error) {
	newest := none
	for at := uint64(1); ; at++ {
		msg, err := j.stream.GetMsg(ctx, at, jetstream.WithGetMsgSubject(baseSubject))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return newest, nil
		}
		if err != nil {
			return none, fmt.Errorf("cannot find base: %w", err)
		}
		at = msg.Sequence
		part, data, err := decodePart(msg)
		if err != nil {
			return none, err
		}
		if data.Part != 1 {
			continue
		}
		full, err := j.assemble(ctx, at, part.Record.Seq, data.Parts)
		switch {
		case err == nil:
			newest = full
		case !errors.Is(err, errTornBase):
			return none, err
		}
	}
}

var errTornBase = errors.New("base is not complete")

// assemble reads the parts of a base that begins at this position.
func (j *jetStream) assemble(ctx context.Context, first uint64, seq event.Seq, parts int) (foundBase, error) {
	found := foundBase{first: first}
	for i := range parts {
		msg, err := j.stream.GetMsg(ctx, first+uint64(i))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return found, fmt.Errorf("%w: part %d is missing", errTornBase, i+1)
		}
		if err != nil {
			return found, fmt.Errorf("cannot read base: %w", err)
		}
		part, data, err := decodePart(msg)
		if err != nil || data.Part != i+1 || data.Parts != parts || part.Record.Seq != seq+event.Seq(i) {
			return found, fmt.Errorf("%w: part %d is another record", errTornBase, i+1)
		}
		if i == 0 {
			// The state is the one before the base's own records.
			found.base.Link = Link{Seq: part.Record.Seq - 1, Hash: part.Record.Prev}
			found.base.Version = data.Version
		}
		found.base.State = append(found.base.State, partText(data)...)
	}
	return found, nil
}

func partText(d event.StateBaseData) []byte {
	if d.Parts == 1 {
		return d.State
	}
	return []byte(d.Chunk)
}

func decodePart(msg *jetstream.RawStreamMsg) (event.Encoded, event.StateBaseData, error) {
	e, err := event.Decode(msg.Data)
	if err != nil {
		return e, event.StateBaseData{}, fmt.Errorf("cannot read base at position %d: %w", msg.Sequence, err)
	}
	d, ok := e.Record.Data.(event.StateBaseData)
	if !ok || d.Part < 1 || d.Parts < d.Part {
		return e, d, fmt.Errorf("cannot read base at position %d: it is no part of a base", msg.Sequence)
	}
	return e, d, nil
}

// records reads the stream from a position to end, in order, checking that each
// record continues the chain behind from. The first error ends it.
func (j *jetStream) records(ctx context.Context, position uint64, from Link, end Tail) iter.Seq2[event.Encoded, error] {
	return func(yield func(event.Encoded, error) bool) {
		if end.Position < max(position, 1) {
			return
		}
		cons, err := j.stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{
			DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: max(position, 1), InactiveThreshold: time.Minute,
		})
		if err != nil {
			yield(event.Encoded{}, fmt.Errorf("cannot read journal: %w", err))
			return
		}
		msgs, err := cons.Messages(jetstream.PullMaxMessages(readAhead))
		if err != nil {
			yield(event.Encoded{}, fmt.Errorf("cannot read journal: %w", err))
			return
		}
		defer msgs.Stop()
		for link := from; link.Seq < end.Link.Seq; {
			e, err := nextRecord(ctx, msgs)
			if err == nil {
				link, err = link.Next(e)
			}
			if err == nil && link.Seq == end.Link.Seq && link != end.Link {
				err = &ChainError{Seq: link.Seq, What: "the end of the journal has changed while it was read"}
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}

func nextRecord(ctx context.Context, msgs jetstream.MessagesContext) (event.Encoded, error) {
	m, err := msgs.Next(jetstream.NextContext(ctx))
	if err != nil {
		return event.Encoded{}, fmt.Errorf("cannot read journal: %w", err)
	}
	e, err := event.Decode(m.Data())
	if err != nil {
		return e, fmt.Errorf("cannot read journal: %w", err)
	}
	return e, nil
}

// backlog is what came after the newest base.
type backlog struct{ records, bytes int64 }

// sinceBase tells how much JOURNAL holds behind its newest base. Bytes are
// estimated from the average.
func sinceBase(ctx context.Context, js jetstream.JetStream, info *jetstream.StreamInfo) (backlog, error) {
	all := backlog{int64(info.State.Msgs), int64(info.State.Bytes)}
	if all.records == 0 {
		return all, nil
	}
	st, err := js.Stream(ctx, event.Stream)
	if err != nil {
		return all, fmt.Errorf("cannot find base: %w", err)
	}
	msg, err := st.GetLastMsgForSubject(ctx, baseSubject)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return all, nil
	}
	if err != nil {
		return all, fmt.Errorf("cannot find base: %w", err)
	}
	n := int64(info.State.LastSeq - msg.Sequence)
	return backlog{n, all.bytes / all.records * n}, nil
}
