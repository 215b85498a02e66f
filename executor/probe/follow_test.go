package probe

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"supd/executor/policy"
)

func TestMainPID(t *testing.T) {
	for text, want := range map[string]int{
		"MAINPID=7": 7, "MAINPID=1": 1, "MAINPID=2147483647": 1<<31 - 1, "MAINPID=7\nMAINPID=8": 8,
		"MAINPID=0": 0, "MAINPID=": 0, "MAINPID=-7": 0, "MAINPID=+7": 0, "MAINPID= 7": 0, "MAINPID=7 ": 0, "MAINPID=0x7": 0,
		"MAINPID=seven": 0, "MAINPID=2147483648": 0, "MAINPID=18446744073709551623": 0, "MAINPID=7\x00": 0,
	} {
		if m := parseMessage([]byte(text)); !m.hasMain || m.main != want {
			t.Errorf("%q: %+v, want %d", text, m, want)
		}
	}
	if m := parseMessage([]byte("MAINPID\nmainpid=7\nXMAINPID=7")); m.hasMain {
		t.Errorf("heard what nobody said: %+v", m)
	}
}

// named is what was passed on, and a log.
type named struct {
	mu      sync.Mutex
	asked   []Main
	refused string
	log     bytes.Buffer
}

func (n *named) Write(b []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.log.Write(b)
}

func (n *named) follow(m Main) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked = append(n.asked, m)
	return n.refused
}

// The main process is followed before the rest of the message is told; one that is
// refused is complained about once, and the rest counts all the same.
func TestNamesMain(t *testing.T) {
	n := &named{}
	b := newBench(t, func(c *Config) {
		c.Follow, c.Log = n.follow, slog.New(slog.NewTextHandler(n, nil))
	})
	b.Listen()
	w := b.target()
	b.Watch("web", &w)
	b.say(t, "READY=1\nMAINPID=77")
	if in, ok := b.next(t).(policy.Ready); !ok {
		t.Fatalf("told %+v", in)
	}
	n.mu.Lock()
	if len(n.asked) != 1 || n.asked[0] != (Main{Service: "web", Instance: w.Instance, PID: 77, Sender: n.asked[0].Sender}) {
		t.Errorf("asked for %+v", n.asked)
	}
	n.refused = "no reason"
	n.mu.Unlock()
	for range 5 {
		b.say(t, "MAINPID=1")
		b.say(t, "MAINPID=garbage\nSTATUS=well")
	}
	b.silent(t)
	if b.Status("web") != "well" {
		t.Errorf("status %q", b.Status("web"))
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.asked) != 6 { // garbage is nobody's process
		t.Errorf("asked %d times", len(n.asked))
	}
	if got := strings.Count(n.log.String(), "not followed"); got != 1 || !strings.Contains(n.log.String(), "no reason") {
		t.Errorf("complained %d times: %s", got, n.log.String())
	}
}

// Drain answers when all was decided that was said before it, also what was said
// before anybody listened.
func TestDrain(t *testing.T) {
	n := &named{}
	b := newBench(t, func(c *Config) {
		c.Follow = func(m Main) string { time.Sleep(10 * time.Millisecond); return n.follow(m) }
	})
	w := b.target()
	b.Watch("web", &w)
	for i := range 3 {
		heard := make(chan int, 1)
		for range 3 {
			b.say(t, "MAINPID=77")
		}
		if !b.Drain(func() { n.mu.Lock(); heard <- len(n.asked); n.mu.Unlock() }) {
			t.Fatal("there is nothing to drain")
		}
		if i == 0 {
			b.Listen()
		}
		select {
		case got := <-heard:
			if got != 3*(i+1) {
				t.Errorf("%d of %d were heard", got, 3*(i+1))
			}
		case <-time.After(time.Minute):
			t.Fatal("not answered in 10 s")
		}
	}
	b.Close()
	if b.Drain(func() { t.Error("called after Close") }) {
		t.Error("a closed one drains")
	}
	if p, err := New(Config{}); err != nil || p.Drain(func() {}) {
		t.Errorf("without a socket: %v", err)
	}
}
