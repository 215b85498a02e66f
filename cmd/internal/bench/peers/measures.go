package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// measure is one line of the table; it returns the samples of one peer.
type measure struct {
	what string
	unit string
	take func(b *bench, p peer) ([]float64, error)
}

type bench struct {
	bin  string
	runs int
}

func measures(scale int) []measure {
	ms := []measure{}
	for _, n := range []int{10, 100, 1000} {
		if n <= scale {
			ms = append(ms, measure{fmt.Sprintf("launch → last of %d executes", n), "ms", launchOf(n)})
		}
	}
	ms = append(ms,
		measure{"SIGKILL of 1 of 20 → its successor's first instruction", "ms", respawns(false, 1200*time.Millisecond)},
		measure{"the same, killed 50 ms after its start", "ms", respawns(false, 50*time.Millisecond)},
		measure{"the same under two CPU hogs", "ms", respawns(true, 1200*time.Millisecond)},
		measure{"SIGKILL of 200 at once → last successor", "ms", storm(min(200, scale))},
	)
	for _, n := range []int{1, 100, 1000} {
		if n <= scale {
			ms = append(ms, measure{fmt.Sprintf("memory (PSS) with %d", n), "MiB", memoryOf(n)})
		}
	}
	return append(ms,
		measure{fmt.Sprintf("idle CPU with %d, 20 s", min(1000, scale)), "% of a core", idle(min(1000, scale))},
		measure{"2 million lines of 100 bytes: written and stored", "MB/s", throughput},
		measure{fmt.Sprintf("%d write as fast as they can: least of most that one has stored", min(200, scale)), "%", fairness(min(200, scale))},
	)
}

func launchOf(n int) func(*bench, peer) ([]float64, error) {
	return func(b *bench, p peer) (took []float64, err error) {
		runs := b.runs
		if n >= 1000 {
			runs = max(1, runs/2)
		}
		for range runs {
			r, err := p.launch(b.bin, n)
			if err != nil {
				return took, err
			}
			var last int64
			for _, x := range r.beats() {
				last = max(last, x.at)
			}
			took = append(took, float64(last-r.started)/1e6)
			if err := r.end(); err != nil {
				return took, err
			}
		}
		return took, nil
	}
}

// respawns kills one service after the other, ten for each run, each when it is so
// old.
func respawns(hogs bool, age time.Duration) func(*bench, peer) ([]float64, error) {
	return func(b *bench, p peer) (took []float64, err error) {
		r, err := p.launch(b.bin, 20)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, r.end()) }()
		time.Sleep(2 * time.Second)
		if hogs {
			defer hog(2)()
		}
		for i := range 10 * b.runs {
			name := fmt.Sprintf("s-%d", i%20)
			if age < time.Second {
				name = "s-0" // the one that has just been started
			}
			before := latest(r.beats())[name]
			if wait := age - time.Duration(now()-before.at); wait > 0 {
				time.Sleep(wait)
			}
			killed := now()
			if err := unix.Kill(before.pid, unix.SIGKILL); err != nil {
				return took, fmt.Errorf("cannot kill %s: %w", name, err)
			}
			bs, err := r.await(func(bs []beat) bool { return latest(bs)[name].pid != before.pid })
			if err != nil {
				return took, err
			}
			took = append(took, float64(latest(bs)[name].at-killed)/1e6)
		}
		return took, nil
	}
}

// hog keeps n cores busy until the returned function is called.
func hog(n int) (end func()) {
	var over atomic.Bool
	for range n {
		go func() {
			runtime.LockOSThread()
			for !over.Load() {
			}
		}()
	}
	return func() { over.Store(true) }
}

func storm(n int) func(*bench, peer) ([]float64, error) {
	return func(b *bench, p peer) (took []float64, err error) {
		for range b.runs {
			r, err := p.launch(b.bin, n)
			if err != nil {
				return took, err
			}
			time.Sleep(2 * time.Second)
			before := latest(r.beats())
			killed := now()
			for _, x := range before {
				_ = unix.Kill(x.pid, unix.SIGKILL)
			}
			bs, err := r.await(func(bs []beat) bool {
				for name, x := range latest(bs) {
					if before[name].pid == x.pid {
						return false
					}
				}
				return true
			})
			if err == nil {
				var last int64
				for _, x := range latest(bs) {
					last = max(last, x.at)
				}
				took = append(took, float64(last-killed)/1e6)
			}
			if err := errors.Join(err, r.end()); err != nil {
				return took, err
			}
		}
		return took, nil
	}
}

func memoryOf(n int) func(*bench, peer) ([]float64, error) {
	return func(b *bench, p peer) ([]float64, error) {
		r, err := p.launch(b.bin, n)
		if err != nil {
			return nil, err
		}
		time.Sleep(5 * time.Second)
		return []float64{memory()}, r.end()
	}
}

func idle(n int) func(*bench, peer) ([]float64, error) {
	return func(b *bench, p peer) ([]float64, error) {
		r, err := p.launch(b.bin, n)
		if err != nil {
			return nil, err
		}
		time.Sleep(5 * time.Second)
		before, began := cpu(), time.Now()
		time.Sleep(20 * time.Second)
		used := 100 * float64(cpu()-before) / float64(time.Since(began))
		return []float64{used}, r.end()
	}
}

// throughput counts from the first line until the last has been stored, and
// fails if one is missing: rotation may remove old files, so they are counted
// by what the peer kept plus what it says it removed; here all limits are above
// what is written.
func throughput(b *bench, p peer) (mbs []float64, err error) {
	const lines, size = 2_000_000, 100
	for range b.runs {
		r, err := p.launch(b.bin, 1, fmt.Sprint(lines))
		if err != nil {
			return mbs, err
		}
		bs, err := r.await(func(bs []beat) bool { return len(bs) == 2 })
		for deadline := time.Now().Add(5 * time.Second); err == nil && r.stored("s-0") < lines*size; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				err = fmt.Errorf("%d of %d bytes are stored", r.stored("s-0"), lines*size)
			}
		}
		stored := now()
		if err == nil {
			mbs = append(mbs, lines*size/1e6/(float64(max(stored, bs[1].at)-bs[0].at)/1e9))
		}
		if err := errors.Join(err, r.end()); err != nil {
			return mbs, err
		}
	}
	return mbs, nil
}

// fairness lets n services begin to write at the same moment, and compares what
// is stored of each when half of it all is.
func fairness(n int) func(*bench, peer) ([]float64, error) {
	const lines, size = 30_000, 100
	return func(b *bench, p peer) (shares []float64, err error) {
		for range b.runs {
			share, err := fairRun(b, p, n, lines, size)
			if err != nil {
				return shares, err
			}
			shares = append(shares, share)
		}
		return shares, nil
	}
}

func fairRun(b *bench, p peer, n, lines, size int) (share float64, err error) {
	dir, err := os.MkdirTemp("", "bench-gate-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	gate := filepath.Join(dir, "gate")
	if err := unix.Mkfifo(gate, 0o600); err != nil {
		return 0, fmt.Errorf("cannot make a FIFO: %w", err)
	}
	r, err := p.launch(b.bin, n, fmt.Sprint(lines), gate)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, r.end()) }()
	time.Sleep(2 * time.Second) // all of them wait at the gate
	f, err := os.OpenFile(gate, os.O_WRONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return 0, fmt.Errorf("cannot open the gate: %w", err)
	}
	defer f.Close()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		var sum int64
		least, most := int64(lines*size), int64(0)
		for i := range n {
			got := r.stored(fmt.Sprintf("s-%d", i))
			sum, least, most = sum+got, min(least, got), max(most, got)
		}
		if sum >= int64(n*lines*size/2) {
			return 100 * float64(least) / float64(most), nil
		}
	}
	return 0, fmt.Errorf("half of the output is not stored within %v", patience)
}

// notOutput are the files that loggers keep beside their output.
var notOutput = []string{"config", "lock", "state"}

// stored is how many bytes of a service's output are in files.
func (r *running) stored(name string) (n int64) {
	files, _ := filepath.Glob(r.output(r.dir, name))
	for _, f := range files {
		if st, err := os.Stat(f); err == nil && !slices.Contains(notOutput, filepath.Base(f)) {
			n += st.Size()
		}
	}
	return n
}
