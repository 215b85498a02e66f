// Command bench measures supd on this machine and prints a Markdown table.
// scripts/bench builds what it needs and calls it.
//
// Everything is measured from outside, with the programs that people run:
// times are CLOCK_BOOTTIME of the measuring or the measured process, CPU and
// memory are the kernel's figures in /proc. Only the commit latencies call the
// package journal, because no client can see a commit alone.
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"time"

	"supd/cmd/internal/bench/bigjournal"
)

func main() {
	bin := flag.String("bin", "", "`folder` with supd, supctl, supreplay and beacon")
	journal := flag.String("journal", "", "only write a journal below this `folder`, to try supreplay on")
	records := flag.Int("records", 1_000_000, "how many records it has, or the largest of several")
	scale := flag.Int("scale", 5000, "most services at once that growth is measured with")
	drawing := flag.String("growth", "", "only measure how costs grow with services and records, and draw it into this `file`")
	only := flag.String("only", "", "take one of the measures alone: commits, hundred, one, twenty, storm, ticking or replays")
	respawn := flag.Int("respawn", 0, "only measure what the time of a respawn is made of, with so many `services`")
	hogs := flag.Int("hogs", 0, "keep so many `processors` busy while -respawn measures")
	flag.Parse()
	if *journal != "" {
		n, err := bigjournal.Write(*journal, *records)
		if err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		fmt.Println(n, "records")
		return
	}
	if *bin == "" || flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "bench is called by scripts/bench")
		os.Exit(2)
	}
	runtime.LockOSThread() // supd is told when the thread that started it ends
	began := time.Now()
	measures := func(bin string) ([]row, error) { return measure(bin, *only) }
	if *drawing != "" {
		measures = func(bin string) ([]row, error) { return grow(bin, *drawing, *scale, *records) }
	}
	if *respawn > 0 {
		measures = func(bin string) ([]row, error) { return hops(bin, *respawn, 300, *hogs) }
	}
	rows, err := measures(*bin)
	print(machine(), rows)
	fmt.Printf("\nThe run took %.0f s.\n", time.Since(began).Seconds())
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// row is one line of the table.
type row struct{ what, median, spread, samples string }

func print(machine string, rows []row) {
	fmt.Printf("%s\n\n| Measure | Median | Spread | Samples |\n|---|---|---|---|\n", machine)
	for _, r := range rows {
		fmt.Printf("| %s | %s | %s | %s |\n", r.what, r.median, r.spread, r.samples)
	}
}

// measure runs one measure after the other; what was measured before an error
// is returned with it. only is one of them; empty is all.
func measure(bin, only string) ([]row, error) {
	var rows []row
	for _, m := range []struct {
		name string
		take func(string) ([]row, error)
	}{
		{"commits", commits},
		{"hundred", hundred},
		{"one", one},
		{"twenty", twenty},
		{"storm", storm},
		{"ticking", ticking},
		{"replays", replays},
	} {
		if only != "" && only != m.name {
			continue
		}
		more, err := m.take(bin)
		rows = append(rows, more...)
		if err != nil {
			return rows, err
		}
	}
	return rows, nil
}
