package blocks

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"
)

// ReadCopyVerb is what supreplay, which has no server in it, has supd do: read a
// copy of the files through its own and write the entries to its stdout.
const ReadCopyVerb = "read-copy"

// Entries go from there to here behind a mark, for each entry
//
//	u64 stream sequence
//	i64 time, nanoseconds since 1970
//	u16 length of the subject
//	u32 length of the data
//	subject, data
//
// all little endian, and a sequence of 0 behind the last one, so that a writer
// that died shows. Headers are left out: they are the server's own.
const (
	wireMark = "supd records 1\n"
	wireHead = 8 + 8 + 2 + 4
)

// Writer writes entries. Not for concurrent use.
type Writer struct {
	w    *bufio.Writer
	head [wireHead]byte
	err  error
}

// NewWriter begins a row of entries, which Close ends.
func NewWriter(w io.Writer) *Writer {
	b := bufio.NewWriterSize(w, 1<<20)
	_, err := b.WriteString(wireMark)
	return &Writer{w: b, err: err}
}

// Write appends an entry. After an error every call returns it.
func (w *Writer) Write(e Entry) error {
	if w.err == nil && (e.StreamSeq == 0 || len(e.Subject) >= 1<<16 || len(e.Data) > maxRecord) {
		w.err = fmt.Errorf("cannot write stream record %d: a length or its number makes no sense", e.StreamSeq)
	}
	if w.err != nil {
		return w.err
	}
	le := binary.LittleEndian
	le.PutUint64(w.head[:], e.StreamSeq)
	le.PutUint64(w.head[8:], uint64(e.Time.UnixNano()))
	le.PutUint16(w.head[16:], uint16(len(e.Subject)))
	le.PutUint32(w.head[18:], uint32(len(e.Data)))
	_, _ = w.w.Write(w.head[:]) // its errors stay
	_, _ = w.w.WriteString(e.Subject)
	_, w.err = w.w.Write(e.Data)
	return w.err
}

// Close marks the end and flushes. It does not close what is written to.
func (w *Writer) Close() error {
	if w.err != nil {
		return w.err
	}
	var end [8]byte
	_, _ = w.w.Write(end[:])
	return w.w.Flush()
}

// ReadWire reads what a Writer wrote, from a stranger as far as this goes: an
// error, which is no *Damage, ends the iteration.
func ReadWire(r io.Reader) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		b := bufio.NewReaderSize(r, 1<<20)
		subjects := walk{subjects: map[string]string{}}
		mark := make([]byte, len(wireMark))
		if _, err := io.ReadFull(b, mark); err != nil || string(mark) != wireMark {
			yield(Entry{}, errors.New("cannot read records: they do not begin as records do"))
			return
		}
		for last := uint64(0); ; {
			e, err := subjects.readWire(b)
			if err == nil && e.StreamSeq != 0 && e.StreamSeq <= last {
				err = fmt.Errorf("stream record %d stands behind %d", e.StreamSeq, last)
			}
			if err != nil {
				yield(Entry{}, fmt.Errorf("cannot read records: %w", err))
				return
			}
			if e.StreamSeq == 0 || !yield(e, nil) {
				return
			}
			last = e.StreamSeq
		}
	}
}

// readWire reads one entry; a sequence of 0 is the end.
func (w *walk) readWire(r io.Reader) (e Entry, err error) {
	var head [wireHead]byte
	if _, err := io.ReadFull(r, head[:8]); err != nil {
		return e, errCut(err)
	}
	le := binary.LittleEndian
	if e.StreamSeq = le.Uint64(head[:]); e.StreamSeq == 0 {
		return e, nil
	}
	if _, err := io.ReadFull(r, head[8:]); err != nil {
		return e, errCut(err)
	}
	e.Time = time.Unix(0, int64(le.Uint64(head[8:]))).UTC()
	subject, data := int(le.Uint16(head[16:])), int64(le.Uint32(head[18:]))
	if data > maxRecord {
		return e, errLength
	}
	text := make([]byte, subject)
	if _, err := io.ReadFull(r, text); err != nil {
		return e, errCut(err)
	}
	e.Subject = w.subject(text)
	// Not more at once than is there: a length may be a lie.
	if e.Data, err = io.ReadAll(io.LimitReader(r, data)); err == nil && int64(len(e.Data)) < data {
		err = io.ErrUnexpectedEOF
	}
	return e, errCut(err)
}

// errCut says what an end in the middle means.
func errCut(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("they end before their end")
	}
	return err
}
