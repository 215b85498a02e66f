package blocks

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestLayout: files that another server version wrote are told from files of
// ours, damaged or not.
func TestLayout(t *testing.T) {
	t.Parallel()
	whole := t.TempDir()
	r := startServer(t, whole)
	r.stream(true, nil)
	r.publish(1, 600, 120)
	r.stop()
	if n := len(blockFiles(t, whole)); n < 3 {
		t.Fatalf("%d blocks are too few", n)
	}
	all := func(f func([]byte)) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			for _, file := range blockFiles(t, dir) {
				change(t, file, func(b []byte) []byte { f(b); return b })
			}
		}
	}
	index := func(version byte) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			change(t, filepath.Join(StreamDir(dir), "msgs", "index.db"), func(b []byte) []byte {
				b = b[:len(b)-sumSize]
				b[1] = version
				x := keyedHasher("JOURNAL")
				_, _ = x.h.Write(b)
				return x.h.Sum(b)
			})
		}
	}
	key := func(name string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(StreamDir(dir), name), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	nothing := func(*testing.T, string) {}
	for _, c := range []struct {
		name   string
		change func(*testing.T, string)
		want   string // empty: it is known
		sure   bool
	}{
		{"as written", nothing, "", false},
		{"an older index", index(3), "", false},
		{"a newer index", index(5), "a newer server wrote it", true},
		{"an index that is damaged", func(t *testing.T, dir string) { flip(t, filepath.Join(StreamDir(dir), "msgs", "index.db"), 1) }, "", false},
		{"one bit of each block", all(func(b []byte) { b[50] ^= 1 }), "", false},
		{"no checksum fits", all(func(b []byte) {
			for i := range b {
				b[i] ^= 0x5a
			}
		}), "no record in it or any other block verifies", false},
		{"another compression", all(func(b []byte) { copy(b, "cmp\x07") }), "algorithm 7", true},
		{"a key", key("meta.key"), "encryption", true},
		{"a key of a block", key("msgs/2.key"), "encryption", true},
		{"empty blocks", func(t *testing.T, dir string) {
			for _, file := range blockFiles(t, dir) {
				change(t, file, func([]byte) []byte { return nil })
			}
		}, "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := cloneStore(t, whole)
			c.change(t, dir)
			rd, err := Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			var strange *LayoutError
			switch err := rd.Layout(); {
			case err == nil && c.want == "":
			case !errors.As(err, &strange) || c.want == "" || !strings.Contains(err.Error(), c.want):
				t.Errorf("layout: %v, want %q", err, c.want)
			case strange.Certain != c.sure || strange.Encrypted != strings.Contains(c.want, "encryption"):
				t.Errorf("layout: %+v", strange)
			}
		})
	}
}

func wired(t testing.TB, entries ...Entry) []byte {
	var b bytes.Buffer
	w := NewWriter(&b)
	for _, e := range entries {
		if err := w.Write(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func unwired(b []byte) (all []Entry, err error) {
	for e, err := range ReadWire(bytes.NewReader(b)) {
		if err != nil {
			return all, err
		}
		all = append(all, e)
	}
	return all, nil
}

// TestWire: what is written is read, and an end that is missing shows,
// wherever it is cut.
func TestWire(t *testing.T) {
	t.Parallel()
	want := []Entry{
		{StreamSeq: 3, Time: time.Unix(5, 6).UTC(), Subject: "a.b", Data: []byte(`{"x":1}`)},
		{StreamSeq: 4, Time: time.Unix(-5, 0).UTC(), Data: []byte{}},
		{StreamSeq: 9, Time: time.Unix(0, 0).UTC(), Subject: "a.b", Data: bytes.Repeat([]byte("x"), 70_000)},
	}
	b := wired(t, want...)
	got, err := unwired(b)
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Fatal(err, d)
	}
	for n := range b {
		if n > 200 && n < len(b)-200 {
			continue
		}
		if _, err := unwired(b[:n]); err == nil {
			t.Fatalf("cut off at %d, nobody notices", n)
		}
	}
	if _, err := unwired(wired(t, want[1], want[0])); err == nil {
		t.Error("a row out of order is taken")
	}
	for _, e := range []Entry{{}, {StreamSeq: 1, Subject: strings.Repeat("x", 1<<16)}} {
		if w := NewWriter(&bytes.Buffer{}); w.Write(e) == nil || w.Close() == nil {
			t.Errorf("%v is written", e.StreamSeq)
		}
	}
}

func FuzzReadWire(f *testing.F) {
	f.Add(wired(f, Entry{StreamSeq: 1, Subject: "a", Data: []byte("{}")}, Entry{StreamSeq: 2}))
	f.Add([]byte(wireMark))
	f.Add(append([]byte(wireMark), bytes.Repeat([]byte{0xff}, 40)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		all, err := unwired(b)
		if err != nil {
			return
		}
		if again := wired(t, all...); !bytes.HasPrefix(b, again) {
			t.Errorf("%x is written as %x", b, again)
		}
	})
}
