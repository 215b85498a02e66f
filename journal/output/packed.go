package output

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/klauspost/compress/gzip"
)

// A compressed segment is a gzip file of members that each hold memberText
// bytes of the text, the last one fewer. gunzip, zcat and zgrep read it as one
// text. Each member says in its header's extra field what the file holds and
// how long the member is, so that a reader gets to any offset of the text by
// one short read for each member before it and unpacks one member: cursors,
// tails and indexes mean the same bytes before and after compression.
const (
	memberText = 256 << 10
	// membersMost bounds the table that a reader holds. Larger texts (4 GiB)
	// stay as they are.
	membersMost = 1 << 14
	// memberHeader is gzip's own 10 bytes, the length of the extra field, and
	// one subfield "SD" with the four numbers of member.
	memberHeader = 10 + 2 + 4 + memberExtra
	memberExtra  = 8 + 8 + 4 + 4
	// memberSlack is more than what gzip adds to bytes that do not compress.
	memberSlack = memberHeader + 4096
)

// member is one member of a compressed segment.
type member struct {
	total int64 // bytes of the whole text; the same in all members
	off   int64 // where this member's text begins in it
	text  int64 // bytes of this member's text
	size  int64 // bytes of the member in the file
	at    int64 // where it begins in the file
}

// errDamaged means that a compressed segment is not what pack wrote.
var errDamaged = errors.New("compressed segment is damaged")

// pack compresses size bytes of src into dst. After each member it calls rest
// with the time that the member took.
func pack(ctx context.Context, dst io.Writer, src io.ReaderAt, size int64, rest func(time.Duration)) error {
	if size > memberText*membersMost {
		return fmt.Errorf("%d bytes are too many to compress", size)
	}
	var out bytes.Buffer
	text := make([]byte, min(memberText, size))
	z := gzip.NewWriter(&out)
	for off := int64(0); off < size; {
		if err := ctx.Err(); err != nil {
			return err
		}
		began := time.Now()
		text = text[:min(memberText, size-off)]
		if _, err := src.ReadAt(text, off); err != nil {
			return err
		}
		out.Reset()
		z.Reset(&out)
		z.Extra = member{total: size, off: off, text: int64(len(text))}.extra()
		_, err := z.Write(text)
		if err = errors.Join(err, z.Close()); err != nil {
			return err
		}
		// Only now is its length known; no checksum covers the header.
		binary.LittleEndian.PutUint32(out.Bytes()[memberHeader-4:], uint32(out.Len()))
		if _, err := dst.Write(out.Bytes()); err != nil {
			return err
		}
		off += int64(len(text))
		rest(time.Since(began))
	}
	return nil
}

func (m member) extra() []byte {
	b := []byte{'S', 'D', memberExtra, 0}
	b = binary.LittleEndian.AppendUint64(b, uint64(m.total))
	b = binary.LittleEndian.AppendUint64(b, uint64(m.off))
	b = binary.LittleEndian.AppendUint32(b, uint32(m.text))
	return binary.LittleEndian.AppendUint32(b, uint32(m.size))
}

// readMember reads the header of the member at a place of the file.
func readMember(r io.ReaderAt, at int64) (member, error) {
	var b [memberHeader]byte
	if _, err := r.ReadAt(b[:], at); err != nil {
		if errors.Is(err, io.EOF) {
			err = errDamaged
		}
		return member{}, err
	}
	if !bytes.Equal(b[:4], []byte{0x1f, 0x8b, 8, 4}) || !bytes.Equal(b[10:16], []byte{memberExtra + 4, 0, 'S', 'D', memberExtra, 0}) {
		return member{}, errDamaged
	}
	m := member{
		at:    at,
		total: int64(binary.LittleEndian.Uint64(b[16:])), off: int64(binary.LittleEndian.Uint64(b[24:])),
		text: int64(binary.LittleEndian.Uint32(b[32:])), size: int64(binary.LittleEndian.Uint32(b[36:])),
	}
	if m.total <= 0 || m.total > memberText*membersMost || m.off < 0 || m.off > m.total ||
		m.text <= 0 || m.text > memberText || m.text > m.total-m.off ||
		m.size <= memberHeader || m.size > memberText+memberSlack {
		return member{}, errDamaged
	}
	return m, nil
}

// packedText reads the text of a compressed segment at any offset. It holds
// one member unpacked. Not for concurrent use.
type packedText struct {
	f       *os.File
	size    int64
	members []member // as far as looked for, from the first on
	z       *gzip.Reader
	text    []byte // of member number in
	in      int
}

// openPacked opens a compressed segment; errDamaged if it is not one of ours.
func openPacked(path string) (*packedText, error) {
	f, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	m, err := readMember(f, 0)
	if err == nil && m.off != 0 {
		err = errDamaged
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("cannot read %s: %w", path, err)
	}
	return &packedText{f: f, size: m.total, members: []member{m}, in: -1}, nil
}

// Close closes the file.
func (p *packedText) Close() error { return p.f.Close() }

// Stat is that of the file: its size is of the compressed bytes.
func (p *packedText) Stat() (os.FileInfo, error) { return p.f.Stat() }

// ReadAt reads from the text. It returns what it could read before damage.
func (p *packedText) ReadAt(b []byte, off int64) (n int, err error) {
	for n < len(b) {
		if off+int64(n) >= p.size {
			return n, io.EOF
		}
		i, err := p.locate(off + int64(n))
		if err == nil {
			err = p.unpack(i)
		}
		if err != nil {
			return n, fmt.Errorf("cannot read %s at byte %d of its text: %w", p.f.Name(), off+int64(n), err)
		}
		n += copy(b[n:], p.text[off+int64(n)-p.members[i].off:])
	}
	return n, nil
}

// locate finds the member that holds an offset below size.
func (p *packedText) locate(off int64) (int, error) {
	for {
		last := p.members[len(p.members)-1]
		if off < last.off+last.text {
			break
		}
		m, err := readMember(p.f, last.at+last.size)
		if err != nil {
			return 0, err
		}
		if m.total != p.size || m.off != last.off+last.text || len(p.members) == membersMost {
			return 0, errDamaged
		}
		p.members = append(p.members, m)
	}
	lo, hi := 0, len(p.members)
	for hi-lo > 1 {
		mid := (lo + hi) / 2
		if p.members[mid].off <= off {
			lo = mid
		} else {
			hi = mid
		}
	}
	return lo, nil
}

// unpack makes text that of member i, and checks its checksum and length.
func (p *packedText) unpack(i int) error {
	if p.in == i {
		return nil
	}
	p.in = -1
	m := p.members[i]
	r := io.NewSectionReader(p.f, m.at, m.size)
	var err error
	if p.z == nil {
		p.z, err = gzip.NewReader(r)
	} else {
		err = p.z.Reset(r)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errDamaged, err)
	}
	p.z.Multistream(false)
	if cap(p.text) < memberText {
		p.text = make([]byte, memberText)
	}
	p.text = p.text[:m.text]
	if _, err := io.ReadFull(p.z, p.text); err != nil {
		return fmt.Errorf("%w: %w", errDamaged, err)
	}
	var more [1]byte
	if n, err := p.z.Read(more[:]); n != 0 || err != io.EOF {
		return fmt.Errorf("%w: it holds more than it says, or its checksum is wrong (%v)", errDamaged, err)
	}
	p.in = i
	return nil
}
