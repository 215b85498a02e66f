package main

import (
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"supd/cmd/internal/exitcode"
	"supd/journal/event"
	"supd/projector/timeline"
)

func whyCommand(open opener, now func() time.Time) *cobra.Command {
	var instance, at string
	cmd := &cobra.Command{
		Use:        "why SERVICE",
		SuggestFor: []string{"explain", "cause", "reason"},
		Short:      "Tell why a service is as it is, back to the root cause",
		Long: `why follows the causes that the records name, from what a service is doing back
to what began it: who asked for it from where, how its program ended, what of
supd or the machine failed, which configuration changed, and with which numbers
supd decided; and what a program that failed by itself wrote last, where its
output is at hand.

With --instance it tells why that instance ended, or if it lives, why it was
started; with --at, why the service was as it was at a moment. Of a minute, as
in --at 03:12, the first end of the service within it is explained, and what
came of that; without one, and with --at 03:12:00, how it was when it began.`,
		Example: `  supreplay why web
  supreplay why web --at 03:12
  supreplay why web --instance 3
  supreplay why web --at "third crash of web" -o json`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("why takes the name of one service")
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&instance, "instance", "", "the end of this `INSTANCE`: its id, the beginning of it, or its run number")
	cmd.Flags().StringVar(&at, "at", "", "as it was at this `MOMENT` (see supreplay --help)")
	form := outputFlag(cmd, "the explanation as one object")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		asJSON, err := isJSON(*form)
		if err != nil {
			return err
		}
		m, err := optionalMoment(at, now())
		if err != nil {
			return err
		}
		src, err := open(cmd)
		if err != nil {
			return err
		}
		t, err := src.why(args[0], instance, m, func(f *finding) { fmt.Fprintln(cmd.ErrOrStderr(), "!! "+f.String()) })
		t.tellEnd(cmd.ErrOrStderr(), args[0])
		if err != nil {
			if names := src.services(); !slices.Contains(names, args[0]) {
				err = fmt.Errorf("%w%s", err, didYouMean(args[0], names))
			}
			return &coded{exitcode.Failed, fmt.Errorf("cannot tell why: %w", err)}
		}
		return t.print(cmd.OutOrStdout(), src, asJSON)
	}
	return cmd
}

// whyTold is what why found out.
type whyTold struct {
	timeline.Explanation
	ended  *event.Record // the end that is explained, if a minute was named
	others int           // further ends of the service in that minute
}

// why tells a story up to a moment; nil is the end. Damage may hide a cause, so
// it is noted.
func (s *source) why(service, instance string, m *moment, note func(*finding)) (t whyTold, err error) {
	if m != nil {
		found, err := s.resolve(*m)
		if err != nil {
			return t, err
		}
		m = &found
	}
	story := timeline.NewStory(service, instance)
	var latest time.Time
	var within *minute
	for st := range s.history(reading{retell: true}) {
		if st.finding != nil {
			if st.finding.Grade == damage {
				note(st.finding)
			}
			continue
		}
		r := st.rec.Record
		if r.Time.After(latest) {
			latest = r.Time
		}
		if m != nil && (m.seq != 0 && r.Seq > m.seq || m.seq == 0 && latest.After(m.at)) {
			if m.seq != 0 || latest.Sub(m.at) >= m.span || instance != "" {
				break
			}
			if within == nil {
				within = beginMinute(service, story)
			}
			if within.over(r) {
				continue
			}
		}
		if !st.stray || st.retold {
			story.Add(r)
		}
	}
	if within == nil {
		t.Explanation, err = story.Why()
		return t, err
	}
	return within.told()
}

// minute is the rest of the minute that a moment names. Who asks why it
// restarted at 03:12 has seen that on a clock: the first end in that minute is
// meant, and the start that follows it.
type minute struct {
	service string
	story   *timeline.Story
	whyTold // of its beginning, then of the end
	err     error
	started bool // again, after the end: the rest is no part of the story
}

func beginMinute(service string, story *timeline.Story) *minute {
	w := &minute{service: service, story: story}
	w.Explanation, w.err = story.Why()
	return w
}

// over tells that a record is behind what is to be told.
func (w *minute) over(r event.Record) bool {
	mine := r.Subject == w.service
	switch {
	case mine && r.Kind == event.InstanceExited && w.ended == nil:
		w.ended = &r
		return false
	case mine && r.Kind == event.InstanceExited:
		w.others++
		w.started = true
	case mine && r.Kind == event.InstanceStarting && w.ended != nil && !w.started:
		w.Explanation, w.err = w.story.Why()
		w.started = true
		return false
	}
	return w.started
}

// told is the start if that came of the end, else the end.
func (w *minute) told() (whyTold, error) {
	if w.ended == nil {
		return w.whyTold, w.err
	}
	e, err := w.story.Why()
	if !w.started || slices.ContainsFunc(e.Chain, func(l timeline.Link) bool { return l.Seq == w.ended.Seq }) {
		w.Explanation, w.err = e, err
	}
	return w.whyTold, w.err
}

// tellEnd says which end of a minute is explained.
func (t *whyTold) tellEnd(w io.Writer, service string) {
	if t.ended == nil {
		return
	}
	more := ""
	if t.others > 0 {
		times := "once more"
		if t.others > 1 {
			times = fmt.Sprintf("%d more times", t.others)
		}
		more = fmt.Sprintf("; it ended %s in that minute: see supreplay timeline --service %s --kind instance.exited", times, service)
	}
	fmt.Fprintf(w, "supreplay: note: this is about the end of %s at %s, record %d%s\n",
		service, t.ended.Time.Local().Format("15:04:05.000"), t.ended.Seq, more)
}

func (t *whyTold) print(w io.Writer, s *source, asJSON bool) error {
	if asJSON {
		b, err := event.Marshal(t.Explanation)
		if err == nil {
			_, err = fmt.Fprintf(w, "%s\n", b)
		}
		return err
	}
	if err := timeline.WriteWhy(w, t.Explanation, time.Local); err != nil {
		return err
	}
	for _, line := range s.lastWords(t.Explanation) {
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	return nil
}

// How far back the last lines of a program are looked for, how many of them are
// shown, and how much is read.
const (
	wordsBefore = time.Minute
	wordsLines  = 5
	wordsRead   = 1 << 20
)

// lastWords is what a program that failed by itself wrote last, if its output
// is at hand; an explanation is one without it as well.
func (s *source) lastWords(e timeline.Explanation) (text []string) {
	if e.Failed == "" || len(e.Chain) == 0 {
		return nil
	}
	end := e.Chain[len(e.Chain)-1]
	var dirty redactor // an explanation is easily passed on
	lines, _, _ := s.output(end.Service, end.Time.Add(-wordsBefore), end.Time.Add(reportBehind), wordsRead)
	for _, l := range lines {
		if l.Instance == e.Failed {
			text = append(text, cut("  "+l.Time.Local().Format("15:04:05.000")+" "+l.Stream+"| "+printable(dirty.clean(string(l.Data))), 400))
		}
	}
	return text[max(0, len(text)-wordsLines):]
}
