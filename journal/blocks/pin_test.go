package blocks

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("BLOCKS_TEST_WRITER"); dir != "" {
		writeForEver(dir)
	}
	os.Exit(m.Run())
}

func TestServerVersionIsPinned(t *testing.T) {
	if server.VERSION != pinnedServer {
		t.Fatalf("nats-server is %s, and this package knows the block layout of %s only: "+
			"compare filestore.go of both versions (writeMsgRecordLocked, rebuildStateFromBufLocked, _writeFullState, "+
			"CompressionInfo, the restoring of partial batches), then raise pinnedServer", server.VERSION, pinnedServer)
	}
}

func TestReadsWhatAConsumerReads(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := startServer(t, dir)
	r.stream(true, nil)
	r.publish(1, 3000, 120)
	want := r.consume()
	read, damage := offline(t, dir, 0) // the server is still running
	noDamage(t, damage)
	if d := cmp.Diff(want, read); d != "" {
		t.Fatal(d)
	}
	r.stop()
	read, damage = offline(t, dir, 1)
	noDamage(t, damage)
	if d := cmp.Diff(want, read); d != "" {
		t.Fatal(d)
	}
	if n := len(blockFiles(t, dir)); n < 12 {
		t.Fatalf("%d blocks do not show that 10.blk comes after 2.blk", n)
	}
	for _, from := range []uint64{2, 777, 2999, 3000, 3001} {
		read, damage = offline(t, dir, from)
		noDamage(t, damage)
		if d := cmp.Diff(want[from-1:], read); d != "" && len(want[from-1:])+len(read) > 0 {
			t.Fatalf("from %d: %s", from, d)
		}
	}
}

// The test's own encoder is what the fuzz target damages: it has to write the
// server's bytes.
func TestEncoderWritesTheServersBytes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := startServer(t, dir)
	r.stream(true, nil)
	r.publish(1, 500, 50)
	r.stop()
	rd, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for e, err := range rd.Records(0) {
		if err != nil {
			t.Fatal(err)
		}
		var n int
		_, _ = fmt.Sscanf(filepath.Base(e.File), "%d.blk", &n)
		if int64(len(files[e.File])) != e.Offset {
			t.Fatalf("record %d: offset %d, want %d", e.StreamSeq, e.Offset, len(files[e.File]))
		}
		files[e.File] = appendRecord(files[e.File], "JOURNAL", n, e.StreamSeq, e.Time.UnixNano(), e.Subject, e.Header, e.Data)
	}
	for name, b := range files {
		disk, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(disk, b) {
			t.Errorf("%s: the encoder wrote other bytes than the server", name)
		}
	}
}

func TestReadsAtomicBatches(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := startServer(t, dir)
	r.stream(true, nil)
	r.publish(1, 10, 20)
	r.batch("one", 11, 300, true)
	r.batch("never", 301, 350, false)
	want := r.consume()
	if len(want) != 300 {
		t.Fatalf("the server has %d records", len(want))
	}
	copied := cloneStore(t, dir)
	if names, err := os.ReadDir(filepath.Join(StreamDir(copied), "batches")); err != nil || len(names) == 0 {
		t.Fatalf("no batch is staged: %v", err)
	}
	read, damage := offline(t, copied, 0)
	noDamage(t, damage)
	if d := cmp.Diff(want, read); d != "" {
		t.Fatal(d)
	}
}

// awaitStages waits until n batches are staged.
func awaitStages(t *testing.T, dir string, n int) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		stages, err := filepath.Glob(filepath.Join(StreamDir(dir), "batches", "*"))
		blocks, _ := filepath.Glob(filepath.Join(StreamDir(dir), "batches", "*", "msgs", "1.blk"))
		if len(stages) == n && len(blocks) == n {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d batches are staged, not %d: %v", len(stages), n, err)
		}
	}
}

// A batch whose copying from its staging folder was cut off is completed by
// the server at its start, and by the reader.
func TestCompletesAHalfCopiedBatch(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := startServer(t, dir)
	r.stream(false, nil)
	r.publish(1, 5, 20)
	r.batch("half", 6, 25, true)
	want := r.consume()
	// The server removes the folder of a committed batch behind its answer, and
	// makes that of a new one likewise.
	awaitStages(t, dir, 0)
	r.batch("half", 6, 25, false) // leaves a staging folder under the name that the server gives this batch
	awaitStages(t, dir, 1)
	copied := cloneStore(t, dir)
	stages, err := os.ReadDir(filepath.Join(StreamDir(copied), "batches"))
	if err != nil || len(stages) != 1 {
		t.Fatalf("staging folders: %v %v", stages, err)
	}
	rd, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	var stage []byte
	var cut int64
	for e, err := range rd.Records(6) {
		if err != nil {
			t.Fatal(err)
		}
		stage = appendRecord(stage, stages[0].Name(), 1, e.StreamSeq-5, e.Time.UnixNano(), e.Subject, e.Header, e.Data)
		if e.StreamSeq == 15 {
			cut = e.Offset + 33 // in the middle of the batch's tenth record
		}
	}
	msgs := filepath.Join(StreamDir(copied), "batches", stages[0].Name(), "msgs")
	_ = os.Remove(filepath.Join(msgs, "index.db"))
	_ = os.Remove(filepath.Join(StreamDir(copied), "msgs", "index.db"))
	if err := os.WriteFile(filepath.Join(msgs, "1.blk"), stage, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(blockFiles(t, copied)[0], cut); err != nil {
		t.Fatal(err)
	}
	read, damage := offline(t, copied, 0)
	if len(damage) != 1 || damage[0].What != Tail || damage[0].First != 0 {
		t.Errorf("damage: %v; want the half record, and no record lost", damage)
	}
	if d := cmp.Diff(want, read); d != "" {
		t.Fatal(d)
	}
	again := startServer(t, copied).consume()
	for i := range again { // the server gives restored records new times
		again[i].Time = want[min(i, len(want)-1)].Time
	}
	if d := cmp.Diff(want, again); d != "" {
		t.Fatalf("the server completes the batch otherwise: %s", d)
	}

	// Without the staging folder, the rest is not known to be anywhere.
	if err := os.RemoveAll(filepath.Join(StreamDir(dir), "batches")); err != nil {
		t.Fatal(err)
	}
	bare := cloneStore(t, dir)
	_ = os.Remove(filepath.Join(StreamDir(bare), "msgs", "index.db"))
	if err := os.Truncate(blockFiles(t, bare)[0], cut); err != nil {
		t.Fatal(err)
	}
	read, damage = offline(t, bare, 0)
	if len(read) != 14 || len(damage) != 1 || damage[0].What != Tail || damage[0].First != 15 {
		t.Errorf("%d records, damage %v", len(read), damage)
	}
}

func TestReadsADiscardedHead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := startServer(t, dir)
	r.stream(true, func(c *jetstream.StreamConfig) { c.MaxMsgs = 200 })
	r.publish(1, 1000, 300)
	want := r.consume()
	if want[0].Seq != 801 || len(want) != 200 {
		t.Fatalf("the server has %d records from %d", len(want), want[0].Seq)
	}
	r.stop()
	read, damage := offline(t, dir, 0)
	noDamage(t, damage)
	extra := len(read) - len(want)
	if extra < 0 || extra > 200 {
		t.Fatalf("%d records, the server has %d", len(read), len(want))
	}
	if d := cmp.Diff(want, read[extra:]); d != "" {
		t.Fatal(d)
	}
	for i, g := range read[:extra] {
		if g.Seq != read[extra].Seq-uint64(extra-i) {
			t.Fatalf("a discarded record that is still there has sequence %d", g.Seq)
		}
	}
}

func TestReadsCompressedBlocks(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := startServer(t, dir)
	r.stream(true, func(c *jetstream.StreamConfig) { c.Compression = jetstream.S2Compression })
	r.publish(1, 2000, 200)
	want := r.consume()
	r.stop()
	packed := 0
	for _, f := range blockFiles(t, dir) {
		if b, err := os.ReadFile(f); err == nil && bytes.HasPrefix(b, []byte("cmp")) {
			packed++
		}
	}
	if packed < 3 {
		t.Fatalf("only %d blocks are compressed", packed)
	}
	read, damage := offline(t, dir, 0)
	noDamage(t, damage)
	if d := cmp.Diff(want, read); d != "" {
		t.Fatal(d)
	}
	flip(t, blockFiles(t, dir)[1], 2000)
	read, damage = offline(t, dir, 0)
	if len(damage) == 0 {
		t.Fatal("a changed byte in a compressed block goes unseen")
	}
	covered(t, want, read, damage)
}

// writeForEver is the child of TestSurvivesSIGKILL: it prints every
// acknowledged sequence.
func writeForEver(dir string) {
	t := &testing.B{}
	r := startServer(t, dir)
	r.stream(true, nil)
	for i := 1; ; i++ {
		if i%50 == 0 {
			r.batch(fmt.Sprint("b", i), i, i+9, true)
			i += 9
		} else if _, err := r.nc.RequestMsg(testMessage(i, 100), 5e9); err != nil {
			os.Exit(1)
		}
		fmt.Println(i)
	}
}

func TestSurvivesSIGKILL(t *testing.T) {
	dir := t.TempDir()
	child := exec.Command(os.Args[0], "-test.run=^$")
	child.Env = append(os.Environ(), "BLOCKS_TEST_WRITER="+dir)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = child.Process.Kill()
		_ = child.Wait()
	})
	acked := 0
	var live string
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		_, _ = fmt.Sscan(lines.Text(), &acked)
		if acked >= 1500 && live == "" {
			live = cloneStore(t, dir)
			checkPrefix(t, live, 1500)
		}
		if acked >= 3000 {
			break
		}
	}
	_ = child.Process.Kill()
	for lines.Scan() { // what it had printed before it died is acknowledged too
		_, _ = fmt.Sscan(lines.Text(), &acked)
	}
	_ = child.Wait()
	if acked < 3000 {
		t.Fatalf("the writer ended early, after %d records", acked)
	}
	read := checkPrefix(t, dir, acked)
	want := startServer(t, cloneStore(t, dir)).consume()
	for i := len(want) - 1; i >= 0 && i > len(want)-60; i-- {
		if i < len(read) && strings.HasPrefix(want[i].Subject, "sup.") {
			want[i].Time = read[i].Time // a completed batch gets new times from the server
		}
	}
	if d := cmp.Diff(want, read); d != "" {
		t.Fatalf("the server recovers otherwise: %s", d)
	}
}

// checkPrefix reads a folder of an interrupted writer: everything that was
// acknowledged, whole and in order, and no damage but an unfinished end.
func checkPrefix(t *testing.T, dir string, acked int) []got {
	t.Helper()
	read, damage := offline(t, dir, 0)
	for _, d := range damage {
		if d.What != Tail || d.First != 0 && d.First <= uint64(acked) {
			t.Errorf("damage: %v", d)
		}
	}
	if len(read) < acked {
		t.Fatalf("%d records, %d were acknowledged", len(read), acked)
	}
	for i, g := range read {
		if want := string(testMessage(i+1, 100).Data); g.Seq != uint64(i+1) || g.Data != want {
			t.Fatalf("record %d is %d %q", i+1, g.Seq, g.Data)
		}
	}
	return read
}
