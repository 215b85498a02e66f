package blocks

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// harms are what disks, crashes and people do to a store of three blocks with
// thirty records each.
var harms = map[string]func(t *testing.T, dir string, pick func(int) int){
	"flipped bit": func(t *testing.T, dir string, pick func(int) int) {
		file := blockFiles(t, dir)[pick(3)]
		change(t, file, func(b []byte) []byte { b[pick(len(b))] ^= 1 << pick(8); return b })
	},
	"missing block": func(t *testing.T, dir string, pick func(int) int) {
		if err := os.Remove(blockFiles(t, dir)[1]); err != nil {
			t.Fatal(err)
		}
	},
	"cut block": func(t *testing.T, dir string, pick func(int) int) {
		change(t, blockFiles(t, dir)[pick(2)], func(b []byte) []byte { return b[:pick(len(b))] })
	},
	"zeroed pages": func(t *testing.T, dir string, pick func(int) int) {
		change(t, blockFiles(t, dir)[pick(3)], func(b []byte) []byte { at := pick(len(b)); clear(b[at:min(len(b), at+512)]); return b })
	},
	"garbage in between": func(t *testing.T, dir string, pick func(int) int) {
		change(t, blockFiles(t, dir)[pick(2)], func(b []byte) []byte {
			return slices.Insert(b, pick(len(b)), []byte(strings.Repeat("x", 1+pick(300)))...)
		})
	},
	"garbage at the end": func(t *testing.T, dir string, pick func(int) int) {
		change(t, blockFiles(t, dir)[2], func(b []byte) []byte { return append(b, strings.Repeat("garbage ", 40)...) })
	},
	"two blocks": func(t *testing.T, dir string, pick func(int) int) {
		for _, n := range []int{0, 2} {
			change(t, blockFiles(t, dir)[n], func(b []byte) []byte { b[pick(len(b))] ^= 0x80; return b })
		}
	},
}

func mustCheck(t testing.TB, dir string, known ...Range) *Report {
	t.Helper()
	rep, err := (&Checker{Dir: dir, Known: known}).Check()
	if err != nil {
		t.Fatal(err)
	}
	return rep
}

// TestMendsWithoutLoss: whatever is done to a store, mending keeps each record
// that can still be read as it was, names the others, puts in what is known
// from elsewhere, keeps the evidence, and leaves a store that is intact but for
// the holes it named. The server then reads exactly that.
func TestMendsWithoutLoss(t *testing.T) {
	t.Parallel()
	for name, harm := range harms {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			chance := rand.New(rand.NewPCG(seed, 0))
			for range 40 {
				mendOnce(t, harm, chance)
			}
		})
	}
}

func mendOnce(t *testing.T, harm func(*testing.T, string, func(int) int), chance *rand.Rand) {
	dir, want := writeStore(t, 30, 30, 30)
	if rep := mustCheck(t, dir); rep.Damaged() || rep.Records != 90 || rep.End.StreamSeq != 90 {
		t.Fatalf("before: %+v", rep)
	}
	before := map[string][]byte{}
	for _, f := range blockFiles(t, dir) {
		before[filepath.Base(f)], _ = os.ReadFile(f)
	}
	harm(t, dir, chance.IntN)
	harmed := map[string][]byte{}
	for _, f := range blockFiles(t, dir) {
		harmed[filepath.Base(f)], _ = os.ReadFile(f)
	}
	readable, _ := offline(t, dir, 0)
	rep := mustCheck(t, dir)
	if !rep.Damaged() {
		if len(rep.Damage) == 0 && len(readable) < 90 {
			t.Fatalf("%d records are gone and nothing is said", 90-len(readable))
		}
		return // a tail, or nothing that counts (a length's spare bits)
	}
	keep := chance.IntN(90)
	m := Mender{Dir: dir, Evidence: filepath.Join(dir, "damaged"), Stamp: "now", Fill: func(h Hole) []Entry {
		var known []Entry
		for _, g := range want {
			if g.Seq >= h.Missing.First && g.Seq <= h.Missing.Last && int(g.Seq) > keep {
				known = append(known, Entry{StreamSeq: g.Seq, Time: g.Time, Subject: g.Subject, Data: []byte(g.Data)})
			}
		}
		return known
	}}
	mended, holes, err := m.Mend()
	if err != nil {
		t.Fatal(err)
	}
	var left []Range
	there := map[uint64]bool{}
	for _, h := range holes {
		left = append(left, h.Left()...)
		for _, f := range h.Filled {
			for s := f.First; s <= f.Last; s++ {
				there[s] = true
			}
		}
	}
	for _, g := range readable {
		there[g.Seq] = true
	}
	checkMended(t, dir, want, there, left, mended, harmed)
	if chance.IntN(10) == 0 {
		serverAgrees(t, dir)
	}
}

func checkMended(t *testing.T, dir string, want []got, there map[uint64]bool, left []Range, mended []Mended, harmed map[string][]byte) {
	t.Helper()
	after := mustCheck(t, dir, left...)
	if after.Damaged() {
		t.Fatalf("after mending: %v", after.Damage)
	}
	read, _ := offline(t, dir, 0)
	for _, g := range read {
		w := want[g.Seq-1]
		if g.Data != w.Data || g.Subject != w.Subject || !g.Time.Equal(w.Time) || !there[g.Seq] {
			t.Fatalf("record %d is %+v, was %+v", g.Seq, g, w)
		}
		delete(there, g.Seq)
		for _, l := range left {
			if l.First <= g.Seq && g.Seq <= l.Last {
				t.Fatalf("record %d is said to be lost", g.Seq)
			}
		}
	}
	if len(there) > 0 {
		t.Fatalf("records %v were readable and are gone", there)
	}
	for _, w := range want {
		if !slices.ContainsFunc(read, func(g got) bool { return g.Seq == w.Seq }) &&
			!slices.ContainsFunc(left, func(l Range) bool { return l.First <= w.Seq && w.Seq <= l.Last }) {
			t.Fatalf("record %d is gone and not named in %v", w.Seq, left)
		}
	}
	for _, m := range mended {
		b, err := os.ReadFile(m.Evidence)
		if err != nil || string(b) != string(harmed[filepath.Base(m.File)]) {
			t.Fatalf("evidence of %s is not what was there: %v", m.File, err)
		}
	}
}

// serverAgrees: the server, which knows nothing of this, takes over the blocks
// and delivers what this package reads.
func serverAgrees(t *testing.T, dir string) {
	t.Helper()
	want, _ := offline(t, dir, 0)
	for _, name := range []string{metaFile, metaSum} { // they describe nothing
		if err := os.Remove(filepath.Join(StreamDir(dir), name)); err != nil {
			t.Fatal(err)
		}
	}
	r := startServer(t, dir)
	r.stream(false, nil)
	if read := r.consume(); len(want) > 0 && len(read) != len(want) {
		t.Errorf("the server reads %d records of %d", len(read), len(want))
	}
	r.stop()
}

// TestMendsDescriptions: a stream without its description is not loaded; once
// what is left of that is set aside, the server takes over the blocks.
func TestMendsDescriptions(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := startServer(t, dir)
	r.stream(true, nil)
	r.publish(1, 300, 100)
	r.stop()
	for name, harm := range map[string]func(string) error{
		"no description":      func(d string) error { return os.Remove(filepath.Join(d, metaFile)) },
		"no checksum":         func(d string) error { return os.Remove(filepath.Join(d, metaSum)) },
		"description emptied": func(d string) error { return os.Truncate(filepath.Join(d, metaFile), 0) },
		"checksum changed":    func(d string) error { return os.WriteFile(filepath.Join(d, metaSum), []byte("00"), 0o600) },
	} {
		copied := cloneStore(t, dir)
		if rep := mustCheck(t, copied); rep.Damaged() {
			t.Fatalf("%s: damaged before: %v %v", name, rep.Damage, rep.Descriptions)
		}
		if err := harm(StreamDir(copied)); err != nil {
			t.Fatal(err)
		}
		if rep := mustCheck(t, copied); len(rep.Descriptions) != 1 || len(rep.Damage) != 0 {
			t.Errorf("%s: %v %v", name, rep.Descriptions, rep.Damage)
		}
		m := Mender{Dir: copied, Evidence: filepath.Join(copied, "damaged"), Stamp: "now"}
		if mended, holes, err := m.Mend(); err != nil || len(mended)+len(holes) > 0 {
			t.Fatalf("%s: %v %v %v", name, mended, holes, err)
		}
		s := startServer(t, copied)
		s.stream(false, nil)
		if n := len(s.consume()); n != 300 {
			t.Errorf("%s: the server has %d records of 300", name, n)
		}
		s.stop()
		if rep := mustCheck(t, copied); rep.Damaged() {
			t.Errorf("%s: damaged afterwards: %v", name, rep.Descriptions)
		}
	}
}

// TestMendIsRepeatable: mending again what a crash left half mended changes
// nothing, and evidence is bounded.
func TestMendIsRepeatable(t *testing.T) {
	t.Parallel()
	dir, _ := writeStore(t, 30, 30, 30)
	harms["two blocks"](t, dir, func(n int) int { return n / 2 })
	for i := range maxEvidence + 10 {
		m := Mender{Dir: dir, Evidence: filepath.Join(dir, "damaged"), Stamp: fmt.Sprintf("%04d", i)}
		if _, _, err := m.Mend(); err != nil {
			t.Fatal(err)
		}
		change(t, blockFiles(t, dir)[1], func(b []byte) []byte { return append(b, 'x') })
	}
	names, err := os.ReadDir(filepath.Join(dir, "damaged"))
	if err != nil || len(names) > maxEvidence+1 {
		t.Errorf("%d files of evidence, %v", len(names), err)
	}
}

// TestCheckSkipsTheUnchanged: a second check reads only what changed.
func TestCheckSkipsTheUnchanged(t *testing.T) {
	t.Parallel()
	dir, _ := writeStore(t, 30, 30, 30)
	c := Checker{Dir: dir}
	if rep, err := c.Check(); err != nil || rep.Damaged() {
		t.Fatal(rep, err)
	}
	first := blockFiles(t, dir)[0]
	info, err := os.Stat(first)
	if err != nil {
		t.Fatal(err)
	}
	flip(t, first, 100)
	if err := os.Chtimes(first, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	if rep, _ := c.Check(); rep.Damaged() {
		t.Error("a block with its old size and time was read again")
	}
	if err := os.Chtimes(first, time.Time{}, time.Now()); err != nil {
		t.Fatal(err)
	}
	if rep, _ := c.Check(); !rep.Damaged() {
		t.Error("a block that changed was not read again")
	}
}

// TestCheckOfNothing: a folder without a stream is intact.
func TestCheckOfNothing(t *testing.T) {
	t.Parallel()
	if rep := mustCheck(t, t.TempDir()); rep.Damaged() || rep.Records != 0 {
		t.Errorf("%+v", rep)
	}
}
