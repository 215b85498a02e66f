package main

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"supd/journal/blocks"
	"supd/journal/event"
)

// respawn is one killed service and the one that came after it.
type respawn struct {
	killed int64 // CLOCK_BOOTTIME, ns
	after  beacon
}

// hops prints what the time of one respawn is made of. The moments are those
// that records carry: each is drawn when the engine takes an input in hand. Only
// the kill and the first instruction are measured from outside. All clocks are
// CLOCK_BOOTTIME but that of the store, whose wall clock is moved by the
// difference of the two in the record. hogs is how many loops keep processors busy
// meanwhile.
func hops(bin string, services, samples, hogs int) (rows []row, err error) {
	s, err := start(bin, services)
	if err != nil {
		return nil, err
	}
	defer s.remove()
	time.Sleep(settle)
	defer hog(hogs)()
	before := s.cpu()
	killed, err := s.killOneByOne(services, samples)
	used := (s.cpu() - before) / time.Duration(max(1, samples))
	if err = errors.Join(err, s.end()); err != nil {
		return nil, err
	}
	records, err := s.lives()
	if err != nil {
		return nil, err
	}
	steps := []struct {
		what     string
		from, to func(respawn, life) int64
	}{
		{"killed → the engine has the exit in hand (reaper, keeper, socket)", func(r respawn, _ life) int64 { return r.killed }, func(_ respawn, l life) int64 { return l.exited }},
		{"→ the engine has the parked stub in hand (decision, fork, stub)", func(_ respawn, l life) int64 { return l.exited }, func(_ respawn, l life) int64 { return l.starting }},
		{"→ its start is written to JOURNAL (publisher, server)", func(_ respawn, l life) int64 { return l.starting }, func(_ respawn, l life) int64 { return l.stored }},
		{"→ its first instruction (sync, gate, exec)", func(_ respawn, l life) int64 { return l.stored }, func(r respawn, _ life) int64 { return r.after.at }},
		{"all of it", func(r respawn, _ life) int64 { return r.killed }, func(r respawn, _ life) int64 { return r.after.at }},
	}
	for _, step := range steps {
		var ts []time.Duration
		for _, r := range killed {
			if l, ok := records[r.after.pid]; ok {
				ts = append(ts, time.Duration(step.to(r, l)-step.from(r, l)))
			}
		}
		if len(ts) == 0 {
			return rows, errors.New("cannot find the records of any respawn")
		}
		rows = append(rows, timings(step.what, ts))
	}
	return append(rows, row{"CPU of supd for each, with what it does meanwhile", ms(used), "", fmt.Sprint(samples)}), nil
}

// life is what records say of a respawn; moments in ns of CLOCK_BOOTTIME.
type life struct {
	exited, starting int64
	stored           int64 // of the record of the start, before its sync
}

// lives are the respawns in the journal, by the pid of who came.
func (s *supd) lives() (map[int]life, error) {
	r, err := blocks.Open(filepath.Join(s.state, "state", "journal"))
	if err != nil {
		return nil, err
	}
	found, exits := map[int]life{}, map[string]int64{}
	for e, err := range r.Records(1) {
		if err != nil {
			return nil, err
		}
		x, err := event.Decode(e.Data)
		if err != nil {
			return nil, err
		}
		switch d := x.Record.Data.(type) {
		case event.InstanceExitedData:
			exits[x.Record.Subject] = x.Record.Mono
		case event.InstanceStartingData:
			if exited, ok := exits[x.Record.Subject]; ok {
				wall := x.Record.Time.UnixNano() - x.Record.Mono
				found[d.PID] = life{exited: exited, starting: x.Record.Mono, stored: e.Time.UnixNano() - wall}
			}
		}
	}
	return found, nil
}

// hog keeps n processors busy, each by a process of its own with the usual
// priority, until the returned function is called.
func hog(n int) (end func()) {
	var all []*exec.Cmd
	for range n {
		c := exec.Command("/bin/sh", "-c", "while :; do :; done")
		c.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL} // main has locked its thread
		if c.Start() == nil {
			all = append(all, c)
		}
	}
	return func() {
		for _, c := range all {
			_ = c.Process.Kill()
			_ = c.Wait()
		}
	}
}
