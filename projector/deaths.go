package projector

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"supd/journal/event"
)

// Limits of the memory of deaths (P9). A service keeps fewer than MaxDeaths
// where there are so many that all would keep more than MaxAllDeaths.
const (
	MaxDeaths    = 100
	MaxAllDeaths = 5000
)

// Death is one end of a service's instance, compact: what is left of it when
// its records have gone from the journal. The state remembers deaths for people:
// they are not part of the canonical form. Nothing that happens follows from them;
// only what is declared lost after all of supd was killed does.
type Death struct {
	Seq      event.Seq      `json:"q"` // of instance.exited
	At       int64          `json:"t"` // milliseconds since 1970
	Run      event.Run      `json:"r"`
	Code     *int           `json:"c,omitempty"`
	Signal   *string        `json:"s,omitempty"`
	OOM      bool           `json:"o,omitempty"`
	Expected bool           `json:"e,omitempty"`
	Uptime   event.Duration `json:"u"`
	MaxRSS   int64          `json:"m,omitempty"` // bytes
	Why      string         `json:"w,omitempty"` // reason of the stop order, or exec; empty: it ended by itself
	Then     string         `json:"n,omitempty"` // what was decided after it
	// Instance and Record, its instance.exited, are those of the newest two that had
	// run: as many may have output that nobody has read yet (R7).
	Instance string `json:"i,omitempty"`
	Record   string `json:"x,omitempty"`
}

// Deaths are the remembered ends of a service, the oldest first.
func (s *State) Deaths(service string) []Death { return s.deaths[service] }

// tally remembers a death, and what was decided after the last one.
func (s *State) tally(v *Service, r *event.Record) {
	switch d := r.Data.(type) {
	case event.InstanceExitedData:
		death := Death{
			Seq: r.Seq, At: r.Time.UnixMilli(), Run: v.LastExit.Run, Code: d.Code, Signal: d.Signal, OOM: d.OOM, Expected: d.Expected,
			Uptime: d.Uptime, MaxRSS: d.MaxRSS, Why: v.LastExit.Stop,
		}
		if v.LastExit.Exec != nil {
			death.Why = event.ReasonExec
		}
		if v.LastExit.Ran {
			death.Instance, death.Record = d.Instance, r.ID
		}
		if s.deaths == nil {
			s.deaths = map[string][]Death{}
		}
		list := append(s.deaths[v.Name], death)
		if n := len(list) - 3; n >= 0 {
			list[n].Instance, list[n].Record = "", ""
		}
		s.deaths[v.Name] = list // which may be the first of its service: the limit depends on how many there are
		if limit := s.deathLimit(); len(list) > limit {
			s.deaths[v.Name] = newest(list, limit)
		}
	default:
		list := s.deaths[v.Name]
		if n := len(list); n > 0 && list[n-1].Then == "" {
			list[n-1].Then = AfterDeath(d)
		}
	}
}

// deathLimit is how many deaths each service may keep.
func (s *State) deathLimit() int {
	return min(MaxDeaths, max(1, MaxAllDeaths/max(1, len(s.deaths))))
}

// newest leaves the oldest deaths out. They stay in memory until the next ones
// need more room than there is, so that a death costs the same however many are
// remembered.
func newest(list []Death, limit int) []Death { return list[max(0, len(list)-limit):] }

// AfterDeath says what a record decides that comes after a death; empty if it
// decides nothing.
func AfterDeath(d event.Data) string {
	switch d := d.(type) {
	case event.RestartScheduledData:
		if !d.Shortage { // else it only puts off what was decided before
			return "retry " + strconv.Itoa(d.Retry) + " in " + time.Duration(d.Delay).Round(time.Millisecond).String()
		}
	case event.ServiceFatalData:
		return "gave up: " + d.Reason
	case event.ServiceWantedData:
		if d.Want == event.Down {
			return "stays down: " + d.Reason
		}
	}
	return ""
}

// keptPrefix begins a kept state. Deaths come first: what a name or an argument
// may look like further behind is of no concern then.
const keptPrefix = `{"deaths":`

// Kept is the state as bases hold it: the canonical form with the deaths as one
// more field before the others. Parse reads it.
func (s *State) Kept() []byte {
	b := s.Canonical()
	if len(s.deaths) == 0 {
		return b
	}
	limit, kept := s.deathLimit(), make(map[string][]Death, len(s.deaths))
	for name, list := range s.deaths {
		kept[name] = list[max(0, len(list)-limit):]
	}
	deaths, err := event.Marshal(kept)
	if err != nil {
		panic("deaths must always encode: " + err.Error())
	}
	return slices.Concat([]byte(keptPrefix), deaths, []byte(","), b[1:])
}

// CutBase takes a base's text apart: the canonical state, and the deaths of each
// service. What cannot be read of the deaths is left out: nothing depends on it.
func CutBase(text string) (canonical string, deaths map[string][]Death) {
	rest, found := strings.CutPrefix(text, keptPrefix)
	if !found {
		return text, nil
	}
	var raw json.RawMessage
	d := json.NewDecoder(strings.NewReader(rest))
	if d.Decode(&raw) != nil {
		return text, nil
	}
	if rest, found = strings.CutPrefix(rest[d.InputOffset():], ","); !found {
		return text, nil
	}
	if json.Unmarshal(raw, &deaths) != nil {
		deaths = nil
	}
	return "{" + rest, deaths
}

// IsBase tells whether a base's text holds this canonical state. It says what a
// comparison with that of CutBase would say, without reading the deaths.
func IsBase(text string, canonical []byte) bool {
	deaths, found := strings.CutPrefix(text, keptPrefix)
	if !found || len(canonical) == 0 {
		return text == string(canonical)
	}
	n := len(deaths) - (len(canonical) - 1)
	if n < 0 || deaths[n:] != string(canonical[1:]) {
		return false
	}
	deaths, found = strings.CutSuffix(deaths[:n], ",")
	return found && json.Valid([]byte(deaths)) && deaths == strings.TrimRight(deaths, " \t\r\n")
}

// remember takes over the deaths of a base, as far as their services are there.
func (s *State) remember(deaths map[string][]Death) {
	maps.DeleteFunc(deaths, func(name string, list []Death) bool { return s.Services[name] == nil || len(list) == 0 })
	for name, list := range deaths {
		deaths[name] = newest(list, MaxDeaths)
	}
	s.deaths = deaths
}
