package client

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"supd/journal/event"
)

// EventsQuery says which records of the journal to read.
type EventsQuery struct {
	Services []string   // none: all
	Kinds    []string   // "instance.exited" or a group as "instance"; none: all
	Since    *time.Time // stored at or after
	From     event.Seq  // own number of the first record; 0: from the beginning
	Tail     int        // only the last so many; 0: all
	Follow   bool       // go on with what comes, until ctx ends
}

// Stored is one record as the journal holds it. Record is the zero value
// where this version cannot decode the bytes.
type Stored struct {
	Record event.Record
	Bytes  []byte
	Err    error // why it could not be decoded; wraps event.ErrUnknownKind for a newer kind
}

// subjects are the filter subjects of a query on a node.
func (q EventsQuery) subjects(node string) []string {
	services, kinds := []string{"*"}, []string{">"}
	if len(q.Services) > 0 {
		services = services[:0]
		for _, s := range q.Services {
			services = append(services, event.Token(s))
		}
	}
	if len(q.Kinds) > 0 {
		kinds = kinds[:0]
		for _, k := range q.Kinds {
			if !strings.Contains(k, ".") {
				k += ".>"
			}
			kinds = append(kinds, k)
		}
	}
	root := strings.TrimSuffix(event.RecordSubjects(node), ">")
	var subjects []string
	for _, s := range services {
		for _, k := range kinds {
			subjects = append(subjects, root+s+"."+k)
		}
	}
	return subjects
}

// Events calls fn for each record the query names, oldest first. It reads
// through an ordered consumer, which notices lost messages and deaths of the
// engine and goes on behind the last record it delivered.
func (c *Client) Events(ctx context.Context, q EventsQuery, fn func(Stored) error) error {
	js, err := jetstream.New(c.nc)
	if err != nil {
		return fmt.Errorf("cannot read the journal: %w", err)
	}
	stream, err := c.stream(ctx, js)
	if err != nil {
		return err
	}
	info := stream.CachedInfo()
	if info.State.Msgs == 0 && !q.Follow {
		return nil
	}
	cfg := jetstream.OrderedConsumerConfig{FilterSubjects: q.subjects(c.Node()), InactiveThreshold: time.Minute}
	last := info.State.LastSeq
	switch {
	case q.Since != nil:
		cfg.DeliverPolicy, cfg.OptStartTime = jetstream.DeliverByStartTimePolicy, q.Since
	case q.From > 0:
		first, err := findSeq(ctx, stream, q.From, info.State.FirstSeq, last)
		if err != nil {
			return err
		}
		cfg.DeliverPolicy, cfg.OptStartSeq = jetstream.DeliverByStartSequencePolicy, max(first, 1)
	case q.Tail > 0 && len(q.Services) == 0 && len(q.Kinds) == 0 && last > uint64(q.Tail):
		cfg.DeliverPolicy, cfg.OptStartSeq = jetstream.DeliverByStartSequencePolicy, last-uint64(q.Tail)+1
	}
	consumer, err := js.OrderedConsumer(ctx, event.Stream, cfg)
	if err != nil {
		return fmt.Errorf("cannot read the journal: %w", err)
	}
	r := eventReader{query: q, fn: fn, last: last}
	return r.read(ctx, c, consumer)
}

// stream waits for the journal: an engine that has just started serves
// commands before its journal is open (R2).
func (c *Client) stream(ctx context.Context, js jetstream.JetStream) (jetstream.Stream, error) {
	until := time.Now().Add(c.opts.Connect)
	for {
		try, cancel := context.WithTimeout(ctx, dialTimeout)
		stream, err := js.Stream(try, event.Stream)
		cancel()
		if err == nil {
			return stream, nil
		}
		if gone := c.errGone(); gone != nil {
			return nil, gone
		}
		if ctx.Err() != nil || time.Now().After(until) {
			return nil, fmt.Errorf("cannot read the journal: %w", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(retryPause):
		}
	}
}

type eventReader struct {
	query EventsQuery
	fn    func(Stored) error
	last  uint64 // stream sequence when the reading began
	tail  []Stored
}

func (r *eventReader) read(ctx context.Context, c *Client, consumer jetstream.Consumer) error {
	info := consumer.CachedInfo()
	caughtUp := info == nil || info.NumPending == 0
	if caughtUp && !r.query.Follow {
		return nil
	}
	iter, err := consumer.Messages(jetstream.PullMaxMessages(500), jetstream.PullHeartbeat(5*time.Second))
	if err != nil {
		return fmt.Errorf("cannot read the journal: %w", err)
	}
	messages := receive(iter)
	defer messages.stop()
	for {
		msg, err := r.next(ctx, c, messages)
		if err != nil || msg == nil {
			return err
		}
		meta, err := msg.Metadata()
		if err != nil {
			return fmt.Errorf("cannot read the journal: %w", err)
		}
		if !caughtUp && meta.Sequence.Stream > r.last {
			caughtUp = true
			if err := r.flush(); err != nil || !r.query.Follow {
				return err
			}
		}
		if err := r.deliver(decodeStored(msg.Data()), caughtUp); err != nil {
			return err
		}
		if !caughtUp && meta.NumPending == 0 {
			caughtUp = true
			if err := r.flush(); err != nil || !r.query.Follow {
				return err
			}
		}
	}
}

// next waits for a message; nil is the end of a follow.
func (r *eventReader) next(ctx context.Context, c *Client, messages *messages) (jetstream.Msg, error) {
	for {
		select {
		case got := <-messages.got:
			if got.err == nil {
				return got.msg, nil
			}
			if errors.Is(got.err, jetstream.ErrMsgIteratorClosed) {
				return nil, fmt.Errorf("cannot read the journal: %w", got.err)
			}
		case <-ctx.Done():
			if r.query.Follow {
				return nil, nil
			}
			return nil, fmt.Errorf("%w: %w", ErrTimeout, ctx.Err())
		case <-messages.look.C:
		}
		if err := c.errGone(); err != nil {
			return nil, err
		}
	}
}

// messages are those of an ordered consumer. While the consumer is being made
// anew, which takes as long as supd is away or its journal closed, Next of
// the consumer returns for no context and Stop waits for it. So both run
// beside the reader, who can leave at any time.
type messages struct {
	iter jetstream.MessagesContext
	got  chan received
	left chan struct{}
	look *time.Ticker // when to look whether supd is gone
}

type received struct {
	msg jetstream.Msg
	err error
}

func receive(iter jetstream.MessagesContext) *messages {
	m := &messages{iter: iter, got: make(chan received), left: make(chan struct{}), look: time.NewTicker(time.Second)}
	go m.run()
	return m
}

func (m *messages) run() {
	for {
		msg, err := m.iter.Next()
		select {
		case m.got <- received{msg, err}:
		case <-m.left:
			return
		}
		if errors.Is(err, jetstream.ErrMsgIteratorClosed) {
			return
		}
		if err != nil {
			time.Sleep(retryPause)
		}
	}
}

func (m *messages) stop() {
	m.look.Stop()
	close(m.left)
	go m.iter.Stop()
}

// deliver keeps the last ones back while older may still follow.
func (r *eventReader) deliver(s Stored, caughtUp bool) error {
	if s.Err == nil && s.Record.Seq < r.query.From {
		return nil
	}
	if caughtUp || r.query.Tail == 0 {
		return r.fn(s)
	}
	r.tail = append(r.tail, s)
	if len(r.tail) > 2*r.query.Tail {
		r.tail = append(r.tail[:0], r.tail[len(r.tail)-r.query.Tail:]...)
	}
	return nil
}

func (r *eventReader) flush() error {
	for _, s := range r.tail[max(len(r.tail)-r.query.Tail, 0):] {
		if err := r.fn(s); err != nil {
			return err
		}
	}
	r.tail = nil
	return nil
}

func decodeStored(b []byte) Stored {
	e, err := event.Decode(b)
	return Stored{Record: e.Record, Bytes: b, Err: err}
}

// findSeq is the place in the stream of the first record whose own number is
// at least want. Numbers grow with places, but they differ where a journal
// began anew, so it is searched (R6).
func findSeq(ctx context.Context, stream jetstream.Stream, want event.Seq, first, last uint64) (uint64, error) {
	var failed error
	n := sort.Search(int(last-first+1), func(i int) bool {
		if failed != nil {
			return true
		}
		msg, err := stream.GetMsg(ctx, first+uint64(i))
		if err != nil {
			failed = fmt.Errorf("cannot read record %d of the journal: %w", first+uint64(i), err)
			return true
		}
		e, err := event.Decode(msg.Data)
		return e.Record.Seq >= want || err != nil && !errors.Is(err, event.ErrUnknownKind)
	})
	return first + uint64(n), failed
}
