package event

import (
	"fmt"
	"strconv"
)

// appendWire writes a record around its encoded data, byte for byte as Marshal
// would, at a fifth of the cost: a record's data is encoded by a type's own rules,
// but what is around it is always the same. TestEnvelope holds the two together.
func appendWire(b []byte, r *Record, data []byte) ([]byte, error) {
	var failed error
	text := func(key, v string) {
		b = append(b, key...)
		if plain(v) == len(v) {
			b = append(append(append(b, '"'), v...), '"')
			return
		}
		quoted, err := Marshal(v)
		if err != nil {
			failed = err
		}
		b = append(b, quoted...)
	}
	text(`{"specversion":`, SpecVersion)
	text(`,"id":`, r.ID)
	text(`,"source":`, r.Source)
	text(`,"type":`, r.Kind.Type())
	if r.Subject != "" {
		text(`,"subject":`, r.Subject)
	}
	b = append(b, `,"time":"`...)
	b, err := r.Time.AppendText(b)
	if err != nil {
		return nil, fmt.Errorf("cannot encode time: %w", err)
	}
	b = append(b, `","mono":`...)
	b = strconv.AppendInt(b, r.Mono, 10)
	text(`,"boot":`, r.Boot)
	b = append(b, `,"seq":`...)
	b = strconv.AppendUint(b, uint64(r.Seq), 10)
	text(`,"prev":`, r.Prev)
	if r.Cause != "" {
		text(`,"cause":`, r.Cause)
	}
	text(`,"actor":`, r.Actor)
	b = append(append(append(b, `,"data":`...), data...), '}')
	return b, failed
}
