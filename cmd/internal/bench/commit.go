package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"supd/journal"
	"supd/journal/journaltest"
)

// commits measures how long a batch of records takes to be kept and to be
// durable. Three records is what one respawn writes in one batch.
func commits(string) (rows []row, err error) {
	for _, n := range []int{1, 3, 100} {
		kept, durable, err := commit(n, 2000)
		if err != nil {
			return rows, err
		}
		rows = append(rows,
			timings(fmt.Sprintf("commit of %d, kept", n), kept),
			timings(fmt.Sprintf("commit of %d, durable", n), durable))
	}
	return rows, nil
}

func commit(n, times int) (kept, durable []time.Duration, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	f, err := newFolders()
	if err != nil {
		return nil, nil, err
	}
	defer f.remove()
	j, rec, err := journal.Open(ctx, journal.Config{StateDir: f.state, RuntimeDir: f.runtime, Node: "bench"})
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, j.Close(ctx)) }()
	for _, err := range rec.Records {
		if err != nil {
			return nil, nil, err
		}
	}
	chain := journaltest.NewChain()
	compact := func() error {
		return j.Compact(journal.Base{Link: chain.Link, Version: 1, State: []byte("0")})
	}
	if err := errors.Join(compact(), j.Start()); err != nil {
		return nil, nil, err
	}
	for i := range times + 1 {
		batch := chain.Next(n)
		began := time.Now()
		if err := j.Append(batch); err != nil {
			return nil, nil, err
		}
		mid := time.Now()
		if err := j.WaitDurable(ctx, chain.Link.Seq); err != nil {
			return nil, nil, err
		}
		if i > 0 { // the first one waits for JetStream to open
			kept, durable = append(kept, mid.Sub(began)), append(durable, time.Since(began))
		}
		if j.NeedCompact() {
			if err := compact(); err != nil {
				return nil, nil, err
			}
		}
	}
	return kept, durable, nil
}

// folders are one state and one runtime folder for a measure.
type folders struct{ state, runtime string }

// newFolders makes the state folder where temporary files are, and the runtime
// folder on tmpfs as a system has it.
func newFolders() (f folders, err error) {
	if f.state, err = os.MkdirTemp("", "supd-bench-"); err != nil {
		return f, err
	}
	if f.runtime, err = os.MkdirTemp("/dev/shm", "supd-bench-"); err != nil {
		os.Remove(f.state)
	}
	return f, err
}

func (f folders) remove() {
	os.RemoveAll(f.state)
	os.RemoveAll(f.runtime)
}
