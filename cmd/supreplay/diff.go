package main

import (
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"supd/cmd/internal/exitcode"
	"supd/journal/event"
	"supd/projector/timeline"
)

func diffCommand(open opener, now func() time.Time) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "diff FROM TO",
		Short: "Tell what changed between two moments",
		Long: `diff rebuilds the state at two moments and tells what differs, service by
service, and what happened in between, counted. Quote a moment of several words.`,
		Example: `  supreplay diff 03:00 03:30
  supreplay diff "first crash of web" now
  supreplay diff 100 200 --from ./copy -o json`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 {
				return usage(`diff takes two moments; quote one of several words, as "10m ago"`)
			}
			return nil
		},
	}
	form := outputFlag(cmd, "the difference as one object")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		asJSON, err := isJSON(*form)
		if err != nil {
			return err
		}
		var moments [2]moment
		for i, text := range args {
			if moments[i], err = parseMoment(text, now()); err != nil {
				return err
			}
		}
		src, err := open(cmd)
		if err != nil {
			return err
		}
		d, err := src.diff(moments[0], moments[1])
		if err == nil {
			err = d.print(cmd.OutOrStdout(), asJSON)
		}
		if err != nil {
			return &coded{exitcode.Failed, fmt.Errorf("cannot tell what changed: %w", err)}
		}
		return nil
	}
	return cmd
}

// side is one of the two moments.
type side struct {
	Seq  event.Seq `json:"seq"`
	Hash string    `json:"hash"`
	Time time.Time `json:"time"`
}

// difference is what diff tells.
type difference struct {
	From side `json:"from"`
	To   side `json:"to"`
	timeline.Difference
	Records int             `json:"records"` // behind the one, up to the other
	Counts  timeline.Counts `json:"counts"`
}

func (s *source) diff(from, to moment) (*difference, error) {
	a, err := s.at(from)
	if err != nil {
		return nil, fmt.Errorf("at %s: %w", from, err)
	}
	b, err := s.at(to)
	if err != nil {
		return nil, fmt.Errorf("at %s: %w", to, err)
	}
	if a.last.Seq > b.last.Seq {
		return nil, fmt.Errorf("%s (record %d) is behind %s (record %d): name the earlier one first", from, a.last.Seq, to, b.last.Seq)
	}
	d := &difference{
		From:       side{a.state.Seq(), a.state.Hash(), a.last.Time},
		To:         side{b.state.Seq(), b.state.Hash(), b.last.Time},
		Difference: timeline.Diff(a.state, b.state), Counts: timeline.Counts{},
	}
	for st := range s.history(heads) {
		if st.finding != nil || st.stray {
			continue
		}
		r := st.rec.Record
		if r.Seq > b.last.Seq {
			break
		}
		if r.Seq > a.last.Seq {
			d.Records++
			d.Counts.Add(r)
		}
	}
	return d, nil
}

func (d *difference) print(w io.Writer, asJSON bool) error {
	if asJSON {
		b, err := event.Marshal(d)
		if err == nil {
			_, err = fmt.Fprintf(w, "%s\n", b)
		}
		return err
	}
	shown := func(s side) string {
		return fmt.Sprintf("record %d, %s", s.Seq, s.Time.Local().Format(timeline.TimeFormat))
	}
	fmt.Fprintf(w, "from  %s\nto    %s (%s later, %d records)\n", shown(d.From), shown(d.To), d.To.Time.Sub(d.From.Time).Round(time.Millisecond), d.Records)
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	var long strings.Builder // what would make all columns too wide
	rows := func(name string, fields []timeline.Change) {
		of := name
		for _, f := range fields {
			from, to := brief(f.From), brief(f.To)
			if max(utf8.RuneCountInString(from), utf8.RuneCountInString(to)) > maxCell {
				fmt.Fprintf(&long, "%s %s\n  - %s\n  + %s\n", of, f.Field, from, to)
				from, to = "(below)", "(below)"
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t→ %s\n", name, f.Field, from, to)
			name = ""
		}
	}
	rows("supd", d.Supd)
	for _, s := range d.Services {
		switch s.What {
		case "removed": // what it was says nothing of what is
			fmt.Fprintf(t, "%s\tremoved\n", s.Service)
		case "changed":
			rows(s.Service, s.Fields)
		default:
			rows(s.Service+" ("+s.What+")", s.Fields)
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprint(w, long.String())
	switch d.Same {
	case 0:
	case 1:
		fmt.Fprintln(w, "1 service is as it was")
	default:
		fmt.Fprintf(w, "%d services are as they were\n", d.Same)
	}
	return d.happened(w)
}

// happened counts what lies between the moments.
func (d *difference) happened(w io.Writer) error {
	for _, service := range slices.Sorted(maps.Keys(d.Counts)) {
		kinds := d.Counts[service]
		var parts []string
		for _, k := range slices.Sorted(maps.Keys(kinds)) {
			parts = append(parts, fmt.Sprintf("%d %s", kinds[k], k))
		}
		name := service
		if name == "" {
			name = "supd"
		}
		if _, err := fmt.Fprintf(w, "in between: %s: %s\n", name, strings.Join(parts, ", ")); err != nil {
			return err
		}
	}
	return nil
}

// wholeDigest is a SHA-256 in hexadecimal.
var wholeDigest = regexp.MustCompile(`^[0-9a-f]{64}$`)

// maxCell is how many characters wide a value may be in the table.
const maxCell = 60

// brief is a field for people: twelve digits tell two digests apart, and JSON
// has all of them.
func brief(s string) string {
	switch {
	case s == "":
		return "-"
	case wholeDigest.MatchString(s):
		return s[:12]
	}
	return s
}
