package journal_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"supd/journal"
)

// TestSoak sends many records through a journal with small limits as fast as it
// takes them, and shows that disk, memory and start-up time stay flat (P9).
// SUPD_SOAK_RECORDS is how many; scripts/soak sets it.
func TestSoak(t *testing.T) {
	total := 20_000
	if text := os.Getenv("SUPD_SOAK_RECORDS"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		total = n
	}
	cfg := testConfig(t)
	cfg.MaxRecords, cfg.MaxBytes = 50_000, 32<<20
	told := hears(&cfg)
	e := openEngine(t, cfg)
	state := `{"state":"` + strings.Repeat("x", 4000) + `"}`
	t.Logf("%10s %10s %10s %10s %10s %12s %12s", "records", "per s", "disk KiB", "heap KiB", "RSS KiB", "start ms", "reboot ms")
	began, part := time.Now(), max(1, total/10)
	for done, shown := 0, 0; done < total; {
		n := []int{1, 2, 5, 40, 200}[done%5]
		e.append(e.chain.Next(n)...)
		done += n
		if e.j.NeedBase() {
			e.append(e.chain.Base(state, 1)...)
		}
		if e.j.NeedCompact() {
			e.compact()
		}
		if e.j.Pressure() > 0.4 {
			e.durable()
		}
		if done/part > shown {
			shown = done / part
			e.durable()
			rate := float64(part) / time.Since(began).Seconds()
			disk, heap, rss := sizeOf(t, cfg.StateDir), heapSize(), rssSize(t)
			warm := restart(e, cfg, false)
			cold := restart(e, cfg, true)
			t.Logf("%10d %10.0f %10d %10d %10d %12.1f %12.1f", done, rate, disk>>10, heap>>10, rss>>10, ms(warm), ms(cold))
			if disk > 2*cfg.MaxBytes {
				t.Errorf("P9: %d bytes on disk, the limit of the journal is %d", disk, cfg.MaxBytes)
			}
			began = time.Now()
		}
	}
	e.durable()
	e.close()
	for _, d := range told() {
		if filepath.Base(d.File) != "runlog" {
			t.Errorf("damage: %+v", d)
		}
	}
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// restart closes and opens the journal, after a reboot if told so, and returns
// how long it took until the state was rebuilt.
func restart(e *engine, cfg journal.Config, reboot bool) time.Duration {
	e.Helper()
	e.close()
	if reboot {
		if err := os.Remove(filepath.Join(cfg.RuntimeDir, "runlog")); err != nil {
			e.Fatal(err)
		}
	}
	last := e.chain.Link
	began := time.Now()
	*e = *openEngine(e.TB, cfg)
	took := time.Since(began)
	if e.chain.Link != last {
		e.Fatalf("rebuilt up to %d of %d", e.chain.Link.Seq, last.Seq)
	}
	e.read = nil
	return took
}

func sizeOf(t *testing.T, dir string) (size int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // a staging folder that is gone
		}
		if info, err := d.Info(); err == nil && !d.IsDir() {
			size += info.Size()
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return size
}

func heapSize() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func rssSize(t *testing.T) int64 {
	t.Helper()
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(b))[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}
