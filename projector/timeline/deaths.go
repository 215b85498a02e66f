package timeline

import (
	"time"

	"supd/journal/event"
	"supd/projector"
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
	default:
		if n := len(s.deaths); n > 0 && s.deaths[n-1].Then == "" {
			s.deaths[n-1].Then = projector.AfterDeath(d)
		}
	}
}

// recall takes the deaths out of the first base that is whole: those before the
// oldest record have left nothing else in the journal.
func (s *Story) recall(r event.Record, d event.StateBaseData) {
	if s.recalled {
		return
	}
	if d.Part == 1 {
		s.base.Reset()
	}
	s.base.WriteString(d.Chunk)
	if d.Chunk == "" {
		s.base.Write(d.State)
	}
	if d.Part < d.Parts {
		return
	}
	s.recalled = true
	state, all := projector.CutBase(s.base.String())
	s.base.Reset()
	s.recallSpecs(state)
	var old []Death
	for _, d := range all[s.service] {
		if d.Seq < s.first {
			old = append(old, recalled(d, r.Time.Location()))
		}
	}
	s.deaths = append(old, s.deaths...)
	s.deaths = s.deaths[max(0, len(s.deaths)-MaxDeaths):]
}

// recalled is what is known of a death without its records.
func recalled(d projector.Death, zone *time.Location) Death {
	death := Death{
		Seq: d.Seq, Time: time.UnixMilli(d.At).In(zone), Run: d.Run, Exit: exit(d.Code, d.Signal), Expected: d.Expected,
		Uptime: d.Uptime, MaxRSS: d.MaxRSS, Then: d.Then,
	}
	switch {
	case d.Why == event.ReasonExec:
		death.Root, death.Why = RootExec, "it could not be executed"
	case d.Why == event.ReasonCommand || d.Why == event.ReasonRestart:
		death.Root, death.Why = RootCommand, "somebody asked for it"
	case d.Why != "":
		death.Root, death.Why = stopRoot(d.Why), "it was told to end, by reason of "+d.Why
	case d.OOM:
		death.Root, death.Why = RootOutOfMemory, "it ended: "+death.Exit+", out of memory"
	case d.Signal != nil:
		death.Root, death.Why = RootSignal, "it ended: "+death.Exit
	case d.Code != nil:
		death.Root, death.Why = RootExit, "it ended: "+death.Exit
	default:
		death.Root, death.Why = RootUnknown, "it ended while nobody watched"
	}
	death.Why = clean(death.Why) + " (its records have left the journal)"
	return death
}
