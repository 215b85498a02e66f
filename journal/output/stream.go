package output

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// lineSlack is how far past max_size a segment may go for the end of a line.
	lineSlack = 64 << 10
	// markEvery is the least time between two entries of one instance; below
	// the batch tick they would say nothing that anyone can use.
	markEvery = 5 * time.Millisecond
	// Space is reserved in steps that double with the segment, so that a
	// thousand services of one line each do not hold a gigabyte.
	reserveMin = 64 << 10
	reserveMax = 1 << 20
	// A stream that fills segments faster than this gets no space reserved:
	// reserveMax would last it milliseconds, and writing into reserved space
	// halves what a journaling file system takes.
	reserveFast = time.Second
	// indexReserve is 400 entries: the index of the batches that fit into the
	// space reserved for the text, more or less.
	indexReserve = 16 << 10
	retryEvery   = 200 * time.Millisecond
)

// stream writes the segments of one stream of one service. It belongs to the
// goroutine of Logger.Run.
type stream struct {
	l       *Logger
	service string
	name    string
	dir     string
	set     Settings
	pipes   []*pipe // attached

	log, idx *os.File // nil until the first byte, and in some troubles
	n        uint64   // number of the active segment
	size     int64    // of its text: the cursor
	idxSize  int64
	reserved int64 // text bytes with space behind them
	idxSpace int64
	last     mark      // newest entry of the index, if idxSize > 0
	first    time.Time // when the segment's first byte came; zero if empty
	busy     bool      // the segment before was full within reserveFast
	fullAt   int64     // size at which the segment was found full; -1 before
	cut      bool      // bytes were dropped since the last one written
	closed   []closedSegment
	trouble  *trouble
	drops    atomic.Bool // set.OnFull, for the standby
}

// trouble is a time in which the stream cannot be written.
type trouble struct {
	since   time.Time
	retryAt time.Time
	reason  string
	refused int64 // bytes dropped
}

func newStream(l *Logger, service, name string) *stream {
	return &stream{
		l: l, service: service, name: name, set: DefaultSettings(),
		dir: filepath.Join(l.dir, service), fullAt: -1,
	}
}

// use changes the settings.
func (s *stream) use(set Settings) {
	s.set = set
	s.drops.Store(set.OnFull == OnFullDrop)
}

// load reads what the folder holds: the closed segments and the number and
// size of the active one. It creates nothing.
func (s *stream) load() error {
	y, err := readLayout(s.dir, s.name)
	if err != nil {
		return err
	}
	s.n, s.closed = y.active(), nil
	for _, n := range y.closed {
		if c, err := statClosed(s.dir, s.name, n); err == nil {
			s.closed = append(s.closed, c)
		}
	}
	for _, n := range y.indexes {
		if n < s.n && !contains(y.closed, n) {
			// Left by a death between the removal of a segment and its index.
			_ = os.Remove(indexPath(s.dir, s.name, n))
		}
	}
	s.size, s.idxSize = 0, 0
	if st, err := os.Lstat(activePath(s.dir, s.name)); err == nil {
		s.size = st.Size()
	}
	if st, err := os.Lstat(indexPath(s.dir, s.name, s.n)); err == nil {
		s.idxSize = st.Size()
	}
	return nil
}

func contains(sorted []uint64, n uint64) bool {
	for _, v := range sorted {
		if v == n {
			return true
		}
	}
	return false
}

// open makes the stream ready for its next byte.
func (s *stream) open() error {
	if err := os.MkdirAll(s.dir, dirMode); err != nil {
		return err
	}
	s.l.step("folder made")
	if err := s.load(); err != nil {
		return err
	}
	return s.openFiles()
}

// openFiles opens or creates segment s.n, its index first (see layout).
func (s *stream) openFiles() error {
	idx, err := openFile(indexPath(s.dir, s.name, s.n), os.O_RDWR|os.O_CREATE)
	if err != nil {
		return err
	}
	s.l.step("index created")
	log, err := openFile(activePath(s.dir, s.name), os.O_RDWR|os.O_CREATE)
	if err != nil {
		idx.Close()
		return err
	}
	s.l.step("segment created")
	s.log, s.idx = log, idx
	s.first, s.fullAt, s.reserved, s.idxSpace = time.Time{}, -1, 0, 0
	if err := s.measure(); err != nil {
		s.abandon()
		return err
	}
	if s.size > 0 {
		s.first = s.l.wall()
		if _, m, ok := newIndex(idx, s.idxSize).next(0); ok {
			s.first = m.time()
		}
	}
	return nil
}

// measure takes the size of the text from the file and makes the index agree.
func (s *stream) measure() error {
	st, err := s.log.Stat()
	if err != nil {
		return err
	}
	s.size = st.Size()
	s.idxSize, s.last, err = trimIndex(s.idx, s.size)
	return err
}

// ready opens the files if need be and notices what others did to them: a
// removed active segment is replaced, a truncated one goes on at its new end.
func (s *stream) ready() error {
	if s.log == nil {
		return s.open()
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(s.log.Fd()), &st); err != nil {
		return err
	}
	if st.Nlink == 0 {
		now := s.l.wall()
		s.l.emit(KindTrimmed, s.service, Trimmed{
			Stream: s.name, Segments: 1, Bytes: st.Size, Oldest: s.first, Newest: now, Why: WhyOutside,
		})
		s.abandon()
		return s.open()
	}
	if st.Size == s.size {
		return nil
	}
	s.reserved = 0
	return s.measure()
}

// mark writes the index entry for bytes that are about to come. An entry that
// never got bytes is replaced, so that waiting for a full disk adds none.
func (s *stream) mark(id instanceID, now time.Time) error {
	m := mark{off: s.size, at: now.UnixNano(), instance: id}
	if s.cut {
		m.flags = flagCut
	}
	pos := s.idxSize
	if s.idxSize > 0 {
		age := time.Duration(m.at - s.last.at)
		if s.last.off == m.off {
			pos -= markSize
			m.flags |= s.last.flags
		} else if s.last.instance == id && !s.cut && age >= 0 && age < markEvery {
			return nil
		}
	}
	if pos+markSize > s.idxSpace {
		reserve(s.idx, pos, indexReserve)
		s.idxSpace = pos + indexReserve
	}
	if _, err := s.idx.WriteAt(m.encode(), pos); err != nil {
		return err
	}
	s.idxSize, s.last, s.cut = pos+markSize, m, false
	s.l.step("index written")
	return nil
}

// reserve asks for space behind the end of a file. It is a courtesy to the
// next writes: a refusal shows soon enough in one of them.
func reserve(f *os.File, off, n int64) {
	_ = unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, off, n)
}

// giveBack frees the space reserved behind the end of a file. It asks for the
// size anew: someone may have emptied the file, and a stale size would fill it
// with zeros.
func giveBack(f *os.File) {
	if st, err := f.Stat(); err == nil {
		_ = f.Truncate(st.Size())
	}
}

// reserveText keeps space ahead of the text.
func (s *stream) reserveText() {
	if s.busy {
		return
	}
	step := min(max(s.size, reserveMin), reserveMax)
	if s.reserved-s.size < step/2 {
		from := max(s.reserved, s.size)
		reserve(s.log, from, step)
		s.reserved = from + step
	}
}

// full tells whether the segment should end at the next line end.
func (s *stream) full() bool {
	return s.size > 0 && (s.size >= s.set.MaxSize || s.idxSize >= s.set.MaxSize)
}

// atLineEnd tells whether the last byte is a newline.
func (s *stream) atLineEnd() bool {
	var b [1]byte
	_, err := s.log.ReadAt(b[:], s.size-1)
	return err == nil && b[0] == '\n'
}

// room says how many bytes of p the active segment takes next, at least 1,
// and closes it first if it is time (the rule is in the package doc).
func (s *stream) room(p *pipe, budget int64) (int64, error) {
	if !s.full() {
		return min(s.set.MaxSize-s.size, budget), nil
	}
	if n, err := unix.IoctlGetInt(p.fd, unix.TIOCINQ); err == nil && n == 0 {
		return 1, nil // empty or ended, as the read will tell: no reason to close
		// (TIOCINQ is another name of FIONREAD)
	}
	if s.fullAt < 0 {
		s.fullAt = s.size
	}
	left := s.fullAt + lineSlack - s.size
	if left <= 0 || s.atLineEnd() {
		if err := s.rotate(); err != nil {
			return 0, err
		}
		return min(s.set.MaxSize, budget), nil
	}
	return min(int64(s.l.look.through(p.fd)), left, budget), nil
}

// rotate closes the active segment and opens the next one.
func (s *stream) rotate() error {
	giveBack(s.log)
	giveBack(s.idx)
	s.l.step("reservation released")
	if err := os.Rename(activePath(s.dir, s.name), closedPath(s.dir, s.name, s.n)); err != nil {
		return err
	}
	s.l.step("segment renamed")
	s.closed = append(s.closed, closedSegment{
		n: s.n, text: s.size, total: s.size + s.idxSize, newest: s.l.wall(), plain: true,
	})
	s.l.syncLater(s.service, s.log, s.idx, closedPath(s.dir, s.name, s.n), indexPath(s.dir, s.name, s.n))
	s.log, s.idx = nil, nil
	s.busy = s.size >= reserveMax && s.l.wall().Sub(s.first) < reserveFast
	s.n++
	s.size, s.idxSize = 0, 0
	err := s.openFiles()
	s.trim()
	s.l.trimTotal()                        // many segments may close in one turn
	s.l.totalDue, s.l.packDue = true, true // and the new one counts when it has grown
	return err
}

// release closes the files of a stream that nobody writes to at the moment.
func (s *stream) release() {
	if s.log == nil {
		return
	}
	giveBack(s.log)
	giveBack(s.idx)
	s.l.syncLater(s.service, s.log, s.idx, activePath(s.dir, s.name), indexPath(s.dir, s.name, s.n))
	s.log, s.idx = nil, nil
}

// abandon closes files that are not what they should be; the next byte opens
// them anew.
func (s *stream) abandon() {
	if s.log != nil {
		s.log.Close()
		s.idx.Close()
		s.log, s.idx = nil, nil
	}
}

// fail notes that a write did not work and when to try again.
func (s *stream) fail(err error) {
	now := time.Now()
	s.l.uneasy = true
	if s.trouble == nil {
		errno := unix.Errno(0)
		errors.As(err, &errno)
		name := unix.ErrnoName(errno)
		s.trouble = &trouble{since: now, reason: fmt.Sprintf("cannot write %s: %v", s.name, err)}
		s.l.emit(KindPressed, s.service, Pressed{
			What: "disk", Errno: name,
			Limit: fmt.Sprintf("cannot write %s of %s to %s: %v", s.name, s.service, s.dir, err),
		})
	}
	s.trouble.retryAt = now.Add(retryEvery)
	if !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.EDQUOT) {
		s.abandon()
	}
}

// relieve ends a trouble, if there is one.
func (s *stream) relieve() {
	t := s.trouble
	if t == nil {
		return
	}
	s.trouble = nil
	for _, p := range s.l.pipes {
		if p.s == s {
			s.l.flushGap(p)
		}
	}
	s.l.emit(KindRelieved, s.service, Relieved{
		What: "disk", Duration: time.Since(t.since).Round(time.Millisecond).String(), Refused: t.refused,
	})
}
