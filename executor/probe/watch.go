package probe

import (
	"context"
	"reflect"
	"regexp"
	"time"

	"supd/executor/policy"
	"supd/journal/event"
)

// minWatchdog bounds how often a service may make supd look at it.
const minWatchdog = 10 * time.Millisecond

// watch is an instance that is watched. All but asked and what stop does is
// guarded by the prober's mu.
type watch struct {
	Target
	stop  context.CancelFunc // ends what is asked of it
	asked chan struct{}      // closed when it has ended

	running, over chan struct{} // closed when its execution is in the state, and when it is not watched any more

	cgroupID uint64 // of its cgroup; 0: not looked up yet

	// What it said, and what of it was told.
	ready, reloading     bool
	toldReady, toldLoads bool
	extend               time.Duration // 0: nothing to tell
	nextTold             time.Time     // not before: a talkative service must not fill the journal (P9)
	status               string

	every    time.Duration // of the watchdog, if the service has changed it
	lastSign time.Time
	armed    bool
	hung     bool // it said so
	missed   bool // told

	complained bool // about a MAINPID that was refused
}

// other tells whether what is asked is not what was asked before.
func (w *watch) other(before Target) bool {
	return !reflect.DeepEqual(w.ReadyBy, before.ReadyBy) || !reflect.DeepEqual(w.Health, before.Health) ||
		!reflect.DeepEqual(w.Launch, before.Launch)
}

// judge lists what is to be told of the instance now and when to look again,
// zero for never. The caller holds the prober's mu.
func (w *watch) judge(now time.Time) (inputs []policy.Input, again time.Time) {
	if !w.Running {
		return nil, again // what it said is told when its execution is in the state
	}
	said := w.toTell() || w.reloading && !w.toldLoads || w.extend > 0
	switch {
	case said && now.Before(w.nextTold):
		again = w.nextTold
	case said:
		inputs = w.news()
		w.nextTold = now.Add(tellEvery)
	}
	if due, ok := w.overdue(now); ok {
		if !due.After(now) {
			w.missed = true
			inputs = append(inputs, policy.WatchdogMissed{Service: w.Service, Instance: w.Instance})
		} else if again.IsZero() || due.Before(again) {
			again = due
		}
	}
	return inputs, again
}

// toTell tells whether its READY is news: of a service that is asked otherwise
// only after its RELOADING.
func (w *watch) toTell() bool {
	return w.ready && !w.toldReady && (w.ReadyBy != nil && w.ReadyBy.Notify || w.toldLoads)
}

// news are the changes that the service told of itself.
func (w *watch) news() (inputs []policy.Input) {
	if w.extend > 0 {
		inputs = append(inputs, policy.Extended{Service: w.Service, Instance: w.Instance, For: w.extend})
		w.extend = 0
	}
	if w.reloading && !w.toldLoads {
		inputs = append(inputs, policy.Reloading{Service: w.Service, Instance: w.Instance})
		w.toldLoads, w.toldReady, w.ready = true, false, false
	}
	if w.toTell() {
		inputs = append(inputs, policy.Ready{Service: w.Service, Instance: w.Instance, By: "notify"})
		w.toldReady, w.toldLoads, w.reloading = true, false, false
	}
	return inputs
}

// overdue is when the watchdog runs out; ok is false if there is none to watch.
// One that has to get ready is watched from then on: its start has a deadline of
// its own.
func (w *watch) overdue(now time.Time) (at time.Time, ok bool) {
	if w.Watchdog == 0 || w.Stopping || w.missed {
		return at, false
	}
	if w.hung {
		return now, true
	}
	if w.ReadyBy != nil && !w.Ready {
		return at, false
	}
	if !w.armed {
		w.armed = true
		w.lastSign = now
	}
	every := w.every
	if every == 0 {
		every = w.Watchdog
	}
	return w.lastSign.Add(every), true
}

// How often a service that is not ready yet is asked. It begins fast, since most
// are ready within a second and whoever depends on them waits, and each wait is
// half as long again as the one before, so that a start is told late by a third of
// its time at most.
const (
	readyFirst   = 5 * time.Millisecond
	readySlowest = time.Second
	readyTimeout = 3 * time.Second // of one probe
	linesEvery   = 100 * time.Millisecond
)

// untilReady asks until the service is ready; the state's deadline ends it.
func (p *Prober) untilReady(ctx context.Context, t *Target) {
	if t.ReadyBy.Log != "" {
		p.untilLine(ctx, t)
		return
	}
	c := p.check(t, t.ReadyBy.Probe, readyExec)
	for wait := readyFirst; ; wait = min(wait+wait/2, readySlowest) {
		if !sleep(ctx, p.spread(wait)) {
			return
		}
		if p.attempt(ctx, readyTimeout, c) == nil && ctx.Err() == nil {
			p.cfg.Tell(policy.Ready{Service: t.Service, Instance: t.Instance, By: t.ReadyBy.By()})
			return
		}
	}
}

// untilLine reads what the instance writes until a line matches.
func (p *Prober) untilLine(ctx context.Context, t *Target) {
	pattern, err := regexp.Compile(t.ReadyBy.Log)
	if err != nil || p.cfg.Lines == nil {
		p.cfg.Log.Error("a service cannot become ready by its output", "service", t.Service, "error", err)
		return
	}
	next := p.cfg.Lines(t.Service, t.Instance, t.Started)
	for complained := false; sleep(ctx, p.spread(linesEvery)); {
		lines, err := p.read(ctx, next)
		if err != nil && ctx.Err() == nil && !complained {
			complained = true
			p.cfg.Log.Warn("cannot read the output of a service that is to become ready by it", "service", t.Service, "error", err)
		}
		for _, line := range lines {
			if pattern.Match(line) {
				p.cfg.Tell(policy.Ready{Service: t.Service, Instance: t.Instance, By: t.ReadyBy.By()})
				return
			}
		}
	}
}

// read takes a turn for a read that may hang: then the turn is lost with the
// disk, and nobody waits for it (P5).
func (p *Prober) read(ctx context.Context, next func(context.Context) ([][]byte, error)) ([][]byte, error) {
	select {
	case p.reads <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	type answer struct {
		lines [][]byte
		err   error
	}
	read := make(chan answer, 1)
	go func() {
		defer func() { <-p.reads }()
		lines, err := next(ctx)
		read <- answer{lines, err}
	}()
	select {
	case a := <-read:
		return a.lines, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// health asks for as long as the instance lives, and tells of thresholds only.
func (p *Prober) health(ctx context.Context, t *Target) {
	h, c := t.Health, p.check(t, t.Health.Probe, healthExec)
	n := counter{state: t.State, failures: h.Failures, successes: h.Successes}
	if n.state == "" {
		n.state = event.HealthUnknown
	}
	// The first one comes somewhere in the interval, the later ones keep the pace.
	wait := time.Duration(p.cfg.Rand() * float64(h.Interval))
	for sleep(ctx, wait) {
		began := time.Now()
		err := p.attempt(ctx, time.Duration(h.Timeout), c)
		if ctx.Err() != nil {
			return
		}
		if from, changed := n.count(err == nil); changed {
			in := policy.Health{
				Service: t.Service, Instance: t.Instance, Probe: h.Kind(), From: from, To: n.state, Failures: n.bad,
			}
			if err != nil {
				in.Error = text(err)
			}
			p.cfg.Tell(in)
		}
		wait = max(0, p.spread(time.Duration(h.Interval))-time.Since(began))
	}
}

// counter turns single answers into a health.
type counter struct {
	state               string
	failures, successes int // thresholds
	good, bad           int // in a row
}

// count takes one answer and tells whether the health has changed, and from what.
func (c *counter) count(well bool) (from string, changed bool) {
	from = c.state
	if well {
		c.good, c.bad = c.good+1, 0
		if c.good >= c.successes {
			c.state = event.Healthy
		}
	} else {
		c.bad, c.good = c.bad+1, 0
		if c.bad >= c.failures {
			c.state = event.Unhealthy
		}
	}
	return from, from != c.state
}

func readyExec(l *event.Launch) *event.LaunchExec  { return l.ReadyExec }
func healthExec(l *event.Launch) *event.LaunchExec { return l.HealthExec }

func (p *Prober) check(t *Target, probe event.Probe, of func(*event.Launch) *event.LaunchExec) check {
	switch probe.Kind() {
	case "tcp":
		return tcp(probe.TCP)
	case "http":
		return web(probe.HTTP)
	}
	var l *event.LaunchExec
	if t.Launch != nil {
		l = of(t.Launch)
	}
	return p.program(t, l)
}

// spread moves a wait by up to a tenth either way, so that services which
// started together do not stay together.
func (p *Prober) spread(d time.Duration) time.Duration {
	return d + time.Duration((p.cfg.Rand()-0.5)*0.2*float64(d))
}

// sleep waits; false if ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
