package output

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func FuzzIndex(f *testing.F) {
	good := append(mark{off: 0, at: 1, instance: instanceID{1}}.encode(), mark{off: 7, at: 2, flags: flagCut}.encode()...)
	f.Add(good, int64(3))
	f.Add(good[:50], int64(9))
	f.Add(bytes.Repeat([]byte{0xff}, 200), int64(-1))
	f.Fuzz(func(t *testing.T, b []byte, off int64) {
		if len(b) > 1<<16 {
			return
		}
		x := newIndex(bytes.NewReader(b), int64(len(b)))
		if i, m, ok := x.find(off); ok && (m.off > off || i < 0 || i >= x.n) {
			t.Fatalf("find(%d) = entry %d at %d", off, i, m.off)
		}
		for i := range x.n {
			if m, ok := x.at(i); ok && !bytes.Equal(m.encode(), b[i*markSize:(i+1)*markSize]) {
				t.Fatalf("entry %d does not encode to itself", i)
			}
		}
	})
}

// FuzzReadIndex reads a fixed text beside an index of any bytes: all of the
// text, whatever the index says.
func FuzzReadIndex(f *testing.F) {
	f.Add(mark{off: 4, at: 1}.encode(), uint8(10))
	f.Add(append(mark{off: 9, at: 1, instance: instanceID{1}}.encode(), mark{off: 2, at: 2, flags: flagCut}.encode()...), uint8(3))
	f.Fuzz(func(t *testing.T, idx []byte, maxBytes uint8) {
		if len(idx) > 1<<14 {
			return
		}
		const text = "one\ntwo\n\nthree and more\nlast"
		dir := t.TempDir()
		folder := filepath.Join(dir, "s")
		os.Mkdir(folder, 0o755)
		os.WriteFile(activePath(folder, Stdout), []byte(text), 0o644)
		// Valid checksums reach deeper than chance does.
		for i := 0; i+markSize <= len(idx); i += markSize {
			if idx[i]&1 == 0 {
				copy(idx[i:], mark{off: int64(idx[i+1]) % 40, at: int64(idx[i+2]), flags: uint16(idx[i+3] & 1), instance: instanceID{idx[i+4] & 1}}.encode())
			}
		}
		os.WriteFile(indexPath(folder, Stdout, 1), idx, 0o644)
		var got []byte
		for _, l := range readAll(t, dir, Query{Service: "s", Tail: -1, MaxBytes: int(maxBytes)}) {
			got = append(got, l.Data...)
			if !l.Partial {
				got = append(got, '\n')
			}
		}
		if string(got) != text {
			t.Fatalf("got %q", got)
		}
		if _, err := Read(context.Background(), dir, Query{Service: "s", Tail: int(maxBytes), Since: time.Unix(0, int64(maxBytes))}); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzCursor(f *testing.F) {
	f.Add("1-5-100-7-0")
	f.Add("")
	f.Add("1-0-0-0-0")
	f.Add("2-1-1-1-1")
	f.Fuzz(func(t *testing.T, s string) {
		c, err := ParseCursor(s)
		if err != nil {
			return
		}
		if again, err := ParseCursor(c.String()); err != nil || again != c {
			t.Fatalf("%q -> %v -> %v %v", s, c, again, err)
		}
		dir := t.TempDir()
		folder := filepath.Join(dir, "s")
		os.Mkdir(folder, 0o755)
		os.WriteFile(activePath(folder, Stdout), []byte("a\nb\n"), 0o644)
		os.WriteFile(closedPath(folder, Stdout, 3), []byte("c\n"), 0o644)
		if _, err := Read(context.Background(), dir, Query{Service: "s", Cursor: c}); err != nil {
			t.Fatal(err)
		}
	})
}
