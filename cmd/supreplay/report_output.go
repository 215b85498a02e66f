package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"supd/journal/output"
)

// How much output a page holds: the lines this long before and behind each
// mark, each line cut to so many bytes, and so many bytes of them in all.
const (
	reportBefore = 2 * time.Second
	reportBehind = time.Second
	reportLine   = 2 << 10
	reportOutput = 16 << 20
)

// laneOutput is lines of one service in their order, in columns.
type laneOutput struct {
	Time   []int64  `json:"time"` // µs, as steps from the page's start
	Stream []int    `json:"stream"`
	Text   []string `json:"text"`
}

// window is a time whose output is wanted.
type window struct{ from, to time.Time }

// collectOutput adds the lines around marks. The newest windows are read
// first, so that what does not fit is the oldest.
func (s *source) collectOutput(p *report) {
	windows := p.windows()
	left := reportOutput
	var dirty redactor
	var skipped []string
	for n, name := range p.Services {
		budget := left / (len(p.Services) - n) // what one does not use is there for the others
		used, cut, err := s.laneOutput(name, windows[n], budget, p.Meta.Start, &dirty, &p.Output[n])
		left -= used
		if err != nil {
			skipped = append(skipped, name+": "+err.Error())
		} else if cut > 0 {
			skipped = append(skipped, fmt.Sprintf("%s: %d of %d moments, the oldest", name, cut, len(windows[n])))
		}
	}
	p.Meta.Redacted, p.Meta.Left = dirty.count, strings.Join(skipped, "; ")
}

// windows are the times around the marks of each lane, joined where they meet.
func (p *report) windows() [][]window {
	all := make([][]window, len(p.Services))
	add := func(lane int, at time.Time) {
		if lane < 0 {
			return
		}
		w := window{at.Add(-reportBefore), at.Add(reportBehind)}
		if n := len(all[lane]); n > 0 && !w.from.After(all[lane][n-1].to) {
			all[lane][n-1].to = w.to
			return
		}
		all[lane] = append(all[lane], w)
	}
	at := p.Meta.Start
	for i, step := range p.Time {
		at += step
		if p.Mark[i] == markNone {
			continue
		}
		add(p.Service[i], time.UnixMicro(at))
		for _, lane := range p.Targets[i] {
			add(lane, time.UnixMicro(at))
		}
	}
	return all
}

func (s *source) laneOutput(service string, windows []window, budget int, start int64, dirty *redactor, to *laneOutput) (used, cut int, err error) {
	var parts [][]output.Line
	for n := len(windows) - 1; n >= 0; n-- {
		lines, size, err := s.output(service, windows[n].from, windows[n].to, budget-used)
		if err != nil {
			return used, n + 1, err
		}
		if used += size; used >= budget {
			cut = n + 1
			break
		}
		parts = append(parts, lines)
	}
	last := start
	for n := len(parts) - 1; n >= 0; n-- {
		for _, l := range parts[n] {
			at := l.Time.UnixMicro()
			stream := 0
			if l.Stream == output.Stderr {
				stream = 1
			}
			text := strings.ToValidUTF8(string(l.Data[:min(len(l.Data), reportLine)]), "\uFFFD")
			if len(l.Data) > reportLine {
				text += "…"
			}
			to.Time, to.Stream = append(to.Time, at-last), append(to.Stream, stream)
			to.Text = append(to.Text, dirty.clean(text))
			last = at
		}
	}
	return used, cut, nil
}

// output reads what a service wrote in a time, at most so many bytes; size
// counts what was read. A source without output has none.
func (s *source) output(service string, from, to time.Time, most int) (lines []output.Line, size int, err error) {
	switch {
	case s.lines != nil:
		return s.bundled(service, from, to, most)
	case s.folder == "":
		return nil, 0, nil
	}
	q := output.Query{Service: service, Since: from, Tail: -1, MaxBytes: 256 << 10}
	for size < most {
		chunk, err := output.Read(context.Background(), filepath.Join(s.folder, "output"), q)
		if err != nil {
			return nil, size, err
		}
		for _, l := range chunk.Lines {
			if l.Time.After(to) {
				return lines, size, nil
			}
			lines = append(lines, l)
			size += min(len(l.Data), reportLine) + 16
		}
		if chunk.EOF {
			return lines, size, nil
		}
		q.Cursor = chunk.Next
	}
	return lines, size, nil
}

// bundled is output from the lines that a bundle holds.
func (s *source) bundled(service string, from, to time.Time, most int) (lines []output.Line, size int, err error) {
	for _, l := range s.lines[service] {
		if l.Time.Before(from) || l.Time.After(to) || size >= most {
			continue
		}
		lines = append(lines, l)
		size += len(l.Data) + 16
	}
	return lines, size, nil
}
