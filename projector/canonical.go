package projector

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"supd/journal/event"
)

// MaxBasePart bounds the state text in one part of a base, in bytes. A part
// with its envelope and JSON escapes stays below event.MaxRecordSize.
const MaxBasePart = 1 << 20

// Canonical is the one byte form of the state: JSON with fixed field order
// and sorted maps. It includes everything but the position in the journal.
func (s *State) Canonical() []byte {
	b, err := event.Marshal(s)
	if err != nil {
		panic("a state must always encode: " + err.Error())
	}
	return b
}

// Parse reads a canonical or kept state that was true after the record (seq,
// hash).
func Parse(text []byte, seq event.Seq, hash string) (*State, error) {
	s := New()
	s.Version = 0
	canonical, deaths := CutBase(string(text))
	if err := json.Unmarshal([]byte(canonical), s); err != nil {
		return nil, fmt.Errorf("cannot read state: %w", err)
	}
	if err := s.migrate(); err != nil {
		return nil, err
	}
	if s.Services == nil {
		s.Services = map[string]*Service{}
	}
	if s.Commands == nil {
		s.Commands = map[string]*Command{}
	}
	if err := s.whole(); err != nil {
		return nil, fmt.Errorf("cannot read state: %w", err)
	}
	for _, e := range s.Ended {
		s.ended[e.ID] = e
	}
	var share event.Sharing
	for _, v := range s.Services {
		share.Spec(&v.Spec)
	}
	s.seq, s.hash = seq, hash
	s.remember(deaths)
	s.findResolved()
	return s, nil
}

// migrate brings a state of an older version up to this one.
func (s *State) migrate() error {
	switch s.Version {
	case Version:
	case 1: // knew no readiness: what ran was ready
		s.Version = Version
		for _, v := range s.Services {
			if v != nil && v.LastExit != nil {
				v.LastExit.Ready = v.LastExit.Ran
			}
		}
	default:
		return fmt.Errorf("cannot read state: its version is %d, this supd knows up to %d", s.Version, Version)
	}
	return nil
}

// whole finds what no state that supd wrote lacks, and what a fold would fall
// over: a base may come out of a damaged journal.
func (s *State) whole() error {
	for name, v := range s.Services {
		if v == nil || v.Name != name {
			return fmt.Errorf("service %q is incomplete", name)
		}
		for _, id := range v.Pending {
			if s.Commands[id] == nil {
				return fmt.Errorf("service %q waits for command %q, which is not open", name, id)
			}
		}
		if v.Phase == event.PhaseWaiting && v.Waiting == nil {
			return fmt.Errorf("service %q waits for nothing", name)
		}
		if v.PostStop && v.LastExit == nil {
			return fmt.Errorf("service %q has a hook due and no exit", name)
		}
		if v.Phase == event.PhaseBackoff && v.NextStart == nil {
			return fmt.Errorf("service %q is in backoff without a next start", name)
		}
		if v.Tree != nil && v.LastExit == nil {
			return fmt.Errorf("service %q has a tree and no exit", name)
		}
	}
	for id, c := range s.Commands {
		if c == nil || c.ID != id || c.After == nil || c.Results == nil {
			return fmt.Errorf("command %q is incomplete", id)
		}
	}
	if slices.Contains(s.Ended, nil) {
		return fmt.Errorf("an ended command is missing")
	}
	return nil
}

// Base cuts the state into the data of base records (R9).
func (s *State) Base() []event.StateBaseData { return s.Parts(MaxBasePart) }

// Parts is Base with parts of at most so many bytes of text, from 4 to
// MaxBasePart: so many does the longest character have.
func (s *State) Parts(most int) []event.StateBaseData {
	text := s.Kept()
	if len(text) <= most {
		return []event.StateBaseData{{Part: 1, Parts: 1, Version: Version, State: text}}
	}
	n := (len(text) + most - 1) / most
	parts := make([]event.StateBaseData, 0, n)
	rest := string(text)
	for i := 1; i <= n; i++ {
		cut := min(most, len(rest))
		// A cut inside a UTF-8 sequence would be replaced by JSON's encoder.
		for cut < len(rest) && cut > 0 && rest[cut]&0xC0 == 0x80 {
			cut--
		}
		if i == n {
			cut = len(rest)
		}
		parts = append(parts, event.StateBaseData{Part: i, Parts: n, Version: Version, Chunk: rest[:cut]})
		rest = rest[cut:]
	}
	return parts
}

// FromBase starts a fold at a complete base: its parts in order, nothing
// before them is needed.
func FromBase(parts []event.Encoded) (*State, error) {
	if len(parts) == 0 {
		return nil, fmt.Errorf("cannot start at base: it has no parts")
	}
	var text strings.Builder
	for i, e := range parts {
		d, ok := e.Record.Data.(event.StateBaseData)
		if !ok || d.Part != i+1 || d.Parts != len(parts) {
			return nil, fmt.Errorf("cannot start at base: record %d is not part %d of %d", e.Record.Seq, i+1, len(parts))
		}
		text.WriteString(basePartText(d))
	}
	last := parts[len(parts)-1]
	return Parse([]byte(text.String()), last.Record.Seq, last.Hash)
}

func basePartText(d event.StateBaseData) string {
	if d.Chunk != "" {
		return d.Chunk
	}
	return string(d.State)
}

// applyBase follows a base in the middle of a fold. Where records are missing
// before it, the base makes the state true again (R10).
func (s *State) applyBase(e *event.Encoded, d event.StateBaseData) error {
	if d.Part != len(s.parts)+1 {
		s.parts = nil
		if d.Part != 1 {
			return nil // the rest of a base whose beginning was discarded
		}
	}
	s.parts = append(s.parts, basePartText(d))
	if d.Part < d.Parts {
		return nil
	}
	parts := s.parts
	s.parts = nil
	if !s.stale {
		return nil
	}
	text := strings.Join(parts, "")
	fresh, err := Parse([]byte(text), e.Record.Seq, e.Hash)
	if err != nil {
		return err
	}
	*s = *fresh
	return nil
}
