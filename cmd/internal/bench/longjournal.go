package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"supd/cmd/internal/bench/bigjournal"
)

// onJournal measures three starts of supd on a journal of n records, and deaths
// of its engine after the last of them.
func (g *growth) onJournal(n int) error {
	const starts = 3
	var boots []time.Duration
	for i := range starts {
		s, took, err := oneStart(g.bin, n)
		if err != nil {
			return err
		}
		if boots = append(boots, took); i == starts-1 {
			g.boot.times(n, boots)
			err = g.diesOn(s, n)
		}
		if err = errors.Join(err, s.stop()); err != nil {
			return err
		}
	}
	return nil
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
func (g *growth) diesOn(s *supd, n int) error {
	_, answered, err := s.deaths(growDeaths)
	if err != nil {
		return err
	}
	g.answered.times(n, answered)
	stopped, err := s.stopsAfterDeaths(stopSamples)
	if err != nil {
		return err
	}
	g.stopped.times(n, stopped)
	return nil
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
