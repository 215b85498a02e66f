package journal_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"

	"supd/journal"
	"supd/journal/event"
	"supd/journal/journaltest"
)

// based is a history with bases in parts, and what a fold of its first n records
// begins with: the link before the newest whole base among them, and its text.
type based struct {
	chain *journaltest.Chain
	recs  []event.Encoded
	bases []wholeBase
}

type wholeBase struct {
	before, end journal.Link
	text        string
}

func newBased() *based {
	b := &based{chain: journaltest.NewChain()}
	b.add(b.chain.Next(3)...)
	b.base("the first state", 3)
	b.add(b.chain.Next(2)...)
	b.base(`{"whole":"in one part"}`, 1)
	b.base("the state that was cut", 4)
	b.add(b.chain.Next(2)...)
	return b
}

func (b *based) add(recs ...event.Encoded) { b.recs = append(b.recs, recs...) }

func (b *based) base(text string, parts int) {
	before := b.chain.Link
	b.add(b.chain.Base(text, parts)...)
	b.bases = append(b.bases, wholeBase{before, b.chain.Link, text})
}

// newest is the newest whole base of the first n records.
func (b *based) newest(n int) (found wholeBase) {
	found.before = journal.Origin()
	for _, x := range b.bases {
		if int(x.end.Seq) <= n {
			found = x
		}
	}
	return found
}

// The run log is lost while a base is being published, between any two of its
// parts or within one: the fold begins at the base before it and takes all that is
// there. What is written next is the chain's next, and a base behind it is found.
func TestBaseCutAtEveryPart(t *testing.T) {
	b := newBased()
	cfg := testConfig(t)
	e := openEngine(t, cfg)
	block := filepath.Join(cfg.StateDir, "journal")
	var sizes []int64
	for _, r := range b.recs {
		e.append(r)
		e.chain.Link = journal.LinkOf(r)
		e.durable()
		sizes = append(sizes, blockSize(t, block))
	}
	e.close()
	for n := range b.recs {
		for _, torn := range []bool{false, true} {
			if torn && n+1 == len(b.recs) {
				continue
			}
			t.Run(fmt.Sprintf("behind record %d, torn %v", n+1, torn), func(t *testing.T) {
				cfg := copied(t, cfg)
				size := sizes[n]
				if torn {
					size += (sizes[n+1] - size) / 2
				}
				cutBlock(t, filepath.Join(cfg.StateDir, "journal"), size)
				loseRunLog(t, cfg)
				e := openEngine(t, cfg)
				want := b.newest(n + 1)
				if e.rec.Base.Link != want.before || string(e.rec.Base.State) != want.text {
					t.Errorf("base %+v %q, want %+v", e.rec.Base.Link, e.rec.Base.State, want)
				}
				if got := int(want.before.Seq) + len(e.read); got != n+1 || e.chain.Link != journal.LinkOf(b.recs[n]) {
					t.Fatalf("the fold ends at record %d (%+v), want %d", got, e.chain.Link, n+1)
				}
				e.append(e.chain.Next(1)...)
				before := e.chain.Link
				e.append(e.chain.Base("the state behind it", 2)...)
				e.append(e.chain.Next(1)...)
				e.durable()
				e.close()
				loseRunLog(t, cfg)
				cfg.Moved = false
				e = openEngine(t, cfg)
				if e.rec.Base.Link != before || string(e.rec.Base.State) != "the state behind it" || len(e.read) != 3 {
					t.Errorf("behind it: base %+v %q, %d records", e.rec.Base.Link, e.rec.Base.State, len(e.read))
				}
				e.close()
			})
		}
	}
}

func loseRunLog(t *testing.T, cfg journal.Config) {
	t.Helper()
	if err := os.Remove(filepath.Join(cfg.RuntimeDir, "runlog")); err != nil {
		t.Fatal(err)
	}
}

// theBlock is the one block file that a small JOURNAL has.
func theBlock(t *testing.T, dir string) string {
	t.Helper()
	var blocks []string
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if filepath.Ext(path) == ".blk" {
			blocks = append(blocks, path)
		}
		return err
	})
	if err != nil || len(blocks) != 1 {
		t.Fatalf("blocks %v, %v", blocks, err)
	}
	return blocks[0]
}

func blockSize(t *testing.T, dir string) int64 {
	t.Helper()
	info, err := os.Stat(theBlock(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

func cutBlock(t *testing.T, dir string, size int64) {
	t.Helper()
	if err := os.Truncate(theBlock(t, dir), size); err != nil {
		t.Fatal(err)
	}
}

// An engine dies while its publisher is anywhere in a base, and with any fault: the
// next one has the parts that are kept stored behind those that are, each once.
func TestBasePublishedInPieces(t *testing.T) {
	for _, fault := range journaltest.Harmless() {
		for kept := range len(newBased().recs) {
			t.Run(fmt.Sprintf("%d/%d", fault, kept), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f := journaltest.NewFake()
					b := newBased()
					if _, err := f.Publish(t.Context(), journal.Tail{Link: journal.Origin()}, b.recs[:kept]); kept > 0 && err != nil {
						t.Fatal(err)
					}
					f.Inject(f.Calls(), fault)
					r := newRig(t, f, journal.Origin()) // which does not know what is stored
					r.sent, r.chain = b.recs, b.chain
					r.q.Push(b.recs)
					r.start()
					if err := r.q.Wait(context.Background(), b.chain.Link.Seq); err != nil {
						t.Fatal(err)
					}
					synctest.Wait()
					r.stop()
					r.wantStored()
				})
			})
		}
	}
}
