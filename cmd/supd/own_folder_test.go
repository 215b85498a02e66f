package main

import (
	"os"
	"strings"
	"testing"
)

// TestOwnFolder: a folder of which others could make what they like is refused.
func TestOwnFolder(t *testing.T) {
	dir := t.TempDir()
	if err := ownFolder(dir); err != nil {
		t.Errorf("our own: %v", err)
	}
	if err := os.Chmod(dir, 0o1777); err != nil {
		t.Fatal(err)
	}
	if err := ownFolder(dir); err == nil || !strings.Contains(err.Error(), "chmod o-w") {
		t.Errorf("everybody's: %v", err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() != 0 {
		t.Skip("NOT RUN: needs root to give a folder away")
	}
	if err := os.Chown(dir, 12345, 0); err != nil {
		t.Fatal(err)
	}
	if err := ownFolder(dir); err == nil || !strings.Contains(err.Error(), "belongs to user 12345") {
		t.Errorf("another's: %v", err)
	}
}
