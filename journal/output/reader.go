package output

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"time"
)

// Query says what to read of a service's output.
type Query struct {
	Service string
	// Stream is "stdout", "stderr" or empty for both, merged by time.
	Stream string
	// Instance is a UUID; empty is all. Bytes whose instance is unknown, since
	// the index is damaged, belong to none.
	Instance string
	// Tail begins at the last so many lines (after Since, of Instance); less
	// than 0 begins at the oldest, 0 at the end. More than a million is all.
	Tail int
	// Since begins at the first line of each stream that is not older.
	Since time.Time
	// Follow holds an unfinished last line back until it ends or has been
	// quiet for a second, so that a line is not cut where a batch ended.
	Follow bool
	// MaxBytes bounds one Chunk and the pieces of long lines; 0 is 256 KiB.
	MaxBytes int
	// Cursor goes on where a chunk ended; Tail and Since are then ignored.
	Cursor Cursor

	quiet time.Duration // tests: instead of quietLine
}

// Line is one line, or a piece of one.
type Line struct {
	Time     time.Time `json:"time"` // when the logger moved its first byte
	Stream   string    `json:"stream"`
	Instance string    `json:"instance,omitempty"`
	// Data is raw: any byte may occur, NUL and invalid UTF-8 included. The
	// newline is not part of it.
	Data []byte `json:"data"`
	// Partial: no newline follows here. The line goes on in the next piece of
	// this stream and instance, or was cut by a gap or the end of its instance.
	Partial bool `json:"partial,omitempty"`
}

// Skip tells of segments that are gone or, compressed ones, damaged.
type Skip struct {
	Stream   string `json:"stream"`
	Segments uint64 `json:"segments"`
}

// Chunk is what one Read returns.
type Chunk struct {
	Lines   []Line `json:"lines"`
	Next    Cursor `json:"next"`
	EOF     bool   `json:"eof"`            // nothing more at this moment
	Held    bool   `json:"held,omitempty"` // with Follow: an unfinished last line was held back
	Skipped []Skip `json:"skipped,omitempty"`
}

const (
	defaultMaxBytes = 256 << 10
	maxLines        = 10_000
	// maxScan bounds the work of one Read whose filter matches little.
	maxScan = 64 << 20
	// quietLine is when an unfinished line counts as a prompt to be shown.
	quietLine = time.Second
	pollEvery = 25 * time.Millisecond
)

func (q Query) check() error {
	err := checkService(q.Service)
	if err == nil && q.Stream != "" {
		err = checkStream(q.Stream)
	}
	if err == nil {
		_, err = parseInstance(q.Instance)
	}
	if err != nil {
		return fmt.Errorf("cannot read output: %w", err)
	}
	return nil
}

func (q Query) maxBytes() int {
	if q.MaxBytes <= 0 {
		return defaultMaxBytes
	}
	return q.MaxBytes
}

// Read returns the next lines of a service's output under dir. It reads files
// and nothing else: it takes no lock, and the logger may append, close and
// trim segments at the same time, or be dead. Memory is bounded by a few
// times MaxBytes. A service without output is an empty chunk. Several Reads
// may run at once.
//
// Lines of one stream come in the order of the file; between the streams the
// older goes first, and a line once begun is finished first.
func Read(ctx context.Context, dir string, q Query) (Chunk, error) {
	if err := q.check(); err != nil {
		return Chunk{}, err
	}
	start := q.Cursor
	if start.IsZero() {
		var err error
		if start, err = begin(ctx, filepath.Join(dir, q.Service), q); err != nil {
			return Chunk{}, err
		}
	}
	m := newMerge(filepath.Join(dir, q.Service), q, start)
	defer m.close()
	chunk := Chunk{Next: start}
	for used := 0; ; {
		t, p, err := m.next(ctx)
		if err != nil {
			return Chunk{}, err
		}
		if p == nil {
			chunk.EOF = true
			break
		}
		if len(chunk.Lines) > 0 && used+len(p.Data) > q.maxBytes() ||
			len(chunk.Lines) >= maxLines || m.scanned() > maxScan {
			break
		}
		t.take(p)
		if q.Instance == "" || p.Instance == q.Instance {
			// Lines of nothing still cost memory.
			used += len(p.Data) + 1
			p.Data = bytes.Clone(p.Data)
			chunk.Lines = append(chunk.Lines, p.Line)
		}
	}
	chunk.Next, chunk.Skipped, chunk.Held = m.cursor(start), m.skipped(), m.held()
	return chunk, nil
}

// Wait returns when Read with the same query may have more than it had at
// q.Cursor, or when ctx ends, with its error. It looks every 25 ms.
func Wait(ctx context.Context, dir string, q Query) error {
	if err := q.check(); err != nil {
		return err
	}
	q.Instance = "" // bytes of another instance move the cursor too
	folder := filepath.Join(dir, q.Service)
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	var last fingerprint
	for look := true; ; {
		now := takeFingerprint(folder)
		if look || now != last {
			more, held, err := hasMore(ctx, folder, q)
			if more || err != nil {
				return err
			}
			last, look = now, held // a held line becomes readable without a change
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// merge plays both streams as one.
type merge struct {
	tapes []*tape // stdout first
	heads []*piece
	known []bool // heads[i] was asked for
}

func newMerge(folder string, q Query, c Cursor) *merge {
	m := &merge{}
	for _, name := range []string{Stdout, Stderr} {
		if q.Stream != "" && q.Stream != name {
			continue
		}
		t := newTape(folder, name, *c.of(name), q.maxBytes())
		if q.Follow {
			t.quiet = cmp.Or(q.quiet, quietLine)
		}
		m.tapes = append(m.tapes, t)
	}
	m.heads, m.known = make([]*piece, len(m.tapes)), make([]bool, len(m.tapes))
	return m
}

func (c *Cursor) of(stream string) *Position {
	if stream == Stderr {
		return &c.Err
	}
	return &c.Out
}

// next returns the piece that goes first and its tape; nil at the end.
func (m *merge) next(ctx context.Context) (*tape, *piece, error) {
	best := -1
	for i, t := range m.tapes {
		if !m.known[i] {
			p, err := t.next(ctx)
			if err != nil {
				return nil, nil, err
			}
			m.heads[i], m.known[i] = p, true
		}
		if p := m.heads[i]; p != nil && (best < 0 || before(p, m.heads[best])) {
			best = i
		}
	}
	if best < 0 {
		return nil, nil, nil
	}
	m.known[best] = m.heads[best] == nil // the caller takes it or stops
	return m.tapes[best], m.heads[best], nil
}

func before(a, b *piece) bool {
	if a.mid != b.mid {
		return a.mid
	}
	return a.Time.Before(b.Time)
}

func (m *merge) cursor(c Cursor) Cursor {
	for _, t := range m.tapes {
		*c.of(t.stream) = t.pos
	}
	return c
}

func (m *merge) skipped() []Skip {
	var skips []Skip
	for _, t := range m.tapes {
		if t.skipped > 0 {
			skips = append(skips, Skip{t.stream, t.skipped})
		}
	}
	return skips
}

func (m *merge) scanned() (n int64) {
	for _, t := range m.tapes {
		n += t.scanned
	}
	return n
}

func (m *merge) held() bool {
	return slices.ContainsFunc(m.tapes, func(t *tape) bool { return t.held })
}

func (m *merge) close() {
	for _, t := range m.tapes {
		t.close()
	}
}
