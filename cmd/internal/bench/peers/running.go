package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// patience bounds every wait; who takes longer has not done it.
const patience = 60 * time.Second

// running is a peer at work.
type running struct {
	peer
	dir     string
	started int64 // CLOCK_BOOTTIME before it was launched, ns
}

// beat is one line that a service wrote.
type beat struct {
	name string
	pid  int
	at   int64 // CLOCK_BOOTTIME, ns
}

// runtimeFolder is short enough for a socket's address.
func runtimeFolder(dir string) string { return filepath.Join(dir, "run") }

// launch starts a peer with n services, each with extra arguments.
func (p peer) launch(bin string, n int, extra ...string) (*running, error) {
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return nil, err
	}
	r := &running{peer: p, dir: dir}
	services := make([]service, n)
	for i := range services {
		name := fmt.Sprintf("s-%d", i)
		services[i] = service{name, append([]string{filepath.Join(bin, "beacon"), r.file(), name}, extra...)}
	}
	args, err := p.prepare(dir, services)
	if err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(dir, "stderr"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr, cmd.Dir = log, log, dir
	cmd.Env = append(os.Environ(), "PM2_HOME="+filepath.Join(dir, "pm2"), "HOME="+dir)
	r.started = now()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	_, err = r.await(func(bs []beat) bool { return len(bs) >= n })
	if err != nil {
		text, _ := os.ReadFile(log.Name())
		err = fmt.Errorf("%w\n%s", err, text[max(0, len(text)-1000):])
		_ = r.end()
	}
	return r, err
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
		var b beat
		if _, err := fmt.Sscanf(line, "%s %d %d\n", &b.name, &b.pid, &b.at); err == nil {
			bs = append(bs, b)
		}
	}
	return bs
}

// await looks every few milliseconds, less often where there is much to read.
// What is measured is in the beats, so the looking adds little to it.
func (r *running) await(enough func([]beat) bool) ([]beat, error) {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		began := time.Now()
		bs := r.beats()
		if enough(bs) {
			return bs, nil
		}
		reap()
		time.Sleep(max(2*time.Millisecond, 20*time.Since(began)))
	}
	return nil, fmt.Errorf("not within %v: %d beats", patience, len(r.beats()))
}

// latest is the newest beat of each service.
func latest(bs []beat) map[string]beat {
	m := map[string]beat{}
	for _, b := range bs {
		m[b.name] = b
	}
	return m
}
