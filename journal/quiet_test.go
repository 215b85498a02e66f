package journal

import (
	"context"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestServerIsQuiet holds that the server's own clocks do not run beside ours,
// also when JetStream was restarted, and that ours does.
func TestServerIsQuiet(t *testing.T) {
	s, cfg := quietServer(t)
	for range 3 {
		if _, err := openStream(t.Context(), s, cfg); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the server's clock of access times ends", func() bool { return !runs("server/ats.Register") })
		if now := time.Now().UnixNano(); now-accessTime.Load() > int64(accessTick+5*time.Second) {
			t.Fatalf("the clock of access times stands %v behind", time.Duration(now-accessTime.Load()))
		}
		if err := s.srv.ShutdownJetStream(); err != nil {
			t.Fatal(err)
		}
	}
	before := accessTime.Load()
	eventually(t, "our clock of access times goes on", func() bool { return accessTime.Load() > before })
}

func TestQuietProcess(t *testing.T) {
	if !strings.HasPrefix(processStat, "/proc/") && processStat != "" {
		t.Fatalf("nats-server samples %q, which is not what it is quieted for", processStat)
	}
	QuietProcess()
	if processStat != "" {
		t.Fatalf("nats-server still samples %q", processStat)
	}
}

// runs tells whether a goroutine is in the function named.
func runs(function string) bool {
	b := make([]byte, 1<<20)
	return strings.Contains(string(b[:runtime.Stack(b, true)]), function)
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !f(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

func quietServer(t *testing.T) (*natsServer, *Config) {
	t.Helper()
	cfg := &Config{StateDir: t.TempDir(), RuntimeDir: t.TempDir(), Node: "quiet"}
	if err := cfg.fill(); err != nil {
		t.Fatal(err)
	}
	s, err := startServer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.shutdown(context.Background()); err != nil {
			t.Log(filepath.Base(cfg.StateDir), err)
		}
	})
	return s, cfg
}
