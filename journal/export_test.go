package journal

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"supd/journal/blocks"
	"supd/journal/event"
)

// What the tests in package journal_test, which may import journaltest, see of
// the inside.

type TestQueue = queue

func NewTestQueue(durable Link) *TestQueue                          { return newQueue(durable) }
func (q *queue) Push(batch []event.Encoded)                         { q.push(batch) }
func (q *queue) Replace(batch []event.Encoded)                      { q.replace(batch) }
func (q *queue) Settle(end Link) error                              { return q.settle(end) }
func (q *queue) DurableLink() Link                                  { return q.durableLink() }
func (q *queue) Undurable() event.JournalGapData                    { return q.undurable(1<<20, nil) }
func GapOf(recs []event.Encoded, budget int64) event.JournalGapData { return gapOf(recs, budget) }
func (q *queue) Wait(ctx context.Context, s event.Seq) error        { return q.wait(ctx, s) }

// RunPublisher works on the queue until ctx ends.
func RunPublisher(ctx context.Context, q *TestQueue, s Stream, n Notify, mark func(Link)) {
	p := &publisher{open: func(context.Context) (Stream, error) { return s, nil }, q: q, mark: mark, notify: n, timeout: publishTimeout}
	p.restore = func(end Link) error { return fmt.Errorf("%w: durable records are gone behind %d", ErrFork, end.Seq) }
	p.run(ctx)
}

// OpenTestStream opens JOURNAL in a state folder of its own.
func OpenTestStream(ctx context.Context, cfg Config) (s Stream, all func() ([]event.Encoded, error), end func() error, err error) {
	if err := cfg.fill(); err != nil {
		return nil, nil, nil, err
	}
	srv, err := startServer(&cfg)
	if err != nil {
		return nil, nil, nil, err
	}
	end = func() error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		return srv.shutdown(ctx)
	}
	js, err := openStream(ctx, srv, &cfg)
	if err != nil {
		return nil, nil, end, err
	}
	all = func() ([]event.Encoded, error) {
		r, err := blocks.Open(filepath.Join(cfg.StateDir, "journal"))
		if err != nil {
			return nil, err
		}
		var recs []event.Encoded
		link := Origin()
		for entry, err := range r.Records(1) {
			if err != nil {
				return recs, err
			}
			e, err := event.Decode(entry.Data)
			if err == nil {
				link, err = link.Next(e)
			}
			if err != nil {
				return recs, err
			}
			recs = append(recs, e)
		}
		return recs, nil
	}
	return js, all, end, nil
}
