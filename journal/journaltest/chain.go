// Package journaltest helps to test what stands on the journal: chains of
// records, a stream in memory that fails on demand, and the conformance suite
// that this stream and the real one both pass.
package journaltest

import (
	"bytes"
	"fmt"
	"time"

	"supd/journal"
	"supd/journal/event"
)

// Chain makes records that continue each other. The zero value is no chain: use
// NewChain. It panics where a record cannot be encoded, which is a mistake in
// the test.
type Chain struct{ Link journal.Link }

// NewChain begins at the first record.
func NewChain() *Chain { return &Chain{Link: journal.Origin()} }

// Add makes the next record with this data.
func (c *Chain) Add(data event.Data) event.Encoded { return c.About("", "", data) }

// About makes one about a service that follows from the record or command cause.
func (c *Chain) About(service, cause string, data event.Data) event.Encoded {
	seq := c.Link.Seq + 1
	e, err := event.Encode(event.Record{
		ID: fmt.Sprintf("01900000-0000-7000-8000-%012x", seq), Source: "supd/test/0", Kind: data.Kind(),
		Time: time.Unix(int64(1_700_000_000+seq), 0), Mono: int64(seq), Boot: "boot", Seq: seq, Prev: c.Link.Hash,
		Subject: service, Cause: cause, Actor: "supd", Data: data,
	})
	if err != nil {
		panic(err)
	}
	c.Link = journal.LinkOf(e)
	return e
}

// Next makes n small records.
func (c *Chain) Next(n int) []event.Encoded {
	batch := make([]event.Encoded, n)
	for i := range batch {
		batch[i] = c.Add(event.AccessDeniedData{Subject: "sup.test.cmd.uid-1._", Count: int(c.Link.Seq) + 1})
	}
	return batch
}

// Large makes one record of about size bytes.
func (c *Chain) Large(size int) event.Encoded {
	return c.Add(event.AccessDeniedData{Subject: string(bytes.Repeat([]byte("x"), size)), Count: 1})
}

// Base makes state.base records of a state, cut into parts. State must be JSON
// if parts is 1.
func (c *Chain) Base(state string, parts int) []event.Encoded {
	if parts == 1 {
		return []event.Encoded{c.Add(event.StateBaseData{Part: 1, Parts: 1, Version: 1, State: []byte(state)})}
	}
	var batch []event.Encoded
	for i := range parts {
		chunk := state[i*len(state)/parts : (i+1)*len(state)/parts]
		batch = append(batch, c.Add(event.StateBaseData{Part: i + 1, Parts: parts, Version: 1, Chunk: chunk}))
	}
	return batch
}

// Gap makes the record that stands for what was dropped, and continues from it.
func (c *Chain) Gap(gap event.JournalGapData) event.Encoded {
	c.Link = journal.Link{Seq: gap.Last, Hash: gap.LastHash}
	return c.Add(gap)
}
