package main

import (
	"context"
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

// patience bounds every single wait of a small set.
const patience = 20 * time.Second

// patienceFor is what a set of that size may take.
func patienceFor(services int) time.Duration {
	return patience + time.Duration(services)*40*time.Millisecond
}

// supd is a running supervisor with n beacons.
type supd struct {
	folders
	bin     string
	cmd     *exec.Cmd
	ended   chan struct{} // closed when the keeper is reaped
	started int64         // CLOCK_BOOTTIME before it was launched, ns
	patient time.Duration // what bounds a wait
	look    time.Duration // between two looks at the beacons
}

// beacon is one line that a service wrote.
type beacon struct {
	service string
	pid     int
	at      int64 // CLOCK_BOOTTIME, ns
}

// start launches supd and waits until all services execute.
func start(bin string, services int) (*supd, error) {
	return startWith(bin, services, "")
}

// startWith does so with more configuration.
func startWith(bin string, services int, more string) (*supd, error) {
	f, err := newFolders()
	if err != nil {
		return nil, err
	}
	s := &supd{folders: f, bin: bin, patient: patienceFor(services), look: time.Millisecond}
	if services > 100 {
		s.look = 50 * time.Millisecond // reading so many beacons must not take what they need to start
	}
	text := fmt.Sprintf("[supd]\nnode = \"bench\"\n[service.s]\ncount = %d\ncommand = '%s %s ${SUPD_SERVICE}'\nbackoff.initial = \"0s\"\n",
		services, filepath.Join(bin, "beacon"), s.beaconFile())
	if err := os.WriteFile(s.config(), []byte(text+more), 0o600); err != nil {
		f.remove()
		return nil, err
	}
	if err := s.launch(); err != nil {
		f.remove()
		return nil, err
	}
	if _, err := s.await(func(bs []beacon) bool { return len(bs) >= services }); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot start %d services: %w", services, err), s.stop())
	}
	return s, nil
}

func (s *supd) config() string { return filepath.Join(s.state, "supd.toml") }

// launch starts supd with the configuration and the folders that are there.
func (s *supd) launch() error {
	log, err := os.Create(filepath.Join(s.state, "supd.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	s.ended = make(chan struct{})
	s.cmd = exec.Command(filepath.Join(s.bin, "supd"), "run", "-c", s.config(),
		"--state-dir", filepath.Join(s.state, "state"), "--runtime-dir", s.runtime)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGTERM} // supd never outlives a bench that was killed
	s.started = now()
	if err := s.cmd.Start(); err != nil {
		return err
	}
	cmd, ended := s.cmd, s.ended
	go func() {
		_ = cmd.Wait() // its exit code says nothing that stop would use
		close(ended)
	}()
	return nil
}

// stop ends supd and removes what it made.
func (s *supd) stop() error {
	defer s.remove()
	return s.end()
}

// end ends supd in good order, or everything it started by pid.
func (s *supd) end() error {
	pids, _ := s.pids()
	_ = s.cmd.Process.Signal(unix.SIGTERM)
	select {
	case <-s.ended:
		return nil
	case <-time.After(s.patient):
	}
	_ = s.cmd.Process.Kill()
	for _, p := range pids {
		_ = unix.Kill(p.pid, unix.SIGKILL)
	}
	for _, b := range s.beacons() {
		if exe, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", b.pid)); filepath.Base(exe) == "beacon" {
			_ = unix.Kill(b.pid, unix.SIGKILL)
		}
	}
	<-s.ended
	return errors.New("cannot stop supd in time: it was killed")
}

func (s *supd) beaconFile() string { return filepath.Join(s.state, "beacons") }

// beacons are all lines so far, in order. A line that is being written is left
// for the next time.
func (s *supd) beacons() (bs []beacon) {
	text, _ := os.ReadFile(s.beaconFile())
	for line := range strings.Lines(string(text)) {
		if b, ok := parseBeacon(line); ok {
			bs = append(bs, b)
		}
	}
	return bs
}

// parseBeacon is quick: what it takes is taken from the supd that is measured.
func parseBeacon(line string) (b beacon, ok bool) {
	line, whole := strings.CutSuffix(line, "\n")
	fields := strings.Fields(line)
	if !whole || len(fields) != 3 {
		return b, false
	}
	pid, err1 := strconv.Atoi(fields[1])
	at, err2 := strconv.ParseInt(fields[2], 10, 64)
	return beacon{fields[0], pid, at}, err1 == nil && err2 == nil
}

// await looks at the beacons again and again. What is measured is in them, so
// the looking adds nothing to it.
func (s *supd) await(enough func([]beacon) bool) ([]beacon, error) {
	for deadline := time.Now().Add(s.patient); time.Now().Before(deadline); time.Sleep(s.look) {
		if bs := s.beacons(); enough(bs) {
			return bs, nil
		}
		select {
		case <-s.ended:
			return nil, errors.New("supd has ended")
		default:
		}
	}
	return nil, fmt.Errorf("%d beacons after %v", len(s.beacons()), s.patient)
}

// supctl runs the program and returns its output.
func (s *supd) supctl(args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(s.bin, "supctl"), args...)
	cmd.Env = append(os.Environ(), "SUPD_SOCKET="+filepath.Join(s.runtime, "supd.sock"))
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("cannot run supctl %s: %w", strings.Join(args, " "), err)
	}
	return out, err
}

// process is one of supd's own.
type process struct {
	name string
	pid  int
}

func (s *supd) pids() ([]process, error) {
	out, err := s.supctl("info", "-o", "json")
	if err != nil {
		return nil, err
	}
	var info struct {
		PIDs struct{ Keeper, Engine, Logger int }
	}
	err = json.Unmarshal(out, &info)
	return []process{{"keeper", info.PIDs.Keeper}, {"engine", info.PIDs.Engine}, {"logger", info.PIDs.Logger}}, err
}

// now is CLOCK_BOOTTIME in nanoseconds, the clock of records and beacons.
func now() int64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) // cannot fail with a valid clock and pointer
	return ts.Nano()
}
