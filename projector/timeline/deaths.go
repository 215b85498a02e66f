package timeline

import (
	"fmt"
	"time"

	"supd/journal/event"
)

// Death is how one instance of a service ended, and what followed.
type Death struct {
	Seq      event.Seq      `json:"seq"`
	Time     time.Time      `json:"time"`
	Run      event.Run      `json:"run"` // 0: its start is not in these records
	Instance string         `json:"instance"`
	Exit     string         `json:"exit"` // "exit code 1", "signal SIGSEGV"
	Expected bool           `json:"expected"`
	Uptime   event.Duration `json:"uptime"`
	MaxRSS   int64          `json:"max_rss"` // bytes
	Root     Root           `json:"root"`
	Why      string         `json:"why"`
	Then     string         `json:"then"` // what supd decided; empty: nothing yet
}

// Deaths are the last ends of the service, the oldest first, at most MaxDeaths.
func (s *Story) Deaths() []Death { return s.deaths }

// tally keeps the deaths.
func (s *Story) tally(r event.Record) {
	switch d := r.Data.(type) {
	case event.InstanceExitedData:
		e := s.explain(r.ID)
		death := Death{
			Seq: r.Seq, Time: r.Time, Instance: d.Instance, Exit: exit(d.Code, d.Signal), Expected: d.Expected, Uptime: d.Uptime,
			MaxRSS: d.MaxRSS, Root: e.Root, Why: e.Summary,
		}
		if n, ok := s.find(s.trace(d.Instance).starting); ok {
			death.Run = n.record.Data.(event.InstanceStartingData).Run
		}
		if len(s.deaths) == MaxDeaths {
			s.deaths = append(s.deaths[:0], s.deaths[1:]...)
		}
		s.deaths = append(s.deaths, death)
	case event.RestartScheduledData:
		if d.Shortage {
			break // no decision on the death, whose own came before
		}
		s.then(fmt.Sprintf("retry %d in %s", d.Retry, span(d.Delay)))
	case event.ServiceFatalData:
		s.then("gave up: " + d.Reason)
	case event.ServiceWantedData:
		if d.Want == event.Down {
			s.then("stays down: " + d.Reason)
		}
	}
}

// then notes what was decided after the last death.
func (s *Story) then(what string) {
	if n := len(s.deaths); n > 0 && s.deaths[n-1].Then == "" {
		s.deaths[n-1].Then = what
	}
}
