package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"supd/journal/event"
)

// MinRunLog is the smallest size of a run log in bytes.
const MinRunLog = 256 << 10

// runLog is the kept grade (R1): a preallocated file on tmpfs that alone is
// enough to rebuild the state. Its methods may be called by any goroutine; one
// goroutine appends.
type runLog struct {
	path    string
	head    header
	sparse  bool // memory is taken when it is written
	mu      sync.Mutex
	f       *os.File
	w       io.WriterAt // f; tests watch the writes
	region  int64       // size of one region
	gen     uint64
	end     int64 // where the next frame goes, from the active region's start
	fixed   int64 // bytes of the region that compaction cannot free: its base
	active  slot
	durable slot
	inHand  slot

	last      Link // of the newest record
	mark      Link // of the newest durable record
	pending   []pendingRecord
	pendBytes int64
	hand      string
	deaths    int
	buf       []byte
	cramped   time.Time // when there was no memory to grow
}

// pendingRecord is a record that is not yet durable: compaction carries it.
type pendingRecord struct {
	seq  event.Seq
	size int64
}

// found is what openRunLog read.
type found struct {
	base    Base
	records []event.Encoded // all in the region, from the oldest not durable when it was begun
	cut     string          // what a torn append left; empty if the end was clean
}

// createRunLog makes a run log at path with one base and the given records,
// replacing whatever is there. It is complete before it has its name.
func createRunLog(path string, size int64, node, boot string, base Base, durable Link, recs []rawRecord) (*runLog, error) {
	if inMemory(path) {
		return createInMemory(path, size, node, boot, base, durable, recs)
	}
	temp := path + ".new"
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cannot create run log: %w", err)
	}
	f, err := os.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot create run log: %w", err)
	}
	l := newRunLog(f)
	l.path, l.head = path, header{region: regionFor(size, base), node: node, boot: boot}
	if err := l.fill(base, durable, recs); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot create run log %s: %w", path, err), f.Close(), os.Remove(temp))
	}
	if err := os.Rename(temp, path); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot create run log: %w", err), f.Close(), os.Remove(temp))
	}
	return l, nil
}

func newRunLog(f *os.File) *runLog {
	return &runLog{f: f, w: f, active: slot{off: slotActive}, durable: slot{off: slotDurable}, inHand: slot{off: slotInHand}}
}

// fill writes the header last: without it there is no run log.
func (l *runLog) fill(base Base, durable Link, recs []rawRecord) error {
	l.region = l.head.region
	head, err := l.head.encode()
	if err != nil {
		return err
	}
	if err := l.f.Truncate(regionStart + 2*l.region); err != nil {
		return fmt.Errorf("cannot make room for %d bytes: %w", regionStart+2*l.region, err)
	}
	// Space is taken now, so that no later append can fail for want of it: that
	// of the region which is written first. That of the other one is taken when
	// services are already being started (reserveAll).
	if err := l.reserve(0, regionStart); err != nil {
		return err
	}
	if err := l.reserve(l.offset(l.gen+1), l.region); err != nil {
		return err
	}
	if err := l.setDurable(durable); err != nil {
		return err
	}
	if err := l.begin(base, recs); err != nil {
		return err
	}
	_, err = l.w.WriteAt(head, 0)
	return err
}

// reserve takes space from off on, which costs some milliseconds for a region.
func (l *runLog) reserve(off, n int64) error {
	if l.sparse {
		return nil
	}
	if err := unix.Fallocate(int(l.f.Fd()), unix.FALLOC_FL_KEEP_SIZE, off, n); err != nil {
		return fmt.Errorf("cannot reserve %d bytes: %w", n, err)
	}
	return nil
}

// reserveStep is how much space is taken while appends wait: about 0.2 ms.
const reserveStep = 512 << 10

// reserveAll takes the space of both regions, a little at a time. What has space
// already, taken by this process or an earlier one, keeps it.
func (l *runLog) reserveAll() error {
	for off := int64(regionStart); ; off += reserveStep {
		l.mu.Lock()
		left := regionStart + 2*l.region - off
		var err error
		if left > 0 {
			err = l.reserve(off, min(left, reserveStep))
		}
		l.mu.Unlock()
		if left <= 0 || err != nil {
			return err
		}
	}
}

// regionFor is the region size for a configured size and a base: a state that
// would fill a good part of the region gets a larger one, so that a
// configuration with many services never leaves an engine unable to compact.
func regionFor(size int64, base Base) int64 {
	r := regionSize(size)
	if f := base.frameSize(); f > r/4 {
		r = (r + 2*f + pageSize - 1) / pageSize * pageSize
	}
	return r
}

// regionSize is the size of a region in a run log of this many bytes.
func regionSize(size int64) int64 {
	return (max(size, MinRunLog) - regionStart) / 2 / pageSize * pageSize
}

// openRunLog opens the run log at path. It returns ErrNoRunLog if there is
// none, and ErrOtherBoot if it is of another boot or node.
func openRunLog(path, node, boot string) (*runLog, found, error) {
	f, err := openPlace(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, found{}, ErrNoRunLog
	}
	if err != nil {
		return nil, found{}, fmt.Errorf("cannot open run log: %w", err)
	}
	l, got, err := readRunLog(f, node, boot)
	if err != nil {
		f.Close()
		return nil, found{}, fmt.Errorf("cannot open run log %s: %w", path, err)
	}
	l.path = path
	return l, got, nil
}

func readRunLog(f *os.File, node, boot string) (*runLog, found, error) {
	pages := make([]byte, regionStart)
	if _, err := f.ReadAt(pages, 0); err != nil {
		return nil, found{}, fmt.Errorf("cannot read header: %w", err)
	}
	h, err := decodeHeader(pages[:pageSize])
	if err != nil {
		return nil, found{}, err
	}
	if h.node != node || h.boot != boot {
		return nil, found{}, ErrOtherBoot
	}
	if st, err := f.Stat(); err != nil || h.region <= 0 || st.Size() < regionStart+2*h.region {
		return nil, found{}, fmt.Errorf("%w header: file is smaller than its regions", errFormat)
	}
	l := newRunLog(f)
	l.region, l.head = h.region, h
	if err := l.readSlots(pages[pageSize:]); err != nil {
		return nil, found{}, err
	}
	c, err := l.readRegion()
	if err != nil {
		return nil, found{}, err
	}
	got, err := l.adopt(c)
	return l, got, err
}

func (l *runLog) readSlots(page []byte) error {
	r := reader{b: l.active.read(page)}
	if l.gen = r.u64(); r.failed {
		return fmt.Errorf("%w header: no active region", errFormat)
	}
	r = reader{b: l.durable.read(page)}
	if l.mark = r.link(); r.failed {
		return fmt.Errorf("%w header: no durable link", errFormat)
	}
	r = reader{b: l.inHand.read(page)}
	if deaths, id := r.u32(), string(r.bytes()); !r.failed && id != "" {
		// The engine died with this input in hand: this is one death more.
		l.hand, l.deaths = id, int(deaths)+1
		return l.writeInHand()
	}
	return nil
}

// adopt decodes what the region holds, checks the chain and sets the counters.
func (l *runLog) adopt(c contents) (found, error) {
	got := found{base: c.base, cut: c.cut}
	l.end, l.last, l.fixed = c.end, c.base.Link, c.base.frameSize()
	link := c.base.Link
	for i, raw := range c.records {
		e, err := event.Decode(raw.bytes)
		if err != nil {
			return found{}, err
		}
		if uint64(e.Record.Seq) != raw.seq {
			return found{}, &ChainError{Seq: e.Record.Seq, What: fmt.Sprintf("the run log has it as %d", raw.seq)}
		}
		if i == 0 {
			link = l.before(e, c.base)
		}
		if link, err = link.Next(e); err != nil {
			return found{}, err
		}
		if link.Seq == c.base.Seq && link.Hash != c.base.Hash {
			return found{}, &ChainError{Seq: link.Seq, What: "its hash is not that of the base"}
		}
		got.records = append(got.records, e)
		l.note(e.Record.Seq, raw.size())
	}
	if link.Seq > l.last.Seq {
		l.last = link
	}
	return got, nil
}

// before is the link that the first record must follow, where it is known:
// records carried over a compaction begin anywhere before the base.
func (l *runLog) before(e event.Encoded, base Base) Link {
	for _, known := range []Link{base.Link, l.mark} {
		if known.Seq+1 == e.Record.Seq {
			return known
		}
	}
	return Link{Seq: e.Record.Seq - 1, Hash: e.Record.Prev}
}

func (b Base) frameSize() int64 { return frameHeader + 1 + 8 + hashSize + 4 + int64(len(b.State)) }

// append writes one batch as one frame with one pwrite: after a kill either all
// of it is there or nothing. It returns ErrRunLogFull if it does not fit; a batch
// of more than a quarter of the region is given a larger run log if there is memory.
func (l *runLog) append(batch []event.Encoded) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(batch) == 0 {
		return nil
	}
	recs := make([]rawRecord, len(batch))
	link := l.last
	for i, e := range batch {
		next, err := link.Next(e)
		if err != nil {
			return fmt.Errorf("cannot append to run log: %w", err)
		}
		link, recs[i] = next, rawRecord{seq: uint64(next.Seq), bytes: e.Bytes}
	}
	l.buf = appendRecords(append(l.buf[:0], make([]byte, frameHeader)...), recs)
	size := int64(len(l.buf))
	if l.end+size+frameEnd > l.region {
		if size <= l.region/4 {
			return ErrRunLogFull
		}
		// A batch that is large by itself, such as a configuration, gets its room:
		// it comes once. What piles up in small ones does not (P9).
		if err := l.grow(l.end + 2*size); err != nil {
			return err
		}
	}
	l.buf = sealFrame(l.buf, l.gen, l.end)
	if _, err := l.w.WriteAt(l.buf, l.offset(l.gen)+l.end); err != nil {
		return fmt.Errorf("cannot append to run log: %w", err)
	}
	l.end += size
	l.last = link
	for _, r := range recs {
		l.note(event.Seq(r.seq), r.size())
	}
	if cap(l.buf) > 1<<20 {
		l.buf = nil // one large batch must not stay in memory for ever
	}
	return nil
}

func (l *runLog) note(seq event.Seq, size int64) {
	if seq > l.mark.Seq {
		l.pending = append(l.pending, pendingRecord{seq, size})
		l.pendBytes += size
	}
}

// offset of the region that a generation lives in.
func (l *runLog) offset(gen uint64) int64 { return regionStart + int64(gen%2)*l.region }

// markDurable notes that everything up to link is in JOURNAL.
func (l *runLog) markDurable(link Link) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.setDurable(link); err != nil {
		return fmt.Errorf("cannot note durable record %d in run log: %w", link.Seq, err)
	}
	n := 0
	for n < len(l.pending) && l.pending[n].seq <= link.Seq {
		l.pendBytes -= l.pending[n].size
		n++
	}
	l.pending = l.pending[n:]
	return nil
}

func (l *runLog) setDurable(link Link) error {
	b, err := appendLink(nil, link)
	if err != nil {
		return err
	}
	if err := l.durable.write(l.w, b); err != nil {
		return err
	}
	l.mark = link
	return nil
}

// noteInHand notes the input that is about to be decided (R12). The deaths on
// it are kept if it is the one that the last engine died on.
func (l *runLog) noteInHand(id string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if id != l.hand {
		l.hand, l.deaths = id, 0
	}
	return l.writeInHand()
}

func (l *runLog) writeInHand() error {
	b := binary.LittleEndian.AppendUint32(nil, uint32(l.deaths))
	if err := l.inHand.write(l.w, appendBytes(b, []byte(l.hand))); err != nil {
		return fmt.Errorf("cannot note input in hand: %w", err)
	}
	return nil
}

func (l *runLog) close() error { return l.f.Close() }
