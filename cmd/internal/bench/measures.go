package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	settle   = 3 * time.Second
	idleTime = 30 * time.Second
	// From the third death of the engine within 10 s on, the keeper waits before
	// it starts the next one; that is not what is measured.
	betweenDeaths = 5100 * time.Millisecond
)

// hundred measures from the launch of supd until 100 services execute.
func hundred(bin string) ([]row, error) {
	const services, runs = 100, 5
	var ts []time.Duration
	for range runs {
		s, err := start(bin, services)
		if err != nil {
			return nil, err
		}
		var last int64
		for _, b := range s.beacons() {
			last = max(last, b.at)
		}
		ts = append(ts, time.Duration(last-s.started))
		if err := s.stop(); err != nil {
			return nil, err
		}
	}
	return []row{timings("launch of supd → 100 services execute", ts)}, nil
}

// one measures supd with one service.
func one(bin string) (rows []row, err error) {
	s, err := start(bin, 1)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	time.Sleep(settle)
	r, err := s.memory(1)
	return []row{r}, err
}

// twenty measures everything that takes a running set.
func twenty(bin string) (rows []row, err error) {
	const services = 20
	s, err := start(bin, services)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	time.Sleep(settle)
	for _, m := range []func() ([]row, error){
		func() ([]row, error) { r, err := s.memory(services); return []row{r}, err },
		s.idle, s.status, s.restarts, s.recoveries,
	} {
		more, err := m()
		rows = append(rows, more...)
		if err != nil {
			return rows, err
		}
	}
	return rows, nil
}

// status measures the whole of `supctl status`, process start included.
func (s *supd) status() ([]row, error) {
	var ts []time.Duration
	for range 50 {
		began := time.Now()
		if _, err := s.supctl("status"); err != nil {
			return nil, err
		}
		ts = append(ts, time.Since(began))
	}
	return []row{timings("`supctl status`, 20 services", ts)}, nil
}

// restarts measures from SIGKILL until the replacement's main begins.
func (s *supd) restarts() ([]row, error) {
	ts, err := s.respawns(20, 30)
	if err != nil {
		return nil, err
	}
	return []row{timings("SIGKILL of a service, 1 of 20 → replacement executes", ts)}, nil
}

func (s *supd) respawns(services, samples int) (ts []time.Duration, err error) {
	all, err := s.killOneByOne(services, samples)
	for _, r := range all {
		ts = append(ts, time.Duration(r.after.at-r.killed))
	}
	return ts, err
}

// killOneByOne kills a service, waits for the next one, and rests.
func (s *supd) killOneByOne(services, samples int) (all []respawn, err error) {
	for i := range samples {
		name := fmt.Sprintf("s-%d", i%services)
		before, ok := latest(s.beacons(), name)
		if !ok {
			return nil, fmt.Errorf("cannot find service %s", name)
		}
		killed := now()
		if err := unix.Kill(before.pid, unix.SIGKILL); err != nil {
			return nil, fmt.Errorf("cannot kill service %s: %w", name, err)
		}
		bs, err := s.await(func(bs []beacon) bool { b, _ := latest(bs, name); return b.pid != before.pid })
		if err != nil {
			return nil, err
		}
		after, _ := latest(bs, name)
		all = append(all, respawn{killed, after})
		time.Sleep(100 * time.Millisecond)
	}
	return all, nil
}

func latest(bs []beacon, service string) (found beacon, ok bool) {
	for _, b := range bs {
		if b.service == service {
			found, ok = b, true
		}
	}
	return found, ok
}

// recoveries measures from SIGKILL of the engine until it has written its first
// record, and until a person's status is answered.
func (s *supd) recoveries() ([]row, error) {
	recorded, answered, err := s.deaths(20)
	if err != nil {
		return nil, err
	}
	return []row{
		timings("SIGKILL of the engine → its first record, 20 services", recorded),
		timings("SIGKILL of the engine → `supctl status` answered", answered),
	}, nil
}

func (s *supd) deaths(samples int) (recorded, answered []time.Duration, err error) {
	for range samples {
		pids, err := s.pids()
		if err != nil {
			return nil, nil, err
		}
		killed := now()
		if err := unix.Kill(pids[1].pid, unix.SIGKILL); err != nil {
			return nil, nil, fmt.Errorf("cannot kill the engine: %w", err)
		}
		if err := s.answers(killed); err != nil {
			return nil, nil, err
		}
		answered = append(answered, time.Duration(now()-killed))
		at, err := s.engineStarted(pids[1].pid)
		if err != nil {
			return nil, nil, err
		}
		recorded = append(recorded, time.Duration(at-killed))
		time.Sleep(betweenDeaths)
	}
	return recorded, answered, nil
}

// answers waits until supd answers.
func (s *supd) answers(since int64) error {
	for {
		_, err := s.supctl("status", "s-0")
		var code *exec.ExitError
		if err == nil || errors.As(err, &code) && code.ExitCode() == 4 { // no such service is an answer
			return nil
		}
		if time.Duration(now()-since) > s.patient {
			return err
		}
	}
}

// engineStarted finds when the engine after this one wrote its first record. It
// can be read once it is durable and the journal is open, which with a million
// records is seconds after the answer.
func (s *supd) engineStarted(before int) (mono int64, err error) {
	for deadline := time.Now().Add(s.patient); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		var out []byte
		if out, err = s.supctl("events", "--kind", "engine.started", "-n", "1", "-o", "json"); err != nil {
			continue // the journal is being opened
		}
		var record struct {
			Mono int64
			Data struct{ PID int }
		}
		if err := json.Unmarshal(out, &record); err != nil {
			return 0, err
		}
		if record.Data.PID != before {
			return record.Mono, nil
		}
	}
	return 0, errors.Join(errors.New("cannot find the new engine's first record"), err)
}

// idle measures the CPU time of supd's own processes while nothing happens.
func (s *supd) idle() ([]row, error) {
	r, _, err := s.idling(20, idleTime)
	return []row{r}, err
}

func (s *supd) idling(services int, long time.Duration) (r row, share float64, err error) {
	pids, err := s.pids()
	if err != nil {
		return r, 0, err
	}
	time.Sleep(settle) // what answering cost is not idling
	before, began := make([]time.Duration, len(pids)), time.Now()
	for i, p := range pids {
		if before[i], err = onProcessor(p.pid); err != nil {
			return r, 0, err
		}
	}
	time.Sleep(long)
	var total time.Duration
	parts := make([]string, len(pids))
	percent := func(d time.Duration) string {
		return fmt.Sprintf("%.2f %%", 100*float64(d)/float64(time.Since(began)))
	}
	for i, p := range pids {
		t, err := onProcessor(p.pid)
		if err != nil {
			return r, 0, err
		}
		total += t - before[i]
		parts[i] = p.name + " " + percent(t-before[i])
	}
	share = 100 * float64(total) / float64(time.Since(began))
	return row{
		fmt.Sprintf("idle CPU of one core, %d services", services), percent(total), strings.Join(parts, ", "), fmt.Sprintf("%.0f s", long.Seconds()),
	}, share, nil
}

// ticking measures what the idle CPU of supd is to be held against: a program
// that does nothing but wake ten times a second, as the clock of the embedded
// server does while a stream is open.
func ticking(bin string) ([]row, error) {
	cmd := exec.Command(filepath.Join(bin, "beacon"), "-tick")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("cannot start the ticking program: %w", err)
	}
	defer cmd.Wait() // killed below
	defer cmd.Process.Kill()
	time.Sleep(settle)
	before, err := cpuTime(cmd.Process.Pid)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	time.Sleep(idleTime)
	after, err := cpuTime(cmd.Process.Pid)
	if err != nil {
		return nil, err
	}
	used := fmt.Sprintf("%.2f %%", 100*float64(after-before)/float64(time.Since(began)))
	return []row{{"for comparison: a Go program that only ticks every 100 ms", used, "–", fmt.Sprintf("%.0f s", idleTime.Seconds())}}, nil
}

// onProcessor is the time on a processor of all threads that live, in
// nanoseconds: what idling takes is less than a tick. Threads of a supd that
// idles do not end.
func onProcessor(pid int) (total time.Duration, err error) {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err == nil && len(threads) == 0 {
		err = fmt.Errorf("cannot find the threads of process %d", pid)
	}
	for _, t := range threads {
		text, _ := os.ReadFile(t)
		first, _, _ := strings.Cut(string(text), " ")
		n, _ := strconv.ParseInt(first, 10, 64)
		total += time.Duration(n)
	}
	return total, err
}

// cpuTime is utime + stime, which the kernel counts in ticks of 10 ms.
func cpuTime(pid int) (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(stat), ") ") // the name may hold anything
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, fmt.Errorf("cannot read /proc/%d/stat", pid)
	}
	user, err1 := strconv.ParseInt(fields[11], 10, 64)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * 10 * time.Millisecond, errors.Join(err1, err2)
}

// memory measures the proportional set size of supd's own processes.
func (s *supd) memory(services int) (row, error) {
	r, _, err := s.pssOf(services)
	return r, err
}

func (s *supd) pssOf(services int) (r row, total float64, err error) {
	pids, err := s.pids()
	if err != nil {
		return r, 0, err
	}
	parts := make([]string, len(pids))
	for i, p := range pids {
		kib, err := pss(p.pid)
		if err != nil {
			return r, 0, err
		}
		total += kib / 1024
		parts[i] = fmt.Sprintf("%s %.1f", p.name, kib/1024)
	}
	return row{fmt.Sprintf("memory (PSS), services: %d", services), fmt.Sprintf("%.1f MiB", total), strings.Join(parts, ", "), "1"}, total, nil
}

func pss(pid int) (kib float64, err error) {
	path := fmt.Sprintf("/proc/%d/smaps_rollup", pid)
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if _, err := fmt.Sscanf(line, "Pss: %f kB", &kib); err == nil {
			return kib, nil
		}
	}
	return 0, fmt.Errorf("cannot find Pss in %s", path)
}
