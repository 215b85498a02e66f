package executor

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"supd/executor/keeper"
	"supd/executor/keeper/wire"
	"supd/executor/policy"
	"supd/executor/probe"
	"supd/journal/event"
	"supd/projector"
)

// A real keeper with real services, and the test as its engine: a journal in
// memory, everything else as it is.

const (
	envRole = "EXECUTOR_TEST_ROLE"
	envDir  = "EXECUTOR_TEST_DIR"
	envName = "EXECUTOR_TEST_CGROUP"
	envAddr = "EXECUTOR_TEST_ADDRESS"
)

// play is what the test binary does in another role than a test.
func play(role string) {
	dir := os.Getenv(envDir)
	switch role {
	case "keeper":
		if len(os.Args) > 1 && (os.Args[1] == "engine" || os.Args[1] == "logger") {
			playHelper(dir, os.Args[1])
			return
		}
		go endWithTest(os.Getppid())
		os.Exit(keeper.Run(keeper.Config{
			EngineArgs: []string{"supd", "engine"}, LoggerArgs: []string{"supd", "logger"}, RuntimeDir: dir,
			SocketPath: filepath.Join(dir, "supd.sock"), CgroupName: os.Getenv(envName), Version: "test",
			FinishLimit: 100 * time.Millisecond,
		}))
	case "say": // and be gone at once
		say(os.Getenv("SAY"))
	case "notify":
		c := exec.Command(filepath.Join(dir, "actor"))
		c.Env = append(os.Environ(), envRole+"=say", "SAY=READY=1")
		_ = c.Run()
		for {
			if _, err := os.Stat(filepath.Join(dir, "hang")); err != nil {
				say("WATCHDOG=1")
			}
			time.Sleep(50 * time.Millisecond)
		}
	case "fd":
		_, _ = unix.Write(7, []byte("\n"))
		for {
			time.Sleep(time.Hour) // not select {}: without another thread of C, Go calls that a deadlock
		}
	case "http", "tcp":
		time.Sleep(100 * time.Millisecond)
		l, err := net.Listen("tcp", os.Getenv(envAddr))
		if err != nil {
			os.Exit(1)
		}
		_ = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if _, err := os.Stat(filepath.Join(dir, "sick")); err == nil {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		}))
	case "idle":
		for {
			time.Sleep(time.Hour) // not select {}: without another thread of C, Go calls that a deadlock
		}
	}
}

// endWithTest ends a keeper whose test was killed from outside: nobody else would.
func endWithTest(test int) {
	for os.Getppid() == test {
		time.Sleep(time.Second)
	}
	os.Exit(6)
}

// playHelper gives an engine's descriptors to the test and waits for its end.
func playHelper(dir, who string) {
	if who == "logger" { // of the executor's tests none needs what it does: it ends with its keeper
		socket := []unix.PollFd{{Fd: wire.LoggerFD}}
		for socket[0].Revents&unix.POLLHUP == 0 {
			_, _ = unix.Poll(socket, -1)
		}
		return
	}
	c, err := net.Dial("unix", filepath.Join(dir, "engine"))
	if err != nil {
		os.Exit(3)
	}
	u := c.(*net.UnixConn)
	if _, _, err := u.WriteMsgUnix([]byte("x"), unix.UnixRights(keeper.EngineFD, keeper.NotifyFD), nil); err != nil {
		os.Exit(4)
	}
	unix.Close(keeper.EngineFD)
	_, _ = io.Copy(io.Discard, u)
	os.Exit(0)
}

func say(text string) {
	c, err := net.Dial("unixgram", os.Getenv("NOTIFY_SOCKET"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	_, _ = c.Write([]byte(text))
	c.Close()
}

// realRig is the engine that the test plays.
type realRig struct {
	t       *testing.T
	dir     string
	engines *net.UnixListener
	client  *keeper.Client
	prober  *probe.Prober
	journal *memoryJournal
	loop    *Loop
	ended   chan struct{}
	end     func()
	address string
	specs   []event.Spec
	state   *projector.State
}

func newRealRig(t *testing.T, specs ...event.Spec) *realRig {
	t.Helper()
	dir, err := os.MkdirTemp("", "executor") // names of sockets are at most 107 bytes long
	if err != nil {
		t.Fatal(err)
	}
	r := &realRig{t: t, dir: dir, journal: &memoryJournal{}, specs: specs, state: projector.New()}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err == nil {
		err = os.Link(exe, filepath.Join(dir, "actor")) // the folder it is in is closed to other users
	}
	if err != nil {
		t.Fatal(err)
	}
	r.engines, err = net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "engine"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.address = free.Addr().String()
	free.Close()
	k := exec.Command(os.Args[0])
	k.Env = append(os.Environ(), envRole+"=keeper", envDir+"="+dir, fmt.Sprintf("%s=supd-%08x", envName, rand.Uint32()))
	k.Stderr = os.Stderr
	if err := k.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.loop.Input(context.Background(), policy.Shutdown{Reason: "signal", Forced: true}); err == nil {
			<-r.ended
		}
		_ = r.client.Quit(0, false)
		r.end()
		gone := time.AfterFunc(20*time.Second, func() { _ = k.Process.Kill() })
		_ = k.Wait()
		gone.Stop()
		r.engines.Close()
		os.RemoveAll(dir)
	})
	return r
}

// engine is the next engine of the keeper. It starts from what is recorded.
func (r *realRig) engine() {
	r.t.Helper()
	_ = r.engines.SetDeadline(time.Now().Add(time.Minute))
	c, err := r.engines.AcceptUnix()
	if err != nil {
		r.t.Fatal(err)
	}
	var oob [128]byte
	_, n, _, _, err := c.ReadMsgUnix(make([]byte, 8), oob[:])
	if err != nil {
		r.t.Fatal(err)
	}
	messages, _ := unix.ParseSocketControlMessage(oob[:n])
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		r.t.Fatal(err)
	}
	if r.client, err = keeper.Connect(fds[0]); err != nil {
		r.t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	client, ended := r.client, make(chan struct{})
	r.prober, err = probe.New(probe.Config{
		Tell:  func(in policy.Input) { _ = r.loop.Input(context.Background(), in) },
		Start: func(run probe.Run) error { return client.Park(ProbePark(run, realClock{}.Now().Mono)) },
		Stop:  func(id string) { _ = client.Drop(id) }, NewID: uuid.NewString, Rand: rand.Float64,
		Notify: os.NewFile(uintptr(fds[1]), "notify"), Log: log,
	})
	if err != nil {
		r.t.Fatal(err)
	}
	prober := r.prober
	r.loop = NewLoop(LoopConfig{
		Core: Config{
			State: r.state, Journal: r.journal, Launches: r, Clock: realClock{}, Source: "supd/test/0", Inbox: 64, Concurrency: 4,
			Prober: prober, NotifySocket: keeper.NotifyPath(filepath.Join(r.dir, "supd.sock")),
		},
		Host: client, Log: log, Engine: event.EngineStartedData{Version: "test", PID: 1},
		Ready: func(c *Core) error {
			prober.Listen()
			if c.State().Config.Digest != "" {
				return nil
			}
			return c.Step(configure(r.specs...))
		},
	})
	r.journal.mu.Lock()
	r.journal.durable = r.loop.SetDurable
	r.journal.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	loop := r.loop
	go func() {
		_ = loop.Run(ctx)
		close(ended)
	}()
	r.ended = ended
	r.end = func() {
		cancel()
		<-ended
		prober.Close()
		_ = client.Close()
		for range client.Events() {
		}
		c.Close()
	}
}

// Launch implements Launches: the service's name is its role.
func (r *realRig) Launch(service, _ string) (event.Launch, error) {
	sh := func(script string) event.LaunchExec {
		return event.LaunchExec{Paths: []string{"/bin/sh"}, Args: []string{"sh", "-c", script}}
	}
	sick := sh("test ! -e " + filepath.Join(r.dir, "sick") + " || { echo it is sick; exit 4; }")
	l := event.Launch{
		Paths: []string{filepath.Join(r.dir, "actor")}, Args: []string{"actor"}, Directory: "/", Umask: 0o22,
		Env:       []string{"PATH=/usr/bin:/bin", envRole + "=" + service, envDir + "=" + r.dir, envAddr + "=" + r.address},
		ReadyExec: &sick, HealthExec: &sick,
		Hooks: map[string]event.LaunchExec{
			event.HookPreStart: sh("echo pre_start $SUPD_INSTANCE >> " + filepath.Join(r.dir, "hooks")),
			event.HookPostStop: sh("echo post_stop $SUPD_INSTANCE >> " + filepath.Join(r.dir, "hooks")),
		},
	}
	if os.Geteuid() == 0 && service == "notify" {
		l.SetUser, l.UID, l.GID = true, 65534, 65534
	}
	return l, nil
}

type realClock struct{}

func (realClock) Now() policy.Now {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts)
	return policy.Now{Wall: time.Now().UTC(), Mono: ts.Nano(), Boot: "boot"}
}
func (realClock) Rand() float64 { return rand.Float64() }
func (realClock) ID() string    { return uuid.Must(uuid.NewV7()).String() }

// wait waits for the n-th record of a kind about a service.
func (r *realRig) wait(service string, kind event.Kind, n int) event.Record {
	r.t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		at := 0
		for _, x := range r.journal.of(kind) {
			if x.Subject == service {
				if at++; at == n {
					return x
				}
			}
		}
	}
	r.t.Fatalf("no %s %d of %s in 15 s\n%s", kind, n, service, r.journal)
	return event.Record{}
}

func (r *realRig) touch(name string) {
	if err := os.WriteFile(filepath.Join(r.dir, name), nil, 0o644); err != nil {
		r.t.Fatal(err)
	}
}

func realSpec(name string, change func(*event.Spec)) event.Spec {
	spec := rigSpec(name)
	spec.Autostart = true
	spec.Stop.Timeout = event.Duration(time.Second)
	change(&spec)
	return spec
}

func readyBy(r event.Ready) func(*event.Spec) {
	r.Timeout = event.Duration(30 * time.Second)
	return func(s *event.Spec) { s.Ready = &r }
}

// TestRealServices lets real processes become ready in each way, then fall ill,
// fall silent, and end.
func TestRealServices(t *testing.T) {
	seven := 7
	free := func(s *event.Spec) {
		readyBy(event.Ready{Notify: true})(s)
		s.Watchdog = event.Duration(500 * time.Millisecond)
	}
	r := newRealRig(
		t, realSpec("notify", free), realSpec("fd", readyBy(event.Ready{FD: &seven})),
		realSpec("idle", func(s *event.Spec) {
			readyBy(event.Ready{Probe: event.Probe{Exec: []string{"check"}}})(s)
			s.Hooks = event.Hooks{PreStart: []string{"x"}, PostStop: []string{"x"}}
		}),
	)
	r.specs = append(r.specs, realSpec("http", func(s *event.Spec) {
		readyBy(event.Ready{Probe: event.Probe{TCP: r.address}})(s)
		s.Health = &event.Health{
			Probe: event.Probe{HTTP: "http://" + r.address}, Interval: event.Duration(50 * time.Millisecond),
			Timeout: event.Duration(5 * time.Second), Failures: 2, Successes: 1, Action: event.HealthRestart,
		}
	}))
	r.engine()
	for service, by := range map[string]string{"notify": "notify", "fd": "fd", "idle": "exec", "http": "tcp"} {
		if d := r.wait(service, event.InstanceReady, 1).Data.(event.InstanceReadyData); d.By != by {
			t.Errorf("%s is ready by %s", service, d.By)
		}
	}
	pids := map[string]int{}
	for _, x := range r.journal.of(event.InstanceStarting) {
		pids[x.Subject] = x.Data.(event.InstanceStartingData).PID
	}
	r.wait("idle", event.HookEnded, 1)
	if d := r.wait("http", event.HealthChanged, 1).Data.(event.HealthChangedData); d.To != event.Healthy {
		t.Errorf("health %+v", d)
	}

	// Another engine watches on, and what is said in between is not lost.
	r.end()
	r.engine()
	r.touch("sick")
	if d := r.wait("http", event.HealthChanged, 2).Data.(event.HealthChangedData); d.To != event.Unhealthy ||
		!strings.HasSuffix(d.Error, "answered 503") {
		t.Errorf("health %+v", d)
	}
	if d := r.wait("http", event.InstanceStopping, 1).Data.(event.InstanceStoppingData); d.Reason != event.ReasonHealth {
		t.Errorf("stopping %+v", d)
	}
	if len(r.journal.of(event.InstanceExited)) > 1 {
		t.Errorf("others ended too\n%s", r.journal)
	}
	r.touch("hang")
	if d := r.wait("notify", event.InstanceStopping, 1).Data.(event.InstanceStoppingData); d.Reason != event.ReasonWatchdog {
		t.Errorf("stopping %+v", d)
	}

	if err := unix.Kill(pids["idle"], unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	r.wait("idle", event.HookEnded, 3) // post_stop, then pre_start of the next
	b, err := os.ReadFile(filepath.Join(r.dir, "hooks"))
	if lines := strings.Split(strings.TrimSpace(string(b)), "\n"); err != nil || len(lines) != 3 ||
		!strings.HasPrefix(lines[1], "post_stop ") || strings.Fields(lines[0])[1] != strings.Fields(lines[1])[1] {
		t.Errorf("hooks %q, %v", b, err)
	}
	for _, service := range []string{"fd"} {
		if unix.Kill(pids[service], 0) != nil {
			t.Errorf("%s (pid %s) ended, and nobody touched it", service, strconv.Itoa(pids[service]))
		}
	}
}
