package blocks

import "encoding/binary"

// appendRecord writes a record as the server does, for the block that x has
// the key of.
func (x *hasher) appendRecord(b []byte, seq uint64, ts int64, subject string, header, data []byte) []byte {
	start := len(b)
	le := binary.LittleEndian
	size := uint32(minRecord + len(subject) + len(header) + len(data))
	if len(header) > 0 {
		size = (size + 4) | hasHeaders
	}
	b = le.AppendUint32(b, size)
	b = le.AppendUint64(b, seq)
	b = le.AppendUint64(b, uint64(ts))
	b = le.AppendUint16(b, uint16(len(subject)))
	b = append(b, subject...)
	if len(header) > 0 {
		b = le.AppendUint32(b, uint32(len(header)))
		b = append(b, header...)
	}
	b = append(b, data...)
	x.h.Reset()
	_, _ = x.h.Write(b[start+4 : start+20])
	_, _ = x.h.Write([]byte(subject))
	_, _ = x.h.Write(header)
	_, _ = x.h.Write(data)
	return x.h.Sum(b)
}
