package starve_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"supd/cmd/internal/rig"
	"supd/journal/event"
)

// TestEndsOnFullDisk: supd that is told to end does not wait long for a disk that
// is full, and the next one of this boot makes durable what was only kept (P3).
func TestEndsOnFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("NOT RUN: needs root, for a small file system")
	}
	r := rig.New(t, strings.ReplaceAll(sceneConfig, "ON_FULL", "block"))
	r.Abandon()
	disk := tmpfs(t, filepath.Join(r.State, "journal"), "16m")
	r.Run()
	r.UntilPhase("target", event.PhaseRunning)
	disk.fill()
	_, id := command(t, r, "target")
	began := time.Now()
	r.Shutdown()
	t.Logf("it took %v to end", time.Since(began).Round(time.Millisecond))
	r.Run()
	disk.free()
	r.Answers()
	r.Shutdown()
	kinds := map[event.Kind]int{}
	history := r.History()
	for _, e := range history {
		kinds[e.Record.Kind]++
	}
	if kinds[event.SupdStopped] != 2 || !slices.ContainsFunc(history, func(e event.Encoded) bool {
		d, ok := e.Record.Data.(event.CommandEndedData)
		return ok && d.Command == id
	}) {
		t.Errorf("what was kept at the first end is not in the journal: %v", kinds)
	}
}
