package event

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// SpecVersion is the CloudEvents version every record carries.
const SpecVersion = "1.0"

// MaxRecordSize bounds one encoded record in bytes. It leaves room below the
// journal's message limit of 8 MiB; larger state is cut into parts of a base.
const MaxRecordSize = 4 << 20

// Seq is a record's own number: contiguous from 1 for ever, independent of
// the stream's sequence (R6). 0 means none.
type Seq uint64

// Run numbers the instances of one service: 1, 2, 3… for ever. 0 means none.
type Run uint64

// Genesis is the prev of the record with seq 1: no record is before it.
const Genesis = "0000000000000000000000000000000000000000000000000000000000000000"

// ErrUnknownKind is returned by Decode for a type that this version does not
// know. Readers for people may go on with the raw record that comes with it;
// a fold must stop, because it cannot know what the record changes.
var ErrUnknownKind = errors.New("unknown record kind")

// Record is the envelope of every record, with CloudEvents 1.0 attribute
// names and supd's own beside them.
type Record struct {
	ID      string    // UUIDv7
	Source  string    // supd/<node>/<node id>
	Kind    Kind      // "instance.exited"; on the wire supd.<kind>.v1
	Subject string    // the service; empty if none
	Time    time.Time // wall clock, UTC, for display; order is Seq (R13)
	Mono    int64     // CLOCK_BOOTTIME in nanoseconds
	Boot    string    // boot id + pid namespace: where Mono and pids mean something
	Seq     Seq
	Prev    string // SHA-256 of the previous record's stored bytes, lower-case hex
	Cause   string // id of the record or command that led here; empty if from outside
	Actor   string // uid-1000, nkey-U…, signal, supd
	Data    Data
}

// Data is the kind-specific part of a record. The types are in this package,
// one for each kind.
type Data interface{ Kind() Kind }

// Draft is a record before it has a place in the journal: what a decision
// writes. The executor stamps it into a Record.
type Draft struct {
	Subject string
	Cause   string
	Actor   string
	Data    Data
}

// Encoded is a record with the bytes that are stored and their hash. The
// bytes are immutable from here on (R6).
type Encoded struct {
	Record Record
	Bytes  []byte
	Hash   string // lower-case hex SHA-256 of Bytes
}

type wire struct {
	SpecVersion string          `json:"specversion"`
	ID          string          `json:"id"`
	Source      string          `json:"source"`
	Type        string          `json:"type"`
	Subject     string          `json:"subject,omitempty"`
	Time        time.Time       `json:"time"`
	Mono        int64           `json:"mono"`
	Boot        string          `json:"boot"`
	Seq         Seq             `json:"seq"`
	Prev        string          `json:"prev"`
	Cause       string          `json:"cause,omitempty"`
	Actor       string          `json:"actor"`
	Data        json.RawMessage `json:"data"`
}

// envelopeRoom is enough for what is around nearly all records' data.
const envelopeRoom = 640

// Encode turns a record into its stored form. It returns an error for a
// record without data, for data of another kind, and for one that is larger
// than MaxRecordSize.
func Encode(r Record) (Encoded, error) {
	if r.Data == nil || r.Data.Kind() != r.Kind {
		return Encoded{}, fmt.Errorf("cannot encode record %d: its data is not of kind %q", r.Seq, r.Kind)
	}
	// From here on it is as a reader of the bytes gets it: a state built from
	// this record must be the one that is built from the journal (P6), whatever
	// clock and zone it is from.
	r.Time = r.Time.UTC().Round(0)
	data, err := Marshal(r.Data)
	if err != nil {
		return Encoded{}, fmt.Errorf("cannot encode record %d (%s): %w", r.Seq, r.Kind, err)
	}
	if read := codecs[r.Kind].decode; read != nil && bytes.Contains(data, []byte(`\ufffd`)) {
		// Text that is no UTF-8, from a path or a client, has been replaced.
		if r.Data, err = read(data); err == nil {
			data, err = Marshal(r.Data)
		}
		if err != nil {
			return Encoded{}, fmt.Errorf("cannot encode record %d (%s): %w", r.Seq, r.Kind, err)
		}
	}
	b, err := appendWire(make([]byte, 0, len(data)+envelopeRoom), &r, data)
	if err != nil {
		return Encoded{}, fmt.Errorf("cannot encode record %d (%s): %w", r.Seq, r.Kind, err)
	}
	if len(b) > MaxRecordSize {
		return Encoded{}, fmt.Errorf("cannot encode record %d (%s): %d bytes are more than %d", r.Seq, r.Kind, len(b), MaxRecordSize)
	}
	return Encoded{Record: r, Bytes: b, Hash: Hash(b)}, nil
}

// Decode reads a stored record. For an unknown kind it returns the record
// with Data of type Unknown and an error that wraps ErrUnknownKind.
func Decode(b []byte) (Encoded, error) {
	if len(b) > MaxRecordSize {
		return Encoded{}, fmt.Errorf("cannot decode record: %d bytes are more than %d", len(b), MaxRecordSize)
	}
	var e Encoded
	if decodeCanonical(b, &e.Record) {
		e.Bytes, e.Hash = b, Hash(b)
		return e, nil
	}
	return decodeAny(b)
}

// decodeAny decodes a record in any form that JSON allows.
func decodeAny(b []byte) (Encoded, error) {
	var w wire
	if err := json.Unmarshal(b, &w); err != nil {
		return Encoded{}, fmt.Errorf("cannot decode record: %w", err)
	}
	if w.SpecVersion != SpecVersion || w.ID == "" || w.Seq == 0 || len(w.Prev) != len(Genesis) {
		return Encoded{}, fmt.Errorf("cannot decode record: specversion, id, seq or prev is missing or wrong")
	}
	at := w.Time.UTC()
	if at.Year() < 0 || at.Year() > 9999 {
		return Encoded{}, fmt.Errorf("cannot decode record %d: its time is out of range", w.Seq)
	}
	e := Encoded{Bytes: b, Hash: Hash(b), Record: Record{
		ID: w.ID, Source: w.Source, Subject: w.Subject, Time: at, Mono: w.Mono, Boot: w.Boot,
		Seq: w.Seq, Prev: w.Prev, Cause: w.Cause, Actor: w.Actor,
	}}
	kind, ok := kindOfType(w.Type)
	if !ok {
		e.Record.Kind, e.Record.Data = Kind(w.Type), Unknown{Type: w.Type, Raw: w.Data}
		return e, fmt.Errorf("cannot decode record %d: %w %q", w.Seq, ErrUnknownKind, w.Type)
	}
	data, err := DecodeData(kind, w.Data)
	if err != nil {
		return Encoded{}, fmt.Errorf("cannot decode record %d (%s): %w", w.Seq, kind, err)
	}
	e.Record.Kind, e.Record.Data = kind, data
	return e, nil
}

// Hash is the lower-case hex SHA-256 of a record's stored bytes, as the next
// record's prev carries it.
func Hash(b []byte) string {
	sum := sha256.Sum256(b)
	var text [len(Genesis)]byte
	hex.Encode(text[:], sum[:])
	return string(text[:])
}

// Marshal is the project's JSON form: no HTML escapes, which people would
// have to read around, and no trailing newline.
func Marshal(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimRight(buf.Bytes(), "\n"), nil
}

// Unknown is the data of a record whose kind this version does not know.
type Unknown struct {
	Type string
	Raw  json.RawMessage
}

// Kind returns the whole type, which is no kind of this version.
func (u Unknown) Kind() Kind { return Kind(u.Type) }
