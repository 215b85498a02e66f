package output

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	fileMode = 0o640
	dirMode  = 0o750
)

func activePath(dir, stream string) string { return filepath.Join(dir, stream+".log") }

func closedPath(dir, stream string, n uint64) string {
	return filepath.Join(dir, stream+".log."+strconv.FormatUint(n, 10))
}

func indexPath(dir, stream string, n uint64) string {
	return filepath.Join(dir, stream+".idx."+strconv.FormatUint(n, 10))
}

// layout is what a service folder holds of one stream.
//
// The number of the active segment follows from the names alone. With C the
// largest closed number and I the largest index number:
//
//	I > C    the active segment is I         (the usual state)
//	I <= C   the active segment is C+1       (crash after the rename; its index
//	                                          and file are about to be created)
//	none     the active segment is 1
//
// The index of a new active segment is created before its file, and a closed
// segment is removed before its index, so no crash makes a number come twice.
// A closed segment is plain, compressed, or both for a moment: the compressed
// file gets its name when it is whole and synced, and the plain one, which is
// read while it is there, goes after that.
type layout struct {
	closed  []uint64 // ascending
	indexes []uint64 // ascending
}

func (y layout) active() uint64 {
	var c, i uint64
	if len(y.closed) > 0 {
		c = y.closed[len(y.closed)-1]
	}
	if len(y.indexes) > 0 {
		i = y.indexes[len(y.indexes)-1]
	}
	return max(i, c+1)
}

// oldest is the first segment there is, the active one if no other.
func (y layout) oldest() uint64 {
	if len(y.closed) > 0 {
		return y.closed[0]
	}
	return y.active()
}

// after returns the first segment there is with a number above n.
func (y layout) after(n uint64) uint64 {
	for _, c := range y.closed {
		if c > n {
			return c
		}
	}
	return y.active()
}

// readLayout lists one stream of a service folder. A missing folder is empty.
func readLayout(dir, stream string) (layout, error) {
	var y layout
	d, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return y, nil
	}
	if err != nil {
		return y, err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return y, err
	}
	for _, name := range names {
		if n, ok := numbered(name, stream+".log."); ok {
			y.closed = append(y.closed, n)
		} else if n, ok := packedNumber(name, stream+".log."); ok {
			y.closed = append(y.closed, n)
		} else if n, ok := numbered(name, stream+".idx."); ok {
			y.indexes = append(y.indexes, n)
		}
	}
	slices.Sort(y.closed)
	y.closed = slices.Compact(y.closed) // some are there plain and compressed for a moment
	slices.Sort(y.indexes)
	return y, nil
}

// numbered takes only names that this package writes: "7", never "07" or "7.old".
func numbered(name, prefix string) (uint64, bool) {
	rest, ok := strings.CutPrefix(name, prefix)
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(rest, 10, 62)
	return n, err == nil && n > 0 && strconv.FormatUint(n, 10) == rest
}

// openRegular opens a file for reading. It follows no link and waits for no
// one, so that a strange file in the folder is an error and not a hang.
func openRegular(path string) (*os.File, error) {
	return openFile(path, os.O_RDONLY)
}

func openFile(path string, flags int) (*os.File, error) {
	fd, err := unix.Open(path, flags|unix.O_CLOEXEC|unix.O_NOFOLLOW|unix.O_NONBLOCK, fileMode)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return nil, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		unix.Close(fd)
		return nil, &fs.PathError{Op: "open", Path: path, Err: errNotRegular}
	}
	// Without this Go would put the descriptor of a file into its poller.
	if err := unix.SetNonblock(fd, false); err != nil {
		unix.Close(fd)
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

var errNotRegular = fmt.Errorf("not a regular file: %w", unix.EISDIR)

// closedSegment is what retention knows of a closed segment.
type closedSegment struct {
	n      uint64
	text   int64     // bytes of the text
	total  int64     // on disk, with its index
	newest time.Time // last written
	plain  bool      // is there as text
	packed bool      // is there compressed
	left   bool      // could not be compressed: stays plain
}

func statClosed(dir, stream string, n uint64) (closedSegment, error) {
	c := closedSegment{n: n}
	if st, err := os.Lstat(packedPath(dir, stream, n)); err == nil {
		c.total, c.newest = st.Size(), st.ModTime()
		if p, err := openPacked(packedPath(dir, stream, n)); err == nil {
			c.text, c.packed = p.size, true
			p.Close()
		}
	}
	st, err := os.Lstat(closedPath(dir, stream, n))
	switch {
	case err == nil:
		// A compressed file of another text is someone's own copy.
		c.packed = c.packed && c.text == st.Size()
		c.text, c.total, c.newest, c.plain = st.Size(), c.total+st.Size(), st.ModTime(), true
	case c.newest.IsZero():
		return closedSegment{}, err
	}
	if st, err := os.Lstat(indexPath(dir, stream, n)); err == nil {
		c.total += st.Size()
	}
	return c, nil
}
