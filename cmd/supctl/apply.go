package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"supd/cmd/internal/exitcode"
	"supd/journal/event"
	"supd/projector/timeline"
)

func (a *app) planCmd() *cobra.Command {
	return a.output(&cobra.Command{
		Use: "plan", Short: "Show what apply would do, and do nothing",
		Long: `Reads the configuration that supd was started with, as it is now, and shows
what applying it would start, stop, restart (because of which keys), change
live and leave alone. Exit code 6: the configuration has errors.`,
		Example: "  supctl plan\n  supctl plan -o json | jq -r '.services[] | select(.action != \"stay\").service'", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			// Longer than supd waits for the disk that has the configuration.
			ctx, cancel := context.WithTimeout(cmd.Context(), time.Minute)
			defer cancel()
			var plan event.Plan
			if err := a.ask(ctx, event.AskPlan, nil, &plan); err != nil {
				return err
			}
			if a.json() {
				if err := a.writeJSON(plan); err != nil {
					return err
				}
			} else if err := a.showPlan(plan); err != nil {
				return err
			}
			if wrong(plan) {
				return end(exitcode.Configuration)
			}
			return nil
		},
	})
}

func wrong(p event.Plan) bool {
	return slices.ContainsFunc(p.Problems, func(p event.ConfigProblem) bool { return !p.Warning })
}

func (a *app) showPlan(p event.Plan) error {
	for _, x := range p.Problems {
		kind := ""
		if x.Warning {
			kind = "warning: "
		}
		fmt.Fprintf(a.err, "%s:%d:%d: %s%s\n", x.File, x.Line, x.Column, kind, x.Message)
		if x.Hint != "" {
			fmt.Fprintf(a.err, "    hint: %s\n", x.Hint)
		}
	}
	if wrong(p) {
		fmt.Fprintln(a.err, "supctl: cannot plan: the configuration has errors")
		return nil
	}
	rows, stay := [][]string{{"NAME", "ACTION", "BECAUSE OF"}}, 0
	for _, s := range p.Services {
		if s.Action == event.PlanStay {
			stay++
			continue
		}
		rows = append(rows, []string{s.Service, s.Action, strings.Join(s.Keys, ", ")})
	}
	effect := map[string]string{event.PlanUpdate: "takes effect live", event.PlanRestart: "takes effect when supd is started again"}
	for _, s := range p.Settings {
		rows = append(rows, []string{s.Key, effect[s.Action], ""})
	}
	if len(rows) == 1 {
		_, err := fmt.Fprintln(a.out, "nothing to do")
		return err
	}
	if err := a.writeLines(timeline.Fit(rows, width(a.out))); err != nil || stay == 0 {
		return err
	}
	text := fmt.Sprintf("%d services stay as they are", stay)
	if stay == 1 {
		text = "1 service stays as it is"
	}
	_, err := fmt.Fprintln(a.out, text)
	return err
}

func (a *app) applyCmd() *cobra.Command {
	act := &action{app: a}
	cmd := &cobra.Command{
		Use: "apply", Short: "Apply the configuration as it is now",
		Long: `Reads the configuration that supd was started with, as it is now, and does
what plan shows: new services start, those that are gone are stopped, changed
ones are restarted or changed live, all others are not touched. With an error
in the configuration nothing changes, and the exit code is 6.

Returns when the services it concerns are where they should be. Some settings
of supd itself take effect when it is started again: plan names them.`,
		Example: "  supctl plan && supctl apply\n  supctl apply --timeout 30s", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return act.run(cmd.Context(), event.VerbApply, nil, nil)
		},
	}
	return act.flags(cmd)
}

func (a *app) reloadCmd() *cobra.Command {
	return a.targetsCmd(event.VerbReload, "reload NAME…", "Have services read their own configuration again",
		`Sends each service the signal that reload.signal names, and returns when it is
sent. To apply supd's configuration use apply. Exit code 7: not running.

`+targetsHelp,
		"  supctl reload web")
}

// faults are what is wrong with a configuration that was not applied: results
// that belong to no service.
func faults(r event.CommandReply) []string {
	var list []string
	for _, res := range r.Results {
		if res.Service == "" && r.Outcome == event.Refused {
			list = append(list, res.Error)
		}
	}
	return list
}

func (a *app) showFaults(list []string) {
	for _, f := range list {
		fmt.Fprintln(a.err, f)
	}
	a.complain(fmt.Errorf("cannot apply: the configuration has errors; nothing was changed"), "mend them, then look at: supctl plan")
}
