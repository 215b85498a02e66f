package blocks

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/klauspost/compress/s2"
	"golang.org/x/sys/unix"
)

// maxBlock bounds the memory that one block takes, packed or not. The server
// rolls over at 8 MiB; one record of the largest size may stand beyond that.
const maxBlock = 8<<20 + maxRecord

// What a block that is compressed begins with: the mark and the algorithm.
const (
	packedMark = "cmp"
	packedS2   = 1
)

// file is one block on disk.
type file struct {
	number int
	path   string
	store  string // the name in the checksums' key
}

// list finds the blocks of a store, by number: the order of names in the
// folder (1, 10, 2) is not theirs.
func list(dir, store string) ([]file, error) {
	names, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var files []file
	for _, n := range names {
		base, ok := strings.CutSuffix(n.Name(), ".blk")
		number, err := strconv.Atoi(base)
		if !ok || err != nil || number < 1 || n.IsDir() || strconv.Itoa(number) != base {
			continue
		}
		files = append(files, file{number: number, path: filepath.Join(dir, n.Name()), store: store})
	}
	slices.SortFunc(files, func(a, b file) int { return a.number - b.number })
	return files, nil
}

// block is the content of a file, decompressed.
type block struct {
	bytes  []byte
	packed bool
	fault  *Damage // what kept the rest from being read
}

// open does not wait: a FIFO in a folder from somewhere else must not hang us.
func (f file) open() (*os.File, error) {
	return os.OpenFile(f.path, os.O_RDONLY|unix.O_NONBLOCK, 0)
}

// load reads a whole block. The buffer is fresh, so that entries may be kept.
func (f file) load() block { return f.loadInto(nil) }

// loadInto reads a whole block into buf if that is large enough.
func (f file) loadInto(buf []byte) block {
	raw, err := f.open()
	if err != nil {
		return block{fault: f.unreadable(0, err)}
	}
	defer raw.Close()
	info, err := raw.Stat()
	if err != nil {
		return block{fault: f.unreadable(0, err)}
	}
	if !info.Mode().IsRegular() {
		return block{fault: f.unreadable(0, errors.New("not a plain file"))}
	}
	want := int(min(info.Size(), maxBlock))
	if cap(buf) < want {
		buf = make([]byte, want)
	}
	buf = buf[:want]
	n, err := io.ReadFull(raw, buf)
	b := block{bytes: buf[:n]}
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF): // cut while we read: its end is judged as it is
	case err != nil:
		b.fault = f.unreadable(int64(n), err)
	case info.Size() > maxBlock:
		b.fault = &Damage{
			What: Corrupt, File: f.path, Offset: maxBlock, Length: info.Size() - maxBlock,
			Detail: fmt.Sprintf("a block has at most %d bytes", maxBlock),
		}
	}
	return f.unpack(b)
}

func (f file) unreadable(at int64, err error) *Damage {
	return &Damage{What: Unreadable, File: f.path, Offset: at, Detail: "cannot read the block", Err: err}
}

// unpack decompresses a block that carries the mark of compression. What
// could be decompressed before a fault is kept.
func (f file) unpack(b block) block {
	raw := b.bytes
	if len(raw) < 5 || string(raw[:3]) != packedMark || raw[3] != packedS2 {
		return b
	}
	size, n := binary.Uvarint(raw[4:])
	if n <= 0 || size > maxBlock || len(raw) < 4+n+sumSize {
		return b // not compressed, or not recognisably: the records will tell
	}
	body, sum := raw[4+n:len(raw)-sumSize], raw[len(raw)-sumSize:]
	out := make([]byte, size)
	got, err := io.ReadFull(s2.NewReader(strings.NewReader(string(body))), out[:max(0, int(size)-sumSize)])
	out = out[:got]
	if err != nil {
		if b.fault == nil {
			b.fault = &Damage{
				What: Corrupt, File: f.path, Offset: int64(got), Packed: true,
				Length: int64(size) - int64(got), Detail: "cannot decompress the rest of the block", Err: err,
			}
		}
		return block{bytes: out, packed: true, fault: b.fault}
	}
	return block{bytes: append(out, sum...), packed: true, fault: b.fault}
}

// firstSeq returns the sequence of the block's first record if that is intact
// and the block is not compressed. It reads no more than that record.
func (f file) firstSeq() (uint64, bool) {
	raw, err := f.open()
	if err != nil {
		return 0, false
	}
	defer raw.Close()
	buf := make([]byte, headSize, 4096)
	if _, err := io.ReadFull(raw, buf); err != nil {
		return 0, false
	}
	x := newHasher(f.store, f.number)
	fr, err := x.parse(buf)
	if !errors.Is(err, errOverrun) {
		return 0, false
	}
	buf = append(buf, make([]byte, fr.size-headSize)...)
	if _, err := io.ReadFull(raw, buf[headSize:]); err != nil {
		return 0, false
	}
	if fr, err = x.parse(buf); err != nil || fr.tombstone {
		return 0, false
	}
	return fr.seq, true
}
