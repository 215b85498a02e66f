package console

import (
	"context"
	"fmt"
	"hash/fnv"
	"strings"

	"supd/journal/output"
)

// show gives a service its turn: what it has to say, up to one chunk.
func (c *Console) show(service string, last bool) error {
	p := c.places[service]
	if p == nil {
		first := output.Position{Segment: 1}
		p = &place{cursor: output.Cursor{Out: first, Err: first}, partial: map[string]string{}}
		c.places[service] = p
	}
	q := output.Query{
		Service: service, Stream: c.opts.Stream, Cursor: p.cursor, MaxBytes: chunkBytes, Follow: !c.opts.Plain && !last,
	}
	c.mu.Lock()
	hidden, width := c.hidden[service], c.width
	c.mu.Unlock()
	if hidden {
		return c.pass(p, q)
	}
	var gone skipped
	err := c.catchUp(p, &q, &gone)
	var chunk output.Chunk
	if err == nil {
		chunk, err = output.Read(context.Background(), c.opts.Dir, q)
	}
	gone.count(chunk)
	if err := c.tell(service, width, gone); err != nil {
		return err
	}
	if err != nil {
		return c.trouble(service, width, err, last)
	}
	for _, l := range chunk.Lines {
		c.line(service, width, p, l)
	}
	p.cursor = chunk.Next
	if err := c.flush(); err != nil {
		return err
	}
	if p.more = !chunk.EOF; p.more {
		c.mu.Lock()
		c.enqueue(service)
		c.mu.Unlock()
	} else if chunk.Held {
		c.held[service] = true
	}
	return nil
}

// pass moves to the end without a word: the service is not to be shown.
func (c *Console) pass(p *place, q output.Query) error {
	q.Cursor = output.Cursor{}
	if chunk, err := output.Read(context.Background(), c.opts.Dir, q); err == nil {
		p.cursor = chunk.Next
		clear(p.partial)
	}
	return nil
}

// skipped is output that was not shown.
type skipped struct {
	lines int64
	files uint64 // that retention removed before they were read
}

func (s *skipped) count(chunk output.Chunk) {
	for _, x := range chunk.Skipped {
		s.files += x.Segments
	}
}

// catchUp passes over what has waited too long.
func (c *Console) catchUp(p *place, q *output.Query, gone *skipped) error {
	if !p.more {
		return nil
	}
	behind, err := output.Behind(c.opts.Dir, *q)
	if err == nil && behind > c.opts.Backlog {
		err = c.skip(p, q, behind-c.opts.Backlog/2, gone)
	}
	return err
}

// skip passes over about so many bytes and counts their lines.
func (c *Console) skip(p *place, q *output.Query, n int64, gone *skipped) error {
	clear(p.partial)
	for n > 0 {
		chunk, err := output.Read(context.Background(), c.opts.Dir, *q)
		if err != nil {
			return err
		}
		for _, l := range chunk.Lines {
			n -= int64(len(l.Data)) + 1
			if !l.Partial {
				gone.lines++
			}
		}
		gone.count(chunk)
		stuck := chunk.Next == q.Cursor
		q.Cursor, p.cursor = chunk.Next, chunk.Next
		if chunk.EOF || stuck {
			break
		}
	}
	return nil
}

// tell says what was skipped.
func (c *Console) tell(service string, width int, s skipped) error {
	if s.lines > 0 {
		if err := c.note(service, width, fmt.Sprintf("… %d lines skipped", s.lines)); err != nil {
			return err
		}
	}
	if s.files > 0 {
		return c.note(service, width, fmt.Sprintf("… %d output files were removed unseen", s.files))
	}
	return nil
}

// note writes a line of our own.
func (c *Console) note(service string, width int, text string) error {
	if c.opts.Plain {
		_, err := fmt.Fprintln(c.opts.Notes, "supd:", text)
		return err
	}
	c.endLine()
	c.prefix(service, width)
	c.buf.WriteString(text + "\n")
	return nil
}

// trouble says once that a service's output cannot be read, and has it tried
// again.
func (c *Console) trouble(service string, width int, err error, last bool) error {
	if !last {
		c.held[service] = true
	}
	if c.failed[service] {
		return nil
	}
	c.failed[service] = true
	if err := c.note(service, width, "… "+err.Error()); err != nil {
		return err
	}
	return c.flush()
}

func (c *Console) line(service string, width int, p *place, l output.Line) {
	key := service + "/" + l.Stream
	if c.opts.Plain {
		c.buf.Write(l.Data)
	} else {
		goesOn := p.partial[l.Stream] == l.Instance && l.Instance != "" && c.open == key
		if !goesOn {
			c.endLine()
			c.prefix(service, width)
		}
		c.buf.Write(l.Data)
	}
	delete(p.partial, l.Stream)
	c.open = ""
	if l.Partial {
		p.partial[l.Stream], c.open = l.Instance, key
		return
	}
	c.buf.WriteByte('\n')
}

// endLine ends a line that another one now comes after.
func (c *Console) endLine() {
	if c.open != "" {
		c.buf.WriteByte('\n')
		c.open = ""
	}
}

// Colours of names: those that can be read on black and on white.
var colors = []string{"36", "33", "32", "35", "34", "31"}

func (c *Console) prefix(service string, width int) {
	if c.opts.Plain {
		return
	}
	text := service + strings.Repeat(" ", max(0, width-len(service))) + " | "
	if c.opts.Color {
		h := fnv.New32a()
		_, _ = h.Write([]byte(service))
		text = "\x1b[" + colors[h.Sum32()%uint32(len(colors))] + "m" + text + "\x1b[0m"
	}
	c.buf.WriteString(text)
}

// flush hands over what was gathered; it may block.
func (c *Console) flush() error {
	if c.buf.Len() == 0 {
		return nil
	}
	n, err := c.opts.Out.Write(c.buf.Bytes())
	c.written.Add(int64(n))
	c.buf.Reset()
	return err
}
