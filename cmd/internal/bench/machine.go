package main

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

// machine says where and when the figures were taken: without that they mean
// nothing.
func machine() string {
	cpu := "unknown processor"
	info, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(info)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			cpu = strings.TrimSpace(value)
			break
		}
	}
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	load, _ := os.ReadFile("/proc/loadavg")
	return fmt.Sprintf("%s, %d cores, Linux %s %s, %s, %s, load at the end %s",
		cpu, runtime.NumCPU(), strings.TrimSpace(string(kernel)), runtime.GOARCH, runtime.Version(),
		time.Now().Format(time.DateOnly), strings.Join(strings.Fields(string(load))[:1], ""))
}

// timings makes a row of times: median, then either the two ends or, where
// there are many, p99 and the longest.
func timings(what string, ts []time.Duration) row {
	slices.Sort(ts)
	n := len(ts)
	r := row{what: what, median: ms(ts[n/2]), samples: fmt.Sprint(n)}
	if n >= 300 {
		r.spread = "p99 " + ms(ts[n*99/100]) + ", max " + ms(ts[n-1])
	} else {
		r.spread = "min " + ms(ts[0]) + ", max " + ms(ts[n-1])
	}
	return r
}

func ms(d time.Duration) string {
	v := float64(d) / float64(time.Millisecond)
	switch {
	case v < 1:
		return fmt.Sprintf("%.3f ms", v)
	case v < 100:
		return fmt.Sprintf("%.1f ms", v)
	}
	return fmt.Sprintf("%.0f ms", v)
}
