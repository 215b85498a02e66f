package blocks

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
)

// The headers of atomic batches.
var (
	batchID       = []byte("Nats-Batch-Id")
	batchSequence = []byte("Nats-Batch-Sequence")
	batchCommit   = []byte("Nats-Batch-Commit")
)

// endOfBatch is a commit whose message itself is not stored.
const endOfBatch = "eob"

// staged completes a batch whose copying from the staging folder was cut off,
// as the server does at its next start. A batch that has no record in the
// stream was not committed and stays out.
func (w *walk) staged(dir string) {
	id := headerValue(w.header, batchID)
	if w.stopped || id == "" || headerValue(w.header, batchCommit) != "" {
		return
	}
	done, err := strconv.ParseUint(headerValue(w.header, batchSequence), 10, 64)
	if err != nil {
		return
	}
	rest, ok := findBatch(dir, id, done)
	if !ok {
		if len(w.pending) == 0 {
			w.pending = append(w.pending, &Damage{
				What: Tail, File: dir, Detail: "the last batch is not complete and its rest is not in the staging folder",
			})
		}
		return
	}
	for _, s := range rest {
		s.frame.seq = w.last + 1
		w.record(s.file, s.block, s.at, s.frame)
	}
}

// stagedRecord is a record of a batch in its staging folder.
type stagedRecord struct {
	frame frame
	file  file
	block block
	at    int
}

// findBatch returns the records behind sequence done of the batch with this
// id, if it is there whole, up to its commit.
func findBatch(dir, id string, done uint64) ([]stagedRecord, bool) {
	names, err := os.ReadDir(dir)
	if err != nil {
		return nil, false
	}
	for _, n := range names {
		all, ok := readStage(filepath.Join(dir, n.Name(), "msgs"), n.Name())
		if !ok || len(all) == 0 || headerValue(all[0].frame.header, batchID) != id {
			continue
		}
		commit := headerValue(all[len(all)-1].frame.header, batchCommit)
		if commit == "" || uint64(len(all)) < done {
			return nil, false
		}
		if commit == endOfBatch {
			all = all[:len(all)-1]
		}
		return all[min(done, uint64(len(all))):], true
	}
	return nil, false
}

// readStage reads a staging folder; its sequences are those of the batch.
func readStage(dir, store string) ([]stagedRecord, bool) {
	files, err := list(dir, store)
	if err != nil {
		return nil, false
	}
	var all []stagedRecord
	for _, f := range files {
		b := f.load()
		x := newHasher(f.store, f.number)
		for at := 0; at < len(b.bytes); {
			fr, err := x.parse(b.bytes[at:])
			if err != nil || fr.erased || fr.tombstone || fr.seq != uint64(len(all)+1) {
				return nil, false
			}
			all = append(all, stagedRecord{frame: fr, file: f, block: b, at: at})
			at += fr.size
		}
		if b.fault != nil {
			return nil, false
		}
	}
	return all, true
}

// headerValue finds a header's value; it is empty if there is none.
func headerValue(header, name []byte) string {
	for line := range bytes.SplitSeq(header, []byte("\r\n")) {
		if key, value, ok := bytes.Cut(line, []byte(":")); ok && bytes.Equal(key, name) {
			return string(bytes.TrimSpace(value))
		}
	}
	return ""
}
