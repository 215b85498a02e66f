package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"supd/cmd/internal/bench/bigjournal"
)

// What grows.
var (
	crowds   = []int{10, 100, 1000, 5000}
	journals = []int{10_000, 100_000, 1_000_000}
)

// growIdle is how long supd is left alone for the CPU time of idling.
const growIdle = 20 * time.Second

// grow measures what supd costs as its services and its journal grow, up to
// these sizes, and draws it.
func grow(bin, drawing string, services, records int) (rows []row, err error) {
	launch, respawn := series{"launch → all services execute", "s", nil}, series{"SIGKILL of one → replacement executes", "ms", nil}
	memory, idle := series{"memory of supd's processes (PSS)", "MiB", nil}, series{"idle CPU of one core", "%", nil}
	death, boot := series{"SIGKILL of the engine → status answered", "ms", nil}, series{"start on a journal → status answered", "ms", nil}
	for _, n := range crowds {
		if n > services {
			break
		}
		c, err := crowd(bin, n)
		if err != nil {
			return rows, err
		}
		rows = append(rows, c.rows...)
		launch.add(n, c.launch.Seconds())
		respawn.add(n, 1e3*c.respawn.Seconds())
		memory.add(n, c.memory)
		idle.add(n, c.idle)
		death.add(n, 1e3*c.death.Seconds())
	}
	for _, n := range journals {
		if n > records {
			break
		}
		ts, err := onJournal(bin, n)
		if err != nil {
			return rows, err
		}
		rows = append(rows, timings(fmt.Sprintf("start on a journal of %d records → status answered", n), ts))
		boot.add(n, 1e3*ts[len(ts)/2].Seconds())
	}
	return rows, os.WriteFile(drawing, plot([]series{launch, respawn, memory, idle, death, boot}), 0o644)
}

type cost struct {
	launch, respawn, death time.Duration
	memory, idle           float64
	rows                   []row
}

// crowd measures supd with n services.
func crowd(bin string, n int) (c cost, err error) {
	s, err := start(bin, n)
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	last := int64(0)
	for _, b := range s.beacons() {
		last = max(last, b.at)
	}
	c.launch = time.Duration(last - s.started)
	c.rows = append(c.rows, timings(fmt.Sprintf("launch of supd → %d services execute", n), []time.Duration{c.launch}))
	time.Sleep(settle)
	r, total, err := s.pssOf(n)
	if err != nil {
		return c, err
	}
	c.memory, c.rows = total, append(c.rows, r)
	if r, c.idle, err = s.idling(n, growIdle); err != nil {
		return c, err
	}
	c.rows = append(c.rows, r)
	ts, err := s.respawns(n, 30)
	if err != nil {
		return c, err
	}
	c.rows = append(c.rows, timings(fmt.Sprintf("SIGKILL of a service, 1 of %d → replacement executes", n), ts))
	c.respawn = ts[len(ts)/2] // timings has sorted them
	_, answered, err := s.deaths(5)
	if err != nil {
		return c, err
	}
	c.rows = append(c.rows, timings(fmt.Sprintf("SIGKILL of the engine → `supctl status` answered, %d services", n), answered))
	c.death = answered[len(answered)/2]
	return c, nil
}

// onJournal measures a start of supd, as after a reboot, on a journal of n
// records.
func onJournal(bin string, n int) (ts []time.Duration, err error) {
	for range 3 {
		t, err := oneStart(bin, n)
		if err != nil {
			return nil, err
		}
		ts = append(ts, t)
	}
	slices.Sort(ts)
	return ts, nil
}

func oneStart(bin string, n int) (took time.Duration, err error) {
	s, err := start(bin, 0) // makes the folders, the identity and the stream
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	if err := s.answers(now()); err != nil {
		return 0, err
	}
	if err := s.end(); err != nil {
		return 0, err
	}
	state := filepath.Join(s.state, "state")
	identity, err := os.ReadFile(filepath.Join(state, "node.json"))
	if err != nil {
		return 0, err
	}
	blocks, err := filepath.Glob(filepath.Join(state, "journal", "jetstream", "*", "streams", "JOURNAL", "msgs", "*"))
	if err != nil || len(blocks) == 0 {
		return 0, fmt.Errorf("cannot find the journal's blocks (%w)", err)
	}
	for _, b := range blocks {
		if err := os.Remove(b); err != nil {
			return 0, err
		}
	}
	if _, err := bigjournal.Write(state, n); err != nil {
		return 0, err
	}
	if err := os.WriteFile(filepath.Join(state, "node.json"), identity, 0o600); err != nil {
		return 0, err
	}
	if err := s.launch(); err != nil {
		return 0, err
	}
	s.patient = 2 * time.Minute
	if err := s.answers(s.started); err != nil {
		return 0, err
	}
	return time.Duration(now() - s.started), nil
}
