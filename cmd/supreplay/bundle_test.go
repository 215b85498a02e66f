package main

import (
	"archive/tar"
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"supd/cmd/internal/client"
	"supd/journal/blocks"
)

// entry is one of an archive that somebody else made.
type entry struct {
	name, text string
	kind       byte
	link       string
}

func archive(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		if e.kind == 0 {
			e.kind = tar.TypeReg
		}
		if err := w.WriteHeader(&tar.Header{Name: e.name, Typeflag: e.kind, Linkname: e.link, Size: int64(len(e.text)), Mode: 0o777}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.text); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestHostileBundles(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 5000)
	for name, c := range map[string]struct {
		entries []entry
		want    string // of the error; empty: opened, without harm
	}{
		"out":        {[]entry{{name: "../evil", text: "x"}}, "leads out of it"},
		"deep out":   {[]entry{{name: "a/../../evil", text: "x"}}, "leads out of it"},
		"absolute":   {[]entry{{name: "/tmp/evil", text: "x"}}, "leads out of it"},
		"twice":      {[]entry{{name: "a", text: "x"}, {name: "./a", text: "y"}}, "twice"},
		"huge":       {[]entry{{name: "a", text: long}, {name: "b", text: long}, {name: "c", text: long}}, "far more"},
		"link":       {[]entry{{name: "a", kind: tar.TypeSymlink, link: "/etc"}, {name: "a/passwd", text: "x"}}, ""},
		"hard link":  {[]entry{{name: "a", kind: tar.TypeLink, link: "/etc/passwd"}}, ""},
		"device":     {[]entry{{name: "a", kind: tar.TypeBlock}}, ""},
		"secrets":    {[]entry{{name: "s/applied/web.json", text: "x"}}, ""},
		"file below": {[]entry{{name: "a", text: "x"}, {name: "a/b", text: "x"}}, "file exists"},
		"nothing":    {nil, "no tar archive"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			outer := t.TempDir()
			dir := filepath.Join(outer, "in")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			err := unpack(bytes.NewReader(archive(t, c.entries...)), 8000, dir)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("unpacked with %v, want %q", err, c.want)
			}
			inside(t, outer)
		})
	}
}

// inside fails if anything is outside of the folder in, or is no plain file.
func inside(t testing.TB, outer string) {
	t.Helper()
	names, err := os.ReadDir(outer)
	if err != nil || len(names) != 1 {
		t.Fatalf("something is outside: %v %v", names, err)
	}
	err = filepath.WalkDir(filepath.Join(outer, "in"), func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() && !d.Type().IsRegular() || strings.Contains(path, "/applied/") {
			t.Errorf("%s was unpacked", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A small file that would fill the disk is given up early.
func TestBomb(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "bomb")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	z, err := zstd.NewWriter(f)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(z)
	if err := w.WriteHeader(&tar.Header{Name: "journal/x", Typeflag: tar.TypeReg, Size: freeBundle + 1}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(w, zeros{}, freeBundle+1); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Close(), z.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := openSource(file, client.Network{}, io.Discard); err == nil || !strings.Contains(err.Error(), "far more") {
		t.Errorf("opened: %v", err)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

func FuzzUnpack(f *testing.F) {
	f.Add(archive(f, entry{name: "s/node.json", text: "{}"}, entry{name: "../x", text: "y"}))
	f.Add(archive(f, entry{name: "manifest.json", text: `{"format":1,"files":[{"name":"records","size":3}]}`}, entry{name: "records", text: "1 2"}))
	f.Add([]byte{0x1f, 0x8b})
	f.Add([]byte{0x28, 0xb5, 0x2f, 0xfd})
	f.Fuzz(func(t *testing.T, b []byte) {
		outer := t.TempDir()
		dir := filepath.Join(outer, "in")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if src, err := unpackSource(bytes.NewReader(b), 1<<20, dir, io.Discard); err == nil {
			for range src.history(reading{}) {
			}
		}
		inside(t, outer)
	})
}

func FuzzReadRecord(f *testing.F) {
	f.Add([]byte("1 2 sup.n1.evt._.engine.started\n{}\n"))
	f.Add([]byte("1 67108864 x\n"))
	f.Add([]byte("-1 -1\n\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bufio.NewReader(bytes.NewReader(b))
		at := int64(0)
		for {
			e, n, err := readRecord(r)
			if err != nil {
				break
			}
			if n <= 0 || !bytes.Equal(e.Data, b[at+n-1-int64(len(e.Data)):at+n-1]) {
				t.Fatalf("record at %d: %d bytes, %q", at, n, e.Data)
			}
			at += n
		}
	})
}

// Bytes that are no record come back as they were stored.
func TestRecordsAreVerbatim(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	want := []blocks.Entry{
		{StreamSeq: 7, Subject: "sup.n1.evt.web.instance.exited", Data: []byte(`{"a":1}`)},
		{StreamSeq: 8, Subject: "", Data: []byte("two\nlines\n\x00\xff")},
		{StreamSeq: 9, Subject: "a b", Data: []byte{}},
	}
	for _, e := range want {
		if err := writeRecord(&b, e); err != nil {
			t.Fatal(err)
		}
	}
	r := bufio.NewReader(&b)
	for _, w := range want {
		e, _, err := readRecord(r)
		if err != nil || e.StreamSeq != w.StreamSeq || e.Subject != w.Subject || !bytes.Equal(e.Data, w.Data) {
			t.Errorf("%+v (%v), want %+v", e, err, w)
		}
	}
	if _, _, err := readRecord(r); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
}
