package journal

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"supd/journal/event"
)

// Room that a gap record has for the records that it carries: a quarter of the
// run log's region (R10), and no more than one record can hold.
const (
	keptPart = 4
	keptMost = event.MaxRecordSize / 2
)

// NeedDrop tells that three quarters of the run log cannot be freed: Drop makes
// room, and the last quarter is there for what comes until then (R10).
func (j *Journal) NeedDrop() bool { return j.Pressure() >= 0.75 && j.log.roomToDrop() }

// Undurable says what Drop would give up now, together with more, a batch that
// Append had no room for: first and last number, last hash, lives of crashing
// services by service, counts by kind, and as it was what is worth keeping. Last is
// 0 if nothing would. Why is left to the caller.
//
// State is the size of the base that Drop will be given, in bytes: a state that
// has outgrown the run log where there is no memory for a larger one takes its
// room from what the gap carries, so that Drop does not fail for it.
func (j *Journal) Undurable(state int64, more ...event.Encoded) event.JournalGapData {
	return j.q.undurable(j.log.keptRoom(state), more)
}

// gapRoom is what a gap takes beside the records that it carries: counts and
// lives by name of the usual number of services.
const gapRoom = 32 << 10

// keptRoom is that room now, in bytes, in a region that begins with a base of
// this size. State.base records follow the gap, in which each quotation mark of
// the state takes two bytes.
func (l *runLog) keptRoom(state int64) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return max(0, min(l.region/keptPart, keptMost, l.region-state-state/3*4-gapRoom))
}

// gapOf makes what a gap record says of these records (R10): they are the whole
// tail that is not durable, and an older gap in it goes up in this one.
//
//	lives of crashing services          counted, by service and by how they ended
//	bases, and what strangers can cause counted by kind
//	the rest                            carried as it is; the oldest are counted where budget bytes are not enough
func gapOf(recs []event.Encoded, budget int64) event.JournalGapData {
	gap := event.JournalGapData{Counts: map[event.Kind]int{}}
	if len(recs) == 0 {
		return gap
	}
	last := recs[len(recs)-1]
	gap.First, gap.Last, gap.LastHash = recs[0].Record.Seq, last.Record.Seq, last.Hash
	t := thinning{gap: &gap, loops: map[string]*event.CrashLoop{}, lives: map[string]*life{}, causes: map[string]bool{}}
	for _, e := range t.flatten(recs) {
		t.look(e)
	}
	t.count()
	t.keep(budget)
	t.list()
	return gap
}

// Bounds of what is counted by name, so that a gap is never too large for a
// record (P9): the rest is counted together.
const (
	maxLoops  = 1000 // services, those with the most lives
	maxExits  = 16   // ways to end, of one service
	loopsRest = ""   // the service of the rest
	exitsRest = "other"
)

// list puts the lives that are counted into the gap, by name.
func (t *thinning) list() {
	names := slices.SortedFunc(maps.Keys(t.loops), func(a, b string) int {
		return cmp.Or(cmp.Compare(t.loops[b].Cycles, t.loops[a].Cycles), cmp.Compare(a, b))
	})
	if len(names) > maxLoops {
		for _, service := range names[maxLoops:] {
			l := *t.loops[service]
			delete(t.loops, service)
			l.Service = loopsRest
			t.add(l)
		}
	}
	for _, service := range slices.Sorted(maps.Keys(t.loops)) {
		t.gap.Loops = append(t.gap.Loops, *t.loops[service])
	}
}

type thinning struct {
	gap    *event.JournalGapData
	loops  map[string]*event.CrashLoop // by service
	lives  map[string]*life            // by instance
	causes map[string]bool             // ids of the ends that are counted
	recs   []event.Encoded
}

// life is that of an instance which supd started by itself.
type life struct {
	failed string // why it was never executed
	ended  bool   // unexpectedly
}

// flatten puts the records that an older gap carries in its place and takes over
// what it counts: what was given up once stays told (P4).
func (t *thinning) flatten(recs []event.Encoded) []event.Encoded {
	var all []event.Encoded
	for _, e := range recs {
		older, ok := e.Record.Data.(event.JournalGapData)
		if !ok {
			all = append(all, e)
			continue
		}
		t.gap.First = min(t.gap.First, older.First)
		for kind, n := range older.Counts {
			t.gap.Counts[kind] += n
		}
		for _, l := range older.Loops {
			t.add(l)
		}
		for _, raw := range older.Kept {
			kept, err := event.Decode(raw)
			if err != nil {
				t.gap.Counts["unreadable"]++ // it was readable when it was put there
				continue
			}
			all = append(all, kept)
		}
	}
	return all
}

func (t *thinning) add(l event.CrashLoop) {
	sum := t.loops[l.Service]
	if sum == nil {
		l.Exits = maps.Clone(l.Exits)
		t.loops[l.Service] = &l
		return
	}
	sum.Cycles += l.Cycles
	if l.First.Before(sum.First) {
		sum.First = l.First
	}
	if l.Last.After(sum.Last) {
		sum.Last = l.Last
	}
	for _, how := range slices.Sorted(maps.Keys(l.Exits)) {
		as := how
		if _, known := sum.Exits[how]; !known && len(sum.Exits) >= maxExits {
			as = exitsRest
		}
		sum.Exits[as] += l.Exits[how]
	}
}

// look notes a record, and the whole life that one may complete: from its start,
// which was a restart, to an end that nobody asked for.
func (t *thinning) look(e event.Encoded) {
	t.recs = append(t.recs, e)
	switch d := e.Record.Data.(type) {
	case event.InstanceStartingData:
		if d.Reason == event.ReasonRestart {
			t.lives[d.Instance] = &life{}
		}
	case event.InstanceExecFailedData:
		if l := t.lives[d.Instance]; l != nil {
			l.failed = fmt.Sprintf("%s: %s", d.Step, d.Error)
		}
	case event.InstanceExitedData:
		l := t.lives[d.Instance]
		if l == nil || d.Expected {
			return
		}
		l.ended = true
		t.causes[e.Record.ID] = true
		at := e.Record.Time
		t.add(event.CrashLoop{Service: e.Record.Subject, Cycles: 1, First: at, Last: at, Exits: map[string]int{howEnded(d, l): 1}})
	}
}

func howEnded(d event.InstanceExitedData, l *life) string {
	switch {
	case l.failed != "":
		return l.failed
	case d.Signal != nil:
		return *d.Signal
	case d.Code != nil:
		return fmt.Sprintf("exit %d", *d.Code)
	}
	return d.Cause
}

// count takes out what is only counted.
func (t *thinning) count() {
	t.recs = slices.DeleteFunc(t.recs, func(e event.Encoded) bool {
		gone := false
		switch d := e.Record.Data.(type) {
		case event.StateBaseData, event.AccessDeniedData, event.CommandRejectedData, event.OutputTrimmedData:
			gone = true
		case event.RestartScheduledData, event.ServiceWaitingData:
			gone = t.causes[e.Record.Cause]
		default:
			l := t.lives[instanceOf(d)]
			gone = l != nil && l.ended
		}
		if gone {
			t.gap.Counts[e.Record.Kind]++
		}
		return gone
	})
}

// instanceOf is the instance whose life a record is part of; empty for others.
func instanceOf(d event.Data) string {
	switch d := d.(type) {
	case event.InstanceStartingData:
		return d.Instance
	case event.InstanceRunningData:
		return d.Instance
	case event.InstanceReadyData:
		return d.Instance
	case event.InstanceExtendedData:
		return d.Instance
	case event.InstanceExecFailedData:
		return d.Instance
	case event.InstanceReloadingData:
		return d.Instance
	case event.InstanceStoppingData:
		return d.Instance
	case event.InstanceSignaledData:
		return d.Instance
	case event.InstanceExitedData:
		return d.Instance
	case event.InstanceSweptData:
		return d.Instance
	case event.HookStartedData:
		return d.Instance
	case event.HookEndedData:
		return d.Instance
	case event.HealthChangedData:
		return d.Instance
	}
	return ""
}

// keep carries the newest of the rest that fit.
func (t *thinning) keep(budget int64) {
	from := len(t.recs)
	for from > 0 && int64(len(t.recs[from-1].Bytes)) <= budget {
		from--
		budget -= int64(len(t.recs[from].Bytes))
	}
	for _, e := range t.recs[:from] {
		t.gap.Counts[e.Record.Kind]++
	}
	for _, e := range t.recs[from:] {
		t.gap.Kept = append(t.gap.Kept, json.RawMessage(e.Bytes))
	}
}
