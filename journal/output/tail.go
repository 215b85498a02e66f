package output

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"syscall"
	"time"
)

const (
	// maxTail bounds the memory of a tail: 24 bytes for each line and stream.
	maxTail = 1_000_000
	// tailWindow is how much of the end is looked at first; each further look
	// back is four times as long.
	tailWindow = 256 << 10
	// tailPiece bounds the memory for lines that are only counted.
	tailPiece = 64 << 10
)

// lineStart is where a line begins and when it came.
type lineStart struct {
	pos  Position
	time int64
}

// begin resolves Tail and Since to a cursor.
func begin(ctx context.Context, folder string, q Query) (Cursor, error) {
	var c Cursor
	var starts [2][]lineStart
	all := q.Tail < 0 || q.Tail > maxTail
	for i, name := range []string{Stdout, Stderr} {
		if q.Stream != "" && q.Stream != name {
			continue
		}
		y, err := readLayout(folder, name)
		if err != nil {
			return c, err
		}
		floor := Position{Segment: y.oldest()}
		if !q.Since.IsZero() {
			if floor, err = sincePosition(ctx, folder, name, y, q.Since); err != nil {
				return c, err
			}
		}
		if all {
			*c.of(name) = floor
			continue
		}
		var end Position
		if starts[i], end, err = lastLines(ctx, folder, name, y, floor, q); err != nil {
			return c, err
		}
		*c.of(name) = end
	}
	if all {
		return c, nil
	}
	// The last q.Tail of both together: drop the older ones, in the order in
	// which Read will merge them.
	drop := len(starts[0]) + len(starts[1]) - q.Tail
	for ; drop > 0; drop-- {
		i := 0
		if len(starts[0]) == 0 || len(starts[1]) > 0 && starts[1][0].time < starts[0][0].time {
			i = 1
		}
		starts[i] = starts[i][1:]
	}
	for i, name := range []string{Stdout, Stderr} {
		if len(starts[i]) > 0 {
			*c.of(name) = starts[i][0].pos
		}
	}
	return c, nil
}

// sincePosition finds the first line that is not older than t. Segments last
// written before t are passed by without being read.
func sincePosition(ctx context.Context, folder, stream string, y layout, t time.Time) (Position, error) {
	n := y.active()
	for _, c := range y.closed {
		st, err := os.Lstat(closedPath(folder, stream, c))
		if err != nil {
			st, err = os.Lstat(packedPath(folder, stream, c))
		}
		if err == nil && !st.ModTime().Before(t) {
			n = c
			break
		}
	}
	tape := newTape(folder, stream, Position{Segment: n}, tailPiece)
	defer tape.close()
	for {
		p, err := tape.next(ctx)
		if err != nil || p == nil {
			return tape.pos, err
		}
		if !p.mid && !p.Time.Before(t) {
			return p.pos, nil
		}
		tape.take(p)
	}
}

// lastLines returns the starts of the last q.Tail lines at or after floor, and
// the position behind them. It looks back window by window, each read once.
func lastLines(ctx context.Context, folder, stream string, y layout, floor Position, q Query) ([]lineStart, Position, error) {
	var found []lineStart
	end := Position{Segment: y.active()}
	segments := append(append([]uint64(nil), y.closed...), end.Segment)
	for k := len(segments) - 1; k >= 0 && segments[k] >= floor.Segment; k-- {
		g, err := openSegment(folder, stream, segments[k])
		if errors.Is(err, errGone) {
			continue // trimmed meanwhile
		}
		if err != nil {
			return nil, end, err
		}
		size := g.size
		g.close()
		if k == len(segments)-1 {
			end.Offset = size
		}
		var low int64
		if segments[k] == floor.Segment {
			low = min(floor.Offset, size)
		}
		for hi, window := size, int64(tailWindow); hi > low && len(found) < q.Tail; window *= 4 {
			lo := max(low, size-window)
			starts, at, err := startsBetween(ctx, folder, stream, segments[k], lo, hi, q)
			if errors.Is(err, fs.ErrNotExist) {
				break
			}
			if err != nil {
				return nil, end, err
			}
			found = append(starts, found...)
			if lo == low {
				break
			}
			hi = at
		}
		if len(found) >= q.Tail {
			return found[len(found)-q.Tail:], end, nil
		}
	}
	return found, end, nil
}

// startsBetween lists the last q.Tail lines that begin in [lo, hi) of a segment
// and match, and where the first line of all in there begins (hi if none).
func startsBetween(ctx context.Context, folder, stream string, n uint64, lo, hi int64, q Query) ([]lineStart, int64, error) {
	t := newTape(folder, stream, Position{n, lo}, tailPiece)
	t.end = hi
	defer t.close()
	var starts []lineStart
	first := hi
	for {
		p, err := t.next(ctx)
		if err != nil {
			return nil, first, err
		}
		if p == nil || p.pos.Segment != n {
			return starts, first, nil
		}
		if !p.mid {
			first = min(first, p.pos.Offset)
			if q.Instance == "" || p.Instance == q.Instance {
				starts = append(starts, lineStart{p.pos, p.Time.UnixNano()})
				if len(starts) > 2*q.Tail+1024 {
					starts = append([]lineStart(nil), starts[len(starts)-q.Tail:]...)
				}
			}
		}
		t.take(p)
	}
}

func inodeOf(st os.FileInfo) uint64 {
	if s, ok := st.Sys().(*syscall.Stat_t); ok {
		return s.Ino
	}
	return 0
}
