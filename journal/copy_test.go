package journal_test

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"supd/journal"
	"supd/journal/blocks"
)

// copiedStream is a folder as ReadCopy takes it.
func copiedStream(t *testing.T, state string) string {
	t.Helper()
	to := t.TempDir()
	from := blocks.StreamDir(filepath.Join(state, "journal"))
	for _, part := range []string{"msgs", "batches"} {
		if _, err := os.Stat(filepath.Join(from, part)); err != nil {
			continue
		}
		if err := os.CopyFS(filepath.Join(to, part), os.DirFS(filepath.Join(from, part))); err != nil {
			t.Fatal(err)
		}
	}
	return to
}

// TestReadCopy: the server reads a copy as blocks does, with and without its
// summary, and an empty one as empty; the original stays as it is.
func TestReadCopy(t *testing.T) {
	cfg, _ := grown(t)
	dir := cfg.StateDir
	var want []blocks.Entry
	rd, err := blocks.Open(filepath.Join(dir, "journal"))
	if err != nil {
		t.Fatal(err)
	}
	for e, err := range rd.Records(0) {
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, blocks.Entry{StreamSeq: e.StreamSeq, Time: e.Time, Subject: e.Subject, Data: e.Data})
	}
	if len(want) < 100 {
		t.Fatalf("only %d records", len(want))
	}
	read := func(folder string) (all []blocks.Entry) {
		t.Helper()
		err := journal.ReadCopy(t.Context(), folder, slog.New(slog.DiscardHandler), func(e blocks.Entry) error {
			e.Time = e.Time.UTC()
			all = append(all, e)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	if d := cmp.Diff(want, read(copiedStream(t, dir))); d != "" {
		t.Fatal(d)
	}
	bare := copiedStream(t, dir)
	if err := os.Remove(filepath.Join(bare, "msgs", "index.db")); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, read(bare)); d != "" {
		t.Fatal(d)
	}
	// A record that the server cannot read is left out, and keeps nobody waiting.
	harmed := copiedStream(t, dir)
	block := filepath.Join(harmed, "msgs", "1.blk")
	b, err := os.ReadFile(block)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(block, flipMiddle(b), 0o600); err != nil {
		t.Fatal(err)
	}
	if all := read(harmed); len(all) == 0 || len(all) >= len(want) {
		t.Errorf("%d records are read of %d, one of them damaged", len(all), len(want))
	}
	empty := t.TempDir()
	if err := os.Mkdir(filepath.Join(empty, "msgs"), 0o700); err != nil {
		t.Fatal(err)
	}
	if all := read(empty); len(all) != 0 {
		t.Errorf("nothing is read as %v", all)
	}
	enough := errors.New("enough")
	n := 0
	err = journal.ReadCopy(t.Context(), copiedStream(t, dir), slog.New(slog.DiscardHandler), func(blocks.Entry) error {
		if n++; n == 7 {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) || n != 7 {
		t.Errorf("after %d records: %v", n, err)
	}
	if err := journal.ReadCopy(t.Context(), t.TempDir(), slog.New(slog.DiscardHandler), nil); err == nil {
		t.Error("a folder without blocks is read")
	}
}
