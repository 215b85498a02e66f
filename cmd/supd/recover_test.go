package main

import (
	"os"
	"path/filepath"
	"testing"
)

// That records are missing is known until recovery is over, however many engines
// that takes (P1).
func TestMissingRecordsAreRemembered(t *testing.T) {
	dir := t.TempDir()
	steps := []struct {
		what          string
		missing, want bool
		over          bool
	}{
		{what: "all is well"},
		{what: "the run log is gone", missing: true, want: true},
		{what: "that engine died", want: true},
		{what: "and the next one", want: true, over: true},
		{what: "afterwards"},
	}
	for _, s := range steps {
		if got, err := stillMissing(dir, s.missing); got != s.want || err != nil {
			t.Errorf("%s: missing %v, %v", s.what, got, err)
		}
		if s.over {
			if err := noneMissing(dir); err != nil {
				t.Error(err)
			}
		}
	}
	if err := noneMissing(dir); err != nil {
		t.Errorf("nothing was missing: %v", err)
	}
	if err := os.Symlink("loop", filepath.Join(dir, "loop")); err != nil {
		t.Fatal(err)
	}
	if got, err := stillMissing(filepath.Join(dir, "loop"), false); !got || err == nil {
		t.Errorf("where it cannot be told: missing %v, %v", got, err)
	}
}
