package rig_test

import (
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"supd/cmd/internal/rig"
	"supd/cmd/internal/rig/account"
)

const compressConfig = `
[service.talk]
command = ["ACTOR", "-dir", "DIR", "-stdout", "4000"]
output = { max_size = "16KiB", max_files = 10000, compress = "COMPRESS", console = false }
`

// TestCompressedOutput: compression begins with an apply, survives the death of
// the logger, and supctl reads through it as if nothing had happened.
func TestCompressedOutput(t *testing.T) {
	t.Parallel()
	as := func(compress string) string { return strings.Replace(compressConfig, "COMPRESS", compress, 1) }
	r := rig.New(t, as("none"))
	r.Run()
	packed := func() int {
		files, err := filepath.Glob(filepath.Join(r.State, "output", "talk", "stdout.log.*.gz"))
		if err != nil {
			t.Fatal(err)
		}
		return len(files)
	}
	closed := func() int {
		files, _ := filepath.Glob(filepath.Join(r.State, "output", "talk", "stdout.log.*"))
		return len(files)
	}
	r.Until("three segments are closed", func() bool { return closed() >= 3 })
	if packed() > 0 {
		t.Fatal("compressed without being told to")
	}
	before := r.Status("talk")
	r.Configure(as("gzip"))
	r.Supctl("apply").OK()
	r.Until("three segments are compressed", func() bool { return packed() >= 3 })
	r.Kill(r.Logger())
	n := packed()
	r.Until("three more are", func() bool { return packed() >= n+3 })
	if now := r.Status("talk"); *now.Instance != *before.Instance {
		t.Fatalf("the service was touched: %+v", now)
	}
	began := time.Now().Add(-50 * time.Millisecond) // the index is exact to about 10 ms
	r.Supctl("restart", "talk").OK()
	r.Until("two instances are in closed segments", func() bool { return packed() >= n+6 })
	r.Supctl("stop", "talk").OK()

	entries, err := account.Read(r.Dir)
	if err != nil {
		t.Fatal(err)
	}
	total := 0
	for _, e := range entries {
		if e.What == account.End {
			total += int(e.Lines[0])
		}
	}
	count := func(args ...string) int {
		return strings.Count(r.Supctl(append([]string{"logs", "talk", "-n", "all"}, args...)...).OK().Out, "\n")
	}
	all, first, second := count(), count("--instance", "1"), count("--instance", "2")
	since := count("--since", began.Format(time.RFC3339Nano))
	if all != total || first+second != total || first == 0 || second == 0 || since < second || since >= total {
		t.Errorf("%d lines written; logs: %d, of run 1 %d, of run 2 %d, since run 2 %d", total, all, first, second, since)
	}
	if got := strings.Count(r.Supctl("logs", "talk", "-n", strconv.Itoa(total-5)).OK().Out, "\n"); got != total-5 {
		t.Errorf("-n %d gives %d lines", total-5, got)
	}
	r.Shutdown()
}
