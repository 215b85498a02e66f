package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"supd/cmd/internal/exitcode"
	"supd/journal/event"
	"supd/projector"
	"supd/projector/timeline"
)

func atCommand(open opener, now func() time.Time) *cobra.Command {
	cmd := &cobra.Command{
		Use:        "at MOMENT",
		SuggestFor: []string{"status", "state", "show", "dump"},
		Short:      "Show the state at a moment as status would have shown it",
		Long: `at rebuilds the state at a moment of the past and shows it as supctl status
would have shown it then: the state after the last record that is not later
than the moment. Where the clock went back, the latest time so far counts.

With -o json it prints {seq, hash, state}, the same bytes that supctl dump
gave at that moment.`,
		Example: `  supreplay at 03:12
  supreplay at 10m ago
  supreplay at third crash of web
  supreplay at 512 --from ./copy -o json`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage("cannot show a state: no moment is given")
			}
			return nil
		},
	}
	form := outputFlag(cmd, "the canonical state {seq, hash, state}")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		asJSON, err := isJSON(*form)
		if err != nil {
			return err
		}
		m, err := parseMoment(strings.Join(args, " "), now())
		if err != nil {
			return err
		}
		src, err := open(cmd)
		if err != nil {
			return err
		}
		v, err := src.at(m)
		if err != nil {
			return &coded{exitcode.Failed, fmt.Errorf("cannot tell the state at %s: %w", m, err)}
		}
		for _, f := range v.warnings {
			fmt.Fprintln(cmd.ErrOrStderr(), "!! "+f.String())
		}
		if err := v.print(cmd.OutOrStdout(), asJSON); err != nil {
			return &coded{exitcode.Failed, fmt.Errorf("cannot write the state: %w", err)}
		}
		if len(v.warnings) > 0 {
			return &coded{code: exitcode.Failed}
		}
		return nil
	}
	return cmd
}

// view is the state at a moment.
type view struct {
	state    *projector.State
	last     event.Record // the last record that is in the state
	moment   time.Time    // for durations
	nodeID   string
	warnings []*finding // that put the state in doubt
}

// at rebuilds the state at a moment: one reading finds the last record of the
// moment and the newest complete base before it, another folds from there.
func (s *source) at(m moment) (*view, error) {
	m, err := s.resolve(m)
	if err != nil {
		return nil, err
	}
	g := s.aim(m)
	v := &view{nodeID: s.nodeID, last: g.last}
	var f fold
	var doubts []*finding
	if g.last.Seq != 0 {
		f, doubts = s.foldTo(g.base, g.last.Seq)
		if !f.known() && g.base != 0 {
			f, doubts = s.foldTo(0, g.last.Seq) // the base is of no use; and what is wrong shows from the beginning
		}
	}
	if err := v.reached(m, g, &f); err != nil {
		return nil, err
	}
	v.state = f.state
	if v.moment = v.last.Time; m.seq == 0 && g.past {
		v.moment = m.at
	}
	for _, d := range doubts {
		if d.First <= v.last.Seq && v.last.Seq <= d.Last {
			v.warnings = append(v.warnings, d)
		}
	}
	return v, nil
}

// aimed is what a reading of the heads tells about a moment.
type aimed struct {
	first   event.Seq    // of the journal
	last    event.Record // of the moment: number, time and source; zero if there is none
	base    uint64       // stream sequence of the newest complete base up to last; 0: none
	past    bool         // records behind the moment were seen
	damaged bool
	lost    *finding // in which the moment's record is
}

// aim leaves the hashes out: those that matter are checked by the fold.
func (s *source) aim(m moment) (g aimed) {
	var latest time.Time // the running maximum: a clock that went back does not hide records
	var base uint64      // that is being read
	parts := 0
	for st := range s.history(heads) {
		switch {
		case st.finding != nil:
			g.damaged = true
			if f := st.finding; m.seq != 0 && f.First <= m.seq && m.seq <= f.Last {
				g.lost = f
			}
			continue
		case st.stray:
			continue
		}
		r := &st.rec.Record
		if g.first == 0 {
			g.first = r.Seq
		}
		if r.Time.After(latest) {
			latest = r.Time
		}
		if g.past = m.seq != 0 && r.Seq > m.seq || m.seq == 0 && latest.After(m.at); g.past {
			break
		}
		if g.last.Seq, g.last.Time = r.Seq, r.Time; g.last.Source != r.Source {
			g.last.Source = strings.Clone(r.Source)
		}
		d, ok := r.Data.(event.StateBaseData)
		if ok && d.Part == 1 {
			base, parts = st.entry.StreamSeq, 0
		}
		if parts++; !ok || d.Part != parts {
			base, parts = 0, 0
		} else if d.Part == d.Parts && base != 0 {
			g.base = base
		}
	}
	return g
}

// foldTo folds from a place in the stream up to a record. It checks the hash of
// the first record against the one before, and reads on for two records behind
// the last: these tell whether the last one is what was written. The doubts are
// the records that were altered.
func (s *source) foldTo(from uint64, last event.Seq) (f fold, doubts []*finding) {
	behind := 0
	for st := range s.history(reading{from: max(from, 1) - 1}) {
		switch {
		case st.finding != nil:
			if st.finding.What == altered && len(doubts) < maxFindings {
				doubts = append(doubts, st.finding)
			}
		case st.stray || st.entry.StreamSeq < from:
		case st.rec.Record.Seq <= last:
			f.feed(st)
		default:
			behind++
		}
		if behind == 2 {
			break
		}
	}
	return f, doubts
}

// reached tells why a state cannot be shown.
func (v *view) reached(m moment, g aimed, f *fold) error {
	switch {
	case g.first == 0 && g.damaged:
		return fmt.Errorf("no record is readable: run supreplay verify")
	case g.first == 0:
		return fmt.Errorf("the journal is empty")
	case v.last.Seq == 0:
		return fmt.Errorf("the journal begins later, with record %d", g.first)
	case m.seq > v.last.Seq && !g.past:
		return fmt.Errorf("the journal ends with record %d", v.last.Seq)
	case m.seq > v.last.Seq && g.lost != nil && g.lost.What == gapNoted:
		return fmt.Errorf("supd had to drop records %d to %d, among them this one, and said so; the last one before it is %d", g.lost.First, g.lost.Last, v.last.Seq)
	case m.seq > v.last.Seq:
		return fmt.Errorf("record %d is missing; the last one before it is %d", m.seq, v.last.Seq)
	case !f.known():
		return fmt.Errorf("%s; supreplay verify shows the damage, and moments behind the next base can be shown", f.explain())
	}
	return nil
}

func (v *view) print(w io.Writer, asJSON bool) error {
	if asJSON {
		b, err := event.Marshal(event.Dump{Seq: v.state.Seq(), Hash: v.state.Hash(), State: json.RawMessage(v.state.Canonical())})
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(w, "%s\n", b)
		return err
	}
	node := strings.TrimPrefix(v.last.Source, "supd/")
	node, _, _ = strings.Cut(node, "/")
	fmt.Fprintf(w, "after record %d of %s, written %s\n", v.last.Seq, node, v.last.Time.Local().Format(timeline.TimeFormat+" MST"))
	table, services := timeline.Table{Now: v.moment}, timeline.Status(v.state)
	for _, line := range append(table.Services(services), table.Reasons(services)...) {
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	return v.commands(w)
}

// span is the time from then to the moment, short enough for a table.
func (v *view) span(then time.Time) string {
	d := max(0, v.moment.Sub(then))
	if d < time.Minute {
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

// commands shows what had been accepted and not ended.
func (v *view) commands(w io.Writer) error {
	open := slices.SortedFunc(maps.Values(v.state.Commands), func(a, b *projector.Command) int { return int(a.Seq) - int(b.Seq) })
	for _, c := range open {
		if _, err := fmt.Fprintf(w, "open command: %s %s by %s, for %s (%s)\n",
			c.Verb, strings.Join(c.Targets, " "), c.Actor, v.span(c.Accepted.Wall), c.ID); err != nil {
			return err
		}
	}
	return nil
}
