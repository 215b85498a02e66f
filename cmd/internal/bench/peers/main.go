// Command peers holds supd against other supervisors, in one run on one
// machine, and prints a Markdown table: a row for each measure, a column for
// each supervisor that is installed. scripts/bench calls it.
//
// All of them run the same service, which says itself when it began, by the
// kernel's clock; all of them capture its output into files. Every supervisor
// has its usual settings, but what would be in the way is changed: limits of
// descriptors and of log sizes are raised, and supd never waits before a restart
// (backoff.initial = "0s"), as most of the others do not. Compare within a run: figures of two runs differ by
// what else the machine did.
//
// Nothing is waited for without bound. A cell whose supervisor did not do it
// says so, what was sampled before stays, and the rest goes on.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	bin := flag.String("bin", "", "`folder` with supd and beacon")
	only := flag.String("only", "", "names of supervisors, separated by commas")
	match := flag.String("measure", "", "only measures whose name contains this")
	runs := flag.Int("runs", 3, "launches of each measure that is no average by itself")
	scale := flag.Int("scale", 1000, "most services at once")
	flag.Parse()
	if *bin == "" || flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "peers is called by scripts/bench")
		os.Exit(2)
	}
	if err := run(&bench{bin: *bin, runs: max(1, *runs)}, *only, *match, *scale); err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

func run(b *bench, only, match string, scale int) (err error) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("cannot become a subreaper: %w", err)
	}
	if b.root, err = os.MkdirTemp("", "bench-"); err != nil {
		return err
	}
	defer b.leave()
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, unix.SIGINT, unix.SIGTERM)
	go func() {
		<-interrupted
		b.leave()
		os.Exit(1)
	}()
	var there []peer
	for _, p := range peers(b.bin) {
		if only != "" && !slices.Contains(strings.Split(only, ","), p.name) {
			continue
		}
		if m := p.missing(); m != "" {
			fmt.Printf("Not here: %s (%s).\n", p.name, m)
			continue
		}
		fmt.Printf("%s: %s.\n", p.name, p.tellVersion(b.root))
		there = append(there, p)
	}
	began := time.Now()
	table(b, there, match, scale)
	fmt.Printf("\nThe run took %.0f s.\n", time.Since(began).Seconds())
	return nil
}

// leave ends what was started and removes what it wrote.
func (b *bench) leave() {
	if err := endAll(); err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
	}
	// A supd that is killed leaves its pinned pidfds, in mounts; nobody else has any.
	mounts, _ := filepath.Glob(filepath.Join(b.root, "*", "run", "pidfds"))
	for _, m := range mounts {
		_ = unix.Unmount(m, unix.MNT_DETACH)
	}
	_ = os.RemoveAll(b.root)
}

// tellVersion asks a peer. What it starts to answer is ended: pm2 leaves its
// daemon, whose memory was once counted as that of the first one measured.
func (p peer) tellVersion(home string) string {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, p.version[0], p.version[1:]...)
	cmd.Env, cmd.WaitDelay = append(os.Environ(), "PM2_HOME="+filepath.Join(home, "pm2"), "HOME="+home), time.Second
	out, _ := cmd.CombinedOutput()
	_ = endAll() // the first launch refuses to begin beside it
	first, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return strings.TrimSuffix(first, ".")
}

// table prints the rows of each session when all peers have had it.
func table(b *bench, there []peer, match string, scale int) {
	fmt.Print("\n| median (least … most) |")
	for _, p := range there {
		fmt.Printf(" %s |", p.name)
	}
	fmt.Print("\n|---|", strings.Repeat("---|", len(there)), "\n")
	for _, s := range sessions(b.runs, scale) {
		s.rows = slices.DeleteFunc(s.rows, func(r row) bool { return !strings.Contains(r.what, match) })
		if len(s.rows) == 0 {
			continue
		}
		all := make([][]cell, len(there))
		for i, p := range there {
			all[i] = s.of(b, p)
		}
		for i, r := range s.rows {
			fmt.Printf("| %s, %s |", r.what, r.unit)
			for _, cells := range all {
				fmt.Printf(" %s |", cells[i])
			}
			fmt.Println()
		}
	}
}

// cell is what one peer did in one row.
type cell struct {
	samples []float64
	few     bool   // the peer's slowness cut them short
	note    string // why there are no more; empty when all went well
}

func (c cell) String() string {
	if len(c.samples) == 0 {
		return c.note
	}
	sorted := slices.Sorted(slices.Values(c.samples))
	n := len(sorted)
	s := number(sorted[n/2])
	if n > 1 {
		s += fmt.Sprintf(" (%s … %s)", number(sorted[0]), number(sorted[n-1]))
	}
	if c.few || c.note != "" {
		s += fmt.Sprintf(", n = %d", n)
	}
	if c.note != "" {
		s += ", then " + c.note
	}
	return s
}

func number(v float64) string {
	switch {
	case v < 1:
		return fmt.Sprintf("%.2f", v)
	case v < 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}
