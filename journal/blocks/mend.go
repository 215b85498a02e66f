package blocks

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"supd/journal/event"
)

// Hole is a row of records that a store does not hold. Before and After are
// its neighbours; a StreamSeq of 0 means that there is none.
type Hole struct {
	File          string
	Offset        int64
	What          What
	Detail        string
	Missing       Range // Last is OpenEnd where nothing follows
	Before, After Entry // without their headers
	Filled        []Range
}

// Mended is what Mend did with one block.
type Mended struct {
	File     string
	Evidence string // where the file is that was damaged; "" if it was missing
	Kept     int    // records carried over
}

// Mender makes a damaged store one that the server reads without losing
// anything more: intact records stay as they are, byte for byte, under their
// sequences. Nobody else may use the store meanwhile.
type Mender struct {
	Dir      string // the JetStream store folder
	Evidence string // folder for what was damaged; made if need be
	Stamp    string // begins the names of evidence
	// Fill, if not nil, returns what else is known of a hole: entries with
	// StreamSeq, Time, Subject and Data, in order, all of them missing ones.
	Fill func(Hole) []Entry
	// CutTail also takes out a last record that was being written, with the
	// evidence. The server does so without.
	CutTail bool
	step    func() // of tests: called after each change to the file system
}

// did tells a test that the file system has changed.
func (m *Mender) did() {
	if m.step != nil {
		m.step()
	}
}

// Mend rewrites the damaged blocks and sets the damaged files aside as
// evidence: first the evidence has its name, then the new block is complete
// and synced, then it takes the old one's place. A crash at any point leaves
// blocks that are damaged or mended and can be mended again.
func (m *Mender) Mend() ([]Mended, []Hole, error) {
	dir := StreamDir(m.Dir)
	files, err := list(filepath.Join(dir, "msgs"), event.Stream)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot mend journal: %w", err)
	}
	if left, err := filepath.Glob(filepath.Join(globEscape(dir), "msgs", mendedPrefix+"*")); err == nil {
		for _, path := range left { // of a crash in the middle of this
			_ = os.Remove(path)
			m.did()
		}
	}
	w := mendWalk{m: m}
	for i, f := range files {
		if err := w.block(f, i == len(files)-1); err != nil {
			return nil, nil, fmt.Errorf("cannot mend journal: %w", err)
		}
	}
	if w.open != nil {
		w.open.Missing = Range{w.last.StreamSeq + 1, OpenEnd}
		w.holes = append(w.holes, *w.open)
	}
	if err := m.descriptions(dir); err != nil {
		return nil, nil, fmt.Errorf("cannot mend journal: %w", err)
	}
	// The summary speaks of blocks that are no more: without it the server
	// reads the blocks.
	if err := os.Remove(filepath.Join(dir, "msgs", "index.db")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, nil, fmt.Errorf("cannot mend journal: %w", err)
	}
	m.did()
	for _, d := range []string{filepath.Join(dir, "msgs"), dir} {
		if err := syncDir(d); err != nil {
			return nil, nil, fmt.Errorf("cannot mend journal: %w", err)
		}
	}
	return w.mended, w.holes, nil
}

// mendWalk goes through the blocks once.
type mendWalk struct {
	m      *Mender
	last   Entry // the newest intact record met
	open   *Hole // where bytes could not be read, until the next record
	mended []Mended
	holes  []Hole
}

func (w *mendWalk) block(f file, newest bool) error {
	b := f.load()
	if b.fault != nil && outOfReach(b.fault.Err) {
		return b.fault
	}
	x := newHasher(f.store, f.number)
	out, kept, changed := make([]byte, 0, len(b.bytes)), 0, false
	for at := 0; at < len(b.bytes); {
		fr, err := x.parse(b.bytes[at:])
		if err != nil {
			next := x.resync(b.bytes, at)
			if newest && next == len(b.bytes) && !w.m.CutTail && !b.packed && x.unfinished(b.bytes[at:], w.last.StreamSeq) {
				out = append(out, b.bytes[at:]...) // the server's to cut
				break
			}
			changed = true
			w.tear(f, int64(at), Corrupt, err.Error())
			at = next
			continue
		}
		raw := b.bytes[at : at+fr.size]
		switch {
		case fr.tombstone:
			out = append(out, raw...)
		case fr.erased || fr.seq <= w.last.StreamSeq:
			changed = true
			w.tear(f, int64(at), Disorder, "the record is out of order or was overwritten")
		default:
			filled := w.reach(f, int64(at), fr)
			for _, e := range filled {
				out = x.appendRecord(out, e.StreamSeq, e.Time.UnixNano(), e.Subject, nil, e.Data)
			}
			changed = changed || len(filled) > 0
			kept += 1 + len(filled)
			out = append(out, raw...)
		}
		at += fr.size
	}
	if b.fault != nil {
		changed = true
		w.tear(f, b.fault.Offset, b.fault.What, b.fault.Error())
	}
	if !changed {
		return nil
	}
	evidence, err := w.m.setAside(f.path)
	if err != nil {
		return err
	}
	w.mended = append(w.mended, Mended{File: f.path, Evidence: evidence, Kept: kept})
	return w.m.replaceFile(f.path, out)
}

// tear begins a hole, or goes on with the one that is open.
func (w *mendWalk) tear(f file, at int64, what What, detail string) {
	if w.open == nil {
		w.open = &Hole{File: f.path, Offset: at, What: what, Detail: detail, Before: w.last}
	}
}

// reach ends a hole with the record that follows it and returns what else is
// known to have been in it.
func (w *mendWalk) reach(f file, at int64, fr frame) []Entry {
	here := Entry{StreamSeq: fr.seq, Subject: string(fr.subject), Data: slices.Clone(fr.data), File: f.path, Offset: at}
	first, before := w.last.StreamSeq+1, w.last
	open := w.open
	w.last, w.open = here, nil
	if open == nil {
		if before.StreamSeq == 0 || fr.seq == first {
			return nil
		}
		open = &Hole{File: f.path, Offset: at, What: Missing, Detail: "records before this place are not there", Before: before}
	}
	open.After = here
	if fr.seq == first { // bytes between two records, none of which is lost
		w.holes = append(w.holes, *open)
		return nil
	}
	open.Missing = Range{first, fr.seq - 1}
	var filled []Entry
	if w.m.Fill != nil && before.StreamSeq > 0 {
		for _, e := range w.m.Fill(*open) {
			if e.StreamSeq < first || e.StreamSeq >= fr.seq || len(filled) > 0 && e.StreamSeq <= filled[len(filled)-1].StreamSeq {
				continue
			}
			filled = append(filled, e)
			open.Filled = addTo(open.Filled, e.StreamSeq)
		}
	}
	w.holes = append(w.holes, *open)
	return filled
}

func addTo(r []Range, seq uint64) []Range {
	if n := len(r); n > 0 && r[n-1].Last+1 == seq {
		r[n-1].Last = seq
		return r
	}
	return append(r, Range{seq, seq})
}

// Left are the sequences of a hole that were not filled.
func (h Hole) Left() []Range {
	if h.Missing.First == 0 {
		return nil
	}
	var left []Range
	next := h.Missing.First
	for _, f := range h.Filled {
		if f.First > next {
			left = append(left, Range{next, f.First - 1})
		}
		next = f.Last + 1
	}
	if next <= h.Missing.Last {
		left = append(left, Range{next, h.Missing.Last})
	}
	return left
}

// globEscape makes a path match itself alone.
func globEscape(path string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(path)
}

// descriptions sets those aside that the server would not accept; it writes
// new ones when the stream is created again over its blocks.
func (m *Mender) descriptions(dir string) error {
	if len(checkDescription(dir)) == 0 {
		return nil
	}
	for _, name := range []string{metaFile, metaSum} {
		path := filepath.Join(dir, name)
		if _, err := os.Lstat(path); errors.Is(err, os.ErrNotExist) {
			continue
		}
		if _, err := m.setAside(path); err != nil {
			return err
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		m.did()
	}
	return nil
}

// maxEvidence bounds the files that are kept as evidence; the oldest leave.
const maxEvidence = 64

// setAside gives a damaged file a second name among the evidence, or a copy
// where that is another file system. What is no plain file is moved there.
func (m *Mender) setAside(path string) (string, error) {
	if err := os.MkdirAll(m.Evidence, 0o700); err != nil {
		return "", fmt.Errorf("cannot keep evidence: %w", err)
	}
	trimEvidence(m.Evidence)
	to := filepath.Join(m.Evidence, m.Stamp+"-"+filepath.Base(path))
	info, err := os.Lstat(path)
	switch {
	case err != nil:
	case !info.Mode().IsRegular():
		err = os.Rename(path, to)
	default:
		if err = os.Link(path, to); errors.Is(err, unix.EXDEV) || errors.Is(err, unix.EPERM) {
			err = copyFile(path, to)
		}
	}
	if err != nil && !errors.Is(err, os.ErrExist) { // exists: an attempt before this one got as far
		return "", fmt.Errorf("cannot keep evidence of %s: %w", path, err)
	}
	m.did()
	return to, syncDir(m.Evidence)
}

// trimEvidence removes the oldest; names begin with their time.
func trimEvidence(dir string) {
	names, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for i := 0; i < len(names)-maxEvidence; i++ {
		_ = os.Remove(filepath.Join(dir, names[i].Name()))
	}
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Sync(), out.Close())
}

// mendedPrefix begins the name of a block that is being written anew.
const mendedPrefix = "mended-"

// replaceFile puts new content under a name so that a power cut leaves the
// old or the new one.
func (m *Mender) replaceFile(path string, b []byte) error {
	// The server takes every name that begins like a block for one.
	temp := filepath.Join(filepath.Dir(path), mendedPrefix+filepath.Base(path))
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW, 0o640)
	if err != nil {
		return err
	}
	m.did()
	for _, half := range [][]byte{b[:len(b)/2], b[len(b)/2:]} { // a crash may come in the middle
		if _, e := f.Write(half); e != nil {
			err = e
			break
		}
		m.did()
	}
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(temp, path)
		m.did()
	}
	if err != nil {
		_ = os.Remove(temp) // it takes space that may be what is wanted
	}
	return err
}

func syncDir(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
