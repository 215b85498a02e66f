package executor

import (
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"syscall"

	"supd/executor/keeper"
	"supd/executor/keeper/wire"
	"supd/executor/policy"
	"supd/journal/event"
	"supd/projector"
)

// refresh finds the duties of a service anew, starts those that are not under
// way, and sets its deadline.
func (c *Core) refresh(name string) {
	v := c.Config.State.Services[name]
	if v == nil || !c.settled || c.unready {
		c.timers.clear(name)
		if v == nil || c.settled {
			c.watch(name) // who says that it is ready must be known before anybody listens (P8)
		}
		return
	}
	duties := policy.Duties(c.Config.State, v, c.now)
	if v.Instance != nil && c.adopting[v.Instance.ID] {
		duties = nil // what it may still be sent depends on what is found (row 10)
	}
	for _, d := range duties {
		if !c.inFlight[d.Key()] {
			c.begin(d)
		}
	}
	c.watch(name)
	if wait, ok := policy.Wait(c.Config.State, v, c.now); ok {
		c.timers.set(name, c.now.Mono+int64(wait))
	} else {
		c.timers.clear(name)
	}
}

// begin puts a duty under way: parked services into their queue, acts behind
// the record that authorises them.
func (c *Core) begin(d policy.Duty) {
	if d.Do == policy.ActPark {
		c.parks.add(d.Service, d.Urgent)
		return
	}
	c.inFlight[d.Key()] = true
	c.hold(d.After, ActGrace, true, func(bool) { c.perform(d) })
}

// perform asks the keeper. An error means that the keeper is gone or that the
// request is out of bounds, which is a bug. Either ends the engine: a duty that
// is given up in silence would leave a service as it must not be.
func (c *Core) perform(d policy.Duty) {
	var err error
	switch d.Do {
	case policy.ActOpen:
		err = c.Keeper.Open(d.Instance)
	case policy.ActSignal:
		n, _ := event.SignalNumber(d.Signal)
		err = c.Keeper.Signal(d.Instance, d.Operation, syscall.Signal(n), scopeOf(d.Scope))
	case policy.ActHook:
		c.hook(d)
	case policy.ActSweep:
		err = c.Keeper.Sweep(d.Instance, d.Operation, d.Cgroup)
	}
	if err != nil {
		c.failed = fmt.Errorf("cannot ask the keeper for %s: %w", d.Key(), err)
	}
}

func scopeOf(scope string) wire.Scope {
	switch scope {
	case event.ScopeGroup:
		return wire.ScopeGroup
	case event.ScopeTree:
		return wire.ScopeTree
	}
	return wire.ScopeMain
}

// parkQueue bounds the stubs that are being forked. A person's command goes
// before restarts that supd decided.
type parkQueue struct {
	limit  int
	busy   map[string]parking // by service
	urgent []string
	other  []string
	queued map[string]bool // and whether it is urgent
}

// parking is a stub on its way to its gate, and the specification it got.
type parking struct{ instance, digest string }

func newParkQueue(limit int) parkQueue {
	return parkQueue{limit: max(1, limit), busy: map[string]parking{}, queued: map[string]bool{}}
}

func (q *parkQueue) add(service string, urgent bool) {
	before, queued := q.queued[service]
	if q.busy[service].instance != "" || queued && (before || !urgent) {
		return
	}
	q.queued[service] = urgent
	if urgent { // its place among the others, if it has one, is passed over
		q.urgent = append(q.urgent, service)
	} else {
		q.other = append(q.other, service)
	}
}

// take removes the next service that may be parked now.
func (q *parkQueue) take() (string, bool) {
	if len(q.busy) >= q.limit {
		return "", false
	}
	for {
		from := &q.urgent
		if len(*from) == 0 {
			from = &q.other
		}
		if len(*from) == 0 {
			return "", false
		}
		service := (*from)[0]
		*from = (*from)[1:]
		if _, queued := q.queued[service]; queued {
			delete(q.queued, service)
			return service, true
		}
	}
}

// done ends the parking of an instance.
func (q *parkQueue) done(service, instance string) {
	if q.busy[service].instance == instance {
		delete(q.busy, service)
	}
}

// digest is the specification that a stub being parked was given.
func (q *parkQueue) digest(service, instance string) string {
	if p := q.busy[service]; p.instance == instance {
		return p.digest
	}
	return ""
}

// startParked forks as many stubs as may be in flight. The want may have
// changed while a service was queued, so its duty is asked for again.
func (c *Core) startParked() {
	for {
		name, ok := c.parks.take()
		if !ok {
			return
		}
		v := c.Config.State.Services[name]
		if v == nil {
			continue
		}
		if !policy.Startable(c.Config.State, v, c.now) {
			c.later = append(c.later, policy.Tick{Service: name}) // what it waits for now is decided there
			continue
		}
		if v.Spec.Output.OnFull == "block" && c.output.dead(name) >= maxUndrained {
			continue // its next Drained refreshes it (R7)
		}
		if c.strangers.keepDown(name) {
			continue // the end of the last one refreshes it
		}
		c.park(v)
	}
}

func (c *Core) park(v *projector.Service) {
	id := c.Clock.ID()
	c.parks.busy[v.Name] = parking{id, v.Digest}
	launch, err := c.Launches.Launch(v.Name, v.Digest)
	if err == nil && launch.SetUser && notifies(&v.Spec) {
		err = c.Keeper.Grant(launch.UID)
	}
	if err == nil {
		err = c.Keeper.Park(c.parkOf(v, id, launch))
	}
	if err != nil {
		c.parks.done(v.Name, id)
		c.parkRefused(v, id, err)
	}
}

// parkRefused is a start that did not get as far as the keeper. It ends like
// any other exec failure, in the next step. A keeper that is gone is no failure
// of the service: the engine ends, and the next one starts it (P8).
func (c *Core) parkRefused(v *projector.Service, id string, err error) {
	if keeperGone(err) {
		return
	}
	in := policy.ParkFailed{Service: v.Name, Instance: id, Step: "limits", Errno: int(syscall.EINVAL), Error: err.Error()}
	var errno syscall.Errno
	if errors.As(err, &errno) { // memory or descriptors ran out: that passes
		in.Step, in.Errno = "launch", int(errno)
	}
	c.later = append(c.later, in)
}

func keeperGone(err error) bool {
	for _, gone := range []error{net.ErrClosed, io.EOF, syscall.EPIPE, syscall.ECONNRESET, syscall.ENOTCONN} {
		if errors.Is(err, gone) {
			return true
		}
	}
	return false
}

func (c *Core) parkOf(v *projector.Service, id string, l event.Launch) keeper.Park {
	env := append(slices.Clone(l.Env), "SUPD_INSTANCE="+id, "SUPD_RUN="+strconv.FormatUint(uint64(v.Run+1), 10), keeper.NodeTag+c.NodeID)
	p := keeper.Park{
		Service: v.Name, Instance: id, Cgroup: true, Capture: v.Spec.CaptureOutput, MergeStderr: v.Spec.MergeStderr,
		Settings: OutputSettings(v.Spec), Limits: cgroupLimits(v.Spec.Cgroup),
		Launch: launchOf(l, append(env, c.spoken(&v.Spec)...)),
	}
	if r := v.Spec.Ready; r != nil && r.FD != nil {
		p.Launch.ReadyFD = *r.FD
	}
	return p
}

func launchOf(l event.Launch, env []string) keeper.Launch {
	limits := make([]keeper.Limit, 0, len(l.Limits))
	for _, x := range l.Limits {
		limits = append(limits, keeper.Limit{Resource: x.Resource, Soft: x.Soft, Hard: x.Hard})
	}
	return keeper.Launch{
		Paths: l.Paths, Args: l.Args, Env: env, Dir: l.Directory, Umask: l.Umask, SetUser: l.SetUser,
		UID: l.UID, GID: l.GID, Groups: l.Groups, Nice: l.Nice, OOMScoreAdj: l.OOMScoreAdj, Limits: limits,
	}
}

// OutputSettings is what the logger is told about a service: the live part of
// its output settings as JSON. The keeper relays it unread.
func OutputSettings(s event.Spec) []byte {
	b, err := event.Marshal(s.Output)
	if err != nil {
		panic(fmt.Sprintf("output settings must always encode: %v", err))
	}
	return b
}

// effect carries out what a decision asked for beside its records. All but
// answers are harmless to lose and to repeat.
func (c *Core) effect(e policy.Effect) {
	switch e := e.(type) {
	case policy.Reply:
		c.reply(e)
	case policy.Drop:
		_ = c.Keeper.Drop(e.Instance)
	case policy.Forget:
		if _, ok := c.strangers[e.Instance]; !ok { // one is forgotten when its tree has gone
			_ = c.Keeper.Forget(e.Instance)
		}
	case policy.Stranger:
		c.endStranger(e)
	case policy.Adopt:
		c.adopt(e)
	case policy.Use:
		if c.Use != nil {
			c.Use(c, e.Digest)
		}
	case policy.Upgrade:
		if c.Upgrade != nil {
			c.Upgrade(e.Command)
		}
	case policy.Quit:
		c.Quit(e.KeepServices)
	}
}

func (c *Core) adopt(e policy.Adopt) {
	if c.adopting[e.Instance] {
		return
	}
	c.adopting[e.Instance] = true
	v := c.Config.State.Services[e.Service]
	_ = c.Keeper.Adopt(keeper.Adopt{
		Service: e.Service, Instance: e.Instance, PID: e.PID, StartTime: e.StartTime, Cgroup: e.Cgroup,
		Capture: v.Spec.CaptureOutput, MergeStderr: v.Spec.MergeStderr, Settings: OutputSettings(v.Spec),
	})
}

// reply answers callers of a command when the record it tells of is durable,
// or says that it is not yet. The caller whose request is being decided is the
// one who came last: what he did wrong is no answer for the others.
func (c *Core) reply(r policy.Reply) {
	all := c.waiters[r.Command]
	callers := slices.Clone(all)
	if !r.Everyone {
		callers = callers[max(0, len(callers)-1):]
	}
	if len(callers) == 0 {
		return
	}
	if r.Reply.Status != event.ReplyAccepted { // this was their last answer
		if c.waiters[r.Command] = all[:len(all)-len(callers)]; len(callers) == len(all) {
			delete(c.waiters, r.Command)
		}
	}
	send := func(durable bool) {
		r.Reply.Durable = durable
		for _, f := range callers {
			f(r.Reply)
		}
	}
	if r.Reply.Seq == 0 {
		send(true)
		return
	}
	c.hold(r.Reply.Seq, ReplyGrace, false, send)
}

// observe ends what was in flight when its result comes in.
func (c *Core) observe(in policy.Input) {
	switch in := in.(type) {
	case policy.Parked:
		c.parks.done(in.Service, in.Instance)
	case policy.ParkFailed:
		c.parks.done(in.Service, in.Instance)
	case policy.ParkEnded:
		c.parks.done(in.Service, in.Instance)
	case policy.Executed:
		delete(c.inFlight, "open/"+in.Instance)
	case policy.ExecFailed:
		delete(c.inFlight, "open/"+in.Instance)
	case policy.Exited:
		delete(c.inFlight, "open/"+in.Instance)
		delete(c.adopting, in.Instance)
		if !in.Leftovers {
			c.strangerGone(in.Instance)
		}
	case policy.TreeEmpty:
		c.strangerGone(in.Instance)
	case policy.Signaled:
		delete(c.inFlight, policy.OperationKey(in.Instance, in.Operation))
	case policy.Swept:
		delete(c.inFlight, policy.OperationKey(in.Instance, in.Operation))
	case policy.HookEnded:
		delete(c.inFlight, policy.OperationKey(in.Instance, in.Operation))
	case policy.Settle:
		for _, h := range in.Hooks {
			delete(c.inFlight, policy.OperationKey(h.Instance, h.Operation))
		}
	case policy.Adopted:
		delete(c.adopting, in.Instance)
	case policy.Lost:
		delete(c.adopting, in.Instance)
		delete(c.inFlight, "open/"+in.Instance)
	}
}

// undrained counts, per service, ended instances whose output is still being
// written (R7).
type undrained map[string]map[string]bool

func (u undrained) add(service, instance string) {
	if u[service] == nil {
		u[service] = map[string]bool{}
	}
	u[service][instance] = true
}

func (u undrained) remove(service, instance string) {
	delete(u[service], instance)
	if len(u[service]) == 0 {
		delete(u, service)
	}
}

func (u undrained) dead(service string) int { return len(u[service]) }

// OutputPending tells that an ended instance's output is, or is no longer,
// being drained.
func (c *Core) OutputPending(service, instance string, pending bool) {
	c.now = c.Clock.Now()
	if pending {
		c.output.add(service, instance)
		return
	}
	c.output.remove(service, instance)
	c.refresh(service)
	c.startParked()
}

// Window is how many stubs may be on their way to their gates when n services
// are started at the same time: one alone would leave its processor idle at each
// hop between engine, keeper and stub.
func Window(n int) int { return 4 * max(1, n) }
