package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"supd/cmd/internal/client"
	"supd/cmd/internal/exitcode"
	"supd/journal/event"
	"supd/projector/timeline"
)

func (a *app) whyCmd() *cobra.Command {
	var instance string
	cmd := &cobra.Command{
		Use: "why SERVICE", Short: "Tell why a service is as it is, back to the root cause",
		Long: `Follows the causes that the records of the journal name, from what a service is
doing back to what began it. For moments of the past: supreplay why --at.`,
		Example: `  supctl why web
  supctl why web --instance 3
  supctl why web -o json`,
		Args:              oneService("why"),
		ValidArgsFunction: a.completeServices,
		RunE: func(cmd *cobra.Command, args []string) error {
			e, err := a.why(cmd.Context(), args[0], instance)
			if err != nil {
				return err
			}
			if a.json() {
				return a.writeJSON(e)
			}
			return timeline.WriteWhy(a.out, e, time.Local)
		},
	}
	cmd.Flags().StringVar(&instance, "instance", "", "why this `INSTANCE` ended: its id, the beginning of it, or its run number")
	return a.output(cmd)
}

func (a *app) historyCmd() *cobra.Command {
	n := 0
	cmd := &cobra.Command{
		Use: "history SERVICE", Short: "Show how a service ended the last times, and why",
		Long: `Shows the last ends of a service, the oldest first: how, after which time, what
supd decided then, and what it came from. At most 100 are told, also those whose
records have left the journal.`,
		Example: `  supctl history web
  supctl history web -n 5 -o json`,
		Args:              oneService("history"),
		ValidArgsFunction: a.completeServices,
		RunE: func(cmd *cobra.Command, args []string) error {
			if n < 0 {
				return usage("-n %d is negative", n)
			}
			story, err := a.story(cmd.Context(), args[0], "", []string{args[0], event.NoService})
			if err != nil {
				return err
			}
			deaths := story.Deaths()
			if _, err := story.Why(); err != nil && len(deaths) == 0 {
				return a.unheard(cmd.Context(), args[0], err)
			}
			if n > 0 {
				deaths = deaths[max(0, len(deaths)-n):]
			}
			if a.json() {
				return a.writeJSON(append([]timeline.Death{}, deaths...))
			}
			if len(deaths) == 0 {
				return a.writeLines([]string{args[0] + " has not ended yet"})
			}
			return a.writeLines(timeline.DeathLines(deaths, time.Local, width(a.out)))
		},
	}
	cmd.Flags().IntVarP(&n, "lines", "n", 0, "only the last `N` (default: all that are known)")
	return a.output(cmd)
}

func oneService(verb string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != 1 {
			return usage("%s takes the name of one service", verb)
		}
		return nil
	}
}

// unheard says that the journal knows nothing of what was named, and whom else
// that may have meant: replicas have records, their base name has none.
func (a *app) unheard(ctx context.Context, name string, err error) error {
	no := &hinted{error: err, code: exitcode.NoService, hint: "see what there is: supctl status"}
	c, dialErr := a.dial(ctx)
	if dialErr != nil {
		return no
	}
	defer c.Close()
	status, askErr := askStatus(ctx, c, []string{name})
	var names []string
	for _, s := range status.Services {
		names = append(names, s.Name)
	}
	switch {
	case askErr == nil && len(names) > 0 && !slices.Contains(names, name):
		no.hint = "name one of " + strings.Join(names[:min(len(names), 5)], ", ")
	case askErr == nil && status.Near != "":
		no.hint = "did you mean " + status.Near + "?"
	}
	return no
}

// why reads the records of the service and of supd first, which the server
// finds quickly; where a cause is about another service, all of them.
func (a *app) why(ctx context.Context, service, instance string) (timeline.Explanation, error) {
	for _, services := range [][]string{{service, event.NoService}, nil} {
		story, err := a.story(ctx, service, instance, services)
		if err != nil {
			return timeline.Explanation{}, err
		}
		e, err := story.Why()
		if err != nil {
			return e, a.unheard(ctx, service, err)
		}
		if services == nil || e.Complete && e.Root != timeline.RootDependency {
			return e, nil
		}
	}
	return timeline.Explanation{}, nil
}

func (a *app) story(ctx context.Context, service, instance string, services []string) (*timeline.Story, error) {
	if err := event.CheckServiceName(service); err != nil {
		return nil, usage("%v", err)
	}
	c, err := a.dial(ctx)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	story := timeline.NewStory(service, instance)
	err = c.Events(ctx, client.EventsQuery{Services: services}, func(s client.Stored) error {
		if s.Err == nil {
			story.Add(s.Record)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return story, a.noteKept(ctx, c)
}
