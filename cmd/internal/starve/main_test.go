package starve_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"supd/cmd/internal/rig"
)

func TestMain(m *testing.M) { rig.Main(m) }

// table is what the rows found, printed at the end.
type table struct{ rows []string }

func (b *table) add(r *row, t *testing.T) {
	holds := "holds"
	switch {
	case t.Skipped():
		holds = "NOT RUN"
	case len(r.broken) > 0 || t.Failed():
		holds = "DOES NOT HOLD"
	}
	resumed := "-"
	if r.resumed > 0 {
		resumed = round(r.resumed)
	}
	lines := "- | - | -"
	if r.counted {
		lines = fmt.Sprintf("%d | %d | %d", r.written, r.kept, r.declared)
	}
	b.rows = append(b.rows, fmt.Sprintf("| %s | %s | %s | %s | %s | %s | %s |", r.name, holds,
		r.status.String(), r.restart.String(), lines, resumed, strings.Join(r.notes, "; ")))
}

func (b *table) String() string {
	return "\n| fault | result | status p50 / p99 / max | restart p50 / p99 / max | lines written | kept | declared lost | resumed after | notes |\n" +
		"|---|---|---|---|---|---|---|---|---|\n" + strings.Join(b.rows, "\n") + "\n"
}

func round(d time.Duration) string {
	if d < 10*time.Millisecond {
		return d.Round(10 * time.Microsecond).String()
	}
	return d.Round(time.Millisecond).String()
}

// TestStarve runs every fault and prints the table. SUPD_STARVE=long takes
// longer over each; SUPD_STARVE_ONLY=TEXT runs the faults whose name has it.
func TestStarve(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("NOT RUN: needs root, for small file systems and limits")
	}
	long, only := os.Getenv("SUPD_STARVE") == "long", os.Getenv("SUPD_STARVE_ONLY")
	var b table
	t.Cleanup(func() { t.Log(b.String()) })
	for _, f := range faults() {
		if !strings.Contains(f.name, only) || f.long && !long {
			continue
		}
		t.Run(strings.ReplaceAll(f.name, " ", "_"), func(t *testing.T) {
			span := f.span
			if long {
				span *= 4
			}
			r := &row{name: f.name}
			defer func() { b.add(r, t) }()
			newScene(t, r).play(f, span)
			for _, what := range r.broken {
				t.Error(what)
			}
		})
	}
}
