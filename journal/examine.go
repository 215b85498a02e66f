package journal

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"supd/journal/blocks"
	"supd/journal/event"
)

// examiner looks at the block files before JetStream opens them, because
// JetStream repairs in silence: it cuts a block off at its first bad record and
// gives the sequences of what was lost to new ones (P4). After a clean stop a
// look at sizes and times is enough. It works behind the guard, so that
// supervision waits for none of it (R2), and one examination runs at a time.
type examiner struct {
	state   string // the state folder
	checker blocks.Checker
	log     *slog.Logger
	report  func(event.JournalDamagedData)
	runLog  func() (durable Link, recs []event.Encoded)
	// doubt are rows of records that a fold of JOURNAL missed.
	doubt []event.SeqRange
	again bool // a check was made already
}

// Files that the examiner keeps in the state folder.
const (
	damagedDir = "damaged"    // evidence
	holesFile  = "holes.json" // in damaged: what is known to be missing
	cleanFile  = "clean.json" // in journal: sizes and times after a clean stop
)

func newExaminer(cfg *Config, j *Journal) *examiner {
	return &examiner{
		state: cfg.StateDir, checker: blocks.Checker{Dir: filepath.Join(cfg.StateDir, "journal")}, log: cfg.Log,
		report: j.damaged, runLog: j.kept,
	}
}

// examine checks, and mends what is damaged.
func (x *examiner) examine() error {
	durable, recs := x.runLog()
	if !x.again && len(x.doubt) == 0 && isClean(x.checker.Dir) {
		return nil
	}
	x.checker.Known = x.holes()
	began := time.Now()
	rep, err := x.checker.Check()
	if err != nil {
		return err
	}
	x.again = true
	x.log.Debug("journal checked", "blocks", rep.Blocks, "bytes", rep.Bytes, "records", rep.Records, "took", time.Since(began).String())
	lost := durable.Seq > seqOf(rep.End) // JOURNAL ends before what is known to have been in it
	if !rep.Damaged() && !(lost && len(rep.Damage) > 0) {
		x.explain(nil)
		return nil
	}
	return x.mend(rep, recs, lost)
}

func (x *examiner) mend(rep *blocks.Report, recs []event.Encoded, lost bool) error {
	m := blocks.Mender{
		Dir: x.checker.Dir, Evidence: filepath.Join(x.state, damagedDir), CutTail: lost || rep.CutOff(),
		Stamp: time.Now().UTC().Format("20060102T150405.000"),
		Fill:  func(h blocks.Hole) []blocks.Entry { return fill(h, recs) },
	}
	mended, holes, err := m.Mend()
	if err != nil {
		return err
	}
	known := x.checker.Known
	for _, h := range holes {
		if h.Missing.Last != blocks.OpenEnd {
			known = append(known, h.Left()...)
		}
	}
	if err := x.storeHoles(known); err != nil {
		// They are found and told again at the next unclean stop; that is all.
		x.log.Warn("cannot note the holes of the journal", "error", err)
	}
	all := tellHoles(holes, mended, x.checker.Known)
	if !lost { // else restore knows exactly
		all = tellTail(all, rep, holes)
	}
	for _, d := range rep.Descriptions {
		if rep.Blocks == 0 && !lost {
			break // the engine died while the stream was being made: nothing was ever in it
		}
		all = append(all, event.JournalDamagedData{
			File: d.File, Salvaged: rep.Records, Evidence: evidenceOf(m, d.File), Why: d.Detail + "; it is written anew",
		})
	}
	for i := range all {
		all[i].File = x.relative(all[i].File)
		if all[i].Evidence != "" {
			all[i].Evidence = x.relative(all[i].Evidence)
		}
		x.report(all[i])
	}
	x.explain(all)
	return nil
}

// explain tells of rows that a fold missed and no damage of a file explains.
func (x *examiner) explain(told []event.JournalDamagedData) {
	for _, row := range x.doubt {
		explained := false
		for _, d := range told {
			for _, s := range d.Seqs {
				explained = explained || s.First <= row.Last && row.First <= s.Last
			}
		}
		if !explained {
			x.report(event.JournalDamagedData{
				File: "journal", Seqs: []event.SeqRange{row},
				Why: "the chain of records is broken there although all checksums are right: they were removed or altered",
			})
		}
	}
	x.doubt = nil
}

// tellHoles makes records of what Mend found.
func tellHoles(holes []blocks.Hole, mended []blocks.Mended, known []blocks.Range) []event.JournalDamagedData {
	of := map[string]blocks.Mended{}
	for _, m := range mended {
		of[m.File] = m
	}
	var all []event.JournalDamagedData
	for _, h := range holes {
		if h.What == blocks.Missing && isKnown(h.Missing, known) {
			continue
		}
		d := event.JournalDamagedData{
			File: h.File, Offset: h.Offset, Seqs: []event.SeqRange{}, Salvaged: of[h.File].Kept, Evidence: of[h.File].Evidence,
			Why: fmt.Sprintf("%s: %s", h.What, h.Detail),
		}
		if n := count(h.Filled); n > 0 {
			d.Why += fmt.Sprintf("; %d records were put back from the run log", n)
		}
		for _, left := range h.Left() {
			if r, ok := seqsOf(h, left); ok {
				d.Seqs = append(d.Seqs, r)
			}
		}
		if h.Missing.Last == blocks.OpenEnd {
			d.Why += fmt.Sprintf("; nothing can be read behind record %d", seqOf(h.Before))
		}
		all = append(all, d)
	}
	return all
}

// tellTail tells of an end that the server's summary knows and the blocks do
// not have: with the hole at the end if there is one.
func tellTail(all []event.JournalDamagedData, rep *blocks.Report, holes []blocks.Hole) []event.JournalDamagedData {
	if rep.Summary <= rep.End.StreamSeq {
		return all
	}
	end := seqOf(rep.End)
	row := event.SeqRange{First: end + 1, Last: end + event.Seq(rep.Summary-rep.End.StreamSeq)}
	if n := len(holes); n > 0 && holes[n-1].Missing.Last == blocks.OpenEnd {
		all[len(all)-1].Seqs = append(all[len(all)-1].Seqs, row)
		return all
	}
	d := event.JournalDamagedData{Seqs: []event.SeqRange{row}, Why: "the server's summary knows records behind the end"}
	if n := len(rep.Damage); n > 0 {
		d.File, d.Why = rep.Damage[n-1].File, fmt.Sprintf("%s: %s", rep.Damage[n-1].What, rep.Damage[n-1].Detail)
	}
	return append(all, d)
}

func isKnown(r blocks.Range, known []blocks.Range) bool {
	for _, k := range known {
		if k.First <= r.First && r.Last <= k.Last {
			return true
		}
	}
	return false
}

func count(rows []blocks.Range) (n uint64) {
	for _, r := range rows {
		n += r.Last - r.First + 1
	}
	return n
}

// seqOf is the number of a record in the stream, 0 if it has none.
func seqOf(e blocks.Entry) event.Seq {
	var r struct {
		Seq event.Seq `json:"seq"`
	}
	if e.StreamSeq == 0 || json.Unmarshal(e.Data, &r) != nil {
		return 0
	}
	return r.Seq
}

// seqsOf tells the records' own numbers of stream sequences in a hole. They go
// side by side unless records are missing in the chain that the stream never
// had.
func seqsOf(h blocks.Hole, left blocks.Range) (event.SeqRange, bool) {
	before, after := seqOf(h.Before), seqOf(h.After)
	if h.Before.StreamSeq == 0 || h.After.StreamSeq == 0 || after <= before {
		return event.SeqRange{}, false
	}
	if uint64(after-before) != h.After.StreamSeq-h.Before.StreamSeq {
		return event.SeqRange{First: before + 1, Last: after - 1}, true
	}
	shift := func(s uint64) event.Seq { return before + event.Seq(s-h.Before.StreamSeq) }
	return event.SeqRange{First: shift(left.First), Last: shift(left.Last)}, true
}

// fill finds records of a hole in the run log.
func fill(h blocks.Hole, recs []event.Encoded) []blocks.Entry {
	all, ok := seqsOf(h, h.Missing)
	if !ok || uint64(all.Last-all.First) != h.Missing.Last-h.Missing.First {
		return nil
	}
	var known []blocks.Entry
	for _, e := range recs {
		if s := e.Record.Seq; s >= all.First && s <= all.Last {
			known = append(known, blocks.Entry{
				StreamSeq: h.Missing.First + uint64(s-all.First), Time: e.Record.Time,
				Subject: subjectLike(h.Before.Subject, e), Data: e.Bytes,
			})
		}
	}
	return known
}

// relative shortens a path below the state folder.
func (x *examiner) relative(path string) string {
	if r, err := filepath.Rel(x.state, path); err == nil {
		return r
	}
	return path
}

func evidenceOf(m blocks.Mender, file string) string {
	path := filepath.Join(m.Evidence, m.Stamp+"-"+filepath.Base(file))
	if _, err := os.Lstat(path); err != nil {
		return ""
	}
	return path
}

// holes reads what is known to be missing.
func (x *examiner) holes() []blocks.Range {
	holes, err := KnownHoles(x.state)
	if err != nil {
		x.log.Warn("cannot read the known holes of the journal: they are told again", "error", err)
	}
	return holes
}

// KnownHoles are the rows of stream sequences that were found missing in
// JOURNAL before, and recorded. There are none where the state folder has no
// such note.
func KnownHoles(stateDir string) ([]blocks.Range, error) {
	b, err := os.ReadFile(filepath.Join(stateDir, damagedDir, holesFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read known holes: %w", err)
	}
	var holes []blocks.Range
	if err := json.Unmarshal(b, &holes); err != nil {
		return nil, fmt.Errorf("cannot read known holes: %w", err)
	}
	return holes, nil
}

// maxHoles bounds the note of holes; the oldest leave, as their records do.
const maxHoles = 1000

func (x *examiner) storeHoles(holes []blocks.Range) error {
	if len(holes) == 0 {
		return nil
	}
	b, err := json.Marshal(holes[max(0, len(holes)-maxHoles):])
	if err != nil {
		return err
	}
	path := filepath.Join(x.state, damagedDir, holesFile)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if err := writeSynced(path+".new", b); err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	return syncPath(filepath.Dir(path))
}
