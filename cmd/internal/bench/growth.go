package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

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
		j, err := onJournal(bin, n)
		if err != nil {
			return rows, err
		}
		rows = append(rows,
			timings(fmt.Sprintf("start on a journal of %d records → status answered", n), j.boot),
			timings(fmt.Sprintf("SIGKILL of the engine → `supctl status` answered, %d records", n), j.status),
			timings(fmt.Sprintf("SIGKILL of the engine → `supctl stop` done, %d records", n), j.stop))
		boot.add(n, 1e3*j.boot[len(j.boot)/2].Seconds())
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

// recovery is what a journal's length costs.
type recovery struct {
	boot   []time.Duration // from the launch of supd, as after a reboot
	status []time.Duration // from SIGKILL of the engine to an answered status
	stop   []time.Duration // from SIGKILL of the engine to a stop that is done
}

// onJournal measures three starts of supd on a journal of n records, and deaths
// of its engine after the last of them.
func onJournal(bin string, n int) (r recovery, err error) {
	for i := range 3 {
		s, took, err := oneStart(bin, n)
		if err != nil {
			return r, err
		}
		r.boot = append(r.boot, took)
		if i == 2 {
			err = s.diesOn(&r)
		}
		if err = errors.Join(err, s.stop()); err != nil {
			return r, err
		}
	}
	slices.Sort(r.boot)
	return r, nil
}

// oneStart starts supd on a journal of n records.
func oneStart(bin string, n int) (s *supd, took time.Duration, err error) {
	s, err = start(bin, stopSamples) // makes the folders, the identity and the stream
	if err != nil {
		return nil, 0, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.stop())
		}
	}()
	if err := errors.Join(s.answers(now()), s.end(), s.lengthen(n)); err != nil {
		return nil, 0, err
	}
	if err := s.launch(); err != nil {
		return nil, 0, err
	}
	s.patient = 2 * time.Minute
	if err := s.answers(s.started); err != nil {
		return nil, 0, err
	}
	took = time.Duration(now() - s.started)
	return s, took, s.wentOnFrom(n)
}

// diesOn measures deaths of the engine on the journal that is there.
func (s *supd) diesOn(r *recovery) (err error) {
	if _, r.status, err = s.deaths(stopSamples); err != nil {
		return err
	}
	r.stop, err = s.stopsAfterDeaths(stopSamples)
	return err
}

// stopSamples is how many services are stopped, each just after a death of the
// engine.
const stopSamples = 5

// stopsAfterDeaths measures from SIGKILL of the engine until a stop of a
// running service is done.
func (s *supd) stopsAfterDeaths(samples int) (ts []time.Duration, err error) {
	for i := range samples {
		pids, err := s.pids()
		if err != nil {
			return nil, err
		}
		killed := now()
		if err := unix.Kill(pids[1].pid, unix.SIGKILL); err != nil {
			return nil, fmt.Errorf("cannot kill the engine: %w", err)
		}
		if _, err := s.supctl("stop", fmt.Sprintf("s-%d", i)); err != nil {
			return nil, err
		}
		ts = append(ts, time.Duration(now()-killed))
		if _, err := s.engineStarted(pids[1].pid); err != nil {
			return nil, err
		}
		time.Sleep(betweenDeaths)
	}
	return ts, nil
}

// lengthen puts a journal of n records in the place of the stopped supd's own.
func (s *supd) lengthen(n int) error {
	state := filepath.Join(s.state, "state")
	identity, err := os.ReadFile(filepath.Join(state, "node.json"))
	if err != nil {
		return err
	}
	blocks, err := filepath.Glob(filepath.Join(state, "journal", "jetstream", "*", "streams", "JOURNAL", "msgs", "*"))
	if err != nil || len(blocks) == 0 {
		return fmt.Errorf("cannot find the journal's blocks (%w)", err)
	}
	for _, b := range blocks {
		if err := os.Remove(b); err != nil {
			return err
		}
	}
	if _, err := bigjournal.Write(state, n); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(state, "node.json"), identity, 0o600)
}

// wentOnFrom checks that supd took the journal for its own: a start that sets it
// aside is quick and no measure of anything. Its first record can be read once
// it is durable.
func (s *supd) wentOnFrom(n int) error {
	var record struct{ Seq int }
	for deadline := time.Now().Add(s.patient); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		out, err := s.supctl("events", "--kind", "engine.started", "-n", "1", "-o", "json")
		if err != nil || len(out) == 0 {
			continue // the journal is being opened
		}
		if err := json.Unmarshal(out, &record); err != nil {
			return err
		}
		if record.Seq > n {
			return nil
		}
	}
	return fmt.Errorf("supd did not go on from a journal of %d records: its engine began with record %d", n, record.Seq)
}
