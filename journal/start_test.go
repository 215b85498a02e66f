package journal

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestEmptyIdentity: a power cut in the first moment of a node may leave an empty
// node.json. Nothing is durable then, so there is a new identity; where a
// journal is, somebody has emptied the file, and it is not replaced.
func TestEmptyIdentity(t *testing.T) {
	cfg := &Config{StateDir: t.TempDir()}
	path := filepath.Join(cfg.StateDir, "node.json")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	id, err := loadIdentity(cfg, "boot")
	if err != nil || id.NodeID == "" {
		t.Fatalf("no identity from an empty file: %v", err)
	}
	if again, err := loadIdentity(cfg, "boot"); err != nil || again.NodeID != id.NodeID {
		t.Fatalf("the identity is not stored: %v, %v", again.NodeID, err)
	}
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(cfg.StateDir, "journal"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := loadIdentity(cfg, "boot"); err == nil {
		t.Fatal("a node with a journal was given a new identity")
	}
}

// TestRunLogIsReserved: a run log has the space of the region that is written
// first when it is made, and all of it soon after Start; also one whose maker
// died in between.
func TestRunLogIsReserved(t *testing.T) {
	if !isTmpfs(sharedDir) {
		t.Skip("NOT RUN: needs a tmpfs on /dev/shm")
	}
	cfg := Config{StateDir: t.TempDir(), RuntimeDir: shm(t), Node: "reserved", RunLogSize: 4 << 20}
	path := filepath.Join(cfg.RuntimeDir, runLogName)
	begin := func() *Journal {
		t.Helper()
		j, rec, err := Open(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		if rec.Source != FromRunLog {
			if err := j.Compact(Base{Link: rec.End, Version: 1, State: []byte("{}")}); err != nil {
				t.Fatal(err)
			}
		}
		return j
	}
	end := func(j *Journal) {
		t.Helper()
		if err := j.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	j := begin()
	half, all := regionStart+j.log.region, regionStart+2*j.log.region
	if got := space(t, path); got < half || got >= all {
		t.Errorf("a new run log has space for %d bytes, a region is %d", got, half)
	}
	end(j) // without Start: as if it had died
	j = begin()
	if err := j.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all of the run log has space", func() bool { return space(t, path) >= all })
	eventually(t, "node.json tells of this boot", func() bool {
		b, err := os.ReadFile(filepath.Join(cfg.StateDir, "node.json"))
		return err == nil && strings.Contains(string(b), j.boot)
	})
	eventually(t, "the stream is open", func() bool { // a server closed while it makes one leaves a goroutine
		j.mu.Lock()
		defer j.mu.Unlock()
		return j.stream != nil
	})
	end(j)
}

// space is how many bytes a file has space for.
func space(t *testing.T, path string) int64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Blocks * 512
}
