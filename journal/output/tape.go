package output

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// tape plays the lines of one stream in file order, from a position on.
type tape struct {
	dir, stream string
	limit       int           // bytes of the longest piece
	quiet       time.Duration // hold back an unfinished last line for so long

	pos     Position
	end     int64 // of a sealed part to play; -1 plays to the end
	skipped uint64
	scanned int64

	seg    *segment
	buf    []byte // bytes of the segment from bufOff on
	bufOff int64
	run    run  // where the position is
	ahead  run  // the entry after it
	mid    bool // pos is inside a line that was given in part
	held   bool // an unfinished last line was held back
}

// run is a stretch of bytes of one instance without a cut.
type run struct {
	i    int64 // newest index entry considered; -1 none
	mark mark
	ok   bool // mark is one
}

// piece is a line or a part of one.
type piece struct {
	Line
	pos Position // of its first byte
	len int64    // in the file, with the newline
	mid bool     // continues a line
}

func newTape(dir, stream string, pos Position, limit int) *tape {
	return &tape{dir: dir, stream: stream, pos: pos, limit: limit, end: -1}
}

func (t *tape) close() {
	if t.seg != nil {
		t.seg.close()
		t.seg = nil
	}
}

// next returns the piece at the position without taking it; nil at the end.
// Its data is valid until the next call.
func (t *tape) next(ctx context.Context) (*piece, error) {
	t.held = false
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if t.seg == nil {
			if err := t.open(); err != nil {
				return nil, err
			}
		}
		if t.pos.Offset < t.stop() {
			p, err := t.read()
			if p != nil || err != nil || t.held {
				return p, err
			}
			continue // it is shorter than it was
		}
		if !t.seg.sealed || t.end >= 0 {
			return nil, nil
		}
		t.close()
		t.pos = Position{Segment: t.pos.Segment + 1}
	}
}

// stop is where the segment, or the part of it to play, ends.
func (t *tape) stop() int64 {
	if t.end >= 0 {
		return min(t.end, t.seg.size)
	}
	return t.seg.size
}

// take moves behind the piece that next returned.
func (t *tape) take(p *piece) {
	t.pos.Offset += p.len
	t.scanned += p.len
	t.mid = p.Partial
	for t.ahead.ok && t.ahead.mark.off <= t.pos.Offset {
		if t.run.ok && t.ahead.mark.instance != t.run.mark.instance || t.ahead.mark.flags&flagCut != 0 {
			t.mid = false
		}
		t.run, t.ahead = t.ahead, t.after(t.ahead.i)
	}
}

// after reads the entry after number i.
func (t *tape) after(i int64) run {
	i, m, ok := t.seg.idx.next(i + 1)
	return run{i, m, ok}
}

// open opens the segment of the position, or the first one after it.
func (t *tape) open() error {
	for range 10 {
		g, err := openSegment(t.dir, t.stream, t.pos.Segment)
		if errors.Is(err, errGone) {
			err = t.resolve()
			if err == nil {
				continue
			}
		}
		if err != nil {
			return fmt.Errorf("cannot read %s: %w", t.stream, err)
		}
		if t.pos.Offset > g.size {
			// Emptied by someone, or a cursor of another folder.
			t.pos.Offset = 0
			if g.sealed {
				t.pos.Offset = g.size
			}
		}
		t.seg, t.buf, t.bufOff = g, nil, t.pos.Offset
		i, m, ok := g.idx.find(t.pos.Offset)
		t.run = run{i, m, ok}
		t.ahead = t.after(i)
		t.mid = t.midline()
		return nil
	}
	return fmt.Errorf("cannot read %s: segments vanish faster than they can be opened; try again", t.stream)
}

// resolve moves a position that does not exist to one that does: the next
// segment after a trimmed one, the oldest for one that never was.
func (t *tape) resolve() error {
	y, err := readLayout(t.dir, t.stream)
	if err != nil {
		return err
	}
	if t.pos.Segment > y.active() || t.pos.Segment == 0 {
		t.skipped += min(t.pos.Segment, 1)
		t.pos = Position{Segment: y.oldest()}
		return nil
	}
	n := y.after(t.pos.Segment)
	t.skipped += n - t.pos.Segment
	t.pos = Position{Segment: n}
	return nil
}

// midline tells whether the position is inside a line: neither a newline, nor
// another instance, nor a cut is right before it.
func (t *tape) midline() bool {
	if t.pos.Offset == 0 {
		return false
	}
	if t.run.ok && t.run.mark.off == t.pos.Offset {
		before, prev, ok := t.seg.idx.find(t.pos.Offset - 1)
		if ok && prev.instance != t.run.mark.instance {
			return false
		}
		for i := before + 1; i <= t.run.i; i++ {
			if m, ok := t.seg.idx.at(i); ok && m.flags&flagCut != 0 {
				return false
			}
		}
	}
	var b [1]byte
	n, _ := t.seg.log.ReadAt(b[:], t.pos.Offset-1)
	return n == 1 && b[0] != '\n'
}

// read cuts the next piece: up to and with the newline, at most to where
// another instance speaks or bytes were dropped, at most limit bytes.
func (t *tape) read() (*piece, error) {
	limit := min(int64(t.limit), t.stop()-t.pos.Offset)
	var data []byte
	newline, from := -1, 0
	for want := min(limit, 4096); newline < 0; want = min(limit, want*4) {
		var err error
		if data, err = t.window(want); err != nil {
			return nil, fmt.Errorf("cannot read %s: %w", t.stream, err)
		}
		data = data[:min(int64(len(data)), limit)]
		if newline = bytes.IndexByte(data[from:], '\n'); newline >= 0 {
			newline += from
			break
		}
		from = len(data)
		if int64(from) >= limit || int64(from) < want {
			break
		}
	}
	if len(data) == 0 { // the file shrank under us, or is damaged from here on
		t.seg.size = t.pos.Offset
		return nil, nil
	}
	n := int64(len(data))
	if newline >= 0 {
		n = int64(newline) + 1
	}
	cut := t.boundary(t.pos.Offset + n)
	if cut > 0 {
		n = cut - t.pos.Offset
	}
	whole := newline >= 0 && n == int64(newline)+1
	p := &piece{pos: t.pos, len: n, mid: t.mid, Line: Line{
		Stream: t.stream, Time: t.seg.newest, Data: data[:n], Partial: !whole,
	}}
	if whole {
		p.Data = data[:newline]
	}
	if t.run.ok {
		p.Time, p.Instance = t.run.mark.time(), t.run.mark.instance.String()
	}
	last := cut == 0 && !t.seg.sealed && t.end < 0 && t.pos.Offset+n == t.seg.size && n < int64(t.limit)
	// Quiet when it was looked at: a reader that has much to read, or did not get to
	// run, does not know what came since.
	if !whole && last && t.quiet > 0 && t.seg.seen.Sub(t.seg.newest) < t.quiet {
		t.held = true
		return nil, nil
	}
	return p, nil
}

// boundary returns the first offset above the position and below end where
// another instance goes on or a cut is; 0 if there is none. Of entries at one
// offset the last counts, since the others got no bytes.
func (t *tape) boundary(end int64) int64 {
	for e := t.ahead; e.ok && e.mark.off < end; {
		cut := e.mark.flags&flagCut != 0
		next := t.after(e.i)
		for ; next.ok && next.mark.off == e.mark.off; next = t.after(e.i) {
			e = next
			cut = cut || e.mark.flags&flagCut != 0
		}
		other := t.run.ok && e.mark.instance != t.run.mark.instance
		if e.mark.off > t.pos.Offset && (other || cut) {
			return e.mark.off
		}
		e = next
	}
	return 0
}

const readStep = 64 << 10

// window returns bytes from the position on: at least want, or up to the end
// of the snapshot.
func (t *tape) window(want int64) ([]byte, error) {
	skip := t.pos.Offset - t.bufOff
	if skip > int64(len(t.buf)) {
		skip = int64(len(t.buf))
		t.bufOff = t.pos.Offset - skip
	}
	have := int64(len(t.buf)) - skip
	if have >= want || t.pos.Offset+have >= t.seg.size {
		return t.buf[skip:], nil
	}
	size := min(max(want, readStep), t.seg.size-t.pos.Offset)
	b := t.buf[:0]
	if int64(cap(b)) < size {
		b = make([]byte, size)
	}
	b = b[:size]
	copy(b, t.buf[skip:])
	n, err := t.seg.log.ReadAt(b[have:], t.pos.Offset+have)
	t.buf, t.bufOff = b[:have+int64(n)], t.pos.Offset
	switch {
	case errors.Is(err, io.EOF):
		err = nil
	case errors.Is(err, errDamaged):
		// The rest of a compressed segment cannot be read, and the next one can.
		// It counts when the position has come to the damage, and so once.
		if err = nil; len(t.buf) == 0 {
			t.skipped++
			t.seg.size = t.pos.Offset
		}
	}
	return t.buf, err
}
