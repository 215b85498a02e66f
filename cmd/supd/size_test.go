package main

import (
	"os"
	"path/filepath"
	"testing"
)

// A walk that hangs is not begun again, and the answer is what was known (P5).
func TestFolderSize(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a"), make([]byte, 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	var f folderSize
	if n := f.of(dir); n != 1000 {
		t.Errorf("%d bytes", n)
	}
	hanging := make(chan struct{})
	f.done = hanging
	if n := f.of(dir); n != 1000 || f.done != hanging {
		t.Errorf("%d bytes while a walk hangs, or another was begun", n)
	}
}
