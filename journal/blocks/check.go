package blocks

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"supd/journal/event"
)

// Range is a row of stream sequences, inclusive.
type Range struct {
	First uint64 `json:"first"`
	Last  uint64 `json:"last"`
}

// Report is what a Checker found.
type Report struct {
	Blocks  int
	Bytes   int64
	Records int // intact; counted only if there is no Damage
	// Damage is in the order of the stream. What was being written when the
	// server ended (Tail) is in it too: see Damaged.
	Damage []*Damage
	// Descriptions that the server will not accept: meta.inf and meta.sum, which
	// together hold the stream's configuration. Without them the server does not
	// load the stream, and takes over its blocks when it is created again.
	Descriptions []*Damage
	End          Entry // the newest intact record; StreamSeq 0 if there is none
	// Summary is the newest sequence that the server's own summary knows, 0
	// without one. Records up to it were durable, whatever the blocks say.
	Summary uint64
}

// Damaged tells whether there is anything that the server would repair
// silently. A tail that was being written is none.
func (r *Report) Damaged() bool {
	for _, d := range r.Damage {
		if d.What != Tail {
			return true
		}
	}
	return len(r.Descriptions) > 0 || r.CutOff()
}

// CutOff tells whether the end is missing that the server's summary knows.
func (r *Report) CutOff() bool { return r.Summary > r.End.StreamSeq && len(r.Damage) > 0 }

// Checker checks the block files of one store, all of them at first and again
// only those that have changed since. It is for one goroutine.
type Checker struct {
	Dir string // the JetStream store folder
	// Known are holes that were found and recorded before.
	Known []Range

	seen map[string]scanned
}

// scanned is what is known of a block that was found intact.
type scanned struct {
	size        int64
	mtime       time.Time
	records     int
	first, last uint64
}

// maxDamage bounds what a journal that is bad everywhere costs in memory.
const maxDamage = 1000

// Check reads the blocks with as many goroutines as there are processors, and
// names damage precisely if there is any, which takes a second pass. A store
// without a stream is intact and empty. An error means that the system keeps
// us from reading (too many open files, no permission): nothing is known then.
func (c *Checker) Check() (*Report, error) {
	dir := StreamDir(c.Dir)
	files, err := list(filepath.Join(dir, "msgs"), event.Stream)
	if errors.Is(err, fs.ErrNotExist) {
		return &Report{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot check journal: %w", err)
	}
	r := &Reader{dir: dir, files: files}
	rep := &Report{Blocks: len(files)}
	if len(files) > 0 {
		rep.Descriptions = checkDescription(dir)
	}
	if !c.quick(r, rep) {
		return rep, c.precise(r, rep)
	}
	rep.End = r.End()
	return rep, nil
}

// quick tells whether everything is intact: each block by itself, the
// sequences from block to block, and the server's summary with them.
func (c *Checker) quick(r *Reader, rep *Report) bool {
	all := c.scanAll(r.files)
	ix, ok := readIndex(filepath.Join(r.dir, "msgs", "index.db"), event.Stream)
	if ok {
		rep.Summary = ix.last
	}
	var first, last uint64
	for i, s := range all {
		if s == nil {
			return false
		}
		rep.Bytes += s.size
		rep.Records += s.records
		if s.records == 0 {
			continue
		}
		if last != 0 && s.first != last+1 && !c.isKnown(last+1, s.first-1) {
			return false
		}
		if first == 0 {
			first = all[i].first
		}
		last = s.last
	}
	if ok && (ix.last > last || ix.last == last && ix.first < first) && !c.isKnown(last+1, ix.last) {
		return false
	}
	if last == 0 {
		return true
	}
	end := r.End()
	// A batch that is not complete may be completed from its staging folder.
	return end.StreamSeq != 0 && (headerValue(end.Header, batchID) == "" || headerValue(end.Header, batchCommit) != "")
}

func (c *Checker) isKnown(first, last uint64) bool {
	for _, k := range c.Known {
		if k.First <= first && last <= k.Last {
			return true
		}
	}
	return false
}

// scanAll checks each block; one that is not intact is nil.
func (c *Checker) scanAll(files []file) []*scanned {
	all := make([]*scanned, len(files))
	next := make(chan int)
	var wait sync.WaitGroup
	for range min(len(files), runtime.GOMAXPROCS(0), 4) {
		wait.Go(func() {
			var buf []byte
			for i := range next {
				if s, ok := c.seen[files[i].path]; ok && s.unchanged(files[i].path) {
					all[i] = &s
					continue
				}
				all[i], buf = files[i].scan(buf, c.isKnown)
			}
		})
	}
	for i := range files {
		next <- i
	}
	close(next)
	wait.Wait()
	c.seen = make(map[string]scanned, len(files))
	for i, s := range all {
		if s != nil && i < len(files)-1 {
			c.seen[files[i].path] = *s
		}
	}
	return all
}

func (s *scanned) unchanged(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.Mode().IsRegular() && info.Size() == s.size && info.ModTime().Equal(s.mtime)
}

// scan checks one block in a buffer that is used again. It returns nil if
// anything at all is not as usual.
func (f file) scan(buf []byte, known func(first, last uint64) bool) (*scanned, []byte) {
	info, err := os.Lstat(f.path)
	if err != nil {
		return nil, buf
	}
	b := f.loadInto(buf)
	if b.fault != nil {
		return nil, buf
	}
	if !b.packed {
		buf = b.bytes
	}
	s := &scanned{size: info.Size(), mtime: info.ModTime()}
	x := newHasher(f.store, f.number)
	for at := 0; at < len(b.bytes); {
		fr, err := x.parse(b.bytes[at:])
		if err != nil || fr.erased {
			return nil, buf
		}
		at += fr.size
		if fr.tombstone {
			continue
		}
		if s.records > 0 && fr.seq != s.last+1 && (fr.seq <= s.last || !known(s.last+1, fr.seq-1)) {
			return nil, buf
		}
		if s.records == 0 {
			s.first = fr.seq
		}
		s.last = fr.seq
		s.records++
	}
	return s, buf
}

// precise names each damage.
func (c *Checker) precise(r *Reader, rep *Report) error {
	rep.Records, rep.Bytes = 0, 0
	for e, err := range r.Records(0) {
		var d *Damage
		switch {
		case errors.As(err, &d):
			if outOfReach(d.Err) {
				return fmt.Errorf("cannot check journal: %w", d)
			}
			if d.What == Missing && c.isKnown(d.First, d.Last) {
				continue
			}
			if len(rep.Damage) < maxDamage {
				rep.Damage = append(rep.Damage, d)
			}
		case err != nil:
			return fmt.Errorf("cannot check journal: %w", err)
		default:
			rep.Records++
			rep.End = e
		}
	}
	rep.End = rep.End.clone()
	return nil
}

// clone keeps an entry without its block.
func (e Entry) clone() Entry {
	e.Header, e.Data = bytes.Clone(e.Header), bytes.Clone(e.Data)
	return e
}

// outOfReach tells an error of this process or moment from one of the disk.
func outOfReach(err error) bool {
	for _, no := range []error{unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.EACCES, unix.EPERM} {
		if errors.Is(err, no) {
			return true
		}
	}
	return false
}

// End returns the newest intact record, as the server would have it after its
// next start; its StreamSeq is 0 if there is none.
func (r *Reader) End() Entry {
	var end Entry
	for i := len(r.files) - 1; i >= 0 && end.StreamSeq == 0; i-- {
		w := walk{subjects: map[string]string{}, yield: func(e Entry, err error) bool {
			if err == nil {
				end = e
			}
			return true
		}}
		w.block(r.files[i], i == len(r.files)-1)
		w.staged(filepath.Join(r.dir, "batches"))
	}
	return end.clone()
}

// checkDescription holds the stream's description against its checksum.
func checkDescription(dir string) []*Damage {
	inf, err := os.ReadFile(filepath.Join(dir, metaFile))
	if err != nil {
		return []*Damage{{What: Missing, File: filepath.Join(dir, metaFile), Detail: "the stream's description cannot be read", Err: err}}
	}
	sum, err := os.ReadFile(filepath.Join(dir, metaSum))
	if err != nil {
		return []*Damage{{What: Missing, File: filepath.Join(dir, metaSum), Detail: "the checksum of the stream's description cannot be read", Err: err}}
	}
	x := keyedHasher(event.Stream)
	_, _ = x.h.Write(inf)
	if hex.EncodeToString(x.h.Sum(nil)) != strings.TrimSpace(string(sum)) {
		return []*Damage{{What: Corrupt, File: filepath.Join(dir, metaFile), Detail: "the checksum of the stream's description is wrong"}}
	}
	return nil
}

// The files that describe a stream.
const (
	metaFile = "meta.inf"
	metaSum  = "meta.sum"
)
