package main

import (
	"os"
	"strings"
	"testing"
)

// A list that no longer fits the source would prove nothing.
func TestBugsFitTheSource(t *testing.T) {
	names := map[string]bool{}
	for _, b := range bugs {
		text, err := os.ReadFile("../../../" + b.file)
		if err != nil {
			t.Errorf("%s: %v", b.name, err)
			continue
		}
		if n := strings.Count(string(text), b.before); n != 1 {
			t.Errorf("%s: its text is %d times in %s and must be there once: bring the list up to date\n%s", b.name, n, b.file, b.before)
		}
		if names[b.name] || b.before == b.after {
			t.Errorf("%s: it is there twice, or it changes nothing", b.name)
		}
		names[b.name] = true
	}
}
