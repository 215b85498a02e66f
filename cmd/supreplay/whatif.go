package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"supd/cmd/internal/config"
	"supd/cmd/internal/exitcode"
	"supd/journal/event"
	"supd/projector/timeline"
)

// notKnown is what no what-if can tell.
var notKnown = []string{
	"A run that would have begun earlier or later, or not at all, might have ended otherwise, and so might those behind it: the recorded exits are taken as they are.",
	"Runs behind a point where supd would have gone on, and recorded gave up, never took place: how they would have ended is not known.",
	"Dependencies, the start limiter, hooks and shortages are left out: only the decision after each exit is taken anew.",
}

func whatIfCommand(open opener, now func() time.Time) *cobra.Command {
	var q query
	var file, since, until string
	cmd := &cobra.Command{
		Use:   "what-if --policy FILE",
		Short: "Tell what another restart policy would have decided",
		Long: `what-if takes every recorded exit to supd's own decider again, with another
restart policy, and tells where it would have decided otherwise: first, and from
there on. FILE is TOML with the keys restart, success_exit_codes, backoff.* and
max_retries below [defaults] or [service.NAME]; what it does not set stays as it
was recorded at each time. A whole configuration may be given; its other keys
mean nothing here.

Times, exits and chance are the recorded ones, so the answer is the same every
time. Where nothing was drawn because supd gave up, the middle is taken. The
answer ends with what cannot be known.`,
		Example: `  supreplay what-if --policy gentle.toml
  supreplay what-if --policy gentle.toml --service web --since 03:00 --from incident.tar.zst`,
		Args: cobra.NoArgs,
	}
	fl := cmd.Flags()
	fl.StringVar(&file, "policy", "", "`FILE` with the other policy")
	fl.StringVar(&q.service, "service", "", "only about this service; * and ? match")
	fl.StringVar(&since, "since", "", "from this `MOMENT` on (see supreplay --help); what was before counts as it was")
	fl.StringVar(&until, "until", "", "up to this `MOMENT`")
	fl.IntVarP(&q.n, "lines", "n", 10, "show so many differences of each service")
	form := outputFlag(cmd, "the answer as one object")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		asJSON, err := isJSON(*form)
		if err == nil {
			err = q.parse(since, until, now())
		}
		if err != nil {
			return err
		}
		policies, err := readPolicies(file)
		if err != nil {
			return err
		}
		src, err := open(cmd)
		if err != nil {
			return err
		}
		answer, err := src.whatIf(q, policies, func(f *finding) { fmt.Fprintln(cmd.ErrOrStderr(), "!! "+f.String()) })
		if err != nil {
			return &coded{exitcode.Failed, fmt.Errorf("cannot tell what would have been: %w", err)}
		}
		if answer.Policy = file; !asJSON {
			return answer.print(cmd, q.n)
		}
		b, err := event.Marshal(answer)
		if err == nil {
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s\n", b)
		}
		return err
	}
	return cmd
}

func readPolicies(file string) (*config.RestartPolicies, error) {
	if file == "" {
		return nil, usage("cannot tell what would have been: name the other policy with --policy")
	}
	directory, err := os.Getwd()
	if err != nil {
		return nil, &coded{exitcode.Failed, err}
	}
	// Nothing of this machine decides: only the file is read.
	p, problems := config.LoadRestartPolicies(file, config.Host{Files: os.DirFS("/"), Directory: directory, Hostname: "what-if", CPUs: 1})
	if p == nil {
		return nil, &coded{exitcode.Failed, fmt.Errorf("cannot use policy %s:\n%s", file, strings.TrimSuffix(config.Format(problems), "\n"))}
	}
	return p, nil
}

// supposition is the answer of what-if.
type supposition struct {
	Policy   string         `json:"policy"`
	Services []*alternative `json:"services"` // those with decisions, by name
	NotKnown []string       `json:"not_known"`
}

// alternative is what would have been decided for one service.
type alternative struct {
	Service   string      `json:"service"`
	Changed   []string    `json:"changed"` // keys that are other than recorded, at the last definition
	Decisions int         `json:"decisions"`
	Differing int         `json:"differing"`
	Recorded  totals      `json:"recorded"`
	Would     totals      `json:"would"`
	Missing   int         `json:"missing_runs"` // recorded runs that would not have been
	Beyond    int         `json:"beyond"`       // decisions to go on where recorded gave up: what follows is not known
	First     *otherwise  `json:"first"`        // null: none
	All       []otherwise `json:"differences"`
	Lost      string      `json:"lost"` // why it could not be followed to the end; empty: it was
}

// totals counts decisions.
type totals struct {
	Restarts  int            `json:"restarts"`
	Waited    event.Duration `json:"waited"` // the sum of delays
	GaveUp    int            `json:"gave_up"`
	Completed int            `json:"completed"`
}

func (t *totals) count(c choice) {
	switch c.What {
	case chosenRestart:
		t.Restarts++
		t.Waited += c.Delay
	case chosenFatal:
		t.GaveUp++
	case chosenCompleted:
		t.Completed++
	}
}

// otherwise is one exit after which supd would have decided otherwise.
type otherwise struct {
	Seq      event.Seq `json:"seq"`
	Time     time.Time `json:"time"`
	Exit     string    `json:"exit"`
	Recorded choice    `json:"recorded"`
	Would    choice    `json:"would"`
}

// maxDifferences bounds how many differences of a service are kept.
const maxDifferences = 1000

func (a *alternative) add(d otherwise) {
	a.Decisions++
	a.Recorded.count(d.Recorded)
	a.Would.count(d.Would)
	if d.Recorded.same(d.Would) {
		return
	}
	if a.Differing++; a.First == nil {
		a.First = &d
	}
	if d.Would.What == chosenRestart && d.Recorded.What != chosenRestart {
		a.Beyond++
	}
	if len(a.All) < maxDifferences {
		a.All = append(a.All, d)
	}
}

func (s *supposition) print(cmd *cobra.Command, lines int) error {
	w := cmd.OutOrStdout()
	for i, a := range s.Services {
		if i > 0 {
			fmt.Fprintln(w)
		}
		changed := "its policy is as recorded"
		if len(a.Changed) > 0 {
			changed = "other " + strings.Join(a.Changed, ", ")
		}
		fmt.Fprintf(w, "%s: %d decisions, %d would be others; %s\n", a.Service, a.Decisions, a.Differing, changed)
		fmt.Fprintf(w, "  recorded  %s\n  would be  %s\n", a.Recorded, a.Would)
		if a.Missing > 0 {
			fmt.Fprintf(w, "  %d of the recorded runs would not have been\n", a.Missing)
		}
		if a.Beyond > 0 {
			fmt.Fprintf(w, "  %s it would have gone on where it ended: what followed is not known\n", often(a.Beyond))
		}
		for n, d := range a.All {
			if n == lines {
				fmt.Fprintf(w, "  … and %d more differences\n", a.Differing-n)
				break
			}
			fmt.Fprintf(w, "  %s %6d after %s: recorded %s, would be %s\n", d.Time.Local().Format(timeline.TimeFormat), d.Seq, d.Exit, d.Recorded, d.Would)
		}
		if a.Lost != "" {
			fmt.Fprintf(w, "  not followed to the end: %s\n", a.Lost)
		}
	}
	if len(s.Services) == 0 {
		fmt.Fprintln(w, "No service has ended in that time: there is nothing to decide otherwise.")
	}
	fmt.Fprintln(w, "\nWhat cannot be known:")
	for _, line := range s.NotKnown {
		if _, err := fmt.Fprintln(w, "- "+line); err != nil {
			return err
		}
	}
	return nil
}

func (t totals) String() string {
	text := fmt.Sprintf("restarts %d, waiting %s", t.Restarts, time.Duration(t.Waited).Round(time.Millisecond))
	if t.GaveUp > 0 {
		text += fmt.Sprintf(", gave up %d", t.GaveUp)
	}
	if t.Completed > 0 {
		text += fmt.Sprintf(", completed %d", t.Completed)
	}
	return text
}

func often(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}
