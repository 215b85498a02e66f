package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"supd/cmd/internal/client"
	"supd/journal/event"
	"supd/projector/timeline"
)

// What is quick needs no comment; what takes longer gets one, often enough to
// be seen to move.
const (
	progressAfter = time.Second
	progressEvery = 500 * time.Millisecond
)

// progress tells a person at a terminal what a command waits for, on a line of
// its own that is gone when done has returned. Elsewhere it is silent.
func (a *app) progress(ctx context.Context, c *client.Client, verb event.Verb, id string) (done func()) {
	if !terminal(a.err) || a.json() {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		shown := false
		for wait := progressAfter; ; wait = progressEvery {
			select {
			case <-ctx.Done():
				if shown {
					fmt.Fprint(a.err, "\r\x1b[K")
				}
				return
			case <-time.After(wait):
			}
			text := waitingFor(ctx, c, verb, id)
			if text == "" || ctx.Err() != nil {
				continue
			}
			fmt.Fprint(a.err, "\r"+timeline.Cut(text, width(a.err)-1)+"\x1b[K")
			shown = true
		}
	})
	return func() { cancel(); wg.Wait() }
}

func waitingFor(ctx context.Context, c *client.Client, verb event.Verb, id string) string {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	var reply event.StatusReply
	if err := c.Ask(ctx, event.AskStatus, event.StatusRequest{Waits: true}, &reply); err != nil {
		return "waiting for supd: " + map[bool]string{true: "it ends", false: "it does not answer"}[verb == event.VerbShutdown]
	}
	return waitingText(reply, verb, id, time.Now())
}

// waitingText names the services that a command has not done yet: the first
// of them, how far it is, and how many more.
func waitingText(reply event.StatusReply, verb event.Verb, id string, now time.Time) string {
	waits := map[string]event.ServiceWait{}
	for _, w := range reply.Waits {
		waits[w.Service] = w
	}
	text, more := "", -1
	for _, s := range reply.Services {
		if s.Pending == nil || *s.Pending != id {
			if _, ending := waits[s.Name]; verb != event.VerbShutdown || !ending && s.PID == nil {
				continue
			}
		}
		if more++; more > 0 {
			continue
		}
		text = fmt.Sprintf("waiting for %s: %s", s.Name, s.State)
		if w := waits[s.Name]; w.Since != nil && w.Until != nil && w.Until.After(*w.Since) {
			text += fmt.Sprintf(", %s of %s", seconds(now.Sub(*w.Since)), seconds(w.Until.Sub(*w.Since)))
		}
	}
	switch {
	case more > 0:
		text += fmt.Sprintf(" (and %d more)", more)
	case text == "" && verb == event.VerbShutdown:
		text = "waiting for supd: it ends"
	}
	return text
}

func seconds(d time.Duration) string {
	return fmt.Sprintf("%d s", int(max(d, 0).Round(time.Second).Seconds()))
}
