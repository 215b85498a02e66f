package journal

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"io"

	"supd/journal/event"
)

// slotSize is the room of one copy of a slot in bytes.
const slotSize = 512

// Where the slots are: each has two copies.
const (
	slotActive  = pageSize
	slotDurable = pageSize + 2*slotSize
	slotInHand  = pageSize + 4*slotSize
)

// slot is a small value in a fixed place that changes often. Its two copies are
// written in turn, so a torn write leaves the value before it.
type slot struct {
	off     int64
	counter uint64
}

// write stores the value in the older copy: {counter u64, length u32, value, crc u32}.
func (s *slot) write(f io.WriterAt, value []byte) error {
	b := binary.LittleEndian.AppendUint64(make([]byte, 0, slotSize), s.counter+1)
	b = appendBytes(b, value)
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	if len(b) > slotSize {
		return fmt.Errorf("value of %d bytes does not fit into a slot", len(value))
	}
	if _, err := f.WriteAt(b, s.off+int64((s.counter+1)%2)*slotSize); err != nil {
		return err
	}
	s.counter++
	return nil
}

// read takes the newer whole copy from page 1 and returns its value, nil if
// there is none.
func (s *slot) read(page []byte) []byte {
	var value []byte
	s.counter = 0
	for i := range int64(2) {
		at := s.off - pageSize + i*slotSize
		r := reader{b: page[at : at+slotSize]}
		counter, v := r.u64(), r.bytes()
		covered := r.off
		sum := r.u32()
		if r.failed || counter <= s.counter || sum != crc32.Checksum(r.b[:covered], castagnoli) {
			continue
		}
		s.counter, value = counter, v
	}
	return value
}

// reader takes fields from bytes that nobody vouches for. After a field that
// is not there, failed is set and all else is zero.
type reader struct {
	b      []byte
	off    int
	failed bool
}

func (r *reader) take(n int) []byte {
	if r.failed || n < 0 || n > len(r.b)-r.off {
		r.failed = true
		return nil
	}
	v := r.b[r.off : r.off+n : r.off+n]
	r.off += n
	return v
}

func (r *reader) u32() uint32 {
	if v := r.take(4); v != nil {
		return binary.LittleEndian.Uint32(v)
	}
	return 0
}

func (r *reader) u64() uint64 {
	if v := r.take(8); v != nil {
		return binary.LittleEndian.Uint64(v)
	}
	return 0
}

func (r *reader) bytes() []byte {
	n := r.u32()
	if uint64(n) > uint64(len(r.b)) {
		r.failed = true
		return nil
	}
	return r.take(int(n))
}

func (r *reader) link() Link {
	seq := r.u64()
	return Link{Seq: event.Seq(seq), Hash: hex.EncodeToString(r.take(hashSize))}
}
