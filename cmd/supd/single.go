package main

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"supd/cmd/internal/config"
	"supd/cmd/internal/exitcode"
	"supd/cmd/internal/folders"
	"supd/executor"
	"supd/executor/policy"
	"supd/journal/event"
	"supd/projector"
)

// single is `supd run -- CMD…`: one service, main, started once. Signals go to
// it, and when it has ended supd ends with its code. All of it follows from
// the state, so it survives the death of the engine like everything else.
type single struct {
	code  int // of supd's end
	early int // set if supd was told to end before main had begun
}

// privatePlaces gives folders of its own to a supd that runs one command and
// was not told where: it must not meet the one that runs the machine's
// services, nor another like itself. They are removed when it ends in good
// order. PID 1 is alone in its container and uses the usual folders, where
// supctl finds it and which outlive it if they are on a volume.
func (p places) privatePlaces(stateGiven, runtimeGiven bool) (places, []string, error) {
	if os.Getpid() == 1 {
		return p, nil, nil
	}
	var private []string
	for _, f := range []struct {
		given bool
		env   string
		dir   *string
	}{{stateGiven, folders.EnvStateDir, &p.State}, {runtimeGiven, folders.EnvRuntimeDir, &p.Runtime}} {
		if f.given || os.Getenv(f.env) != "" {
			continue
		}
		dir, err := privateFolder(*f.dir)
		if err != nil {
			removeAll(private)
			return p, nil, err
		}
		*f.dir = dir
		private = append(private, dir)
	}
	return p, private, nil
}

// privateFolder makes a folder named by this process. One of that name is
// there only if a supd of the same pid was killed: it is evidence, and stays.
func privateFolder(parent string) (string, error) {
	parent, err := filepath.Abs(parent)
	if err == nil {
		err = os.MkdirAll(parent, 0o755)
	}
	for n := 1; err == nil && n <= 1000; n++ {
		dir := filepath.Join(parent, "run-"+strconv.Itoa(os.Getpid()))
		if n > 1 {
			dir += "-" + strconv.Itoa(n)
		}
		if err = os.Mkdir(dir, 0o755); err == nil {
			return dir, nil
		}
		if os.IsExist(err) {
			err = nil
		}
	}
	return "", fmt.Errorf("cannot create folder: %w; choose others with --state-dir and --runtime-dir", err)
}

func removeAll(dirs []string) {
	for _, dir := range dirs {
		_ = os.RemoveAll(dir)
	}
}

// commandSet resolves a command line, and finds out in front of a person
// whether there is anything to run.
func commandSet(args []string) (*config.Set, error) {
	host, err := thisHost()
	if err != nil {
		return nil, failure{exitcode.Failed, err}
	}
	set, problems := config.Command(args, host)
	if set == nil {
		fmt.Fprint(os.Stderr, config.Format(problems))
		return nil, failure{exitcode.Configuration, fmt.Errorf("cannot run %s", args[0])}
	}
	found := false
	for _, path := range set.Services[0].Launch.Paths {
		st, err := os.Stat(path)
		if err != nil || !st.Mode().IsRegular() {
			continue
		}
		if unix.Faccessat(unix.AT_FDCWD, path, unix.X_OK, unix.AT_EACCESS) == nil {
			return set, nil
		}
		found = true
	}
	if found {
		return nil, failure{exitcode.NotExecutable, fmt.Errorf("cannot run %s: it may not be executed", args[0])}
	}
	return nil, failure{exitcode.NotFound, fmt.Errorf("cannot run %s: there is no such program", args[0])}
}

// forward sends a signal of supd's own on to main, as a command that is in
// the journal like any other. Before main runs, a signal that asks for the end
// ends supd, and others come to nothing, as they would for any process that
// is just starting.
func (e *engine) forward(c *executor.Core, number uint64, sig syscall.Signal) (done bool, err error) {
	s := c.State()
	ends := slices.Contains([]syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT}, sig)
	if s.Supd.Stopping != nil || s.Supd.Stopped {
		return !ends, nil
	}
	v := s.Services[config.Main]
	if v == nil || v.Instance == nil || v.Instance.Running == nil {
		if ends && (v == nil || !v.Live()) {
			e.single.early = exitcode.Signal + int(sig)
		}
		return !ends, nil
	}
	id := forwardID(s.Supd.Keeper, number, c.Clock.Now().Wall.UnixMilli())
	if forwarded(s, id) {
		return true, nil
	}
	return true, c.Step(policy.Command{Actor: event.ReasonSignal, Request: event.CommandRequest{
		ID: id, Verb: event.VerbSignal, Patterns: []string{config.Main}, SentAt: c.Clock.Now().Wall,
		Args: map[string]string{event.ArgSignal: event.SignalName(int(sig))},
	}})
}

// forwardID names the command that forwards a keeper's signal: a UUIDv7 of
// which all but the time follows from the signal, so that an engine that is
// told of it again knows it (R4).
func forwardID(k *projector.Keeper, number uint64, ms int64) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %d %d", k.PID, k.StartTime, number))
	var id [16]byte
	binary.BigEndian.PutUint64(id[:8], uint64(ms)<<16)
	copy(id[6:], sum[:10])
	id[6], id[8] = id[6]&0x0f|0x70, id[8]&0x3f|0x80
	h := hex.EncodeToString(id[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// forwarded tells whether the command of a signal is known, whenever it was.
func forwarded(s *projector.State, id string) bool {
	same := func(other string) bool { return strings.HasSuffix(other, id[13:]) }
	for other := range s.Commands {
		if same(other) {
			return true
		}
	}
	return slices.ContainsFunc(s.Ended, func(e *projector.Ended) bool { return same(e.ID) })
}

// followMain ends supd when main has ended and does not start again.
func (e *engine) followMain(c *executor.Core) error {
	s := c.State()
	v := s.Services[config.Main]
	if v == nil || s.Supd.Keeper == nil || !s.Supd.Keeper.Configured {
		return nil
	}
	e.single.code = mainCode(v)
	if e.single.early != 0 {
		e.single.code = e.single.early
	}
	if v.Want == event.Up || v.Live() || len(v.Pending) > 0 || s.Supd.Stopping != nil || s.Supd.Stopped {
		return nil
	}
	if v.Phase == event.PhaseFatal {
		e.log.Error("cannot run the command", "error", v.Fatal)
	}
	return c.Step(policy.Shutdown{Reason: event.ReasonCompleted})
}

// mainCode is what supd's own exit code says of main: its code, 128 and the
// signal's number, 127 and 126 where there was nothing to execute, as shells
// have it. An exit that nobody saw is a failure.
func mainCode(v *projector.Service) int {
	x := v.LastExit
	switch {
	case v.Failure != nil || x == nil:
		return exitcode.Failed
	case x.Exec != nil && syscall.Errno(x.Exec.Errno) == syscall.ENOENT:
		return exitcode.NotFound
	case x.Exec != nil:
		return exitcode.NotExecutable
	case x.Code != nil:
		return *x.Code
	case x.Signal != nil:
		n, _ := event.SignalNumber(*x.Signal)
		return exitcode.Signal + n
	}
	return exitcode.Failed
}
