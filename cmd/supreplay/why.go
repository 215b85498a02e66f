package main

import (
	"fmt"
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
		Use:   "why SERVICE",
		Short: "Tell why a service is as it is, back to the root cause",
		Long: `why follows the causes that the records name, from what a service is doing back
to what began it: who asked for it from where, how its program ended, what of
supd or the machine failed, which configuration changed, and with which numbers
supd decided.

With --instance it tells why that instance ended, or if it lives, why it was
started; with --at, why the service was as it was at a moment. --at 03:12 is the
beginning of that minute; if the service ended within it, a note says where.`,
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
		e, later, err := src.why(args[0], instance, m, func(f *finding) { fmt.Fprintln(cmd.ErrOrStderr(), "!! "+f.String()) })
		if later.Seq != 0 {
			fmt.Fprintf(cmd.ErrOrStderr(), "supreplay: note: this is as it was at that moment; %s ended at %s: see --at %d\n", args[0], later.Time.Local().Format("15:04:05.000"), later.Seq)
		}
		if err != nil {
			if names := src.services(); !slices.Contains(names, args[0]) {
				err = fmt.Errorf("%w%s", err, didYouMean(args[0], names))
			}
			return &coded{exitcode.Failed, fmt.Errorf("cannot tell why: %w", err)}
		}
		if !asJSON {
			return timeline.WriteWhy(cmd.OutOrStdout(), e, time.Local)
		}
		b, err := event.Marshal(e)
		if err == nil {
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s\n", b)
		}
		return err
	}
	return cmd
}

// why tells a story up to a moment; nil is the end. Damage may hide a cause,
// so it is noted. Who asks why it restarted at 03:12 names the beginning of that
// minute: later is the end of the service that comes within it, if there is one.
func (s *source) why(service, instance string, m *moment, note func(*finding)) (e timeline.Explanation, later event.Record, err error) {
	if m != nil {
		found, err := s.resolve(*m)
		if err != nil {
			return e, later, err
		}
		m = &found
	}
	story := timeline.NewStory(service, instance)
	var latest time.Time
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
		if m == nil || m.seq != 0 && r.Seq <= m.seq || m.seq == 0 && !latest.After(m.at) {
			if !st.stray || st.retold {
				story.Add(r)
			}
			continue
		}
		if m.seq != 0 || latest.Sub(m.at) >= time.Minute {
			break
		}
		if r.Subject == service && r.Kind == event.InstanceExited && instance == "" {
			later = r
			break
		}
	}
	e, err = story.Why()
	return e, later, err
}
