package rig_test

import (
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"supd/cmd/internal/exitcode"
	"supd/cmd/internal/rig"
	"supd/journal/event"
)

// manager is a service manager that listens to sd_notify.
type manager struct {
	conn *net.UnixConn
	mu   sync.Mutex
	got  []string // lines, in the order they came
}

func newManager(t *testing.T, name string) *manager {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	m, done := &manager{conn: conn}, make(chan struct{})
	go func() {
		defer close(done)
		for b := make([]byte, 4096); ; {
			n, err := conn.Read(b)
			if err != nil {
				return
			}
			m.mu.Lock()
			m.got = append(m.got, strings.Split(string(b[:n]), "\n")...)
			m.mu.Unlock()
		}
	}()
	t.Cleanup(func() { conn.Close(); <-done })
	return m
}

func (m *manager) lines() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.got)
}

func (m *manager) count(line string) (n int) {
	for _, l := range m.lines() {
		if l == line {
			n++
		}
	}
	return n
}

func TestNotifiesServiceManager(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"path", "abstract"} {
		t.Run(kind, func(t *testing.T) {
			r := rig.New(t, "[service.one]\ncommand = [\"sleep\", \"1000\"]\n[service.two]\ncommand = [\"sleep\", \"1000\"]\nautostart = false\n")
			name := filepath.Join(r.Dir, "notify")
			if kind == "abstract" {
				name = "@" + name
			}
			m := newManager(t, name)
			cmd := exec.Command(r.Programs.Supd, "run", "-c", r.Config, "--state-dir", r.State, "--runtime-dir", r.Runtime)
			cmd.Env = []string{"NOTIFY_SOCKET=" + name, "WATCHDOG_USEC=100000"} // no WATCHDOG_PID: for whoever is asked
			r.Start(cmd)
			r.Until("it is ready", func() bool { return m.count("READY=1") == 1 })
			// What is ready is configured: nobody has to wait again.
			if s := r.Status("two"); s.State != event.PhaseStopped {
				t.Errorf("two is %s", s.State)
			}
			if m.count(fmt.Sprintf("MAINPID=%d", r.Keeper())) != 1 {
				t.Errorf("the keeper's pid %d is not in %q", r.Keeper(), m.lines())
			}
			one := r.UntilPhase("one", event.PhaseRunning)
			r.Until("the status says so", func() bool { return m.count("STATUS=1 of 1 wanted services run") > 0 })
			if p, _ := rig.ReadProcess(*one.PID); p.Getenv("NOTIFY_SOCKET")+p.Getenv("WATCHDOG_USEC") != "" {
				t.Error("a service has supd's own variables")
			}
			r.Until("it is alive", func() bool { return m.count("WATCHDOG=1") > 2 })
			r.Kill(r.Engine())
			before := m.count("WATCHDOG=1")
			r.Until("it lives on", func() bool { return m.count("WATCHDOG=1") > before+2 })
			r.Shutdown()
			r.Until("it says that it stops", func() bool { return m.count("STOPPING=1") == 1 })
		})
	}
}

// A manager that does not listen, or is not there, holds up nothing.
func TestDeafServiceManager(t *testing.T) {
	t.Parallel()
	r := rig.New(t, "[service.one]\ncommand = [\"sleep\", \"1000\"]\n")
	name := filepath.Join(r.Dir, "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetReadBuffer(1)
	cmd := exec.Command(r.Programs.Supd, "run", "-c", r.Config, "--state-dir", r.State, "--runtime-dir", r.Runtime)
	cmd.Env = []string{"NOTIFY_SOCKET=" + name, "WATCHDOG_USEC=2000"} // more than its queue takes
	r.Start(cmd)
	r.Answers()
	fill, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer fill.Close()
	for err == nil { // until its queue is full, whatever supd has said by now
		_ = fill.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
		_, err = fill.Write([]byte("STATUS=full"))
	}
	for range 3 {
		r.Supctl("restart", "one", "--timeout", "5s").OK()
	}
	r.Shutdown()
}

// consoleRig starts supd with a console on stdout.
func consoleRig(t *testing.T, config string) (*rig.Rig, *exec.Cmd) {
	t.Helper()
	r := rig.New(t, "[supd]\nconsole = \"on\"\n"+config)
	return r, exec.Command(r.Programs.Supd, "run", "-c", r.Config, "--state-dir", r.State, "--runtime-dir", r.Runtime)
}

const counting = `
[service.count]
command = ["sh", "-c", "i=0; while [ $i -lt 200000 ]; do i=$((i + 1)); echo $i; done; sleep 1000"]
`

// Everything is shown, once and in order, whatever becomes of the engine.
func TestConsoleShowsAll(t *testing.T) {
	t.Parallel()
	r, cmd := consoleRig(t, counting)
	out := &screen{}
	cmd.Stdout = out
	r.Start(cmd)
	r.Answers()
	r.Kill(r.Engine())
	var want strings.Builder
	for i := range 200000 {
		fmt.Fprintf(&want, "count | %d\n", i+1)
	}
	r.Until("all is shown", func() bool { return len(out.String()) >= want.Len() })
	if out.String() != want.String() {
		t.Error("the console differs from the output")
	}
	r.Shutdown()
}

// A reader of supd's output that stops reading, or goes away, holds up no
// service, and costs no byte in the files.
func TestConsoleReaderStops(t *testing.T) {
	t.Parallel()
	for _, goes := range []bool{false, true} {
		t.Run(fmt.Sprintf("gone %v", goes), func(t *testing.T) {
			r, cmd := consoleRig(t, counting)
			reader, writer := pipe(t)
			cmd.Stdout = writer
			r.Start(cmd)
			writer.Close()
			if goes {
				reader.Close()
			}
			r.Answers()
			logger := 0
			r.Until("all is in the files", func() bool {
				logger = r.Logger()
				return strings.HasSuffix(r.Output("count", "stdout"), "\n200000\n")
			})
			r.Supctl("restart", "count", "--timeout", "20s").OK()
			if now := r.Logger(); now != logger {
				t.Errorf("the logger died: pid %d is %d", logger, now)
			}
			r.Supctl("shutdown").OK()
			if code := r.Exit(); code != exitcode.Done {
				t.Errorf("exit code %d\n%s", code, r.Log())
			}
		})
	}
}
