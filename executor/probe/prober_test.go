package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"supd/executor/policy"
	"supd/journal/event"
)

// The test binary is also a service that says its arguments on the notify socket
// and ends at once.
const envSay = "PROBE_TEST_SAY"

func TestMain(m *testing.M) {
	if text := os.Getenv(envSay); text != "" {
		c, err := net.Dial("unixgram", os.Getenv("NOTIFY_SOCKET"))
		if err == nil {
			_, err = c.Write([]byte(text))
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// bench is a prober and what it told.
type bench struct {
	*Prober
	path string // of the notify socket
	told chan policy.Input
	pid  int
	stat uint64 // this process's start time
}

func newBench(t *testing.T, change func(*Config)) *bench {
	t.Helper()
	dir, err := os.MkdirTemp("", "probe") // names of sockets are at most 107 bytes long
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{path: filepath.Join(dir, "notify"), told: make(chan policy.Input, 64), pid: os.Getpid()}
	_, b.stat, _ = parentOf(b.pid)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PASSCRED, 1)
	}
	if err == nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PASSPIDFD, 1)
		err = unix.Bind(fd, &unix.SockaddrUnix{Name: b.path})
	}
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{
		Tell: func(in policy.Input) { b.told <- in }, NewID: uuid.NewString, Rand: rand.Float64,
		Notify: os.NewFile(uintptr(fd), "notify"), Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	if change != nil {
		change(&cfg)
	}
	if b.Prober, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close(); os.RemoveAll(dir) })
	return b
}

// target is this process as a service without a cgroup.
func (b *bench) target() Target {
	return Target{
		Service: "web", Instance: uuid.NewString(), PID: b.pid, StartTime: b.stat, Running: true, Started: time.Now(),
		ReadyBy: &event.Ready{Notify: true},
	}
}

func (b *bench) say(t *testing.T, text string, fds ...int) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	if err := unix.Sendmsg(fd, []byte(text), oob, &unix.SockaddrUnix{Name: b.path}, 0); err != nil {
		t.Fatal(err)
	}
}

func (b *bench) next(t *testing.T) policy.Input {
	t.Helper()
	select {
	case in := <-b.told:
		return in
	case <-time.After(time.Minute):
		t.Fatal("nothing was told in 10 s")
		return nil
	}
}

// silent makes sure that all sent so far told nothing, by a barrier.
func (b *bench) silent(t *testing.T) {
	t.Helper()
	b.barrier(t)
	select {
	case in := <-b.told:
		t.Fatalf("told %+v", in)
	default:
	}
}

func (b *bench) barrier(t *testing.T) {
	t.Helper()
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	b.say(t, "BARRIER=1", p[1])
	unix.Close(p[1])
	defer unix.Close(p[0])
	poll := []unix.PollFd{{Fd: int32(p[0])}}
	if n, err := unix.Poll(poll, 10000); n != 1 || err != nil || poll[0].Revents&unix.POLLHUP == 0 {
		t.Fatalf("the barrier was not answered: %d, %v", n, err)
	}
}

func TestNotify(t *testing.T) {
	b := newBench(t, nil)
	w := b.target()
	b.Watch("web", &w)
	b.say(t, "READY=1") // it waits in the socket while nobody listens (P8)
	b.Listen()
	if in, ok := b.next(t).(policy.Ready); !ok || in != (policy.Ready{Service: "web", Instance: w.Instance, By: "notify"}) {
		t.Fatalf("told %+v", in)
	}
	b.say(t, "READY=1")
	b.say(t, "STATUS=at \x01work\nFDSTORE=1\nMAINPID=1\nnonsense", 0)
	b.silent(t)
	if got := b.Status("web"); got != "at  work" {
		t.Errorf("status %q", got)
	}
	w.Ready = true
	b.Watch("web", &w)
	b.say(t, "RELOADING=1\nMONOTONIC_USEC=5")
	if in, ok := b.next(t).(policy.Reloading); !ok {
		t.Fatalf("told %+v", in)
	}
	b.say(t, "READY=1")
	if in, ok := b.next(t).(policy.Ready); !ok {
		t.Fatalf("told %+v", in)
	}
	b.say(t, "EXTEND_TIMEOUT_USEC=5000000")
	if in, ok := b.next(t).(policy.Extended); !ok || in.For != 5*time.Second {
		t.Fatalf("told %+v", in)
	}
	if services, strangers := b.Heard(); services < 6 || strangers != 0 {
		t.Errorf("heard %d messages, %d of strangers", services, strangers)
	}
}

// TestHAProxy: haproxy -Ws says RELOADING before its first READY.
func TestHAProxy(t *testing.T) {
	b := newBench(t, nil)
	b.Listen()
	w := b.target()
	b.Watch("web", &w)
	b.say(t, "RELOADING=1\nSTATUS=Reloading Configuration.\n")
	b.silent(t)
	b.say(t, "READY=1\nMAINPID=7\nSTATUS=Ready.\n")
	if in, ok := b.next(t).(policy.Ready); !ok {
		t.Fatalf("told %+v", in)
	}
	b.silent(t)
}

// TestSpeaksBeforeExecuted: READY may overtake the keeper's word that the
// program runs; it is told after it.
func TestSpeaksBeforeExecuted(t *testing.T) {
	b := newBench(t, nil)
	b.Listen()
	w := b.target()
	w.Running = false
	b.Watch("web", &w)
	b.say(t, "READY=1")
	select {
	case in := <-b.told:
		t.Fatalf("told %+v", in)
	case <-time.After(20 * time.Millisecond):
	}
	w.Running = true
	b.Watch("web", &w)
	if in, ok := b.next(t).(policy.Ready); !ok {
		t.Fatalf("told %+v", in)
	}
}

// TestNotLost: what was said is in the socket until it is decided, for the next
// engine.
func TestNotLost(t *testing.T) {
	deciding, die := make(chan struct{}, 1), make(chan struct{})
	var other *os.File
	b := newBench(t, func(c *Config) {
		fd, err := unix.FcntlInt(c.Notify.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		other = os.NewFile(uintptr(fd), "notify")
		c.Tell = func(policy.Input) { deciding <- struct{}{}; <-die }
	})
	defer other.Close()
	b.Listen()
	w := b.target()
	b.Watch("web", &w)
	b.say(t, "READY=1")
	<-deciding
	var buf [64]byte
	n, _, err := unix.Recvfrom(int(other.Fd()), buf[:], unix.MSG_DONTWAIT|unix.MSG_PEEK)
	if err != nil || string(buf[:n]) != "READY=1" {
		t.Errorf("while it is decided the message is not there: %q, %v", buf[:max(n, 0)], err)
	}
	close(die)
}

func TestStrangers(t *testing.T) {
	b := newBench(t, nil)
	b.Listen()
	w := b.target()
	w.PID, w.StartTime = 1, 1
	b.Watch("web", &w)
	b.say(t, "READY=1")
	b.silent(t)
	if services, strangers := b.Heard(); services != 0 || strangers == 0 {
		t.Errorf("heard %d messages, %d of strangers", services, strangers)
	}
}

// TestChildSpeaks: a descendant of the main process speaks for the service.
func TestChildSpeaks(t *testing.T) {
	b := newBench(t, nil)
	b.Listen()
	w := b.target()
	b.Watch("web", &w)
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), envSay+"=READY=1", "NOTIFY_SOCKET="+b.path)
	c.Stderr = os.Stderr
	// It is not reaped before it was heard: dead it is, but who it was is known.
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	in := b.next(t)
	if err := c.Wait(); err != nil {
		t.Fatal(err)
	}
	if _, ok := in.(policy.Ready); !ok {
		t.Fatalf("told %+v", in)
	}
}

// TestDeadSender: one that has ended and was reaped before its message is read is
// known by its cgroup, as long as the kernel tells that.
func TestDeadSender(t *testing.T) {
	const root = "/sys/fs/cgroup/unified"
	id := uuid.NewString()
	dir := filepath.Join(root, id)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Skipf("NOT RUN: needs a writable cgroup2 at %s: %v", root, err)
	}
	t.Cleanup(func() { _ = os.Remove(dir) })
	b := newBench(t, nil)
	w := b.target()
	w.Instance, w.Cgroup, w.PID, w.StartTime = id, dir, 1, 1
	b.Watch("web", &w)
	fd, err := unix.Open(dir, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), envSay+"=READY=1", "NOTIFY_SOCKET="+b.path)
	c.SysProcAttr = &unix.SysProcAttr{UseCgroupFD: true, CgroupFD: fd}
	if err := c.Run(); err != nil {
		t.Fatal(err)
	}
	b.Listen()
	select {
	case in := <-b.told:
		if _, ok := in.(policy.Ready); !ok {
			t.Fatalf("told %+v", in)
		}
	case <-time.After(10 * time.Second):
		var u unix.Utsname
		_ = unix.Uname(&u)
		t.Skipf("NOT RUN: needs a kernel that tells the cgroup of the dead (6.15), this is %s", unix.ByteSliceToString(u.Release[:]))
	}
}

func TestWatchdog(t *testing.T) {
	b := newBench(t, nil)
	b.Listen()
	w := b.target()
	w.ReadyBy = nil
	var said time.Time
	for w.Watchdog = 400 * time.Millisecond; ; w.Watchdog *= 2 {
		b.Watch("web", &w)
		said = time.Now()
		longest := time.Duration(0)
		for end := said.Add(w.Watchdog * 5 / 2); time.Now().Before(end); time.Sleep(w.Watchdog / 20) {
			longest, said = max(longest, time.Since(said)), time.Now()
			b.say(t, "WATCHDOG=1")
		}
		if len(b.told) == 0 {
			break
		}
		if in := b.next(t); longest < w.Watchdog/2 {
			t.Fatalf("told %+v", in)
		}
		w.Instance = uuid.NewString() // a machine under load said it too late; with more time, then
	}
	if in, ok := b.next(t).(policy.WatchdogMissed); !ok || in.Instance != w.Instance {
		t.Fatalf("told %+v", in)
	}
	if took := time.Since(said); took < w.Watchdog {
		t.Errorf("missed after %s", took)
	}
	w.Stopping = true
	b.Watch("web", &w)
	b.silent(t)

	w.Instance, w.Stopping, w.Watchdog = uuid.NewString(), false, time.Hour
	b.Watch("web", &w)
	b.say(t, "WATCHDOG=trigger")
	if in, ok := b.next(t).(policy.WatchdogMissed); !ok || in.Instance != w.Instance {
		t.Fatalf("told %+v", in)
	}
}

func TestChecks(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/ok", func(w http.ResponseWriter, _ *http.Request) {})
	mux.HandleFunc("/bad", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) })
	mux.HandleFunc("/away", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://192.0.2.1/", http.StatusFound)
	})
	mux.HandleFunc("/slow", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	mux.HandleFunc("/huge", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X", strings.Repeat("x", 2*maxHeader))
	})
	mux.HandleFunc("/endless", func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 64<<10)); err != nil {
				return
			}
		}
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := closed.Addr().String()
	closed.Close()
	t.Setenv("HTTP_PROXY", "http://192.0.2.1:1")
	p := &Prober{turns: make(chan struct{}, 1)}
	for _, c := range []struct {
		name  string
		check check
		want  string // in the error; empty: well
	}{
		{"http", web(server.URL + "/ok"), ""},
		{"redirect", web(server.URL + "/away"), ""},
		{"endless body", web(server.URL + "/endless"), ""},
		{"status", web(server.URL + "/bad"), "answered 503"},
		{"silence", web(server.URL + "/slow"), "no answer in time"},
		{"header", web(server.URL + "/huge"), "cannot get"},
		{"refused", web("http://" + address), "refused"},
		{"no url", web("::"), "cannot"},
		{"tcp", tcp(server.Listener.Addr().String()), ""},
		{"tcp refused", tcp(address), "refused"},
	} {
		err := p.attempt(context.Background(), 500*time.Millisecond, c.check)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

func TestBecomesReady(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	b := newBench(t, nil)
	w := b.target()
	w.ReadyBy = &event.Ready{Probe: event.Probe{TCP: address}}
	b.Watch("web", &w)
	select {
	case in := <-b.told:
		t.Fatalf("nobody listens, and told %+v", in)
	case <-time.After(100 * time.Millisecond):
	}
	if l, err = net.Listen("tcp", address); err != nil {
		t.Skipf("NOT RUN: needs the port that was free before: %v", err)
	}
	defer l.Close()
	if in, ok := b.next(t).(policy.Ready); !ok || in.By != "tcp" {
		t.Fatalf("told %+v", in)
	}
}

func TestReadyByLine(t *testing.T) {
	lines := make(chan []byte, 8)
	b := newBench(t, func(c *Config) {
		c.Lines = func(string, string, time.Time) func(context.Context) ([][]byte, error) {
			return func(context.Context) ([][]byte, error) {
				select {
				case l := <-lines:
					return [][]byte{l}, nil
				default:
					return nil, errors.New("not yet")
				}
			}
		}
	})
	w := b.target()
	w.ReadyBy = &event.Ready{Log: `^ready (to|for)`}
	b.Watch("web", &w)
	lines <- []byte("not ready to")
	lines <- []byte("ready to serve")
	if in, ok := b.next(t).(policy.Ready); !ok || in.By != "log" || len(lines) != 0 {
		t.Fatalf("told %+v", in)
	}
}

// TestHealth counts over a program that the keeper would run.
func TestHealth(t *testing.T) {
	var code atomic.Int32
	var b *bench
	b = newBench(t, func(c *Config) {
		c.Start = func(r Run) error {
			go b.Ran(r.ID, Result{Code: int(code.Load()), Tail: []byte("out of\norder")})
			return nil
		}
		c.Stop = func(string) {}
	})
	w := b.target()
	w.ReadyBy, w.Launch, w.State = nil, &event.Launch{HealthExec: &event.LaunchExec{}}, event.HealthUnknown
	w.Health = &event.Health{
		Probe: event.Probe{Exec: []string{"check"}}, Interval: event.Duration(5 * time.Millisecond),
		Timeout: event.Duration(5 * time.Second), Failures: 3, Successes: 2,
	}
	b.Watch("web", &w)
	want := func(from, to string, failures int, text string) {
		t.Helper()
		in, ok := b.next(t).(policy.Health)
		if !ok || in.From != from || in.To != to || in.Failures != failures || in.Error != text || in.Probe != "exec" {
			t.Fatalf("told %+v", in)
		}
	}
	want("unknown", "healthy", 0, "")
	code.Store(3)
	want("healthy", "unhealthy", 3, "ended with code 3: out of order")
	code.Store(0)
	want("unhealthy", "healthy", 0, "")
	b.Watch("web", nil)
	select {
	case in := <-b.told:
		t.Fatalf("told %+v of what is not watched any more", in)
	case <-time.After(50 * time.Millisecond):
	}
}

// TestBounds: a thousand services are asked by a few probes at a time, and one
// is never asked twice at once.
func TestBounds(t *testing.T) {
	var mu sync.Mutex
	busy, most, asked := map[string]bool{}, 0, map[string]bool{}
	all := make(chan struct{})
	var b *bench
	b = newBench(t, func(c *Config) {
		c.Start = func(r Run) error {
			mu.Lock()
			defer mu.Unlock()
			if busy[r.Target.Service] {
				t.Errorf("%s is asked twice at once", r.Target.Service)
			}
			busy[r.Target.Service] = true
			most = max(most, len(busy))
			time.AfterFunc(time.Millisecond, func() {
				mu.Lock()
				delete(busy, r.Target.Service)
				asked[r.Target.Service] = true
				if len(asked) == 1000 && all != nil {
					close(all)
					all = nil
				}
				mu.Unlock()
				b.Ran(r.ID, Result{})
			})
			return nil
		}
		c.Stop = func(string) {}
		c.Tell = func(policy.Input) {}
	})
	done := all
	for i := range 1000 {
		w := b.target()
		w.Service, w.ReadyBy, w.Launch = fmt.Sprint("s", i), nil, &event.Launch{HealthExec: &event.LaunchExec{}}
		w.Health = &event.Health{
			Probe: event.Probe{Exec: []string{"x"}}, Interval: event.Duration(200 * time.Millisecond),
			Timeout: event.Duration(10 * time.Second), Failures: 1, Successes: 1,
		}
		b.Watch(w.Service, &w)
		w.Instance = uuid.NewString() // a new instance: the old probe ends first
		b.Watch(w.Service, &w)
	}
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Error("not all were asked")
	}
	mu.Lock()
	defer mu.Unlock()
	if most > Concurrency {
		t.Errorf("%d were asked at once", most)
	}
}

func FuzzMessage(f *testing.F) {
	for _, s := range []string{
		"READY=1", "RELOADING=1\nREADY=1", "WATCHDOG=trigger\nWATCHDOG_USEC=18446744073709551615",
		"STATUS=\xff\x00\u009b", "EXTEND_TIMEOUT_USEC=-1", "=\n=", "BARRIER=1\n\n\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m := parseMessage(b)
		if m.extend < 0 || m.extend > maxSpan || m.every < 0 || m.every > maxSpan || len(m.status) > maxStatus {
			t.Errorf("out of bounds: %+v", m)
		}
		if clean(m.status, maxStatus) != m.status {
			t.Errorf("status is not clean: %q", m.status)
		}
		if m.ready != strings.Contains("\n"+string(b)+"\n", "\nREADY=1\n") && len(b) <= maxMessage {
			t.Errorf("ready %v of %q", m.ready, b)
		}
	})
}

// FuzzHTTP answers a probe with any bytes: it must say yes or no in time.
func FuzzHTTP(f *testing.F) {
	for _, s := range []string{
		"HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 99 X\r\n\r\n", "HTTP/1.1 302 X\r\nLocation: %\r\n\r\n",
		"HTTP/1.1 100 Continue\r\n\r\n", "\x00", "HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\nffffffff",
	} {
		f.Add([]byte(s))
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { l.Close() })
	answers := make(chan []byte, 1)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.SetDeadline(time.Now().Add(time.Second))
			var request [1024]byte
			_, _ = c.Read(request[:])
			_, _ = c.Write(<-answers)
			c.Close()
		}
	}()
	p := &Prober{turns: make(chan struct{}, 1)}
	f.Fuzz(func(t *testing.T, answer []byte) {
		answers <- answer
		err := p.attempt(context.Background(), 5*time.Second, web("http://"+l.Addr().String()))
		if err != nil && text(err) != clean(text(err), maxError) {
			t.Errorf("the error is not clean: %q", text(err))
		}
		if err != nil && errors.Is(err, errTimeout) {
			t.Error("it hung")
		}
	})
}
