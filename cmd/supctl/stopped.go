package main

import (
	"context"
	"fmt"
	"time"

	"supd/cmd/internal/client"
	"supd/journal/event"
)

// stoppedToo names the services that a stop took with it, as they require what
// was stopped: whoever stops db should not find out later that web is down.
// accepted is the number of the command's first record. The stop is done; what
// cannot be read within two seconds is left out.
func stoppedToo(ctx context.Context, c *client.Client, accepted event.Seq, reply event.CommandReply) []string {
	if accepted == 0 || reply.Status != event.ReplyEnded || len(reply.Results) == 0 {
		return nil
	}
	targets := map[string]bool{}
	for _, r := range reply.Results {
		targets[r.Service] = true
	}
	requires := "what was stopped"
	if len(reply.Results) == 1 {
		requires = reply.Results[0].Service
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	var lines []string
	cause := ""
	q := client.EventsQuery{From: accepted, Kinds: []string{string(event.CommandAccepted), string(event.ServiceWanted)}}
	_ = c.Events(ctx, q, func(s client.Stored) error {
		switch d := s.Record.Data.(type) {
		case event.CommandAcceptedData:
			if d.Command == reply.Command {
				cause = s.Record.ID
			}
		case event.ServiceWantedData:
			if cause != "" && s.Record.Cause == cause && d.Want == event.Down && d.Reason == event.ReasonDependency && !targets[s.Record.Subject] {
				lines = append(lines, fmt.Sprintf("%s: stopped too, it requires %s", s.Record.Subject, requires))
			}
		}
		return nil
	})
	return lines
}
