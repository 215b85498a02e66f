package main

import (
	"bufio"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"supd/cmd/internal/exitcode"
	"supd/journal/event"
	"supd/projector/timeline"
)

func timelineCommand(open opener, now func() time.Time) *cobra.Command {
	var q query
	var since, until string
	cmd := &cobra.Command{
		Use:        "timeline",
		SuggestFor: []string{"history", "events", "log", "logs", "list"},
		Short:      "Tell what happened, one line per record",
		Long: `timeline prints the records of the journal in their order, one line each, with
a line for each day. Times are local (see TZ), or UTC with --utc.

Where records are missing, damaged or altered, a line that begins with !! says
so in its place, and the exit code is 1 (an end that was being written does
not count). Clocks jump: the order is that of the numbers, not of the times.

With -o json each line is a record exactly as it is stored; what is wrong goes
to stderr.`,
		Example: `  supreplay timeline --since 03:00 --until 03:30
  supreplay timeline --service web --kind instance.exited -n 20
  supreplay timeline --actor uid-1000 --kind command
  supreplay timeline --from ./copy -o json | jq .type`,
		Args: cobra.NoArgs,
	}
	fl := cmd.Flags()
	fl.StringVar(&since, "since", "", "from this `MOMENT` on (see supreplay --help)")
	fl.StringVar(&until, "until", "", "up to this `MOMENT`")
	fl.StringVar(&q.service, "service", "", "only about this service; * and ? match")
	fl.StringVar(&q.kind, "kind", "", "only this kind (instance.exited) or group (instance); * and ? match")
	fl.StringVar(&q.actor, "actor", "", "only by this actor (uid-1000, supd)")
	fl.StringVar(&q.instance, "instance", "", "only about this instance: its id, the beginning of it, or with --service its run number")
	fl.IntVarP(&q.n, "lines", "n", 0, "only the last N lines")
	utc := fl.Bool("utc", false, "write times in UTC")
	form := outputFlag(cmd, "the stored records, one per line")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var err error
		if q.json, err = isJSON(*form); err != nil {
			return err
		}
		if err := q.parse(since, until, now()); err != nil {
			return err
		}
		if q.zone = time.Local; *utc {
			q.zone = time.UTC
		}
		src, err := open(cmd)
		if err != nil {
			return err
		}
		if err := q.resolve(src); err != nil {
			return &coded{exitcode.Failed, fmt.Errorf("cannot tell the timeline: %w", err)}
		}
		out := bufio.NewWriterSize(cmd.OutOrStdout(), 64<<10)
		p := printer{query: q, out: out, err: cmd.ErrOrStderr()}
		damaged := p.print(src)
		if err := out.Flush(); err != nil {
			return &coded{exitcode.Failed, fmt.Errorf("cannot write the timeline: %w", err)}
		}
		if p.shown == 0 && q.service != "" {
			noteService(cmd.ErrOrStderr(), src, q.service)
		}
		if damaged {
			return &coded{code: exitcode.Failed}
		}
		return nil
	}
	return cmd
}

// query is what a timeline shows.
type query struct {
	since, until                   *moment
	service, kind, actor, instance string
	n                              int
	json                           bool
	zone                           *time.Location
}

func (q *query) parse(since, until string, now time.Time) error {
	var err error
	if q.since, err = optionalMoment(since, now); err != nil {
		return err
	}
	if q.until, err = optionalMoment(until, now); err != nil {
		return err
	}
	for _, pattern := range []string{q.service, q.kind} {
		if _, err := path.Match(pattern, ""); err != nil {
			return usage("cannot read pattern %q: %w", pattern, err)
		}
	}
	if err := checkKind(q.kind); err != nil {
		return err
	}
	if q.n < 0 {
		return usage("cannot show %d lines: -n takes a number from 1 on", q.n)
	}
	if isNumber(q.instance) && q.service == "" {
		return usage("cannot find run %s: run numbers count per service, so name one with --service", q.instance)
	}
	return nil
}

// resolve finds the records that moments speak of.
func (q *query) resolve(src *source) error {
	for _, m := range []*moment{q.since, q.until} {
		if m == nil {
			continue
		}
		found, err := src.resolve(*m)
		if err != nil {
			return err
		}
		*m = found
	}
	return nil
}

func isNumber(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// printer writes a timeline. Damage is kept until the record behind it tells
// whether it lies in the time that is asked for.
type printer struct {
	query
	out     *bufio.Writer
	err     io.Writer
	year    int // the day of the line before
	month   time.Month
	day     int
	waiting []*finding
	last    []line // the last n, and some before them
	runID   string // instance id of the run that is asked for
	damaged bool
	shown   int // records, not findings
}

func (p *printer) print(src *source) (damaged bool) {
	inside := true
	for s := range src.history(reading{full: p.depth(), work: p.prepare, passing: p.n == 0, retell: true}) {
		if s.finding != nil {
			if inside {
				p.waiting = append(p.waiting, s.finding)
			}
			continue
		}
		r := s.rec.Record
		if p.since != nil && p.since.before(r) {
			p.waiting = p.waiting[:0]
			continue
		}
		if inside = p.until == nil || !p.until.after(r); !inside {
			p.waiting = p.waiting[:0]
			if p.until.seq != 0 {
				break // times may go back, numbers do not
			}
			continue
		}
		p.findings()
		if s.chosen && (p.instance == "" || p.ofInstance(s)) {
			p.record(s)
		}
	}
	p.findings()
	for _, l := range p.last[max(0, len(p.last)-p.n):] {
		p.write(l)
	}
	return p.damaged
}

// depth is nothing, which is everything, where nothing is filtered.
func (q *query) depth() depth {
	if q.service == "" && q.kind == "" && q.actor == "" {
		return nil
	}
	return q.mayMatch
}

// mayMatch tells by the head alone whether a record may be one that is asked
// for: the others are not decoded. Which services a command names is not in
// its head.
func (q *query) mayMatch(r *event.Record) bool {
	if q.actor != "" && q.actor != r.Actor || q.kind != "" && !q.isKind(r.Kind) {
		return false
	}
	return q.service == "" || is(q.service, r.Subject) || r.Kind == event.CommandAccepted || r.Kind == event.CommandEnded
}

// prepare does what needs no other record; it runs on several goroutines.
func (q *query) prepare(s *step) {
	r := &s.rec.Record
	if r.Data == nil || q.since != nil && q.since.before(*r) || q.until != nil && q.until.after(*r) {
		return
	}
	if s.chosen = q.matches(r); s.chosen && !q.json && q.n == 0 {
		s.line = q.appendLine(s.line, r, s.unknown)
	}
}

// appendLine appends the line of a record.
func (q *query) appendLine(b []byte, r *event.Record, unknown error) []byte {
	here := *r
	here.Time = r.Time.In(q.zone)
	if unknown != nil {
		return append(b, timeline.Undecoded(here, unknown)...)
	}
	return timeline.AppendLine(b, here)
}

func (p *printer) findings() {
	for _, f := range p.waiting {
		p.damaged = p.damaged || f.Grade == damage
		if p.json {
			fmt.Fprintln(p.err, "!! "+f.String())
			continue
		}
		p.line(line{text: []byte("!! " + f.String())})
	}
	p.waiting = p.waiting[:0]
}

func (p *printer) record(s *step) {
	p.shown++
	switch {
	case p.n > 0 && p.json:
		p.line(line{text: slices.Clone(s.entry.Data)})
	case p.n > 0:
		// Not the step, which would keep its whole block in memory.
		r := s.rec.Record
		p.line(line{at: r.Time, record: &r, unknown: s.unknown})
	case p.json:
		p.write(line{text: s.entry.Data})
	default:
		p.write(line{at: s.rec.Record.Time, text: s.line})
	}
}

// line is one line of a timeline: its text, or the record that it is made of
// if it comes to be shown; and when it was, if it is of a day.
type line struct {
	at      time.Time
	text    []byte
	record  *event.Record
	unknown error
}

func (p *printer) line(l line) {
	if p.n == 0 {
		p.write(l)
		return
	}
	if len(p.last) >= 2*p.n+64 { // seldom, so that each line costs the same
		p.last = slices.Delete(p.last, 0, len(p.last)-p.n)
	}
	p.last = append(p.last, l)
}

func (p *printer) write(l line) {
	if l.record != nil {
		l.text = p.appendLine(nil, l.record, l.unknown)
	}
	if !l.at.IsZero() {
		if year, month, day := l.at.In(p.zone).Date(); year != p.year || month != p.month || day != p.day {
			p.year, p.month, p.day = year, month, day
			fmt.Fprintln(p.out, "=== "+l.at.In(p.zone).Format("Monday 2006-01-02 MST")+" ===")
		}
	}
	_, _ = p.out.Write(l.text)
	_ = p.out.WriteByte('\n')
}

// matches tells whether a record is asked for, but for its instance.
func (q *query) matches(r *event.Record) bool {
	return (q.service == "" || about(*r, q.service)) && (q.actor == "" || q.actor == r.Actor) && (q.kind == "" || q.isKind(r.Kind))
}

func (q *query) isKind(k event.Kind) bool { return is(q.kind, string(k)) || q.kind == k.Group() }

func is(pattern, name string) bool { ok, _ := path.Match(pattern, name); return ok }

// about tells whether a record concerns a service that matches: also the
// commands that name it.
func about(r event.Record, pattern string) bool {
	named := func(name string) bool { return is(pattern, name) }
	switch d := r.Data.(type) {
	case event.CommandAcceptedData:
		return named(r.Subject) || slices.ContainsFunc(d.Targets, named)
	case event.CommandEndedData:
		return named(r.Subject) || slices.ContainsFunc(d.Results, func(x event.Result) bool { return named(x.Service) })
	}
	return r.Subject != "" && named(r.Subject)
}

// ofInstance tells whether a record is about the instance that is asked for.
// The id of a run is learnt from its instance.starting, which comes first.
func (p *printer) ofInstance(s *step) bool {
	if d, ok := s.rec.Record.Data.(event.InstanceStartingData); ok && fmt.Sprint(d.Run) == p.instance {
		p.runID = strings.Clone(d.Instance)
	}
	id := timeline.InstanceOf(s.rec.Record.Data)
	if id == "" {
		return false
	}
	if isNumber(p.instance) && id == p.runID {
		return true
	}
	return strings.HasPrefix(id, p.instance) && len(p.instance) >= 8
}
