package blocks

import (
	"bytes"
	"encoding/binary"
	"os"
)

// index is what the server's own summary, index.db, says of the stream.
type index struct {
	first, last uint64
	lastBlock   int // number of the newest block it knows; 0 if it could not be told
}

// The head of index.db, and the version whose layout is known.
const (
	indexMagic   = 11
	indexVersion = 4
	maxIndex     = 64 << 20
)

// sealedIndex is the summary without its checksum, if that is right.
func sealedIndex(path, store string) ([]byte, bool) {
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() || info.Size() > maxIndex {
		return nil, false
	}
	b, err := os.ReadFile(path)
	if err != nil || len(b) < 32 {
		return nil, false
	}
	b, sum := b[:len(b)-sumSize], b[len(b)-sumSize:]
	x := keyedHasher(store)
	_, _ = x.h.Write(b)
	return b, bytes.Equal(x.h.Sum(nil), sum)
}

// readIndex returns nothing for a summary that is absent, damaged or of
// another version: it is a witness, and the blocks stand without it.
func readIndex(path, store string) (ix index, ok bool) {
	b, ok := sealedIndex(path, store)
	if !ok || b[0] != indexMagic || b[1] != indexVersion {
		return index{}, false
	}
	v := varints{b: b[2:], ok: true}
	v.next(2) // messages, bytes
	ix.first = v.uvarint()
	v.next(1) // time of the first
	ix.last = v.uvarint()
	v.next(1) // time of the last
	subjects := v.uvarint()
	for i := uint64(0); i < subjects && v.ok; i++ {
		v.skip(v.uvarint())
		v.next(3) // total, first block, last block
	}
	ix.lastBlock = v.lastBlock()
	return ix, v.ok
}

// varints walks over a row of variable-length numbers.
type varints struct {
	b  []byte
	ok bool
}

func (v *varints) uvarint() uint64 {
	n, size := binary.Uvarint(v.b)
	if size <= 0 {
		v.ok = false
		return 0
	}
	v.b = v.b[size:]
	return n
}

// next skips n numbers; signed ones have the same form.
func (v *varints) next(n int) {
	for range n {
		v.uvarint()
	}
}

func (v *varints) skip(n uint64) {
	if n > uint64(len(v.b)) {
		v.ok = false
		return
	}
	v.b = v.b[n:]
}

// lastBlock walks the blocks. One with interior deletes has a set behind it
// that is not worth reading: then the answer is 0.
func (v *varints) lastBlock() int {
	newest := 0
	for n := v.uvarint(); n > 0 && v.ok; n-- {
		newest = max(newest, int(v.uvarint()))
		v.next(5) // bytes, first, its time, last, its time
		deleted := v.uvarint()
		v.next(2) // expiring, scheduled
		if deleted > 0 {
			return 0
		}
	}
	return newest
}
