package main

import (
	"fmt"
	"time"

	"supd/journal/event"
)

// What may be decided after an exit.
const (
	chosenRestart   = "restart"
	chosenFatal     = "give up"
	chosenCompleted = "completed"
	chosenRest      = "rest" // nothing: it was asked to end, or starts again by its want
)

// choice is a decision after an exit.
type choice struct {
	What   string         `json:"what"`
	Retry  int            `json:"retry"`
	Delay  event.Duration `json:"delay"`
	Detail string         `json:"detail"` // of giving up
	chance float64        // that was drawn
}

// choiceOf tells which decision a record is; false if it is none.
func choiceOf(r event.Record) (choice, bool) {
	switch d := r.Data.(type) {
	case event.RestartScheduledData:
		return choice{What: chosenRestart, Retry: d.Retry, Delay: d.Delay, chance: d.Jitter}, true
	case event.ServiceFatalData:
		return choice{What: chosenFatal, Retry: d.Retries, Detail: d.Reason + ": " + d.Detail, chance: middle}, true
	case event.ServiceWantedData:
		if d.Reason == event.ReasonCompleted {
			return choice{What: chosenCompleted, chance: middle}, true
		}
	}
	return choice{What: chosenRest, chance: middle}, false
}

func (c choice) same(d choice) bool {
	return c.What == d.What && c.Retry == d.Retry && c.Delay == d.Delay
}

func (c choice) String() string {
	switch c.What {
	case chosenRestart:
		return fmt.Sprintf("retry %d in %s", c.Retry, time.Duration(c.Delay).Round(time.Millisecond))
	case chosenFatal:
		return fmt.Sprintf("giving up (%s)", c.Detail)
	case chosenCompleted:
		return "completed, no restart"
	}
	return "no restart"
}
