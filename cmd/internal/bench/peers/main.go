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
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	bin := flag.String("bin", "", "`folder` with supd and beacon")
	only := flag.String("only", "", "names of supervisors, separated by commas")
	match := flag.String("measure", "", "only measures whose name contains this")
	runs := flag.Int("runs", 3, "runs of each measure that is no average by itself")
	scale := flag.Int("scale", 1000, "most services at once")
	flag.Parse()
	if *bin == "" || flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "peers is called by scripts/bench")
		os.Exit(2)
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		fmt.Fprintln(os.Stderr, "cannot become a subreaper:", err)
		os.Exit(1)
	}
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, unix.SIGINT, unix.SIGTERM)
	go func() {
		<-interrupted
		_ = endAll() // what does not end is a zombie or stuck in the kernel
		os.Exit(1)
	}()
	var there []peer
	for _, p := range peers(*bin) {
		if *only != "" && !slices.Contains(strings.Split(*only, ","), p.name) {
			continue
		}
		if m := p.missing(); m != "" {
			fmt.Printf("Not here: %s (%s).\n", p.name, m)
			continue
		}
		fmt.Printf("%s: %s.\n", p.name, p.tellVersion())
		there = append(there, p)
	}
	table(&bench{bin: *bin, runs: *runs}, there, *match, *scale)
}

func (p peer) tellVersion() string {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	out, _ := exec.CommandContext(ctx, p.version[0], p.version[1:]...).CombinedOutput()
	first, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return strings.TrimSuffix(first, ".")
}

// table prints each row when it is measured.
func table(b *bench, there []peer, match string, scale int) {
	fmt.Print("\n| median (min … max) |")
	for _, p := range there {
		fmt.Printf(" %s |", p.name)
	}
	fmt.Print("\n|---|", strings.Repeat("---|", len(there)), "\n")
	for _, m := range measures(scale) {
		if !strings.Contains(m.what, match) {
			continue
		}
		fmt.Printf("| %s, %s |", m.what, m.unit)
		for _, p := range there {
			samples, err := m.take(b, p)
			if err != nil {
				fmt.Fprintf(os.Stderr, "%s: %s: %v\n", p.name, m.what, err)
				if err := endAll(); err != nil {
					fmt.Fprintln(os.Stderr, err)
					os.Exit(1)
				}
			}
			fmt.Printf(" %s |", cell(samples, err))
		}
		fmt.Println()
	}
}

func cell(samples []float64, err error) string {
	if len(samples) == 0 {
		return "failed"
	}
	slices.Sort(samples)
	s := number(samples[len(samples)/2])
	if len(samples) > 1 {
		s += fmt.Sprintf(" (%s … %s)", number(samples[0]), number(samples[len(samples)-1]))
	}
	if err != nil {
		s += ", then failed"
	}
	return s
}

func number(v float64) string {
	switch {
	case v < 10:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.0f", v)
	}
}
