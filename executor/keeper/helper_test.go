package keeper

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"supd/executor/keeper/wire"
)

// parkCaptured parks with output pipes.
func (s *stage) parkCaptured(merged bool, script string) string {
	s.t.Helper()
	i := s.instance()
	must(s.t, s.client.Park(Park{
		Service: "svc", Instance: i, Cgroup: true, Capture: true, MergeStderr: merged,
		Settings: []byte("settings"), Launch: shell(i, script),
	}))
	await[Parked](s, i)
	must(s.t, s.client.Open(i))
	return i
}

// attached receives n pipes, by instance and stream.
func (s *stage) attached(n int) map[string]int {
	s.t.Helper()
	out := map[string]int{}
	for range n {
		m, fd, err := s.logger.Recv()
		if err != nil {
			s.t.Fatal(err)
		}
		a, ok := m.(*wire.Attach)
		if !ok || string(a.Settings) != "settings" {
			s.t.Fatalf("%+v", m)
		}
		key := a.Instance + " " + a.Stream.String()
		if _, twice := out[key]; twice {
			s.t.Fatalf("%s came twice", key)
		}
		out[key] = fd
		s.t.Cleanup(sync.OnceFunc(func() { unix.Close(fd) }))
	}
	return out
}

func readAll(t testing.TB, fd int) string {
	t.Helper()
	var out []byte
	for {
		var b [4096]byte
		_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 10000)
		n, err := unix.Read(fd, b[:])
		if err != nil {
			t.Fatalf("after %q: %v", out, err)
		}
		if n == 0 {
			return string(out)
		}
		out = append(out, b[:n]...)
	}
}

func TestOutput(t *testing.T) {
	s := newStage(t, "")
	i := s.parkCaptured(false, "echo to stdout; echo to stderr >&2")
	pipes := s.attached(2)
	await[Exited](s, i) // its bytes are in the pipes: what is empty by now needs no logger
	if out := readAll(t, pipes[i+" stdout"]); out != "to stdout\n" {
		t.Errorf("stdout %q", out)
	}
	if out := readAll(t, pipes[i+" stderr"]); out != "to stderr\n" {
		t.Errorf("stderr %q", out)
	}
	must(t, s.client.Forget(i)) // stays until drained
	must(t, s.logger.Drained(i, wire.Stdout))
	if d := await[Drained](s, i); d.Stream != wire.Stdout || !d.Slot.Forgotten {
		t.Errorf("%+v", d)
	}
	must(t, s.logger.Drained(i, wire.Stderr))
	await[Drained](s, i)
	must(t, s.client.Open(i))
	await[Unknown](s, i)

	i = s.parkCaptured(true, "echo a; echo b >&2; echo c")
	if out := readAll(t, s.attached(1)[i+" stdout"]); out != "a\nb\nc\n" {
		t.Errorf("merged %q", out)
	}
	await[Exited](s, i)
}

// TestOutputSurvives checks that a service writes on while nobody reads.
func TestOutputSurvives(t *testing.T) {
	s := newStage(t, "")
	i := s.parkCaptured(true, "echo before; while ! [ -e "+s.dir+"/go ]; do sleep 0.01; done; echo after; : > "+s.dir+"/said; exec sleep 1000")
	pipe := s.attached(1)[i+" stdout"]
	slot := await[Execed](s, i).Slot
	unix.Close(pipe)
	s.killKeeper()
	must(t, os.WriteFile(s.dir+"/go", nil, 0o600))
	waitFile(t, s.dir+"/said")
	s.startKeeper()
	must(t, s.client.Adopt(Adopt{
		Service: "svc", Instance: i, PID: slot.PID, StartTime: slot.StartTime, Cgroup: slot.Cgroup,
		Capture: true, MergeStderr: true, Settings: []byte("settings"),
	}))
	if a := await[Adopted](s, i).Slot; a.Adoption != wire.AdoptionOK || a.OutputLost {
		t.Fatalf("%+v", a)
	}
	pipe = s.attached(1)[i+" stdout"]
	must(t, s.client.Signal(i, "kill", unix.SIGKILL, wire.ScopeTree))
	await[Exited](s, i)
	if out := readAll(t, pipe); out != "before\nafter\n" {
		t.Errorf("%q", out)
	}
}

// TestEngineKilled kills the engine again and again while instances go through
// their lives; each new one must be told all.
func TestEngineKilled(t *testing.T) {
	s := newStage(t, "")
	long, _ := s.run("exec sleep 1000")
	must(t, s.client.Signal(long, "marked", unix.SIGCONT, wire.ScopeMain))
	await[Signaled](s, long)
	ended, _ := s.run("exit 9")
	await[Exited](s, ended)
	must(t, syscall.Kill(s.keeper.Process.Pid, unix.SIGHUP))
	await[HostSignal](s, "") // the runtime tells the keeper of it when it comes to that
	var parked string
	safe := false
	for n := range 50 {
		if n%10 == 0 {
			parked = s.park(func(i string) Launch { return program(i, "/bin/true") })
		}
		died := s.enginePID
		kill(t, died)
		s.meetEngine()
		safe = safe || s.safe
		info := s.table.Info
		if info.EngineDeath.PID != died || info.EngineDeath.Signal != 9 || info.EngineStarts != uint64(n+2) || info.Safe != s.safe {
			t.Fatalf("%d: %+v", n, info)
		}
		state := map[string]Slot{}
		for _, slot := range s.table.Slots {
			state[slot.Instance] = slot
		}
		if state[long].State != wire.StateOpen || state[ended].Exit.Status.ExitStatus() != 9 || state[ended].State != wire.StateExited {
			t.Fatalf("%d: %+v", n, s.table.Slots)
		}
		if p := state[parked].State; p != wire.StateParking && p != wire.StateParked {
			t.Fatalf("%d: %s", n, p)
		}
		if ops := s.table.Operations; len(ops) != 1 || ops[0].ID != "marked" || !ops[0].Done {
			t.Fatalf("%d: %+v", n, ops)
		}
		if h := s.table.HostSignals; len(h) != 1 || h[0].Signal != int(unix.SIGHUP) {
			t.Fatalf("%d: %+v", n, h)
		}
	}
	if !safe {
		t.Error("--safe was never passed")
	}
	must(t, s.client.HostSignalDone(s.table.HostSignals[0].Number))
	must(t, s.client.Drop(parked))
	await[Dropped](s, parked)
	kill(t, s.enginePID)
	s.meetEngine()
	if len(s.table.HostSignals) != 0 || len(s.table.Slots) < 2 {
		t.Errorf("%+v", s.table)
	}
}

// TestLoggerKilled kills the logger again and again; each new one must get every
// pipe that is not drained, and the engine must be told.
func TestLoggerKilled(t *testing.T) {
	s := newStage(t, "")
	a := s.parkCaptured(false, "echo a; exec sleep 1000")
	b := s.parkCaptured(true, "echo b; exit 0")
	await[Exited](s, b)
	for n := range 50 {
		pipes := s.attached(3)
		for _, want := range []string{a + " stdout", a + " stderr", b + " stdout"} {
			if _, ok := pipes[want]; !ok {
				t.Fatalf("%d: no %s", n, want)
			}
		}
		if n == 49 {
			if out := readAll(t, pipes[b+" stdout"]); out != "b\n" {
				t.Errorf("%q", out)
			}
			must(t, s.logger.Drained(b, wire.Stdout))
			await[Drained](s, b)
			break
		}
		died := s.loggerPID
		kill(t, died)
		s.meetLogger()
		for {
			if e, ok := s.next().(LoggerStarted); ok && e.PID == s.loggerPID {
				if e.Death.PID != died || e.Death.Signal != 9 {
					t.Fatalf("%+v", e)
				}
				break
			}
		}
	}
	kill(t, s.loggerPID)
	s.meetLogger()
	s.attached(2)
}

// TestSilentNeedsNoLogger: an instance that left nothing in its pipes is
// drained when it ends, whatever the logger does meanwhile.
func TestSilentNeedsNoLogger(t *testing.T) {
	s := newStage(t, "")
	i := s.parkCaptured(false, "exit 0")
	streams := map[wire.Stream]bool{}
	for range 2 {
		streams[await[Drained](s, i).Stream] = true
	}
	if len(streams) != 2 {
		t.Errorf("drained: %v", streams)
	}
}

// TestLoggerEvents checks the queue that bridges the engine's absence.
func TestLoggerEvents(t *testing.T) {
	s := newStage(t, "none")
	must(t, s.logger.Event([]byte("now")))
	for {
		if e, ok := s.next().(LoggerEvent); ok && string(e.Data) == "now" && e.Dropped == 0 {
			break
		}
	}
	must(t, s.client.Settings("svc", []byte("new")))
	if m, _, err := s.logger.Recv(); err != nil || m.Kind() != wire.KindSettings {
		t.Fatalf("%+v, %v", m, err)
	}
	// The queue of a keeper whose engine is away.
	var o outbox
	for n := range maxLoggerEvents + 10 {
		o.event(&wire.LoggerEvent{Data: fmt.Append(nil, n)})
	}
	if len(o.events) != maxLoggerEvents || string(o.events[0]) != "10" || o.dropped != 10 {
		t.Errorf("%d events from %s, %d dropped", len(o.events), o.events[0], o.dropped)
	}
}

// TestMalformed checks that nonsense costs the engine its life and nobody else's.
func TestMalformed(t *testing.T) {
	s := newStage(t, "none")
	i, slot := s.run("exec sleep 1000")
	before := s.enginePID
	// A message that only the keeper may send.
	must(t, s.client.conn.Send(&wire.TableEnd{}))
	for range s.client.Events() {
	}
	if err := s.client.Err(); err == nil || errors.Is(err, wire.ErrMalformed) {
		t.Errorf("%v", err)
	}
	s.meetEngine()
	if s.table.Info.EngineDeath.PID != before || s.table.Info.EngineDeath.Signal != 9 {
		t.Errorf("%+v", s.table.Info)
	}
	if len(s.table.Slots) != 1 || s.table.Slots[0].PID != slot.PID {
		t.Errorf("%+v", s.table.Slots)
	}
	must(t, s.client.Signal(i, "kill", unix.SIGKILL, wire.ScopeMain))
	await[Exited](s, i)
}

func TestHostSignals(t *testing.T) {
	s := newStage(t, "none")
	for n, sig := range []syscall.Signal{unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT} {
		must(t, syscall.Kill(s.keeper.Process.Pid, sig))
		for {
			if h, ok := s.next().(HostSignal); ok {
				if h.Signal != int(sig) || h.Number != uint64(n+1) {
					t.Errorf("%+v", h)
				}
				break
			}
		}
	}
}
