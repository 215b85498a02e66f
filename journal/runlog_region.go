package journal

import (
	"fmt"
	"io"

	"supd/journal/event"
)

// regionError says that the active region is damaged in its middle: there are
// whole frames behind the bad one.
type regionError struct {
	what    string
	records []event.Encoded // of all whole frames
}

// Error names the place.
func (e *regionError) Error() string {
	return fmt.Sprintf("%v region: %s, with %d whole records", errFormat, e.what, len(e.records))
}

// Unwrap makes it a malformed run log.
func (e *regionError) Unwrap() error { return errFormat }

// readRegion reads the active region. Where the slot that names it was damaged,
// its older copy names the region before: so the other one is looked at too,
// and the one that goes further is the active one.
func (l *runLog) readRegion() (contents, error) {
	c, err := l.regionOf(l.gen)
	if newer, e := l.regionOf(l.gen + 1); e == nil && (err != nil || newer.last() > c.last()) {
		l.gen++
		c, err = newer, nil
	}
	if err != nil {
		return c, err
	}
	if len(c.behind) == 0 {
		return c, nil
	}
	damaged := &regionError{what: c.cut}
	for _, raw := range append(c.records, c.behind...) {
		if e, err := event.Decode(raw.bytes); err == nil {
			damaged.records = append(damaged.records, e)
		}
	}
	return c, damaged
}

func (l *runLog) regionOf(gen uint64) (contents, error) {
	b := make([]byte, l.region)
	if _, err := io.ReadFull(io.NewSectionReader(l.f, l.offset(gen), l.region), b); err != nil {
		return contents{}, fmt.Errorf("cannot read region: %w", err)
	}
	return decodeRegion(b, gen)
}
