package output

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"time"
)

// segment is one segment opened for reading. Its size is a snapshot: what is
// appended later belongs to the next call.
type segment struct {
	n      uint64
	log    segmentText // nil for an active segment without a file yet
	size   int64
	sealed bool      // closed for writing when opened
	newest time.Time // when it was last written to
	seen   time.Time // not after size and newest were taken
	idx    *index
	idxF   *os.File
}

// segmentText is the text of a segment: a plain file or a compressed one.
type segmentText interface {
	io.ReaderAt
	io.Closer
	Stat() (os.FileInfo, error) // of the file
}

func (g *segment) close() {
	if g.log != nil {
		g.log.Close()
	}
	if g.idxF != nil {
		g.idxF.Close()
	}
}

// errGone means that the segment does not exist (any more, or yet).
var errGone = errors.New("segment does not exist")

// openSegment opens segment n whatever its name is at the moment. The active
// one may be renamed between the look at the folder and the open; the number
// of the active segment never comes back, so looking again afterwards tells.
func openSegment(dir, stream string, n uint64) (*segment, error) {
	for range 10 {
		f, err := openRegular(closedPath(dir, stream, n))
		if err == nil {
			return newSegment(dir, stream, n, f, true)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		p, err := openPacked(packedPath(dir, stream, n))
		if err == nil {
			return newPackedSegment(dir, stream, n, p)
		}
		if errors.Is(err, errDamaged) {
			return nil, errGone // counted by the reader as skipped
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		y, err := readLayout(dir, stream)
		if err != nil {
			return nil, err
		}
		if y.active() != n {
			if contains(y.closed, n) {
				continue // renamed just now
			}
			return nil, errGone
		}
		f, err = openRegular(activePath(dir, stream))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		missing := err != nil
		if y, err = readLayout(dir, stream); err == nil && y.active() == n {
			if missing {
				return &segment{n: n, idx: newIndex(nil, 0)}, nil
			}
			return newSegment(dir, stream, n, f, false)
		}
		if !missing {
			f.Close()
		}
		if err != nil {
			return nil, err
		}
	}
	return nil, errGone
}

func newPackedSegment(dir, stream string, n uint64, p *packedText) (*segment, error) {
	st, err := p.Stat()
	if err != nil {
		p.Close()
		return nil, err
	}
	g := &segment{n: n, log: p, size: p.size, sealed: true, newest: st.ModTime()}
	g.idx, g.idxF = openIndex(indexPath(dir, stream, n))
	return g, nil
}

// newSegment takes the size of the text before it looks at the index: entries
// are written first, so the index then covers all of it.
func newSegment(dir, stream string, n uint64, f *os.File, sealed bool) (*segment, error) {
	seen := time.Now()
	st, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	g := &segment{n: n, log: f, size: st.Size(), sealed: sealed, newest: st.ModTime(), seen: seen}
	g.idx, g.idxF = openIndex(indexPath(dir, stream, n))
	return g, nil
}
