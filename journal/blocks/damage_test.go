package blocks

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func appendRecord(b []byte, store string, number int, seq uint64, ts int64, subject string, header, data []byte) []byte {
	return newHasher(store, number).appendRecord(b, seq, ts, subject, header, data)
}

// writeStore makes a store of blocks with the given number of records each.
func writeStore(t testing.TB, counts ...int) (dir string, want []got) {
	t.Helper()
	dir = t.TempDir()
	msgs := filepath.Join(StreamDir(dir), "msgs")
	if err := os.MkdirAll(msgs, 0o700); err != nil {
		t.Fatal(err)
	}
	x := keyedHasher("JOURNAL")
	_, _ = x.h.Write([]byte("{}"))
	for name, text := range map[string]string{metaFile: "{}", metaSum: fmt.Sprintf("%x", x.h.Sum(nil))} {
		if err := os.WriteFile(filepath.Join(StreamDir(dir), name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	seq := uint64(0)
	for n, count := range counts {
		var b []byte
		for range count {
			seq++
			b = appendRecord(b, "JOURNAL", n+1, seq, int64(seq)*1000, testMessage(int(seq), 40).Subject, testHeader(seq), testMessage(int(seq), 40).Data)
		}
		if err := os.WriteFile(filepath.Join(msgs, fmt.Sprintf("%d.blk", n+1)), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, damage := offline(t, dir, 0)
	noDamage(t, damage)
	if len(want) != int(seq) {
		t.Fatalf("%d records of %d", len(want), seq)
	}
	return dir, want
}

func testHeader(seq uint64) []byte {
	if seq%2 == 0 {
		return nil
	}
	return fmt.Appendf(nil, "NATS/1.0\r\nX-Number: %d\r\n\r\n", seq)
}

func flip(t testing.TB, file string, at int) {
	t.Helper()
	change(t, file, func(b []byte) []byte { b[at] ^= 4; return b })
}

func change(t testing.TB, file string, f func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, f(b), 0o600); err != nil {
		t.Fatal(err)
	}
}

// covered holds the promise: every record is there as it was, or in a damage.
func covered(t testing.TB, want, read []got, damage []*Damage) {
	t.Helper()
	bySeq := make(map[uint64]got, len(read))
	for _, g := range read {
		if _, twice := bySeq[g.Seq]; twice {
			t.Errorf("record %d comes twice", g.Seq)
		}
		bySeq[g.Seq] = g
	}
	for _, w := range want {
		g, ok := bySeq[w.Seq]
		if !ok {
			if !slices.ContainsFunc(damage, func(d *Damage) bool { return d.Covers(w.Seq) }) {
				t.Errorf("record %d is lost and no damage covers it: %v", w.Seq, damage)
			}
			continue
		}
		if d := cmp.Diff(w, g); d != "" {
			t.Errorf("record %d is not what was written: %s", w.Seq, d)
		}
		delete(bySeq, w.Seq)
	}
	for seq := range bySeq {
		t.Errorf("record %d was never written", seq)
	}
}

// place finds where record seq begins.
func place(t testing.TB, dir string, seq uint64) (file string, at, end int) {
	t.Helper()
	r, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	for e, err := range r.Records(0) {
		if err == nil && e.StreamSeq == seq {
			b, err := os.ReadFile(e.File)
			if err != nil {
				t.Fatal(err)
			}
			size := int(binary.LittleEndian.Uint32(b[e.Offset:]) &^ hasHeaders)
			return e.File, int(e.Offset), int(e.Offset) + size
		}
	}
	t.Fatalf("no record %d", seq)
	return "", 0, 0
}

func TestNamesTheDamage(t *testing.T) {
	t.Parallel()
	type expect struct {
		what        What
		file        string
		record      uint64 // the damage is at this record; 0: not checked
		first, last uint64
	}
	cut := func(n int) func([]byte, int, int) []byte {
		return func(b []byte, _, end int) []byte { return b[:end-n] }
	}
	for name, c := range map[string]struct {
		at     uint64
		change func(b []byte, at, end int) []byte
		want   []expect
	}{
		"bit in a message": {
			35, func(b []byte, at, end int) []byte { b[end-20] ^= 1; return b },
			[]expect{{Corrupt, "2.blk", 35, 35, 35}},
		},
		"bit in a length": {
			35, func(b []byte, at, end int) []byte { b[at] ^= 64; return b },
			[]expect{{Corrupt, "2.blk", 35, 35, 35}},
		},
		"bit in the header flag": {
			36, func(b []byte, at, end int) []byte { b[at+3] ^= 128; return b },
			[]expect{{Corrupt, "2.blk", 36, 36, 36}},
		},
		"length of the subject": {
			36, func(b []byte, at, end int) []byte { b[at+20]++; return b },
			[]expect{{Corrupt, "2.blk", 36, 36, 36}},
		},
		"length of the headers": {35, func(b []byte, at, end int) []byte {
			b[at+22+int(b[at+20])]++
			return b
		}, []expect{{Corrupt, "2.blk", 35, 35, 35}}},
		"sequence": {
			35, func(b []byte, at, end int) []byte { b[at+4] ^= 1; return b },
			[]expect{{Corrupt, "2.blk", 35, 35, 35}},
		},
		"record removed": {
			35, func(b []byte, at, end int) []byte { return slices.Delete(b, at, end) },
			[]expect{{Missing, "2.blk", 0, 35, 35}},
		},
		"record twice": {
			35, func(b []byte, at, end int) []byte { return slices.Insert(b, end, b[at:end]...) },
			[]expect{{Disorder, "2.blk", 0, 35, 35}},
		},
		"first of a block": {
			31, func(b []byte, at, end int) []byte { b[at+30] ^= 1; return b },
			[]expect{{Corrupt, "2.blk", 31, 31, 31}},
		},
		"garbage between two": {
			35, func(b []byte, at, end int) []byte { return slices.Insert(b, at, []byte("garbage")...) },
			[]expect{{Corrupt, "2.blk", 0, 0, 0}},
		},
		"block emptied": {
			35, func(b []byte, at, end int) []byte { return nil },
			[]expect{{Missing, "3.blk", 61, 31, 60}},
		},
		"block zeroed": {
			35, func(b []byte, at, end int) []byte { clear(b); return b },
			[]expect{{Corrupt, "2.blk", 31, 31, 60}},
		},
		"middle block cut": {60, cut(11), []expect{{Corrupt, "2.blk", 60, 60, 60}}},
		"tail cut":         {90, cut(11), []expect{{Tail, "3.blk", 90, 90, OpenEnd}}},
		"tail cut in head": {90, func(b []byte, at, end int) []byte { return b[:at+9] }, []expect{{Tail, "3.blk", 90, 90, OpenEnd}}},
		"tail zero": {
			90, func(b []byte, at, end int) []byte { clear(b[at+40:]); return b },
			[]expect{{Tail, "3.blk", 90, 90, OpenEnd}},
		},
		"zeros behind the end": {
			90, func(b []byte, at, end int) []byte { return append(b, make([]byte, 4096)...) },
			[]expect{{Tail, "3.blk", 0, 91, OpenEnd}},
		},
		"last record changed": {
			90, func(b []byte, at, end int) []byte { b[end-20] ^= 1; return b },
			[]expect{{Corrupt, "3.blk", 90, 90, OpenEnd}},
		},
		"last length changed": {
			90, func(b []byte, at, end int) []byte { b[at+1] ^= 2; return b },
			[]expect{{Corrupt, "3.blk", 90, 90, OpenEnd}},
		},
		"first record changed": {
			1, func(b []byte, at, end int) []byte { b[end-20] ^= 1; return b },
			[]expect{{Corrupt, "1.blk", 1, 1, 1}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, want := writeStore(t, 30, 30, 30)
			var offset int64
			if c.want[0].record != 0 {
				_, at, _ := place(t, dir, c.want[0].record)
				offset = int64(at)
			}
			file, at, end := place(t, dir, c.at)
			change(t, file, func(b []byte) []byte { return c.change(b, at, end) })
			read, damage := offline(t, dir, 0)
			covered(t, want, read, damage)
			if len(damage) != len(c.want) {
				t.Fatalf("damage: %v", damage)
			}
			for i, e := range c.want {
				d := damage[i]
				if d.What != e.what || filepath.Base(d.File) != e.file || d.First != e.first || d.Last != e.last {
					t.Errorf("damage %v, want %v", d, e)
				}
				if e.record != 0 && d.Offset != offset {
					t.Errorf("offset %d, want %d: %v", d.Offset, offset, d)
				}
			}
			if again, _ := offline(t, dir, 61); c.at < 61 && len(again) != 30 {
				t.Errorf("%d records from 61 on", len(again))
			}
		})
	}
}

func TestBlockDeleted(t *testing.T) {
	t.Parallel()
	dir, want := writeStore(t, 30, 30, 30)
	if err := os.Remove(blockFiles(t, dir)[1]); err != nil {
		t.Fatal(err)
	}
	read, damage := offline(t, dir, 0)
	covered(t, want, read, damage)
	if len(damage) != 1 || damage[0].What != Missing || damage[0].First != 31 || damage[0].Last != 60 {
		t.Errorf("damage: %v", damage)
	}
}

// What the blocks cannot show, the server's summary does.
func TestSummaryIsAWitness(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := startServer(t, dir)
	r.stream(true, nil)
	r.publish(1, 1500, 100)
	r.stop()
	n := len(blockFiles(t, dir))
	for name, c := range map[string]struct {
		harm func(files []string) error
		what What
		last bool
	}{
		"last block deleted":  {func(f []string) error { return os.Remove(f[n-1]) }, Missing, true},
		"first block deleted": {func(f []string) error { return os.Remove(f[0]) }, Missing, false},
		"last block emptied":  {func(f []string) error { return os.Truncate(f[n-1], 0) }, Tail, true},
	} {
		copied := cloneStore(t, dir)
		want, damage := offline(t, copied, 0)
		noDamage(t, damage)
		if err := c.harm(blockFiles(t, copied)); err != nil {
			t.Fatal(err)
		}
		read, damage := offline(t, copied, 0)
		covered(t, want, read, damage)
		if len(damage) != 1 || damage[0].What != c.what || c.last != (damage[0].Last == 1500) {
			t.Errorf("%s: damage %v", name, damage)
		}
		// Without the summary these are silent: that it is read is what the test shows.
		if err := os.Remove(filepath.Join(StreamDir(copied), "msgs", "index.db")); err != nil {
			t.Fatal(err)
		}
		if _, damage = offline(t, copied, 0); len(damage) != 0 {
			t.Errorf("%s, no summary: damage %v", name, damage)
		}
	}
}

func TestUnreadableBlock(t *testing.T) {
	t.Parallel()
	dir, want := writeStore(t, 30, 30, 30)
	name := blockFiles(t, dir)[1]
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/nonexistent/block", name); err != nil {
		t.Fatal(err)
	}
	read, damage := offline(t, dir, 0)
	covered(t, want, read, damage)
	if len(damage) != 1 || damage[0].What != Unreadable || damage[0].First != 31 || damage[0].Last != 60 || damage[0].Err == nil {
		t.Errorf("damage: %v", damage)
	}
}

func TestFIFOInPlaceOfABlock(t *testing.T) {
	t.Parallel()
	dir, want := writeStore(t, 30, 30, 30)
	name := blockFiles(t, dir)[1]
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(name, 0o600); err != nil {
		t.Fatal(err)
	}
	read, damage := offline(t, dir, 0)
	covered(t, want, read, damage)
	if len(damage) != 1 || damage[0].What != Unreadable {
		t.Errorf("damage: %v", damage)
	}
}

func TestErasedRecordIsReported(t *testing.T) {
	t.Parallel()
	dir, want := writeStore(t, 30, 30, 30)
	file, at, end := place(t, dir, 35)
	change(t, file, func(b []byte) []byte {
		random := bytes.Repeat([]byte{0x5a}, end-at-minRecord)
		return slices.Replace(b, at, end, appendRecord(nil, "JOURNAL", 2, 35|erasedBit, 0, "", nil, random)...)
	})
	read, damage := offline(t, dir, 0)
	covered(t, want, read, damage)
	if len(damage) != 1 || damage[0].What != Erased || damage[0].First != 35 {
		t.Errorf("damage: %v", damage)
	}
}

func TestStopsWhenTheCallerDoes(t *testing.T) {
	t.Parallel()
	dir, _ := writeStore(t, 30, 30)
	r, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for range r.Records(0) {
		if n++; n == 7 {
			break
		}
	}
	if n != 7 {
		t.Fatal(n)
	}
}

func TestOpenNeedsAStream(t *testing.T) {
	t.Parallel()
	if _, err := Open(t.TempDir()); err == nil || !strings.HasPrefix(err.Error(), "cannot open journal: ") {
		t.Errorf("error %v", err)
	}
}

// The reader has to work where no server can: it must not even link one.
func TestLinksNoServer(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for dep := range strings.FieldsSeq(string(out)) {
		if strings.HasPrefix(dep, "github.com/nats-io/") {
			t.Errorf("journal/blocks imports %s: it reads offline, and supreplay must stay small", dep)
		}
	}
}

func FuzzDamagedBlock(f *testing.F) {
	dir, want := writeStore(f, 20, 20, 20)
	block, err := os.ReadFile(blockFiles(f, dir)[1])
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint16(0), uint16(0), []byte{})
	f.Add(uint16(500), uint16(1), []byte{7})
	f.Add(uint16(20), uint16(2), []byte{0xff, 0xff})
	f.Add(uint16(140), uint16(140), block[:300])
	f.Add(uint16(0), uint16(5), []byte("cmp\x01\x20"))
	f.Add(uint16(0), uint16(60000), []byte{})
	f.Fuzz(func(t *testing.T, at, remove uint16, insert []byte) {
		from := min(int(at), len(block))
		to := min(from+int(remove), len(block))
		damaged := slices.Concat(block[:from], insert, block[to:])
		read, damage := readDamaged(t, dir, damaged)
		covered(t, want, read, damage)
		if !bytes.Equal(damaged, block) && len(damage) == 0 {
			t.Error("the block was changed and nothing is reported")
		}
	})
}

// FuzzTail damages the newest block, where an end that is gone cannot be
// seen: only what is returned has to be right.
func FuzzTail(f *testing.F) {
	block := []byte{}
	dir, want := writeStore(f, 20, 20)
	block, err := os.ReadFile(blockFiles(f, dir)[1])
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint16(300), uint16(60000), []byte{})
	f.Add(uint16(0), uint16(0), []byte{1, 2, 3})
	f.Fuzz(func(t *testing.T, at, remove uint16, insert []byte) {
		from := min(int(at), len(block))
		to := min(from+int(remove), len(block))
		read, damage := readDamaged(t, dir, slices.Concat(block[:from], insert, block[to:]))
		seen := uint64(0)
		for _, g := range read {
			seen = max(seen, g.Seq)
		}
		covered(t, want[:seen], read, damage)
	})
}

// readDamaged reads the store with block 2 replaced, each time in a folder of
// its own, because fuzzing runs in parallel.
func readDamaged(t testing.TB, dir string, block []byte) ([]got, []*Damage) {
	t.Helper()
	here := t.TempDir()
	msgs := filepath.Join(StreamDir(here), "msgs")
	if err := os.MkdirAll(msgs, 0o700); err != nil {
		t.Fatal(err)
	}
	for i, name := range blockFiles(t, dir) {
		if i != 1 {
			if err := os.Symlink(name, filepath.Join(msgs, filepath.Base(name))); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.WriteFile(filepath.Join(msgs, "2.blk"), block, 0o600); err != nil {
		t.Fatal(err)
	}
	return offline(t, here, 0)
}

func BenchmarkRecords(b *testing.B) {
	dir := b.TempDir()
	msgs := filepath.Join(StreamDir(dir), "msgs")
	if err := os.MkdirAll(msgs, 0o700); err != nil {
		b.Fatal(err)
	}
	pad := bytes.Repeat([]byte("x"), 298)
	data := append(append([]byte("{"), pad...), '}')
	header := []byte("NATS/1.0\r\nNats-Expected-Last-Sequence: 123456\r\n\r\n")
	seq := uint64(0)
	for n := 1; n <= 12; n++ {
		var blk []byte
		for len(blk) < 8<<20 {
			seq++
			blk = appendRecord(blk, "JOURNAL", n, seq, 1, fmt.Sprintf("sup.test.evt.s%d.instance.exited", seq%100), header, data)
		}
		if err := os.WriteFile(filepath.Join(msgs, fmt.Sprintf("%d.blk", n)), blk, 0o600); err != nil {
			b.Fatal(err)
		}
	}
	r, err := Open(dir)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		n := uint64(0)
		for e, err := range r.Records(0) {
			if err != nil {
				b.Fatal(err)
			}
			n += uint64(min(1, len(e.Data)))
		}
		if n != seq {
			b.Fatal(n)
		}
	}
	b.ReportMetric(float64(seq)*float64(b.N)/b.Elapsed().Seconds(), "records/s")
}
