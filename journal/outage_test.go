package journal_test

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"supd/journal"
	"supd/journal/event"
)

// told collects what the journal tells its engine.
type told struct {
	degraded chan string
	healed   chan string
}

func listen(cfg *journal.Config) told {
	t := told{make(chan string, 10), make(chan string, 10)}
	cfg.Notify.Degraded = func(why string, _ time.Time) { t.degraded <- why }
	cfg.Notify.Healed = func(_ time.Duration, _ int, method string) { t.healed <- method }
	return t
}

func hear(t *testing.T, c chan string, what string) string {
	t.Helper()
	select {
	case s := <-c:
		return s
	case <-bounded(t).Done():
		t.Fatalf("never %s", what)
		return ""
	}
}

// TestStartsWithoutItsDisk: with a run log of this boot an engine starts, keeps
// records and shuts down whatever is wrong with the journal's folder (P5, R2).
func TestStartsWithoutItsDisk(t *testing.T) {
	cfg := testConfig(t)
	e := openEngine(t, cfg)
	e.append(e.chain.Next(5)...)
	e.durable()
	e.close()
	folder := filepath.Join(cfg.StateDir, "journal")
	if err := os.Rename(folder, folder+"-away"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(folder, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	told := listen(&cfg)
	e = openEngine(t, cfg)
	e.append(e.chain.Next(20)...)
	hear(t, told.degraded, "degraded")
	if d := e.j.Durable(); d != 5 {
		t.Errorf("durable is %d without a disk, want 5", d)
	}
	if err := os.Remove(folder); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(folder+"-away", folder); err != nil {
		t.Fatal(err)
	}
	e.durable()
	hear(t, told.healed, "healed")
	e.close()
}

// TestFullDisk: a store that ran out of space is restarted in-process and takes
// everything that piled up, once there is space again.
func TestFullDisk(t *testing.T) {
	cfg := testConfig(t)
	if err := unix.Mount("tmpfs", cfg.StateDir, "tmpfs", 0, "size=8m"); err != nil {
		t.Skipf("NOT RUN: needs root to mount a small tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(cfg.StateDir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	told := listen(&cfg)
	e := openEngine(t, cfg)
	e.append(e.chain.Next(20)...)
	e.durable()
	ballast := filepath.Join(cfg.StateDir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 16<<20), 0o600); err == nil {
		t.Fatal("the disk is not full")
	}
	kept := e.chain.Link.Seq
	for range 20 {
		e.append(e.chain.Next(30)...)
	}
	t.Log("degraded:", hear(t, told.degraded, "degraded"))
	idle := runtime.NumGoroutine()
	time.Sleep(1500 * time.Millisecond) // a few attempts to heal
	n := runtime.NumGoroutine()
	for range 20 { // one of a look at the disk comes and goes
		time.Sleep(5 * time.Millisecond)
		n = min(n, runtime.NumGoroutine())
	}
	if n > idle+3 {
		t.Errorf("goroutines grow during an outage: %d, then %d", idle, n)
	}
	if d := e.j.Durable(); d == e.chain.Link.Seq || d < kept {
		t.Errorf("durable is %d on a full disk", d)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	e.durable()
	t.Log("healed:", hear(t, told.healed, "healed"))
	e.close()
	if err := os.Remove(filepath.Join(cfg.RuntimeDir, "runlog")); err != nil {
		t.Fatal(err)
	}
	e = openEngine(t, cfg)
	if len(e.read) != 620 {
		t.Errorf("%d records are in JOURNAL, want 620", len(e.read))
	}
	e.close()
}

// everybody lets all connections in, as an administrator's tool would be.
type everybody struct{}

func (everybody) Check(server.ClientAuthentication) bool { return true }

func connect(t *testing.T, e *engine) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect("", nats.InProcessServer(e.j))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// TestLimitsFollowConfiguration: raised limits count at the next start, lower
// ones only once a base is well within them, so that a fold stays possible.
func TestLimitsFollowConfiguration(t *testing.T) {
	cfg := testConfig(t)
	cfg.Authentication = everybody{}
	limit := func(max int64, want int64, records int) {
		t.Helper()
		cfg.MaxRecords = max
		e := openEngine(t, cfg)
		e.append(e.chain.Next(records)...)
		e.durable()
		st, err := connect(t, e).Stream(context.Background(), event.Stream)
		if err != nil {
			t.Fatal(err)
		}
		if got := st.CachedInfo().Config.MaxMsgs; got != want {
			t.Errorf("limit %d is configured, the stream has %d, want %d", max, got, want)
		}
		if records == 1 {
			e.append(e.chain.Base("{}", 1)...)
			e.durable()
		}
		e.close()
	}
	limit(1000, 1000, 800)
	limit(2000, 2000, 10)
	limit(500, 2000, 1) // no base yet
	limit(500, 500, 2)
}

// TestForeignStreamIsRefused: a stream from which records can be deleted is no
// journal. Supervision goes on kept.
func TestForeignStreamIsRefused(t *testing.T) {
	cfg := testConfig(t)
	s, err := server.NewServer(&server.Options{DontListen: true, NoSigs: true, NoLog: true, JetStream: true, StoreDir: filepath.Join(cfg.StateDir, "journal")})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	nc, err := nats.Connect("", nats.InProcessServer(s))
	if err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(nc)
	if err == nil {
		_, err = js.CreateStream(context.Background(), jetstream.StreamConfig{Name: event.Stream, Subjects: []string{"sup.>"}})
	}
	nc.Close()
	s.Shutdown()
	s.WaitForShutdown()
	if err != nil {
		t.Fatal(err)
	}
	told := listen(&cfg)
	e := openEngine(t, cfg)
	e.append(e.chain.Next(1)...)
	if why := hear(t, told.degraded, "degraded"); !strings.Contains(why, "can be deleted") || e.j.Durable() != 0 {
		t.Errorf("degraded: %s, durable %d", why, e.j.Durable())
	}
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	_ = e.j.Close(ctx) // says that a record is not durable
}
