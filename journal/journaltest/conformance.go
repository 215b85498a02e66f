package journaltest

import (
	"context"
	"testing"
	"time"

	"supd/journal"
	"supd/journal/event"
)

// Opened is a fresh, empty stream under test and a way to read all of it.
type Opened struct {
	Stream journal.Stream
	All    func() []event.Encoded
}

// Run holds a stream to what the publisher relies on. Open is called for each
// part of the suite and must clean up after itself with t.Cleanup.
func Run(t *testing.T, open func(t *testing.T) Opened) {
	t.Run("empty", func(t *testing.T) { newBench(t, open).wantTail(journal.Tail{Link: journal.Origin()}) })
	t.Run("sizes", func(t *testing.T) { sizes(newBench(t, open)) })
	t.Run("large records", func(t *testing.T) { large(newBench(t, open)) })
	t.Run("wrong end stores nothing", func(t *testing.T) { wrongEnd(newBench(t, open)) })
	t.Run("repeated publish stores once", func(t *testing.T) { repeated(newBench(t, open)) })
	t.Run("partly stored batch is continued", func(t *testing.T) { continued(newBench(t, open)) })
	t.Run("ended context", func(t *testing.T) { ended(newBench(t, open)) })
	t.Run("heal of a healthy stream", func(t *testing.T) { heal(newBench(t, open)) })
}

type bench struct {
	*testing.T
	Opened
	ctx   context.Context
	chain *Chain
	sent  []event.Encoded // what must be stored
	tail  journal.Tail
}

func newBench(t *testing.T, open func(t *testing.T) Opened) *bench {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	b := &bench{T: t, Opened: open(t), ctx: ctx, chain: NewChain(), tail: journal.Tail{Link: journal.Origin()}}
	return b
}

func (b *bench) publish(batch []event.Encoded) {
	b.Helper()
	tail, err := b.Stream.Publish(b.ctx, b.tail, batch)
	if err != nil {
		b.Fatalf("publish of %d records: %v", len(batch), err)
	}
	b.sent = append(b.sent, batch...)
	want := journal.Tail{Position: uint64(len(b.sent)), Link: journal.LinkOf(batch[len(batch)-1])}
	if tail != want {
		b.Fatalf("publish returned end %+v, want %+v", tail, want)
	}
	b.tail = tail
	b.wantTail(want)
}

func (b *bench) wantTail(want journal.Tail) {
	b.Helper()
	got, err := b.Stream.Last(b.ctx)
	if err != nil || got != want {
		b.Fatalf("Last = %+v, %v; want %+v", got, err, want)
	}
}

func (b *bench) wantStored() {
	b.Helper()
	all := b.All()
	if len(all) != len(b.sent) {
		b.Fatalf("%d records are stored, want %d", len(all), len(b.sent))
	}
	for i := range all {
		if string(all[i].Bytes) != string(b.sent[i].Bytes) {
			b.Fatalf("record %d is stored as\n%s\nwant\n%s", i+1, all[i].Bytes, b.sent[i].Bytes)
		}
	}
}

func sizes(b *bench) {
	for _, n := range []int{1, 2, 3, 13, 14, 15, 200, 4000, 1} {
		b.publish(b.chain.Next(n))
	}
	b.wantStored()
}

func large(b *bench) {
	b.publish([]event.Encoded{b.chain.Large(3 << 20)})
	batch := []event.Encoded{b.chain.Large(2 << 20)}
	batch = append(batch, b.chain.Next(20)...)
	b.publish(batch)
	b.wantStored()
}

func wrongEnd(b *bench) {
	b.publish(b.chain.Next(5))
	for _, n := range []int{1, 5, 50} {
		batch := b.chain.Next(n)
		for _, off := range []int64{-5, -1, 1, 1000} {
			at := uint64(int64(b.tail.Position) + off)
			if _, err := b.Stream.Publish(b.ctx, journal.Tail{Position: at, Link: b.tail.Link}, batch); err == nil {
				b.Fatalf("publish of %d records behind position %d succeeded, the end is %d", n, at, b.tail.Position)
			}
			b.wantTail(b.tail)
		}
		b.publish(batch)
	}
	b.wantStored()
}

func repeated(b *bench) {
	for _, n := range []int{1, 7, 40} {
		before, batch := b.tail, b.chain.Next(n)
		b.publish(batch)
		if _, err := b.Stream.Publish(b.ctx, before, batch); err == nil {
			b.Fatalf("the same %d records were stored twice", n)
		}
		b.wantTail(b.tail)
	}
	b.wantStored()
}

func continued(b *bench) {
	batch := b.chain.Next(40)
	b.publish(batch[:3])
	if _, err := b.Stream.Publish(b.ctx, journal.Tail{Link: journal.Origin()}, batch); err == nil {
		b.Fatal("a batch whose beginning is stored was stored again")
	}
	b.wantTail(b.tail)
	b.publish(batch[3:])
	b.wantStored()
}

// ended checks that a call whose time is up returns, and that what it left is
// the batch, a prefix of it or nothing.
func ended(b *bench) {
	b.publish(b.chain.Next(2))
	ctx, cancel := context.WithCancel(b.ctx)
	cancel()
	batch := b.chain.Next(30)
	if _, err := b.Stream.Publish(ctx, b.tail, batch); err == nil {
		b.Fatal("publish with an ended context succeeded")
	}
	if _, err := b.Stream.Last(ctx); err == nil {
		b.Fatal("Last with an ended context succeeded")
	}
	b.sent = append(b.sent, batch...)
	all := b.All() // more may arrive afterwards
	if len(all) > len(b.sent) {
		b.Fatalf("%d records are stored, at most %d were sent", len(all), len(b.sent))
	}
	for i := range all {
		if all[i].Hash != b.sent[i].Hash {
			b.Fatalf("record %d is stored as another one", i+1)
		}
	}
}

func heal(b *bench) {
	b.publish(b.chain.Next(20))
	if why, err := b.Stream.Heal(b.ctx); why != "" || err != nil {
		b.Fatalf("Heal = %q, %v; want nothing found", why, err)
	}
	b.wantTail(b.tail)
	b.publish(b.chain.Next(2))
	b.wantStored()
}
