package blocks

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"path/filepath"
	"time"

	"supd/journal/event"
)

// Entry is one record of the stream as it is stored. Its slices stay valid
// and must not be written to; each keeps its whole block in memory, so clone
// what is kept for long.
type Entry struct {
	StreamSeq uint64    // JetStream's own number, not the record's seq
	Time      time.Time // when JetStream stored it
	Subject   string
	Header    []byte // NATS headers as on the wire; nil if there are none
	Data      []byte // the record's exact bytes, which the hash chain covers
	File      string
	Offset    int64  // of the record in the file, or in its decompressed content
	Block     *Block // that its slices are part of, where blocks are lent (Lent)
}

// Block is the room of a block that was lent.
type Block struct{ room []byte }

// Reader reads one stream. It holds no open files; any number of iterations
// may run at the same time, each with about two blocks of memory.
type Reader struct {
	dir   string // of the stream
	files []file
}

// StreamDir is where JetStream keeps the journal below its store folder.
func StreamDir(storeDir string) string {
	return filepath.Join(storeDir, "jetstream", "$G", "streams", event.Stream)
}

// Open finds the blocks of the journal below a JetStream store folder
// (<state>/journal). It fails if there is no stream there or the folder
// cannot be listed; what is in the blocks shows during the iteration.
func Open(storeDir string) (*Reader, error) {
	dir := StreamDir(storeDir)
	files, err := list(filepath.Join(dir, "msgs"), event.Stream)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cannot open journal: no stream %s below %s: %w", event.Stream, storeDir, fs.ErrNotExist)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot open journal: %w", err)
	}
	return &Reader{dir: dir, files: files}, nil
}

// Records iterates over all records with a stream sequence of at least from,
// in order. Damage comes in its place as an error of type *Damage with an
// empty Entry; the iteration goes on behind it unless the caller stops.
// Damage that lies wholly before from is left out. The first record may be
// later than from, where the head was discarded.
func (r *Reader) Records(from uint64) iter.Seq2[Entry, error] {
	return r.records(from, nil)
}

// Lent is Records for a reader of long journals: it lends the room of its blocks.
// Who has done with all entries of a Block may send it back, once, and must then
// have no slice of these entries in use: another block is read into it. What is
// not sent back stays valid. The channel should not make senders wait.
func (r *Reader) Lent(from uint64, back <-chan *Block) iter.Seq2[Entry, error] {
	return r.records(from, back)
}

func (r *Reader) records(from uint64, back <-chan *Block) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		w := walk{from: from, yield: yield, back: back, subjects: make(map[string]string)}
		files := r.files[r.start(from):]
		for i, f := range files {
			w.block(f, i == len(files)-1)
		}
		w.lent = nil
		w.staged(filepath.Join(r.dir, "batches"))
		w.finish(r)
	}
}

// start returns the newest block whose first record is not behind from.
func (r *Reader) start(from uint64) int {
	for i := len(r.files) - 1; i > 0 && from > 1; i-- {
		if seq, ok := r.files[i].firstSeq(); ok && seq <= from {
			return i
		}
	}
	return 0
}

// walk is one iteration.
type walk struct {
	from     uint64
	yield    func(Entry, error) bool
	stopped  bool
	first    uint64 // the first sequence met
	last     uint64 // the last sequence met
	header   []byte // of the last record
	pending  []*Damage
	subjects map[string]string // so that equal subjects are one string
	back     <-chan *Block     // room to read into; nil: blocks are not lent
	lent     *Block            // that is being read
}

// maxSubjects bounds the subjects kept for sharing; more are just not shared.
const maxSubjects = 4096

func (w *walk) block(f file, newest bool) {
	if w.stopped {
		return
	}
	b := w.load(f)
	if b.fault != nil && errors.Is(b.fault, fs.ErrNotExist) && w.last == 0 && len(w.pending) == 0 {
		return // a running server discarded the head after we had listed it
	}
	x := newHasher(f.store, f.number)
	for at := 0; at < len(b.bytes) && !w.stopped; {
		fr, err := x.parse(b.bytes[at:])
		if err == nil {
			w.record(f, b, at, fr)
			at += fr.size
			continue
		}
		next := x.resync(b.bytes, at)
		d := &Damage{
			What: Corrupt, File: f.path, Offset: int64(at), Length: int64(next - at),
			Packed: b.packed, Detail: err.Error(),
		}
		if newest && next == len(b.bytes) && !b.packed && x.unfinished(b.bytes[at:], w.last) {
			d.What, d.Detail = Tail, "the last record was not written to its end"
		}
		w.pending = append(w.pending, d)
		at = next
	}
	if b.fault != nil {
		w.pending = append(w.pending, b.fault)
	}
	w.header = bytes.Clone(w.header) // the block may be lent
}

// load reads a block, into room that came back if blocks are lent.
func (w *walk) load(f file) block {
	if w.back == nil {
		return f.load()
	}
	select {
	case w.lent = <-w.back:
	default:
		w.lent = &Block{}
	}
	b := f.loadInto(w.lent.room)
	if w.lent.room = b.bytes; b.packed {
		w.lent = nil // it is in room of its own
	}
	return b
}

// record takes an intact record into the order of sequences.
func (w *walk) record(f file, b block, at int, fr frame) {
	if fr.tombstone {
		return
	}
	here := func(what What, first, last uint64, detail string) *Damage {
		return &Damage{What: what, File: f.path, Offset: int64(at), Packed: b.packed, First: first, Last: last, Detail: detail}
	}
	if fr.seq <= w.last {
		w.emit(here(Disorder, fr.seq, fr.seq, fmt.Sprintf("stream record %d stands behind %d", fr.seq, w.last)))
		return
	}
	w.settle(fr.seq, func(first, last uint64) *Damage {
		return here(Missing, first, last, "records before this place are not there")
	})
	if w.first == 0 {
		w.first = fr.seq
	}
	w.last, w.header = fr.seq, fr.header
	if fr.erased {
		w.emit(here(Erased, fr.seq, fr.seq, "the record was overwritten on purpose"))
		return
	}
	if fr.seq < w.from || w.stopped {
		return
	}
	w.stopped = !w.yield(Entry{
		StreamSeq: fr.seq, Time: time.Unix(0, fr.time).UTC(), Subject: w.subject(fr.subject),
		Header: fr.header, Data: fr.data, File: f.path, Offset: int64(at), Block: w.lent,
	}, nil)
}

// settle reports what lies between the last record and the one with seq, now
// that both ends are known.
func (w *walk) settle(seq uint64, missing func(first, last uint64) *Damage) {
	first, last := w.last+1, seq-1
	if first > last {
		first, last = 0, 0
	}
	if len(w.pending) == 0 && first != 0 && w.last != 0 {
		w.emit(missing(first, last))
	}
	w.release(first, last)
}

// release reports pending damage with the sequences that are gone in it.
func (w *walk) release(first, last uint64) {
	for _, d := range w.pending {
		d.First, d.Last = first, last
		w.emit(d)
	}
	w.pending = w.pending[:0]
}

func (w *walk) emit(d *Damage) {
	if w.stopped || d.First != 0 && d.Last < w.from {
		return
	}
	w.stopped = !w.yield(Entry{}, d)
}

// finish reports what is known of the ends: damage that nothing follows, and
// records that the server's summary knows of and the blocks do not have.
func (w *walk) finish(r *Reader) {
	if w.stopped {
		return
	}
	open := len(w.pending) > 0
	w.release(w.last+1, OpenEnd)
	path := filepath.Join(r.dir, "msgs", "index.db")
	ix, ok := readIndex(path, event.Stream)
	if !ok || w.stopped {
		return
	}
	if ix.last > w.last && !open {
		d := &Damage{
			What: Tail, File: path, First: w.last + 1, Last: ix.last,
			Detail: fmt.Sprintf("the server's summary goes up to stream record %d", ix.last),
		}
		if n := len(r.files); ix.lastBlock > 0 && (n == 0 || r.files[n-1].number < ix.lastBlock) {
			d.What = Missing
			d.File = filepath.Join(r.dir, "msgs", fmt.Sprintf("%d.blk", ix.lastBlock))
			d.Detail = "the server's summary knows this block, and it is not there"
		}
		w.emit(d)
	}
	// Only a summary that is up to date says where the journal begins now.
	if ix.last >= w.last && ix.first < w.first && w.from < w.first {
		w.emit(&Damage{
			What: Missing, File: path, First: ix.first, Last: w.first - 1,
			Detail: fmt.Sprintf("the server's summary begins with stream record %d, the blocks with %d", ix.first, w.first),
		})
	}
}

func (w *walk) subject(b []byte) string {
	if s, ok := w.subjects[string(b)]; ok {
		return s
	}
	s := string(b)
	if len(w.subjects) < maxSubjects {
		w.subjects[s] = s
	}
	return s
}
