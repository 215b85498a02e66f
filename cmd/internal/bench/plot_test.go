package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

func grown() *growth {
	g := newGrowth("/nowhere")
	for i, n := range crowds {
		for _, s := range g.withServices() {
			v := float64(i) * float64(n) / 7 // the first one is nothing, which no logarithm has
			s.add(n, v, v/2, v*3)
		}
	}
	g.boot.times(journals[0], []time.Duration{time.Second}) // the others were not measured
	return g
}

// TestPlot checks that a drawing is well-formed and that no coordinate is
// infinite, with values that are zero, missing, or a single one.
func TestPlot(t *testing.T) {
	g := grown()
	var all []series
	for _, s := range append(g.withServices(), g.withRecords()...) {
		all = append(all, *s)
	}
	drawing := plot(all)
	panels := 0
	for d := xml.NewDecoder(bytes.NewReader(drawing)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("the drawing is not well-formed: %v\n%s", err, drawing)
		}
		e, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		if e.Name.Local == "g" {
			panels++
		}
		for _, a := range e.Attr {
			if strings.Contains(a.Value, "Inf") || strings.Contains(a.Value, "NaN") {
				t.Errorf("%s has %s=%q", e.Name.Local, a.Name.Local, a.Value)
			}
		}
	}
	if want := len(g.withServices()) + 1; panels != want {
		t.Errorf("%d panels, want %d: series without a point have none", panels, want)
	}
}

// TestPage checks that what could not be measured is told and loses nothing.
func TestPage(t *testing.T) {
	page := string(grown().page("growth.svg", time.Minute, errors.New("1 million records: cannot start")))
	for _, want := range []string{
		"](growth.svg)", "| services | 10 | 100 | 1000 | 5000 |", "| records in the journal | 10,000 |",
		"| launch on a journal → status answered, ms | 1000 |", "- 1 million records: cannot start",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q:\n%s", want, page)
		}
	}
}

// TestParseBeacon refuses lines that are still being written.
func TestParseBeacon(t *testing.T) {
	if b, ok := parseBeacon("s-1 23 456\n"); !ok || b != (beacon{"s-1", 23, 456}) {
		t.Errorf("%v, %v", b, ok)
	}
	for _, line := range []string{"", "\n", "s-1 23 45", "s-1 23\n", "s-1 x 4\n", "s-1 2 4 5\n"} {
		if b, ok := parseBeacon(line); ok {
			t.Errorf("%q is taken for %v", line, b)
		}
	}
}
