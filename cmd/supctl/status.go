package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"supd/cmd/internal/client"
	"supd/cmd/internal/exitcode"
	"supd/journal/event"
)

func (a *app) statusCmd() *cobra.Command {
	watch := false
	cmd := &cobra.Command{
		Use: "status [NAME…]", Short: "Show services",
		Long: `Shows services and what they are doing.

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
				return a.watchStatus(cmd.Context(), c, args)
			}
			reply, err := askStatus(cmd.Context(), c, args)
			if err != nil {
				return err
			}
			if err := a.showStatus(reply); err != nil {
				return err
			}
			for _, name := range reply.Unknown {
				fmt.Fprintf(a.err, "supctl: no such service: %s\n", name)
			}
			return end(statusCode(args, reply))
		},
	}
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "show again every second until interrupted")
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

func (a *app) watchStatus(ctx context.Context, c *client.Client, names []string) error {
	every := time.NewTicker(time.Second)
	defer every.Stop()
	for {
		reply, err := askStatus(ctx, c, names)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if terminal(a.out) {
			fmt.Fprint(a.out, "\x1b[H\x1b[2J")
		}
		if err := a.showStatus(reply); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-every.C:
		}
	}
}

func (a *app) showStatus(reply event.StatusReply) error {
	if a.json() {
		return a.writeJSON(reply.Services)
	}
	if len(reply.Services) == 0 && len(reply.Unknown) > 0 {
		return nil
	}
	rows := [][]string{{"NAME", "STATE", "PID", "UPTIME", "RESTARTS", "LAST-EXIT"}}
	now := time.Now()
	for _, s := range reply.Services {
		rows = append(rows, statusRow(s, now))
	}
	if err := writeTable(a.out, rows, colours(a.out)); err != nil {
		return err
	}
	return a.showFatal(reply.Services)
}

// showFatal says why services were given up: a table has no room for it, and
// whoever looks wants to know just that. supctl start clears it.
func (a *app) showFatal(services []event.ServiceStatus) error {
	for _, s := range services {
		if (s.State != event.PhaseFatal && s.State != event.PhaseStuck) || s.Reason == nil {
			continue
		}
		if _, err := fmt.Fprintf(a.out, "%s is %s: %s\n", s.Name, s.State, *s.Reason); err != nil {
			return err
		}
	}
	return nil
}

func statusRow(s event.ServiceStatus, now time.Time) []string {
	row := []string{s.Name, string(s.State), "-", "-", strconv.Itoa(s.Restarts), "-"}
	if s.PID != nil {
		row[2] = strconv.Itoa(*s.PID)
	}
	if s.StartedAt != nil && s.PID != nil {
		row[3] = age(now.Sub(*s.StartedAt))
	}
	if e := s.LastExit; e != nil {
		row[5] = lastExit(*e) + ", " + age(now.Sub(e.At)) + " ago"
	}
	return row
}

func lastExit(e event.LastExit) string {
	switch {
	case e.Signal != nil:
		return "signal " + *e.Signal
	case e.Code != nil:
		return "code " + strconv.Itoa(*e.Code)
	}
	return "unknown"
}

// age writes a time span in its two largest units.
func age(d time.Duration) string {
	d = max(d, 0)
	s := int(d.Seconds())
	switch {
	case s < 60:
		return fmt.Sprintf("%ds", s)
	case s < 3600:
		return fmt.Sprintf("%dm%02ds", s/60, s%60)
	case s < 86400:
		return fmt.Sprintf("%dh%02dm", s/3600, s%3600/60)
	}
	return fmt.Sprintf("%dd%02dh", s/86400, s%86400/3600)
}

// writeTable aligns columns; colour, if wanted, goes by the state.
func writeTable(w io.Writer, rows [][]string, colour bool) error {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], len(cell))
		}
	}
	for n, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			pad := strings.Repeat(" ", widths[i]-len(cell))
			if i == 1 && n > 0 && colour {
				cell = stateColour(event.Phase(cell)) + cell + "\x1b[0m"
			}
			line.WriteString(cell + pad + "  ")
		}
		if _, err := fmt.Fprintln(w, strings.TrimRight(line.String(), " ")); err != nil {
			return err
		}
	}
	return nil
}

func stateColour(p event.Phase) string {
	switch p {
	case event.PhaseRunning:
		return "\x1b[32m"
	case event.PhaseFatal, event.PhaseStuck:
		return "\x1b[31m"
	case event.PhaseStopped, event.PhaseExited:
		return "\x1b[2m"
	}
	return "\x1b[33m"
}

func colours(w io.Writer) bool { return os.Getenv("NO_COLOR") == "" && terminal(w) }

func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
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
