package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"supd/cmd/internal/version"
	"supd/journal/event"
	"supd/projector/timeline"
)

// maxRows bounds a page: a browser holds all of it in memory.
const maxRows = 500_000

// maxTargets bounds in how many lanes a command is marked.
const maxTargets = 200

// Marks, the graver the higher. What is 0 is a row and no mark.
const (
	markNone = iota
	markExit
	markConfig
	markCommand
	markTrouble
	markGap
	markDeath // of a process of supd
	markCrash
	markFatal
)

// unknownPhase is what a service is in where records are missing.
const unknownPhase = "unknown"

// report is what a page shows, in columns: row i is one record, or a finding,
// which has no number. Names are written once and rows say which.
type report struct {
	Meta     reportMeta    `json:"meta"`
	Services []string      `json:"services"` // lanes, by name
	Kinds    []string      `json:"kinds"`
	Actors   []string      `json:"actors"`
	Phases   []string      `json:"phases"`
	Seq      []int64       `json:"seq"`  // each as the step from the one before
	Time     []int64       `json:"time"` // µs, as steps; never backwards
	Kind     []int         `json:"kind"`
	Service  []int         `json:"service"` // -1: none
	Actor    []int         `json:"actor"`
	Cause    []int         `json:"cause"` // row; -1: none, -2: not in the page
	Mark     []int         `json:"mark"`
	Text     []string      `json:"text"`
	Targets  map[int][]int `json:"targets"` // of commands, by row
	Lanes    []lane        `json:"lanes"`
	Output   []laneOutput  `json:"output"` // by lane

	stored []string // by row
}

type reportMeta struct {
	Node     string `json:"node"`
	Source   string `json:"source"`
	Version  string `json:"version"`
	Start    int64  `json:"start"` // µs since 1970, what steps count from
	Chunk    int    `json:"chunk"` // rows in one piece of stored records
	Filter   string `json:"filter"`
	Damaged  bool   `json:"damaged"`
	Redacted int    `json:"redacted"` // values in output lines
	Left     string `json:"left"`     // what of the output is left out, and why
}

// lane is the phases of one service: each begins at a row and lasts until the
// next; -1 is no service.
type lane struct {
	Row   []int `json:"row"`
	Phase []int `json:"phase"`
}

// names gives numbers to texts.
type names struct {
	list []string
	by   map[string]int
}

func (n *names) number(text string) int {
	i, ok := n.by[text]
	if !ok {
		if n.by == nil {
			n.by = map[string]int{}
		}
		i = len(n.list)
		n.by[text] = i
		n.list = append(n.list, text)
	}
	return i
}

// collector collects a report while a history is read.
type collector struct {
	query
	rep      *report
	fold     fold
	services names // in the order they are met; sorted at the end
	kinds    names
	actors   names
	phases   names
	rows     map[string]int // by id of a record or a command
	lanes    []lane         // by service
	latest   time.Time      // of all records so far
	lastSeq  event.Seq
	lastTime int64
	known    bool
	waiting  []*finding // until the record behind them tells whether they are asked for
	note     func(*finding)
}

// report reads the history into what a page shows.
func (s *source) report(q query, output bool, note func(*finding)) (*report, error) {
	if err := q.resolve(s); err != nil {
		return nil, err
	}
	q.zone = time.UTC
	c := &collector{query: q, rep: &report{Targets: map[int][]int{}}, rows: map[string]int{}, note: note}
	c.rep.Meta = reportMeta{Source: s.name, Version: version.Version, Chunk: chunkRows, Filter: q.filter()}
	inside := true
	for st := range s.history(reading{}) {
		if st.finding != nil {
			if inside {
				c.waiting = append(c.waiting, st.finding)
			}
			continue
		}
		before, after := c.place(st)
		if inside = !before && !after; before {
			c.waiting = c.waiting[:0]
		}
		if after {
			break // the clock that counts never goes back
		}
		if c.fold.feed(st); inside {
			c.add(st)
		}
		if len(c.rep.Seq) > maxRows {
			return nil, fmt.Errorf("it would hold more than %d records: choose a shorter time with --since and --until, or some services with --service", maxRows)
		}
	}
	if inside {
		c.findings()
	}
	c.finish()
	if output {
		s.collectOutput(c.rep)
	}
	return c.rep, nil
}

// filter says what was asked for, as it would be typed.
func (q *query) filter() (text string) {
	for _, m := range []struct {
		flag string
		m    *moment
	}{{"since", q.since}, {"until", q.until}} {
		if m.m != nil {
			text += fmt.Sprintf("--%s %q ", m.flag, m.m)
		}
	}
	if q.service != "" {
		text += fmt.Sprintf("--service %q", q.service)
	}
	return text
}

// place tells whether a record lies before or behind what is asked for. Where
// the clock went back, the latest time so far counts.
func (c *collector) place(st *step) (before, after bool) {
	r := st.rec.Record
	if r.Time.After(c.latest) && !st.stray {
		c.latest = r.Time
	}
	r.Time = c.latest
	return c.since != nil && c.since.before(r), c.until != nil && c.until.after(r)
}

func (c *collector) findings() {
	for _, f := range c.waiting {
		if c.rep.Meta.Damaged = c.rep.Meta.Damaged || f.Grade == damage; f.Grade == damage {
			c.note(f)
		}
		mark := markGap
		if f.Grade == note {
			mark = markNone
		}
		c.row(0, string(f.Grade), "", "", mark, f.String(), "")
	}
	c.waiting = c.waiting[:0]
}

// add takes a record that is asked for.
func (c *collector) add(st *step) {
	c.findings()
	r := st.rec.Record
	if c.rep.Meta.Node == "" {
		c.rep.Meta.Node = r.Source
	}
	row := len(c.rep.Seq)
	if c.service == "" || r.Subject == "" || about(r, c.service) {
		text := timeline.Text(r)
		c.row(r.Seq, string(r.Kind), r.Subject, r.Actor, markOf(r), text, string(st.entry.Data))
		c.rep.Cause[row] = c.cause(r.Cause)
		c.rows[strings.Clone(r.ID)] = row // the text of the whole record is not kept for it
		c.targets(row, r)
	} else {
		row-- // phases only change at records of their service, or at rows that are there
	}
	c.observe(max(row, 0), r)
}

func (c *collector) cause(id string) int {
	if id == "" {
		return -1
	}
	if row, ok := c.rows[id]; ok {
		return row
	}
	return -2
}

// targets notes which lanes a command concerns, and that its id may be named
// as a cause.
func (c *collector) targets(row int, r event.Record) {
	d, ok := r.Data.(event.CommandAcceptedData)
	if !ok {
		return
	}
	c.rows[d.Command] = row
	for _, name := range d.Targets[:min(len(d.Targets), maxTargets)] {
		if c.service == "" || is(c.service, name) {
			c.rep.Targets[row] = append(c.rep.Targets[row], c.number(name))
		}
	}
}

// number is that of a service, which gets a lane.
func (c *collector) number(service string) int {
	n := c.services.number(service)
	if n == len(c.lanes) {
		c.lanes = append(c.lanes, lane{})
	}
	return n
}

func (c *collector) row(seq event.Seq, kind, service, actor string, mark int, text, stored string) {
	p, n := c.rep, -1
	if service != "" {
		n = c.number(service)
	}
	at := c.lastTime
	if !c.latest.IsZero() {
		at = c.latest.UnixMicro()
	}
	if len(p.Seq) == 0 {
		p.Meta.Start, c.lastTime = at, at
	}
	step := int64(0)
	if seq != 0 {
		step, c.lastSeq = int64(seq)-int64(c.lastSeq), seq
	}
	p.Seq, p.Time = append(p.Seq, step), append(p.Time, at-c.lastTime)
	c.lastTime = at
	p.Kind, p.Service, p.Actor = append(p.Kind, c.kinds.number(kind)), append(p.Service, n), append(p.Actor, c.actors.number(actor))
	p.Cause, p.Mark, p.Text = append(p.Cause, -1), append(p.Mark, mark), append(p.Text, text)
	p.stored = append(p.stored, stored)
}

// observe notes the phases that are others after a record. Most records change
// their own service only; the rest is compared where more may have changed.
func (c *collector) observe(row int, r event.Record) {
	known := c.fold.known()
	all := known != c.known || row == 0
	switch r.Kind {
	case event.EngineStarted, event.StateBase, event.JournalGap, event.KeeperStarted, event.RecoverySettled:
		all = true
	}
	c.known = known
	switch {
	case all && known:
		for _, name := range slices.Sorted(maps.Keys(c.fold.state.Services)) {
			c.phase(name, row)
		}
		fallthrough
	case all:
		for _, name := range c.services.list {
			c.phase(name, row)
		}
	case r.Subject != "":
		c.phase(r.Subject, row)
	}
}

func (c *collector) phase(name string, row int) {
	if c.service != "" && !is(c.service, name) {
		return
	}
	phase := -1
	if !c.known {
		phase = c.phases.number(unknownPhase)
	} else if v := c.fold.state.Services[name]; v != nil {
		phase = c.phases.number(string(v.Phase))
	}
	l := &c.lanes[c.number(name)]
	if n := len(l.Phase); n > 0 && l.Phase[n-1] == phase || n == 0 && phase < 0 {
		return
	}
	l.Row, l.Phase = append(l.Row, row), append(l.Phase, phase)
}

// finish sorts the lanes by name.
func (c *collector) finish() {
	p := c.rep
	p.Kinds, p.Actors, p.Phases = c.kinds.list, c.actors.list, c.phases.list
	p.Services = slices.Sorted(slices.Values(c.services.list))
	place := make([]int, len(p.Services))
	p.Lanes, p.Output = make([]lane, len(p.Services)), make([]laneOutput, len(p.Services))
	for n, name := range c.services.list {
		place[n], _ = slices.BinarySearch(p.Services, name)
		p.Lanes[place[n]] = c.lanes[n]
	}
	for i, n := range p.Service {
		if n >= 0 {
			p.Service[i] = place[n]
		}
	}
	for _, targets := range p.Targets {
		for i, n := range targets {
			targets[i] = place[n]
		}
		slices.Sort(targets)
	}
}

// markOf says what a record is marked as.
func markOf(r event.Record) int {
	switch d := r.Data.(type) {
	case event.InstanceExitedData:
		if d.Expected {
			return markExit
		}
		return markCrash
	case event.InstanceExecFailedData:
		return markCrash
	case event.ServiceFatalData:
		return markFatal
	case event.CommandAcceptedData, event.CommandRejectedData, event.SupdStoppingData:
		return markCommand
	case event.ConfigAppliedData, event.ConfigRejectedData:
		return markConfig
	case event.JournalGapData, event.OutputGapData, event.JournalDamagedData:
		return markGap
	case event.EngineStartedData:
		if d.Mode != event.ModeFirst && d.Mode != event.ModeRestart {
			return markDeath
		}
	case event.KeeperStartedData:
		return deathIf(d.Previous != nil)
	case event.LoggerStartedData:
		return deathIf(d.Previous != nil)
	case event.HealthChangedData:
		return troubleIf(d.To == event.Unhealthy)
	case event.HookEndedData:
		return troubleIf(d.Error != "")
	case event.UpgradeEndedData:
		return troubleIf(d.Error != "")
	case event.InstanceStuckData, event.JournalDegradedData, event.ResourcePressedData, event.AccessDeniedData:
		return markTrouble
	}
	return markNone
}

func deathIf(is bool) int {
	if is {
		return markDeath
	}
	return markNone
}

func troubleIf(is bool) int {
	if is {
		return markTrouble
	}
	return markNone
}
