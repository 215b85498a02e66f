package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// late says that something did not come within its bound.
type late struct{ bound time.Duration }

func (l late) Error() string { return fmt.Sprintf("not within %.0f s", l.bound.Seconds()) }

// running is a peer at work.
type running struct {
	peer
	dir     string
	cmd     *exec.Cmd
	started int64 // CLOCK_BOOTTIME before it was launched, ns
	number  int   // of services
	found   bool  // it found them running and did not launch them
}

// beat is one line that a service wrote.
type beat struct {
	name string
	pid  int
	at   int64 // CLOCK_BOOTTIME, ns
}

// runtimeFolder is short enough for a socket's address.
func runtimeFolder(dir string) string { return filepath.Join(dir, "run") }

func gate(dir string) string { return filepath.Join(dir, "gate") }

// launch starts a peer with the services of a session and waits until all of
// them execute. With found they execute before the peer does. Nothing of one who
// was measured before may be left: it would be counted here.
func (s session) launch(b *bench, p peer, found bool) (r *running, err error) {
	if left := descendants(); len(left) > 0 {
		return nil, fmt.Errorf("%d processes of another measure do not end", len(left))
	}
	dir, err := os.MkdirTemp(b.root, "")
	if err != nil {
		return nil, err
	}
	r = &running{peer: p, dir: dir, number: s.services, found: found}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.end())
		}
	}()
	if err := unix.Mkfifo(gate(dir), 0o600); err != nil {
		return nil, fmt.Errorf("cannot make a FIFO: %w", err)
	}
	services := make([]service, s.services)
	for i := range services {
		name := fmt.Sprintf("s-%d", i)
		args := []string{filepath.Join(b.bin, "beacon"), r.file(), name}
		if s.lines > 0 {
			args = append(args, fmt.Sprint(s.lines))
		}
		if s.gated {
			args = append(args, gate(dir))
		}
		services[i] = service{name, args}
	}
	args, err := p.prepare(dir, services)
	if err != nil {
		return nil, err
	}
	if found {
		for _, x := range services {
			if err := exec.Command(p.alone(dir, x)[0]).Run(); err != nil {
				return nil, fmt.Errorf("cannot start %s: %w", x.name, err)
			}
		}
	}
	return r, r.run(args, s.bound())
}

// run starts the peer's own program.
func (r *running) run(args []string, bound time.Duration) error {
	log, err := os.Create(filepath.Join(r.dir, "stderr"))
	if err != nil {
		return err
	}
	defer log.Close()
	r.cmd = exec.Command(args[0], args[1:]...)
	r.cmd.Stdout, r.cmd.Stderr, r.cmd.Dir = log, log, r.dir
	r.cmd.Env = append(os.Environ(), "PM2_HOME="+filepath.Join(r.dir, "pm2"), "HOME="+r.dir)
	r.started = now()
	if err := r.cmd.Start(); err != nil {
		return err
	}
	_, err = r.await(bound, func(bs []beat) bool { return len(bs) >= r.number })
	return err
}

// end kills the peer and its services, and removes what it wrote.
func (r *running) end() error {
	err := endAll()
	// A supd that is killed leaves its pinned pidfds, in mounts; nobody else has any.
	_ = unix.Unmount(filepath.Join(runtimeFolder(r.dir), "pidfds"), unix.MNT_DETACH)
	if removed := os.RemoveAll(r.dir); err == nil {
		err = removed
	}
	return err
}

func (r *running) file() string { return filepath.Join(r.dir, "beats") }

// beats are all lines so far, in order.
func (r *running) beats() (bs []beat) {
	text, _ := os.ReadFile(r.file())
	for line := range strings.Lines(string(text)) {
		line, whole := strings.CutSuffix(line, "\n")
		fields := strings.Fields(line)
		if !whole || len(fields) != 3 {
			continue
		}
		pid, err1 := strconv.Atoi(fields[1])
		at, err2 := strconv.ParseInt(fields[2], 10, 64)
		if err1 == nil && err2 == nil {
			bs = append(bs, beat{fields[0], pid, at})
		}
	}
	return bs
}

// await looks every few milliseconds, less often where there is much to read.
// What is measured is in the beats, so the looking adds little to it.
func (r *running) await(bound time.Duration, enough func([]beat) bool) ([]beat, error) {
	for deadline := time.Now().Add(bound); time.Now().Before(deadline); {
		began := time.Now()
		bs := r.beats()
		if enough(bs) {
			return bs, nil
		}
		reap()
		time.Sleep(max(2*time.Millisecond, 20*time.Since(began)))
	}
	return nil, late{bound}
}

// latest is the newest beat of each service.
func latest(bs []beat) map[string]beat {
	m := map[string]beat{}
	for _, b := range bs {
		m[b.name] = b
	}
	return m
}

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

// notOutput are the files that loggers keep beside their output.
var notOutput = []string{"config", "lock", "state"}
