package main

import (
	"fmt"

	"supd/journal/event"
)

// grade says how bad a finding is.
type grade string

const (
	// note is worth knowing and no damage: a gap that supd itself recorded.
	note grade = "note"
	// tail is an end that was being written when the copy was made or the
	// power went.
	tail grade = "tail"
	// damage is anything else that is not as it was written.
	damage grade = "damage"
)

// finding is a place of the journal that is not as it should be.
type finding struct {
	Grade  grade     `json:"grade"`
	What   string    `json:"what"`
	File   string    `json:"file"`
	Offset int64     `json:"offset"`
	First  event.Seq `json:"first_seq"` // records concerned, inclusive; 0: none
	Last   event.Seq `json:"last_seq"`  // 0 with a First: up to an end that is not known
	Detail string    `json:"detail"`

	lost bool   // stream records are gone in it
	end  uint64 // the last of them, in the stream's own numbers; 0: not told
}

// records names the records concerned.
func (f *finding) records() string {
	switch {
	case f.First == 0:
		return "no record is lost"
	case f.Last == 0:
		return fmt.Sprintf("records from %d on", f.First)
	case f.First == f.Last:
		return fmt.Sprintf("record %d", f.First)
	}
	return fmt.Sprintf("records %d to %d", f.First, f.Last)
}

// String is the finding as one line.
func (f *finding) String() string {
	return fmt.Sprintf("%s: %s: %s at byte %d: %s", f.What, f.records(), f.File, f.Offset, f.Detail)
}
