package journal

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
)

// The run log's file, all numbers little-endian:
//
//	page 0     magic, version, region size, node id, boot; crc    written once
//	page 1     three slots: active region, durable link, input in hand
//	region A   frames                                              half of the rest each
//	region B   frames
//
// One region is active. It begins with a base frame and goes on with one frame
// for each appended batch. Compaction writes base and carried records into the
// other region and then flips the active slot: there is one file, no rename and
// no allocation when memory is short, and a memfd can hold the same format.
//
// A frame is {length u32, crc u32, payload}; length 0 ends the region. Its crc
// covers generation and offset too, so that what an earlier use of the region
// left behind never passes for a frame of this one.
const (
	runLogMagic   = "SUPDRLOG"
	runLogVersion = 1

	pageSize    = 4096
	regionStart = 2 * pageSize

	frameHeader = 8
	frameEnd    = 8 // a zero frame header: length 0

	frameBase    = 'B'
	frameRecords = 'R'

	hashSize = 32
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errFormat = errors.New("malformed")

// header is page 0.
type header struct {
	region int64 // size of one region in bytes
	node   string
	boot   string
}

func (h header) encode() ([]byte, error) {
	b := make([]byte, 0, pageSize)
	b = append(b, runLogMagic...)
	b = binary.LittleEndian.AppendUint32(b, runLogVersion)
	b = binary.LittleEndian.AppendUint64(b, uint64(h.region))
	b = appendBytes(b, []byte(h.node))
	b = appendBytes(b, []byte(h.boot))
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	if len(b) > pageSize {
		return nil, fmt.Errorf("node id and boot of %d bytes do not fit", len(b))
	}
	return b, nil
}

func decodeHeader(b []byte) (header, error) {
	var h header
	r := reader{b: b}
	if string(r.take(len(runLogMagic))) != runLogMagic {
		return h, fmt.Errorf("%w header: not a run log", errFormat)
	}
	if v := r.u32(); v != runLogVersion {
		return h, fmt.Errorf("%w header: version %d, this program reads %d", errFormat, v, runLogVersion)
	}
	h.region = int64(r.u64())
	h.node, h.boot = string(r.bytes()), string(r.bytes())
	covered := r.off
	if sum := r.u32(); r.failed || sum != crc32.Checksum(b[:covered], castagnoli) {
		return h, fmt.Errorf("%w header: checksum is wrong", errFormat)
	}
	return h, nil
}

// rawRecord is a record as a frame holds it.
type rawRecord struct {
	seq   uint64
	bytes []byte
}

func (r rawRecord) size() int64 { return int64(12 + len(r.bytes)) }

func appendRecords(b []byte, recs []rawRecord) []byte {
	b = append(b, frameRecords)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(recs)))
	for _, r := range recs {
		b = binary.LittleEndian.AppendUint64(b, r.seq)
		b = appendBytes(b, r.bytes)
	}
	return b
}

func decodeRecords(payload []byte) ([]rawRecord, error) {
	r := reader{b: payload, off: 1}
	n := r.u32()
	// No more than the payload can hold: the count comes from outside.
	recs := make([]rawRecord, 0, min(int(n), len(payload)/12))
	for range n {
		recs = append(recs, rawRecord{seq: r.u64(), bytes: r.bytes()})
		if r.failed {
			return nil, fmt.Errorf("%w record frame", errFormat)
		}
	}
	if r.failed || r.off != len(payload) {
		return nil, fmt.Errorf("%w record frame", errFormat)
	}
	return recs, nil
}

func appendBase(b []byte, base Base) ([]byte, error) {
	b = append(b, frameBase)
	b, err := appendLink(b, base.Link)
	if err != nil {
		return nil, err
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(base.Version))
	return append(b, base.State...), nil
}

func decodeBase(payload []byte) (Base, error) {
	r := reader{b: payload, off: 1}
	base := Base{Link: r.link(), Version: int(r.u32())}
	if r.failed {
		return Base{}, fmt.Errorf("%w base frame", errFormat)
	}
	base.State = payload[r.off:]
	return base, nil
}

// sealFrame fills the header of the frame in b, whose payload begins behind it,
// and appends the end mark, which the next frame overwrites.
func sealFrame(b []byte, gen uint64, off int64) []byte {
	payload := b[frameHeader:]
	binary.LittleEndian.PutUint32(b, uint32(len(payload)))
	binary.LittleEndian.PutUint32(b[4:], frameSum(payload, gen, off))
	return append(b, make([]byte, frameEnd)...)
}

func frameSum(payload []byte, gen uint64, off int64) uint32 {
	var place [16]byte
	binary.LittleEndian.PutUint64(place[:], gen)
	binary.LittleEndian.PutUint64(place[8:], uint64(off))
	return crc32.Update(crc32.Checksum(place[:], castagnoli), castagnoli, payload)
}

// contents is what a region holds.
type contents struct {
	base    Base
	records []rawRecord
	end     int64       // where the next frame goes, from the region's start
	cut     string      // what was found instead of a clean end; empty if clean
	behind  []rawRecord // of whole frames behind what cut says: it is damage, no torn end
}

// last is the newest number in it.
func (c contents) last() uint64 {
	if n := len(c.records); n > 0 {
		return max(c.records[n-1].seq, uint64(c.base.Seq))
	}
	return uint64(c.base.Seq)
}

// decodeRegion reads frames up to the first that is not whole. Only a missing
// base is an error: without it nothing can be rebuilt. A torn last frame
// is what a kill in the middle of an append leaves; that append had not returned.
func decodeRegion(b []byte, gen uint64) (contents, error) {
	var c contents
	for first := true; ; first = false {
		payload, cut := nextFrame(b, gen, c.end)
		if first {
			if cut != "" || len(payload) == 0 || payload[0] != frameBase {
				return c, fmt.Errorf("%w region: no base at its start", errFormat)
			}
			base, err := decodeBase(payload)
			if err != nil {
				return c, err
			}
			c.base = base
		} else {
			if cut != "" || payload == nil {
				c.cut, c.behind = cut, framesBehind(b, gen, c.end)
				return c, nil
			}
			recs, err := recordsOf(payload)
			if err != nil {
				c.cut, c.behind = fmt.Sprintf("frame at offset %d: %v", c.end, err), framesBehind(b, gen, c.end)
				return c, nil
			}
			c.records = append(c.records, recs...)
		}
		c.end += frameHeader + int64(len(payload))
	}
}

// framesBehind finds the records of whole frames behind a place where there is
// none. A torn append leaves nothing whole behind it, since it was the last; a
// cleared or flipped bit does. What is summed is bounded.
func framesBehind(b []byte, gen uint64, from int64) []rawRecord {
	var all []rawRecord
	budget := 16*int64(len(b)) + 1<<20
	for off := from + 1; off+frameHeader < int64(len(b)) && budget > 0; off++ {
		// Most of a region is zero: leap to what may be a frame's type.
		leap := bytes.IndexByte(b[off+frameHeader:], frameRecords)
		if leap < 0 {
			break
		}
		off += int64(leap)
		size := int64(binary.LittleEndian.Uint32(b[off:]))
		if size < 5 || off+frameHeader+size > int64(len(b)) {
			continue
		}
		budget -= size
		payload, cut := nextFrame(b, gen, off)
		if cut != "" {
			continue
		}
		if recs, err := decodeRecords(payload); err == nil {
			all = append(all, recs...)
			off += frameHeader + size - 1
		}
	}
	return all
}

func recordsOf(payload []byte) ([]rawRecord, error) {
	if payload[0] != frameRecords {
		return nil, fmt.Errorf("%w: unknown type %q", errFormat, payload[0])
	}
	return decodeRecords(payload)
}

// nextFrame returns the payload of the frame at off, nil at a clean end, or
// what is wrong.
func nextFrame(b []byte, gen uint64, off int64) ([]byte, string) {
	if off+frameHeader > int64(len(b)) {
		return nil, ""
	}
	size := int64(binary.LittleEndian.Uint32(b[off:]))
	if size == 0 {
		return nil, ""
	}
	if off+frameHeader+size > int64(len(b)) {
		return nil, fmt.Sprintf("frame at offset %d: %d bytes reach beyond the region", off, size)
	}
	payload := b[off+frameHeader : off+frameHeader+size]
	if binary.LittleEndian.Uint32(b[off+4:]) != frameSum(payload, gen, off) {
		return nil, fmt.Sprintf("frame at offset %d: checksum of %d bytes is wrong", off, size)
	}
	return payload, ""
}

func appendBytes(b, v []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(len(v)))
	return append(b, v...)
}

func appendLink(b []byte, l Link) ([]byte, error) {
	sum, err := hex.DecodeString(l.Hash)
	if err != nil || len(sum) != hashSize {
		return nil, fmt.Errorf("hash %q of record %d is no SHA-256", l.Hash, l.Seq)
	}
	b = binary.LittleEndian.AppendUint64(b, uint64(l.Seq))
	return append(b, sum...), nil
}
