package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"supd/cmd/internal/bench/bigjournal"
)

// replays measures supreplay on a journal of a million records, process start
// included, with the file system's cache warm.
func replays(bin string) (rows []row, err error) {
	const records, runs = 1_000_000, 5
	folder, err := os.MkdirTemp("", "supd-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(folder)
	n, err := bigjournal.Write(folder, records)
	if err != nil {
		return nil, err
	}
	for _, args := range [][]string{
		{"verify"},
		{"at", fmt.Sprint(n - 10)},
		{"at", fmt.Sprint(n / 2)},
		{"timeline"},
		{"timeline", "--service", "service-07", "--kind", "instance.exited"},
		{"why", "service-07"},
	} {
		var ts []time.Duration
		peak := int64(0)
		for range runs {
			cmd := exec.Command(filepath.Join(bin, "supreplay"), append(args, "--from", folder)...)
			began := time.Now()
			if err := cmd.Run(); err != nil {
				return rows, fmt.Errorf("cannot run %v: %w", cmd.Args, err)
			}
			ts = append(ts, time.Since(began))
			if u, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
				peak = max(peak, u.Maxrss>>10)
			}
		}
		slices.Sort(ts)
		rate := float64(n) / ts[len(ts)/2].Seconds()
		what := fmt.Sprintf("`supreplay %s`, %d records: %.0f records/s, %d MiB at their peak", strings.Join(args, " "), n, rate, peak)
		rows = append(rows, timings(what, ts))
	}
	return rows, nil
}
