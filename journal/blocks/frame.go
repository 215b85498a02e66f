package blocks

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash"
	"strconv"

	"github.com/minio/highwayhash"
)

// The numbers of the layout (see the package's description).
const (
	headSize  = 22
	sumSize   = 8
	minRecord = headSize + sumSize
	maxRecord = 32 << 20 // what the server itself takes for a corrupt length

	hasHeaders = 1 << 31
	erasedBit  = 1 << 63
	tombBit    = 1 << 62
)

// frame is one record in place; its slices alias the block.
type frame struct {
	seq               uint64
	time              int64
	size              int
	subject           []byte
	header, data      []byte
	erased, tombstone bool
}

// The ways in which bytes are not a record.
var (
	errShort    = errors.New("less than a record's head is left")
	errLength   = errors.New("a length makes no sense")
	errOverrun  = errors.New("the record is longer than the file")
	errSum      = errors.New("the checksum is wrong")
	errBoundary = errors.New("subject, headers and message do not meet where the lengths say")
)

// hasher computes the checksums of one block; not for concurrent use.
type hasher struct {
	h   hash.Hash64
	sum [sumSize]byte
}

func newHasher(store string, number int) *hasher {
	return keyedHasher(store + "-" + strconv.Itoa(number))
}

func keyedHasher(name string) *hasher {
	key := sha256.Sum256([]byte(name))
	h, err := highwayhash.New64(key[:])
	if err != nil {
		panic("a SHA-256 sum is not a HighwayHash key: " + err.Error())
	}
	return &hasher{h: h}
}

// parse reads the record at the start of b. On an error the frame still says
// what the head claims.
func (x *hasher) parse(b []byte) (f frame, err error) {
	if len(b) < headSize {
		return f, errShort
	}
	le := binary.LittleEndian
	size := le.Uint32(b)
	withHeaders := size&hasHeaders != 0
	size &^= hasHeaders
	raw := le.Uint64(b[4:])
	f.seq, f.erased, f.tombstone = raw&^(erasedBit|tombBit), raw&erasedBit != 0, raw&tombBit != 0
	f.time, f.size = int64(le.Uint64(b[12:])), int(size)
	subject := int(le.Uint16(b[20:]))
	lead := headSize + subject
	if withHeaders {
		lead += 4
	}
	if size < minRecord || size > maxRecord || lead+sumSize > f.size {
		return f, errLength
	}
	if f.size > len(b) {
		return f, errOverrun
	}
	end := f.size - sumSize
	f.subject, f.data = b[headSize:headSize+subject], b[lead:end]
	x.h.Reset()
	_, _ = x.h.Write(b[4:20])
	if withHeaders {
		_, _ = x.h.Write(f.subject)
		_, _ = x.h.Write(f.data)
	} else {
		_, _ = x.h.Write(b[headSize:end]) // subject and message are neighbours
	}
	if !bytes.Equal(x.h.Sum(x.sum[:0]), b[end:f.size]) {
		return f, errSum
	}
	if f.erased || f.tombstone {
		return f, nil // what is behind the head is random
	}
	return f, f.split(withHeaders, b[headSize+subject:lead])
}

var (
	headerStart = []byte("NATS/1.0")
	headerEnd   = []byte("\r\n\r\n")
)

// split parts headers and message, and holds the boundaries against what they
// must look like, because no checksum covers the lengths.
func (f *frame) split(withHeaders bool, length []byte) error {
	if withHeaders {
		n := int64(binary.LittleEndian.Uint32(length))
		if n > int64(len(f.data)) {
			return errBoundary
		}
		f.header, f.data = f.data[:n:n], f.data[n:]
		if !bytes.HasPrefix(f.header, headerStart) || bytes.Index(f.header, headerEnd) != int(n)-len(headerEnd) {
			return errBoundary
		}
		return nil // the headers' own start and end pin both boundaries
	}
	if len(f.data) == 0 || f.data[0] != '{' || bytes.IndexByte(f.subject, '{') >= 0 {
		return errBoundary
	}
	return nil
}

// resync returns where the next record that verifies begins behind at, or the
// end. What it hashes is bounded, so that bytes made to look like records
// cannot keep it busy: beyond that the rest of the block is given up.
func (x *hasher) resync(b []byte, at int) int {
	le := binary.LittleEndian
	budget := 32*len(b) + 1<<20
	for p := at + 1; p+minRecord <= len(b) && budget > 0; p++ {
		size := int(le.Uint32(b[p:]) &^ hasHeaders)
		if size < minRecord || size > len(b)-p || int(le.Uint16(b[p+20:]))+minRecord > size {
			continue
		}
		budget -= size
		if _, err := x.parse(b[p:]); err == nil {
			return p
		}
	}
	return len(b)
}

// unfinished tells whether the bytes at the very end of the newest block look
// like a record that was being written, not like one that was changed: the
// next in line, with its end not there or still zero.
func (x *hasher) unfinished(b []byte, last uint64) bool {
	if len(bytes.Trim(b, "\x00")) == 0 {
		return true
	}
	f, err := x.parse(b)
	next := last == 0 || f.seq == last+1
	switch {
	case errors.Is(err, errShort):
		return true
	case errors.Is(err, errOverrun):
		return next && !x.whole(b)
	case errors.Is(err, errSum):
		return next && f.size == len(b) && binary.LittleEndian.Uint64(b[f.size-sumSize:]) == 0
	}
	return false
}

// whole tells whether b is one complete record but for its length.
func (x *hasher) whole(b []byte) bool {
	if len(b) < minRecord {
		return false
	}
	fixed := bytes.Clone(b)
	flag := binary.LittleEndian.Uint32(b) & hasHeaders
	binary.LittleEndian.PutUint32(fixed, uint32(len(b))|flag)
	_, err := x.parse(fixed)
	return err == nil
}
