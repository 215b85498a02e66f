package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"supd/cmd/internal/version"
	"supd/journal/event"
	"supd/projector/timeline"
)

func (a *app) infoCmd() *cobra.Command {
	return a.output(&cobra.Command{
		Use: "info", Short: "Show what supd is and how it fares",
		Example: "  supctl info\n  supctl info -o json", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var info event.Info
			if err := a.ask(cmd.Context(), event.AskInfo, nil, &info); err != nil {
				return err
			}
			if a.json() {
				return a.writeJSON(info)
			}
			return a.showInfo(info)
		},
	})
}

func (a *app) showInfo(i event.Info) error {
	rows := [][]string{
		{"node", i.Node},
		{"node id", i.NodeID},
		{"version", i.Version},
		{"boot", i.Boot},
		{"you are", i.Actor},
		{"started", fmt.Sprintf("%s (%s)", i.Started.Local().Format("2006-01-02 15:04:05"), i.Mode)},
		{"pids", fmt.Sprintf("keeper %d, engine %d, logger %d", i.PIDs.Keeper, i.PIDs.Engine, i.PIDs.Logger)},
		{"run log", fmt.Sprintf("%d of %d bytes, %d records not yet durable, %s", i.RunLog.Bytes, i.RunLog.Size, i.RunLog.KeptNotDurable, i.RunLog.Place)},
		{"journal", fmt.Sprintf("records %d to %d, %d bytes, %s", i.Journal.First, i.Journal.Last, i.Journal.Bytes, i.Journal.Health)},
		{"output", fmt.Sprintf("%d bytes in %s", i.Output.Bytes, i.Output.Directory)},
	}
	if l := i.Listen; l != nil {
		rows = append(rows, []string{"network", l.Address + ", " + l.Health})
	}
	for _, k := range slices.Sorted(maps.Keys(i.Kernel)) {
		rows = append(rows, []string{k, i.Kernel[k]})
	}
	return a.writeLines(timeline.Fit(rows, 0)) // values are sentences: none is cut
}

func (a *app) dumpCmd() *cobra.Command {
	return a.output(&cobra.Command{
		Use: "dump", Short: "Show supd's whole state, as the journal gives it",
		Long:    "Shows the canonical state with the number and hash of the record it stands at.\nIt is JSON in either format.",
		Example: "  supctl dump", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var dump event.Dump
			if err := a.ask(cmd.Context(), event.AskDump, nil, &dump); err != nil {
				return err
			}
			b, err := event.Marshal(dump)
			if err == nil {
				_, err = fmt.Fprintf(a.out, "%s\n", b)
			}
			return err
		},
	})
}

func (a *app) resultCmd() *cobra.Command {
	return a.output(&cobra.Command{
		Use: "result ID", Short: "Show the outcome of a command",
		Long:    "Shows how a command ended. The exit code is the one that waiting for it would\nhave had; 0 also for one that goes on.",
		Example: "  supctl result 01890a5d-ac96-774b-bcce-b302099a8057",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("result takes the id of one command")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			var reply event.CommandReply
			if err := a.ask(cmd.Context(), event.AskResult, event.ResultRequest{Command: args[0]}, &reply); err != nil {
				return err
			}
			if reply.Status == event.ReplyAccepted && !a.json() {
				_, err := fmt.Fprintf(a.out, "%s: not ended yet\n", reply.Command)
				return err
			}
			return (&action{app: a}).show("command", reply)
		},
	})
}

func (a *app) versionCmd() *cobra.Command {
	return a.output(&cobra.Command{
		Use: "version", Short: "Show the versions of supctl and, if it runs, of supd", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			versions := struct {
				Supctl string  `json:"supctl"`
				Supd   *string `json:"supd"`
			}{Supctl: version.Version}
			ctx, cancel := context.WithTimeout(cmd.Context(), 2*time.Second)
			defer cancel()
			var info event.Info
			err := a.ask(ctx, event.AskInfo, nil, &info)
			if err == nil {
				versions.Supd = &info.Version
			}
			if a.json() {
				return a.writeJSON(versions)
			}
			fmt.Fprintln(a.out, "supctl", versions.Supctl)
			if err == nil {
				_, err = fmt.Fprintln(a.out, "supd  ", info.Version)
				return err
			}
			fmt.Fprintf(a.out, "supd   not known: %v\n", err)
			return nil
		},
	})
}
