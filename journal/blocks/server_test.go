package blocks

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// pinnedServer is the server version whose layout this package knows. Raise
// it only after the tests in pin_test.go pass with the new one and its
// filestore.go was compared: fields that no test writes may have moved.
const pinnedServer = "2.15.2"

const testSubjects = "sup.test.evt.>"

// running is an embedded server on a store folder.
type running struct {
	t  testing.TB
	s  *server.Server
	nc *nats.Conn
	js jetstream.JetStream
}

func startServer(t testing.TB, dir string) *running {
	t.Helper()
	s, err := server.NewServer(&server.Options{
		ServerName: "blocks", DontListen: true, NoSigs: true, NoLog: true, JetStream: true, StoreDir: dir,
		JetStreamMaxStore: 4 << 30, JetStreamMaxMemory: 1 << 20, DisableJetStreamBanner: true, MaxPayload: 8 << 20,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the embedded server is not ready after 10 s")
	}
	nc, err := nats.Connect("", nats.InProcessServer(s))
	if err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	r := &running{t: t, s: s, nc: nc, js: js}
	t.Cleanup(r.stop)
	return r
}

func (r *running) stop() {
	r.nc.Close()
	r.s.Shutdown()
	r.s.WaitForShutdown()
}

// stream creates JOURNAL; small makes blocks of 32 kB, which the server only
// does for a stream that is limited at its creation.
func (r *running) stream(small bool, change func(*jetstream.StreamConfig)) {
	r.t.Helper()
	cfg := jetstream.StreamConfig{
		Name: "JOURNAL", Subjects: []string{testSubjects}, Storage: jetstream.FileStorage,
		AllowAtomicPublish: true, AllowDirect: true, DenyDelete: true, DenyPurge: true, MaxBytes: -1,
	}
	if change != nil {
		change(&cfg)
	}
	ctx := context.Background()
	if small {
		limited := cfg
		limited.MaxBytes = 100_000
		if _, err := r.js.CreateStream(ctx, limited); err != nil {
			r.t.Fatal(err)
		}
	}
	if _, err := r.js.CreateOrUpdateStream(ctx, cfg); err != nil {
		r.t.Fatal(err)
	}
}

func testMessage(i, size int) *nats.Msg {
	body := fmt.Sprintf(`{"seq":%d,"pad":"%s"}`, i, bytes.Repeat([]byte{byte('a' + i%26)}, size))
	m := &nats.Msg{Subject: fmt.Sprintf("sup.test.evt.s%d.instance.exited", i%7), Data: []byte(body)}
	if i%2 == 0 {
		m.Header = nats.Header{"Nats-Expected-Stream": {"JOURNAL"}, "X-Number": {strconv.Itoa(i)}}
	}
	return m
}

func (r *running) publish(from, to, size int) {
	r.t.Helper()
	for i := from; i <= to; i++ {
		if _, err := r.js.PublishMsgAsync(testMessage(i, size)); err != nil {
			r.t.Fatal(err)
		}
	}
	select {
	case <-r.js.PublishAsyncComplete():
	case <-time.After(time.Minute):
		r.t.Fatal("publishing did not complete")
	}
}

// batch publishes one atomic batch; without commit it stays staged.
func (r *running) batch(id string, from, to int, commit bool) {
	r.t.Helper()
	for i := from; i <= to; i++ {
		m := testMessage(i, 100)
		m.Header = nats.Header{"Nats-Batch-Id": {id}, "Nats-Batch-Sequence": {strconv.Itoa(i - from + 1)}}
		if i < to || !commit {
			if err := r.nc.PublishMsg(m); err != nil {
				r.t.Fatal(err)
			}
			continue
		}
		m.Header.Set("Nats-Batch-Commit", "1")
		reply, err := r.nc.RequestMsg(m, 5*time.Second)
		if err != nil || bytes.Contains(reply.Data, []byte(`"error"`)) {
			r.t.Fatalf("cannot commit a batch: %v %s", err, reply.Data)
		}
	}
	if err := r.nc.Flush(); err != nil {
		r.t.Fatal(err)
	}
}

// got is what a reader of either kind saw of a record.
type got struct {
	Seq     uint64
	Time    time.Time
	Subject string
	Header  map[string][]string
	Data    string
}

// consume reads the whole stream as any client would.
func (r *running) consume() []got {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	st, err := r.js.Stream(ctx, "JOURNAL")
	if err != nil {
		r.t.Fatal(err)
	}
	last := st.CachedInfo().State
	if last.Msgs == 0 {
		return nil
	}
	c, err := st.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverAllPolicy})
	if err != nil {
		r.t.Fatal(err)
	}
	msgs, err := c.Messages()
	if err != nil {
		r.t.Fatal(err)
	}
	defer msgs.Stop()
	var all []got
	for {
		m, err := msgs.Next(jetstream.NextContext(ctx))
		if err != nil {
			r.t.Fatal(err)
		}
		meta, err := m.Metadata()
		if err != nil {
			r.t.Fatal(err)
		}
		all = append(all, got{meta.Sequence.Stream, meta.Timestamp.UTC(), m.Subject(), m.Headers(), string(m.Data())})
		if meta.Sequence.Stream >= last.LastSeq {
			return all
		}
	}
}

// offline reads the same with this package; damage is returned beside.
func offline(t testing.TB, dir string, from uint64) ([]got, []*Damage) {
	t.Helper()
	r, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return collect(t, r, from)
}

func collect(t testing.TB, r *Reader, from uint64) (all []got, damage []*Damage) {
	t.Helper()
	for e, err := range r.Records(from) {
		if err != nil {
			damage = append(damage, err.(*Damage))
			continue
		}
		g := got{Seq: e.StreamSeq, Time: e.Time, Subject: e.Subject, Data: string(e.Data)}
		if len(e.Header) > 0 {
			h, err := nats.DecodeHeadersMsg(e.Header)
			if err != nil {
				t.Fatalf("record %d: %v", e.StreamSeq, err)
			}
			g.Header = h
		}
		all = append(all, g)
	}
	return all, damage
}

func noDamage(t testing.TB, damage []*Damage) {
	t.Helper()
	for _, d := range damage {
		t.Errorf("unexpected damage: %v", d)
	}
}

// cloneStore copies a folder like cp -a does, also while it is written to.
func cloneStore(t testing.TB, from string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "c")
	// What goes away meanwhile fails the command, which copies the rest.
	if out, err := exec.Command("cp", "-a", from, to).CombinedOutput(); err != nil && !strings.Contains(string(out), "No such file") {
		t.Fatalf("%v: %s", err, out)
	}
	return to
}

func blockFiles(t testing.TB, dir string) []string {
	t.Helper()
	files, err := list(filepath.Join(StreamDir(dir), "msgs"), "JOURNAL")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range files {
		names = append(names, f.path)
	}
	return names
}
