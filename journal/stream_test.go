package journal_test

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"supd/journal"
	"supd/journal/event"
	"supd/journal/journaltest"
)

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		child()
		return
	}
	code := m.Run()
	// The server leaves it behind when a batch cannot be staged on a full disk,
	// which TestFullDisk provokes.
	known := goleak.IgnoreTopFunction("github.com/nats-io/nats-server/v2/server.(*msgBlock).flushLoop")
	// On a busy machine it takes a while until a server that was shut down has ended
	// its goroutines: longer than goleak looks.
	for end := time.Now().Add(time.Minute); code == 0; {
		err := goleak.Find(known)
		if err == nil {
			break
		}
		if time.Now().After(end) {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

func testConfig(t testing.TB) journal.Config {
	t.Helper()
	run, err := os.MkdirTemp("/dev/shm", "supd-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(run) })
	return journal.Config{StateDir: t.TempDir(), RuntimeDir: run, Node: "test", RunLogSize: 4 << 20, MaxBytes: 64 << 20}
}

func TestConformanceFake(t *testing.T) {
	journaltest.Run(t, func(*testing.T) journaltest.Opened {
		f := journaltest.NewFake()
		return journaltest.Opened{Stream: f, All: f.Stored}
	})
}

func TestConformanceJetStream(t *testing.T) {
	for name, interval := range map[string]time.Duration{"sync always": 0, "sync interval": 200 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			journaltest.Run(t, func(t *testing.T) journaltest.Opened {
				cfg := testConfig(t)
				cfg.SyncInterval = interval
				s, all, end, err := journal.OpenTestStream(context.Background(), cfg)
				if end != nil {
					t.Cleanup(func() {
						if err := end(); err != nil {
							t.Error(err)
						}
					})
				}
				if err != nil {
					t.Fatal(err)
				}
				return journaltest.Opened{Stream: s, All: func() []event.Encoded {
					recs, err := all()
					if err != nil {
						t.Fatal(err)
					}
					return recs
				}}
			})
		})
	}
}
