package output

import (
	"encoding/binary"
	"hash/crc32"
	"io"
	"os"
	"time"
)

// markSize is the fixed size of an index entry. Entries carry everything they
// say, so one damaged entry costs one batch its exact time and nothing else.
const markSize = 40

const (
	markVersion = 1
	// flagCut: bytes were dropped at this offset; what is before and after it
	// never was one line.
	flagCut = 1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// mark says that the bytes from off on came at a time from an instance.
type mark struct {
	off      int64
	at       int64 // wall clock, ns since 1970
	instance instanceID
	flags    uint16
}

func (m mark) time() time.Time { return time.Unix(0, m.at).UTC() }

func (m mark) encode() []byte {
	b := make([]byte, markSize)
	binary.LittleEndian.PutUint16(b[4:], markVersion)
	binary.LittleEndian.PutUint16(b[6:], m.flags)
	binary.LittleEndian.PutUint64(b[8:], uint64(m.off))
	binary.LittleEndian.PutUint64(b[16:], uint64(m.at))
	copy(b[24:], m.instance[:])
	binary.LittleEndian.PutUint32(b, crc32.Checksum(b[4:], castagnoli))
	return b
}

// decodeMark reads one entry; false means damaged or of another version.
func decodeMark(b []byte) (mark, bool) {
	if len(b) < markSize {
		return mark{}, false
	}
	b = b[:markSize]
	if binary.LittleEndian.Uint32(b) != crc32.Checksum(b[4:], castagnoli) ||
		binary.LittleEndian.Uint16(b[4:]) != markVersion {
		return mark{}, false
	}
	m := mark{
		flags: binary.LittleEndian.Uint16(b[6:]),
		off:   int64(binary.LittleEndian.Uint64(b[8:])),
		at:    int64(binary.LittleEndian.Uint64(b[16:])),
	}
	copy(m.instance[:], b[24:])
	return m, m.off >= 0
}

// index reads the entries of one segment. It keeps a small window in memory,
// whatever the size of the file, and treats what it cannot read as absent.
type index struct {
	r     io.ReaderAt
	n     int64 // entries
	buf   []byte
	first int64 // number of the first entry in buf
}

const indexWindow = 64

func newIndex(r io.ReaderAt, size int64) *index { return &index{r: r, n: size / markSize} }

// openIndex returns an empty index when there is none to read.
func openIndex(path string) (*index, *os.File) {
	f, err := openRegular(path)
	if err != nil {
		return newIndex(nil, 0), nil
	}
	st, err := f.Stat()
	if err != nil {
		f.Close()
		return newIndex(nil, 0), nil
	}
	return newIndex(f, st.Size()), f
}

// at returns entry i; false if there is none or it is damaged.
func (x *index) at(i int64) (mark, bool) {
	if i < 0 || i >= x.n {
		return mark{}, false
	}
	if i < x.first || i >= x.first+int64(len(x.buf)/markSize) {
		// A little before i as well: searches end with a step back.
		x.first = max(0, i-indexWindow/8)
		b := make([]byte, markSize*min(indexWindow, x.n-x.first))
		got, _ := x.r.ReadAt(b, x.first*markSize)
		x.buf = b[:got-got%markSize]
	}
	p := (i - x.first) * markSize
	if p >= int64(len(x.buf)) {
		return mark{}, false
	}
	return decodeMark(x.buf[p:])
}

// next returns the first good entry at or after i.
func (x *index) next(i int64) (int64, mark, bool) {
	for ; i < x.n; i++ {
		if m, ok := x.at(i); ok {
			return i, m, true
		}
	}
	return x.n, mark{}, false
}

// find returns the last good entry at or before offset off; -1 if none.
func (x *index) find(off int64) (int64, mark, bool) {
	lo, hi := int64(0), x.n
	for lo < hi {
		mid := lo + (hi-lo)/2
		i, m, ok := x.next(mid)
		if !ok || i >= hi || m.off > off {
			hi = mid
		} else {
			lo = i + 1
		}
	}
	for i := lo - 1; i >= 0; i-- {
		if m, ok := x.at(i); ok && m.off <= off {
			return i, m, true
		}
	}
	return -1, mark{}, false
}

// trimIndex drops entries from the end that point behind the text or cannot
// be read, as a power loss or a text truncated by hand leaves them, and
// returns the size and last entry that remain.
func trimIndex(f *os.File, textSize int64) (int64, mark, error) {
	st, err := f.Stat()
	if err != nil {
		return 0, mark{}, err
	}
	x := newIndex(f, st.Size())
	n, last := x.n, mark{}
	for n > 0 {
		m, ok := x.at(n - 1)
		if ok && m.off <= textSize {
			last = m
			break
		}
		n--
	}
	if n*markSize != st.Size() {
		err = f.Truncate(n * markSize)
	}
	return n * markSize, last, err
}
