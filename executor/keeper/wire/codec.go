package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Bounds of fields, in bytes unless said otherwise.
const (
	MaxPacket   = 64 << 10 // one encoded message
	MaxInstance = 64       // instance and operation ids
	MaxService  = 255
	MaxPath     = 4096
	MaxSettings = 16 << 10
	MaxEvent    = 48 << 10 // data of one LoggerEvent
	MaxText     = 512
	MaxTail     = 512 // last words of a probe
	MaxPIDs     = 32  // processes listed in one Operation
	maxComm     = 64
)

// ErrMalformed is wrapped by every error about a packet that breaks the rules of
// this package. Its sender is broken; there is no use in reading on.
var ErrMalformed = errors.New("malformed packet")

// Encode appends the packet of m to dst. It fails if a field is out of bounds.
func Encode(dst []byte, m Message) ([]byte, error) {
	start := len(dst)
	c := codec{buf: append(dst, byte(m.Kind()))}
	m.walk(&c)
	if c.err == nil && len(c.buf)-start > MaxPacket {
		c.err = errors.New("message exceeds the packet size")
	}
	if c.err != nil {
		return dst, fmt.Errorf("cannot encode %s: %w", m.Kind(), c.err)
	}
	return c.buf, nil
}

// Decode reads one packet. Strings and byte fields of the result do not alias
// packet. All errors wrap ErrMalformed.
func Decode(packet []byte) (Message, error) {
	if len(packet) == 0 || len(packet) > MaxPacket {
		return nil, fmt.Errorf("%w: %d bytes", ErrMalformed, len(packet))
	}
	m := blank(Kind(packet[0]))
	if m == nil {
		return nil, fmt.Errorf("%w: unknown kind %d", ErrMalformed, packet[0])
	}
	c := codec{buf: packet[1:], decoding: true}
	m.walk(&c)
	if c.err == nil && len(c.buf) != 0 {
		c.err = fmt.Errorf("%d bytes left over", len(c.buf))
	}
	if c.err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrMalformed, m.Kind(), c.err)
	}
	return m, nil
}

// codec walks the fields of a message in one direction. When encoding, buf grows
// at its end; when decoding, it shrinks from its front. The first error stays.
type codec struct {
	buf      []byte
	decoding bool
	err      error
}

func (c *codec) fail(format string, args ...any) {
	if c.err == nil {
		c.err = fmt.Errorf(format, args...)
	}
}

// take returns the next n bytes, or nil after an error.
func (c *codec) take(n int) []byte {
	if c.err != nil {
		return nil
	}
	if len(c.buf) < n {
		c.fail("%d bytes missing", n-len(c.buf))
		return nil
	}
	b := c.buf[:n]
	c.buf = c.buf[n:]
	return b
}

func (c *codec) u8(v *uint8) {
	if !c.decoding {
		c.buf = append(c.buf, *v)
	} else if b := c.take(1); b != nil {
		*v = b[0]
	}
}

func (c *codec) u16(v *uint16) {
	if !c.decoding {
		c.buf = binary.LittleEndian.AppendUint16(c.buf, *v)
	} else if b := c.take(2); b != nil {
		*v = binary.LittleEndian.Uint16(b)
	}
}

func (c *codec) u32(v *uint32) {
	if !c.decoding {
		c.buf = binary.LittleEndian.AppendUint32(c.buf, *v)
	} else if b := c.take(4); b != nil {
		*v = binary.LittleEndian.Uint32(b)
	}
}

func (c *codec) u64(v *uint64) {
	if !c.decoding {
		c.buf = binary.LittleEndian.AppendUint64(c.buf, *v)
	} else if b := c.take(8); b != nil {
		*v = binary.LittleEndian.Uint64(b)
	}
}

// count carries a number that is not negative and fits 31 bits: pids, signals,
// lengths.
func (c *codec) count(v *int) {
	if !c.decoding && (*v < 0 || *v > 1<<31-1) {
		c.fail("number %d out of range", *v)
		return
	}
	n := uint32(*v)
	c.u32(&n)
	if c.decoding {
		if n > 1<<31-1 {
			c.fail("number %d out of range", n)
			return
		}
		*v = int(n)
	}
}

func (c *codec) bool(v *bool) {
	var b uint8
	if *v {
		b = 1
	}
	c.u8(&b)
	if b > 1 {
		c.fail("%d is not a truth value", b)
		return
	}
	if c.decoding {
		*v = b == 1
	}
}

// enum carries a small number in 1..last, or 0 where none is allowed.
func (c *codec) enum(v *uint8, first, last uint8) {
	c.u8(v)
	if c.err == nil && (*v < first || *v > last) {
		c.fail("value %d out of range %d..%d", *v, first, last)
	}
}

func (c *codec) str(v *string, limit int) {
	if !c.decoding {
		if len(*v) > limit {
			c.fail("text of %d bytes exceeds %d", len(*v), limit)
			return
		}
		n := uint16(len(*v))
		c.u16(&n)
		c.buf = append(c.buf, *v...)
		return
	}
	*v = string(c.field(limit))
}

func (c *codec) bytes(v *[]byte, limit int) {
	if !c.decoding {
		if len(*v) > limit {
			c.fail("data of %d bytes exceeds %d", len(*v), limit)
			return
		}
		n := uint16(len(*v))
		c.u16(&n)
		c.buf = append(c.buf, *v...)
		return
	}
	if b := c.field(limit); len(b) > 0 {
		*v = append([]byte(nil), b...)
	}
}

func (c *codec) field(limit int) []byte {
	var n uint16
	c.u16(&n)
	if int(n) > limit {
		c.fail("field of %d bytes exceeds %d", n, limit)
	}
	return c.take(int(n))
}

// id carries an instance or operation id: never empty, no slash and no dot at
// its start, because instance ids become names of cgroup directories.
func (c *codec) id(v *string) {
	c.str(v, MaxInstance)
	if c.err != nil {
		return
	}
	if !validID(*v) {
		c.fail("%q is not an id", *v)
	}
}

func validID(s string) bool {
	if s == "" || s[0] == '.' {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] == '/' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}
