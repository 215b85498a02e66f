package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// launchBound is how long a launch may take.
	launchBound = 60 * time.Second
	// sampleBound is how long a service that is killed, or a set of them, may take
	// to be there again, and output to be stored.
	sampleBound = 40 * time.Second
	// tired is how long a row goes on sampling, and then fewer samples are enough.
	tired = 10 * time.Second
	// fewest samples of a row of many, unless they take three times as long.
	fewest = 5
	// settle is how long a peer is left alone before its memory is read.
	settle = 5 * time.Second
	// idleTime is how long nothing happens for the CPU time of idling.
	idleTime = 10 * time.Second
)

type bench struct {
	bin, root string
	runs      int
}

// session is a set of services that one launch of a peer serves all its rows
// with.
type session struct {
	services, lines int  // lines of output that each of them writes
	gated           bool // they begin to write when the gate is opened
	runs            int  // launches
	rows            []row
}

// row is one line of the table.
type row struct {
	what, unit string
	// take measures a running peer. What it has before an error counts.
	take    func(r *running) ([]float64, error)
	wanted  int  // samples of one run, where fewer are few
	launch  bool // it is the launch itself that is measured
	once    bool // in the first run only
	capture bool // it is about output that the peer captures
}

func sessions(runs, scale int) []session {
	least := func(n int) int { return min(n, scale) }
	launched := func(n int) row {
		return row{what: fmt.Sprintf("launch → last of %d executes", n), unit: "ms", take: launchTime, launch: true}
	}
	memory := func(n int) row {
		return row{what: fmt.Sprintf("memory (PSS) with %d", n), unit: "MiB", take: memoryUsed, once: true}
	}
	all := []session{
		{services: 1, runs: 1, rows: []row{memory(1)}},
		{services: 10, runs: runs, rows: []row{launched(10)}},
		{services: 100, runs: runs, rows: []row{launched(100), memory(100)}},
		{services: 1000, runs: 1, rows: []row{launched(1000), memory(1000), {what: "idle CPU with 1000, 10 s", unit: "% of a core", take: idle}}},
		{services: 20, runs: 1, rows: []row{
			{what: "SIGKILL of 1 of 20 → its successor's first instruction", unit: "ms", take: respawns(10*runs, false, 1200*time.Millisecond), wanted: 10 * runs},
			{what: "the same, killed 50 ms after its start", unit: "ms", take: respawns(10*runs, false, 50*time.Millisecond), wanted: 10 * runs},
			{what: "the same under two CPU hogs", unit: "ms", take: respawns(10*runs, true, 1200*time.Millisecond), wanted: 10 * runs},
		}},
		{services: least(200), runs: runs, rows: []row{{what: fmt.Sprintf("SIGKILL of %d at once → last successor", least(200)), unit: "ms", take: storm}}},
		{services: 1, lines: 2_000_000, runs: runs, rows: []row{{what: "2 million lines of 100 bytes: written and stored", unit: "MB/s", take: throughput(2_000_000), capture: true}}},
		{services: least(200), lines: 30_000, gated: true, runs: runs, rows: []row{
			{what: fmt.Sprintf("%d write as fast as they can: least of most that one has stored", least(200)), unit: "%", take: fairness(30_000), capture: true},
		}},
	}
	return slices.DeleteFunc(all, func(s session) bool { return s.services > scale })
}

func (s session) bound() time.Duration { return launchBound }

// of measures a peer in all rows. Runs end when their number is reached or the
// peer has taken long enough.
func (s session) of(b *bench, p peer) []cell {
	cells := make([]cell, len(s.rows))
	began := time.Now()
	for i := range s.runs {
		if i > 0 && time.Since(began) > 2*tired {
			for j := range cells {
				cells[j].few = cells[j].few || !s.rows[j].once
			}
			break
		}
		if !s.once(b, p, i == 0, cells) {
			break
		}
	}
	for i, c := range cells {
		fmt.Fprintf(os.Stderr, "%s %s: %s: %s\n", time.Now().Format(time.TimeOnly), p.name, s.rows[i].what, c)
	}
	return cells
}

// once launches a peer and measures the rows; whether all went well. After a row
// that failed the next ones have a peer that is new.
func (s session) once(b *bench, p peer, first bool, cells []cell) bool {
	var r *running
	var err, failed error
	defer func() {
		if r != nil {
			_ = r.end() // the next launch finds what is left
		}
	}()
	found := p.alone != nil && !slices.ContainsFunc(s.rows, func(x row) bool { return x.launch })
	for i, x := range s.rows {
		if x.once && !first {
			continue
		}
		if x.capture && p.output == nil {
			cells[i].note = "captures no output"
			failed = errors.ErrUnsupported
			continue
		}
		if r == nil && (err == nil || p.alone != nil && !found) {
			found = found || err != nil
			if r, err = s.launch(b, p, found); err != nil {
				r = nil
			}
		}
		if err != nil {
			failed, cells[i].note = err, s.say(x, err)
			continue
		}
		samples, bad := x.take(r)
		cells[i].samples = append(cells[i].samples, samples...)
		cells[i].few = cells[i].few || len(samples) < x.wanted
		if bad != nil {
			failed, cells[i].note = bad, bad.Error()
			_ = r.end()
			r = nil
		}
	}
	return failed == nil
}

// say is what a cell says of a launch that failed.
func (s session) say(x row, err error) string {
	var l late
	switch {
	case errors.As(err, &l) && x.launch:
		return fmt.Sprintf("> %.0f s", l.bound.Seconds())
	case errors.As(err, &l):
		return fmt.Sprintf("not possible: %d do not execute within %.0f s", s.services, l.bound.Seconds())
	}
	return "not possible: " + err.Error()
}

func launchTime(r *running) ([]float64, error) {
	if r.found {
		return nil, fmt.Errorf("> %.0f s", launchBound.Seconds())
	}
	var last int64
	for _, x := range r.beats() {
		last = max(last, x.at)
	}
	return []float64{float64(last-r.started) / 1e6}, nil
}

// respawns kills one service after the other, each when it is so old.
func respawns(many int, hogs bool, age time.Duration) func(*running) ([]float64, error) {
	return func(r *running) (took []float64, err error) {
		time.Sleep(2 * time.Second)
		if hogs {
			defer hog(2)()
		}
		for began, i := time.Now(), 0; i < many; i++ {
			if past := time.Since(began); past > tired && len(took) >= fewest || past > 3*tired {
				return took, nil
			}
			name := fmt.Sprintf("s-%d", i%r.number)
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
			bs, err := r.await(sampleBound, func(bs []beat) bool { return latest(bs)[name].pid != before.pid })
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

func storm(r *running) ([]float64, error) {
	time.Sleep(2 * time.Second)
	before := latest(r.beats())
	killed := now()
	for _, x := range before {
		_ = unix.Kill(x.pid, unix.SIGKILL)
	}
	bs, err := r.await(2*sampleBound, func(bs []beat) bool {
		for name, x := range latest(bs) {
			if before[name].pid == x.pid {
				return false
			}
		}
		return true
	})
	if err != nil {
		return nil, err
	}
	var last int64
	for _, x := range latest(bs) {
		last = max(last, x.at)
	}
	return []float64{float64(last-killed) / 1e6}, nil
}

func memoryUsed(*running) ([]float64, error) {
	time.Sleep(settle)
	return []float64{memory()}, nil
}

func idle(*running) ([]float64, error) {
	before, began := cpu(), time.Now()
	time.Sleep(idleTime)
	return []float64{100 * float64(since(before)) / float64(time.Since(began))}, nil
}

// size is how many bytes a line of a beacon has.
const size = 100

// throughput counts from the first line until the last has been stored, and
// fails if one is missing: all limits of sizes are above what is written.
func throughput(lines int) func(*running) ([]float64, error) {
	return func(r *running) ([]float64, error) {
		bs, err := r.await(sampleBound, func(bs []beat) bool { return len(bs) == 2 })
		if err != nil {
			return nil, err
		}
		for deadline := time.Now().Add(5 * time.Second); r.stored("s-0") < int64(lines*size); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				return nil, fmt.Errorf("%d of %d bytes are stored", r.stored("s-0"), lines*size)
			}
		}
		return []float64{float64(lines*size) / 1e6 / (float64(max(now(), bs[1].at)-bs[0].at) / 1e9)}, nil
	}
}

// fairness lets all services begin to write at the same moment, and compares
// what is stored of each when half of it all is.
func fairness(lines int) func(*running) ([]float64, error) {
	return func(r *running) ([]float64, error) {
		time.Sleep(2 * time.Second) // all of them wait at the gate
		f, err := os.OpenFile(gate(r.dir), os.O_WRONLY|unix.O_NONBLOCK, 0)
		if err != nil {
			return nil, fmt.Errorf("cannot open the gate: %w", err)
		}
		defer f.Close()
		var sum int64
		for deadline := time.Now().Add(sampleBound); time.Now().Before(deadline); {
			began := time.Now()
			sum = 0
			least, most := int64(lines*size), int64(0)
			for i := range r.number {
				got := r.stored(fmt.Sprintf("s-%d", i))
				sum, least, most = sum+got, min(least, got), max(most, got)
			}
			if sum >= int64(r.number*lines*size/2) {
				return []float64{100 * float64(least) / float64(most)}, nil
			}
			time.Sleep(max(time.Millisecond, 2*time.Since(began)))
		}
		return nil, fmt.Errorf("%d of %d MB stored within %.0f s", sum/1e6, r.number*lines*size/1e6, sampleBound.Seconds())
	}
}
