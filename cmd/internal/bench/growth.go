package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// What grows.
var (
	crowds   = []int{10, 100, 1000, 5000}
	journals = []int{10_000, 100_000, 1_000_000}
)

const (
	// growIdle is how long supd is left alone for the CPU time of idling.
	growIdle = 10 * time.Second
	// growBound is when no further size is begun: the whole ends within minutes of it.
	growBound = 12 * time.Minute
	// growDeaths is how many deaths of the engine there are of each size.
	growDeaths = 5
)

// growth is what is known of how costs grow.
type growth struct {
	bin string

	launch, respawn, memory, idle, status, check, death series // with services
	boot, answered, stopped                             series // with records
}

func newGrowth(bin string) *growth {
	return &growth{
		bin:      bin,
		launch:   series{what: "launch of supd → all services execute", size: "services", unit: "ms"},
		respawn:  series{what: "SIGKILL of one → its successor executes", size: "services", unit: "ms"},
		memory:   series{what: "memory of supd's processes (PSS)", size: "services", unit: "MiB"},
		idle:     series{what: "idle CPU of supd, of one core", size: "services", unit: "%"},
		status:   series{what: "supctl status, all services", size: "services", unit: "ms"},
		check:    series{what: "supd check, a table for each", size: "services", unit: "ms"},
		death:    series{what: "SIGKILL of the engine → status answered", size: "services", unit: "ms"},
		boot:     series{what: "launch on a journal → status answered", size: "records", unit: "ms"},
		answered: series{what: "SIGKILL of the engine → status answered", size: "records", unit: "ms"},
		stopped:  series{what: "SIGKILL of the engine → a stop is done", size: "records", unit: "ms"},
	}
}

func (g *growth) withServices() []*series {
	return []*series{&g.launch, &g.respawn, &g.memory, &g.idle, &g.status, &g.check, &g.death}
}

func (g *growth) withRecords() []*series { return []*series{&g.boot, &g.answered, &g.stopped} }

// grow measures what supd costs as its services and its journal grow, up to
// these sizes. It prints each figure as it comes, and writes a drawing of them
// and a page beside it. A size that fails does not lose the others.
func grow(bin, drawing string, services, records int) error {
	g, began := newGrowth(bin), time.Now()
	var failed error
	try := func(n int, what string, measure func(n int) error) {
		if time.Since(began) > growBound {
			failed = errors.Join(failed, fmt.Errorf("%d %s are left out: %.0f min have passed", n, what, growBound.Minutes()))
			return
		}
		if err := measure(n); err != nil {
			failed = errors.Join(failed, fmt.Errorf("%d %s: %w", n, what, err))
		}
	}
	fmt.Print("| Measure | Size | Median | Spread | Samples |\n|---|---|---|---|---|\n")
	for _, n := range crowds {
		if n <= services {
			try(n, "services", g.crowd)
		}
	}
	for _, n := range journals {
		if n <= records {
			try(n, "records", g.onJournal)
		}
	}
	var all []series
	for _, s := range slices.Concat(g.withServices(), g.withRecords()[:2]) {
		all = append(all, *s)
	}
	page := strings.TrimSuffix(drawing, filepath.Ext(drawing)) + ".md"
	return errors.Join(failed,
		os.WriteFile(drawing, plot(all), 0o644),
		os.WriteFile(page, g.page(filepath.Base(drawing), time.Since(began), failed), 0o644))
}

// crowd measures supd with n services.
func (g *growth) crowd(n int) (err error) {
	if err := g.checks(n); err != nil {
		return err
	}
	launches := 5
	if n >= 1000 {
		launches = 3
	}
	var s *supd
	var took []time.Duration
	for i := range launches {
		if s, err = start(g.bin, n); err != nil {
			return err
		}
		last := int64(0)
		for _, b := range s.beacons() {
			last = max(last, b.at)
		}
		took = append(took, time.Duration(last-s.started))
		if i == launches-1 {
			break
		}
		if err := s.stop(); err != nil {
			return err
		}
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	g.launch.times(n, took)
	time.Sleep(settle)
	_, total, err := s.pssOf(n)
	if err != nil {
		return err
	}
	g.memory.add(n, total)
	_, share, err := s.idling(n, growIdle)
	if err != nil {
		return err
	}
	g.idle.add(n, share)
	respawns, err := s.respawns(n, 30)
	if err != nil {
		return err
	}
	g.respawn.times(n, respawns)
	statuses, err := several(10, func() error { _, err := s.supctl("status"); return err })
	if err != nil {
		return err
	}
	g.status.times(n, statuses)
	_, answered, err := s.deaths(growDeaths)
	if err != nil {
		return err
	}
	g.death.times(n, answered)
	return nil
}

// checks measures `supd check` of a configuration with a table for each service.
func (g *growth) checks(n int) error {
	f, err := newFolders()
	if err != nil {
		return err
	}
	defer f.remove()
	var text strings.Builder
	text.WriteString("[supd]\nnode = \"bench\"\n")
	for i := range n {
		fmt.Fprintf(&text, "[service.s-%d]\ncommand = [%q, \"s-%d\"]\n", i, filepath.Join(g.bin, "beacon"), i)
	}
	config := filepath.Join(f.state, "supd.toml")
	if err := os.WriteFile(config, []byte(text.String()), 0o600); err != nil {
		return err
	}
	took, err := several(5, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), patienceFor(n))
		defer cancel()
		return exec.CommandContext(ctx, filepath.Join(g.bin, "supd"), "check", "-c", config).Run()
	})
	if err != nil {
		return fmt.Errorf("cannot check a configuration: %w", err)
	}
	g.check.times(n, took)
	return nil
}

// several takes the time of something so many times.
func several(times int, do func() error) (ts []time.Duration, err error) {
	for range times {
		began := time.Now()
		if err := do(); err != nil {
			return ts, err
		}
		ts = append(ts, time.Since(began))
	}
	return ts, nil
}
