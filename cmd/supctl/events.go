package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"supd/cmd/internal/client"
	"supd/cmd/internal/exitcode"
	"supd/journal/event"
	"supd/projector/timeline"
)

func (a *app) eventsCmd() *cobra.Command {
	var (
		q     client.EventsQuery
		since string
		kinds []string
	)
	cmd := &cobra.Command{
		Use: "events", Short: "Show the journal",
		Long: `Shows the journal, oldest first: all of it, or what the flags name.

With -o json each line is one record, byte for byte as it is stored.`,
		Example: `  supctl events -n 20
  supctl events -f --service web
  supctl events --since 10m --kind instance.exited
  supctl events --since 03:12 -o json
  supctl events --since 4711`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage("%q is one argument too many: for the records of a service, events --service %s", args[0], args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			if q.Tail < 0 {
				return usage("-n %d is negative", q.Tail)
			}
			none := cmd.Flags().Changed("lines") && q.Tail == 0
			if none && !q.Follow {
				return nil
			}
			for _, k := range kinds {
				if err := checkKind(k); err != nil {
					return err
				}
			}
			for _, s := range q.Services {
				if err := event.CheckServiceName(s); err != nil && s != event.NoService {
					return usage("--service: %v", err)
				}
			}
			q.Kinds = kinds
			if err := parseSince(since, time.Now(), &q.Since, &q.From); err != nil {
				return err
			}
			if none {
				now := time.Now()
				q.Since, q.From = &now, 0
			}
			c, err := a.dial(cmd.Context())
			if err != nil {
				return err
			}
			defer c.Close()
			if err := checkServices(cmd.Context(), c, q.Services); err != nil {
				return err
			}
			if err := c.Events(cmd.Context(), q, a.showEvent); err != nil {
				return err
			}
			return a.noteKept(cmd.Context(), c)
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&q.Follow, "follow", "f", false, "go on with what comes")
	f.IntVarP(&q.Tail, "lines", "n", 0, "only the last `N` records (default: all)")
	f.StringVar(&since, "since", "", "only records since `WHEN`: 10m ago, 03:12, a time of RFC 3339, or a record's number")
	f.StringSliceVar(&q.Services, "service", nil, "only records about this `NAME`; may be repeated")
	f.StringSliceVar(&kinds, "kind", nil, "only this `KIND`, as instance.exited or instance; may be repeated")
	_ = cmd.RegisterFlagCompletionFunc("service", a.completeServices)
	_ = cmd.RegisterFlagCompletionFunc("kind", completeKinds)
	return a.output(cmd)
}

// checkServices refuses the name of a service that neither is there nor has
// left anything in the journal: a slip would otherwise look like a service to
// which nothing happened.
func checkServices(ctx context.Context, c *client.Client, names []string) error {
	names = slices.DeleteFunc(slices.Clone(names), func(n string) bool { return n == event.NoService })
	if len(names) == 0 {
		return nil
	}
	status, err := askStatus(ctx, c, names)
	if err != nil {
		return err
	}
	for _, name := range status.Unknown {
		found := false
		seen := func(client.Stored) error { found = true; return nil }
		if err := c.Events(ctx, client.EventsQuery{Services: []string{name}, Tail: 1}, seen); err != nil {
			return err
		}
		if found {
			continue
		}
		hint := "see what there is: supctl status"
		if status.Near != "" && name == status.Unknown[0] {
			hint = "did you mean " + status.Near + "?"
		}
		return &hinted{error: fmt.Errorf("cannot show events of %s: no such service, and none in the journal", name), code: exitcode.NoService, hint: hint}
	}
	return nil
}

// noteKept says what the journal on disk does not show yet: with a full disk
// that is all that has happened since.
func (a *app) noteKept(ctx context.Context, c *client.Client) error {
	var info event.Info
	if err := c.Ask(ctx, event.AskInfo, nil, &info); err != nil {
		return err
	}
	if n := info.RunLog.KeptNotDurable; n > 0 {
		fmt.Fprintf(a.err, "supctl: %d newer records are kept and not on disk yet (journal: %s)\n", n, info.Journal.Health)
	}
	return nil
}

func completeKinds(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	var kinds []string
	for _, k := range event.Kinds() {
		kinds = append(kinds, string(k))
	}
	return kinds, cobra.ShellCompDirectiveNoFileComp
}

func (a *app) showEvent(s client.Stored) error {
	if a.json() {
		_, err := fmt.Fprintf(a.out, "%s\n", s.Bytes)
		return err
	}
	s.Record.Time = s.Record.Time.Local()
	line := timeline.Line(s.Record)
	if s.Err != nil {
		line = timeline.Undecoded(s.Record, s.Err)
	}
	_, err := fmt.Fprintln(a.out, line)
	return err
}

// parseSince reads a point in time as people write it. seq may be nil where a
// record's number makes no sense.
func parseSince(s string, now time.Time, at **time.Time, seq *event.Seq) error {
	if s == "" {
		return nil
	}
	if n, err := strconv.ParseUint(s, 10, 64); err == nil && seq != nil {
		*seq = event.Seq(n)
		return nil
	}
	if d, err := time.ParseDuration(strings.TrimSuffix(s, " ago")); err == nil && d >= 0 {
		t := now.Add(-d)
		*at = &t
		return nil
	}
	for _, layout := range []string{"15:04", "15:04:05"} {
		if t, err := time.Parse(layout, s); err == nil {
			y, m, d := now.Date()
			t = time.Date(y, m, d, t.Hour(), t.Minute(), t.Second(), 0, now.Location())
			if t.After(now) {
				t = t.AddDate(0, 0, -1)
			}
			*at = &t
			return nil
		}
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, s, now.Location()); err == nil {
			*at = &t
			return nil
		}
	}
	if seq == nil {
		return usage("--since %q is neither a time span (10m) nor a time (03:12, RFC 3339)", s)
	}
	return usage("--since %q is neither a time span (10m), a time (03:12, RFC 3339) nor a record's number", s)
}
