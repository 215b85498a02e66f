package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"supd/cmd/internal/client"
	"supd/cmd/internal/exitcode"
	"supd/journal/event"
	"supd/projector/timeline"
)

func (a *app) statusCmd() *cobra.Command {
	watch := false
	cmd := &cobra.Command{
		Use: "status [NAME…]", Short: "Show services",
		Long: `Shows services and what they are doing, and why those are where they are that
do not run. On a terminal lines are cut to its width (COLUMNS, if set, says
what that is); elsewhere they are whole. NO_COLOR switches colours off.

Exit codes: 0 all named are starting or running, 3 some are not, 4 some are
unknown; without names always 0.`,
		Example:           "  supctl status\n  supctl status web 'worker-*'\n  supctl status -o json\n  supctl status --watch",
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: a.completeServices,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.dial(cmd.Context())
			if err != nil {
				return err
			}
			defer c.Close()
			if watch {
				return a.watch(cmd.Context(), c, args)
			}
			reply, err := askStatus(cmd.Context(), c, args)
			if err != nil {
				return err
			}
			if err := a.showStatus(reply); err != nil {
				return err
			}
			a.unknownServices(reply)
			return end(statusCode(args, reply))
		},
	}
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "show again every second, until q or an interrupt")
	return a.output(cmd)
}

func askStatus(ctx context.Context, c *client.Client, names []string) (event.StatusReply, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var reply event.StatusReply
	err := c.Ask(ctx, event.AskStatus, event.StatusRequest{Patterns: names}, &reply)
	if reply.Services == nil {
		reply.Services = []event.ServiceStatus{}
	}
	return reply, err
}

func (a *app) showStatus(reply event.StatusReply) error {
	if a.json() {
		return a.writeJSON(reply.Services)
	}
	if len(reply.Services) == 0 && len(reply.Unknown) > 0 {
		return nil
	}
	table := timeline.Table{Now: time.Now(), Width: width(a.out), Color: colours(a.out)}
	return a.writeLines(append(table.Services(reply.Services), table.Reasons(reply.Services)...))
}

func (a *app) writeLines(lines []string) error {
	for _, line := range lines {
		if _, err := fmt.Fprintln(a.out, line); err != nil {
			return err
		}
	}
	return nil
}

// unknownServices says which names are none, and what may have been meant.
func (a *app) unknownServices(reply event.StatusReply) {
	for n, name := range reply.Unknown {
		near := ""
		if n == 0 && reply.Near != "" {
			near = "; did you mean " + reply.Near + "?"
		}
		fmt.Fprintf(a.err, "supctl: no such service: %s%s\n", name, near)
	}
}

func statusCode(names []string, reply event.StatusReply) int {
	if len(names) == 0 {
		return exitcode.Done
	}
	if len(reply.Unknown) > 0 {
		return exitcode.StatusUnknown
	}
	for _, s := range reply.Services {
		if s.State != event.PhaseRunning && s.State != event.PhaseStarting {
			return exitcode.StatusDown
		}
	}
	return exitcode.Done
}

// completeServices asks the live supd for names; without one there are none.
func (a *app) completeServices(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	var reply event.StatusReply
	if err := a.ask(ctx, event.AskStatus, event.StatusRequest{}, &reply); err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	names := make([]string, 0, len(reply.Services))
	for _, s := range reply.Services {
		names = append(names, s.Name+"\t"+string(s.State))
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
