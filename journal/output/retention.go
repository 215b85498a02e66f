package output

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// trim applies count and age to the closed segments of the stream.
func (s *stream) trim() {
	s.remove(len(s.closed)-s.set.MaxFiles, WhyCount)
	if s.set.MaxAge <= 0 {
		return
	}
	limit, n := s.l.wall().Add(-s.set.MaxAge), 0
	for n < len(s.closed) && s.closed[n].newest.Before(limit) {
		n++
	}
	s.remove(n, WhyAge)
}

// remove tells of and deletes the n oldest closed segments. A file that cannot
// be removed leaves the count with an event: it is tried again by the next
// logger, not at every turn by this one.
func (s *stream) remove(n int, why string) {
	if n <= 0 {
		return
	}
	gone := s.closed[:n]
	t := Trimmed{
		Stream: s.name, Segments: n, Why: why,
		Oldest: gone[0].newest, Newest: gone[n-1].newest,
	}
	x, f := openIndex(indexPath(s.dir, s.name, gone[0].n))
	if _, m, ok := x.next(0); ok {
		t.Oldest = m.time()
	}
	if f != nil {
		f.Close()
	}
	for _, c := range gone {
		t.Bytes += c.text
	}
	s.l.emit(KindTrimmed, s.service, t)
	s.l.step("trim told")
	for _, c := range gone {
		err := removeSegment(s.dir, s.name, c.n)
		if err != nil {
			s.l.emit(KindPressed, s.service, Pressed{What: "disk", Limit: fmt.Sprintf("cannot trim output: %v", err)})
			continue
		}
		s.l.step("segment removed")
		_ = os.Remove(indexPath(s.dir, s.name, c.n))
		s.l.step("index removed")
	}
	s.closed = slices.Clone(s.closed[n:])
}

// removeSegment removes a closed segment in whatever form it is there.
func removeSegment(dir, stream string, n uint64) error {
	for _, path := range []string{closedPath(dir, stream, n), packedPath(dir, stream, n)} {
		if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	return nil
}

// sweep applies what depends on time, to all streams.
func (l *Logger) sweep(now time.Time) {
	l.sweptAt = now
	for _, s := range l.sorted() {
		if _, known := l.settings[s.service]; !known {
			continue // a service of the past: only the total limit concerns it
		}
		if s.set.MaxAge > 0 && s.trouble == nil && s.log != nil && s.size > 0 &&
			s.first.Before(l.wall().Add(-s.set.MaxAge)) {
			if err := s.rotate(); err != nil {
				s.fail(err)
			}
		}
		s.trim()
	}
	l.limitTotal() // it may have been made larger or smaller
	l.totalDue, l.packDue = true, true
}

// limitTotal takes the lesser of max_total and half of the file system, which
// others need too.
func (l *Logger) limitTotal() {
	limit := l.opts.MaxTotal
	var fs unix.Statfs_t
	if limit > 0 && unix.Statfs(existing(l.dir), &fs) == nil && fs.Blocks > 0 {
		if half := int64(fs.Blocks) / 2 * fs.Bsize; half < limit {
			limit = half
		}
	}
	if limit != l.maxTotal && limit < l.opts.MaxTotal && l.opts.Lowered != nil {
		l.opts.Lowered(limit)
	}
	l.maxTotal = limit
}

// existing is the folder, or the nearest one above it that is there: the
// output folder is made with the first byte.
func existing(dir string) string {
	for {
		if _, err := os.Stat(dir); err == nil || dir == filepath.Dir(dir) {
			return dir
		}
		dir = filepath.Dir(dir)
	}
}

// trimTotal removes the oldest closed segments of all services until they fit
// together. When none is left it closes the active segments of streams that
// nobody writes to; those in use stay, each bounded by its max_size.
func (l *Logger) trimTotal() {
	l.totalDue = false
	if l.maxTotal <= 0 {
		return
	}
	streams := l.sorted()
	var sum int64
	for _, s := range streams {
		sum += s.size + s.idxSize
		for _, c := range s.closed {
			sum += c.total
		}
	}
	for sum > l.maxTotal {
		s := oldestClosed(streams)
		if s == nil {
			if s = l.retire(streams); s == nil {
				return
			}
		}
		// One event for all that this stream gives before another is older.
		n := 0
		for n < len(s.closed) && sum > l.maxTotal && !olderElsewhere(streams, s, s.closed[n].newest) {
			sum -= s.closed[n].total
			n++
		}
		s.remove(n, WhyTotal)
	}
}

func oldestClosed(streams []*stream) *stream {
	var oldest *stream
	for _, s := range streams {
		if len(s.closed) > 0 && (oldest == nil || s.closed[0].newest.Before(oldest.closed[0].newest)) {
			oldest = s
		}
	}
	return oldest
}

func olderElsewhere(streams []*stream, but *stream, t time.Time) bool {
	for _, s := range streams {
		if s != but && len(s.closed) > 0 && s.closed[0].newest.Before(t) {
			return true
		}
	}
	return false
}

// retire closes the segment of a stream without pipes, the longest silent one.
func (l *Logger) retire(streams []*stream) *stream {
	var pick *stream
	var silent time.Time
	for _, s := range streams {
		st, err := os.Lstat(activePath(s.dir, s.name))
		if err != nil || len(s.pipes) > 0 || s.size == 0 || s.log != nil || !st.Mode().IsRegular() {
			continue
		}
		if pick == nil || st.ModTime().Before(silent) {
			pick, silent = s, st.ModTime()
		}
	}
	if pick == nil {
		return nil
	}
	if os.Rename(activePath(pick.dir, pick.name), closedPath(pick.dir, pick.name, pick.n)) != nil {
		return nil
	}
	pick.closed = append(pick.closed, closedSegment{
		n: pick.n, text: pick.size, total: pick.size + pick.idxSize, newest: silent, plain: true,
	})
	pick.n++
	pick.size, pick.idxSize = 0, 0
	// The number must survive the segment that carries it.
	if f, err := openFile(indexPath(pick.dir, pick.name, pick.n), os.O_RDWR|os.O_CREATE); err == nil {
		f.Close()
	}
	return pick
}
