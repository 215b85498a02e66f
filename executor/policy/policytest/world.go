package policytest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"supd/executor/policy"
	"supd/journal/event"
	"supd/projector"
)

// Behaviour is what the processes of one instance do.
type Behaviour struct {
	ParkErrno    int  // no stub gets as far as its gate
	ExecErrno    int  // the program cannot be executed
	Stubborn     bool // only KILL ends it
	Unkillable   bool // not even KILL, until Release
	Leaves       bool // its tree outlives the main process
	SweepsInVain int  // sweeps that leave survivors
	NeverReady   bool // it never says that it is ready
	HookCode     int  // what its hooks exit with
	HookSilent   bool // nobody tells how they end
	Hidden       bool // who looks for what no record knows does not find it
	ToldLate     bool // what came of a signal is told after what it led to
	Daemons      int  // how many times it names a child as its main process, and its own ends

	DiesIn   time.Duration // from the end of the main process to the proof of it
	LivesFor time.Duration // then it ends by itself; 0: it does not
	ExitCode int           // with this
}

// process is an instance's main process and the rest of its tree.
type process struct {
	service, instance string
	pid               int
	child             int // one of the tree, which may be named; the others never are
	boot              string
	gate, running     bool // running: its program was executed and it lives
	ran               bool // it was
	tree              bool // members other than the main process live
	dying             bool // it ends, and is not dead yet
	killed            bool // KILL was sent, whatever came of it
	ended             *policy.Exited
	behaviour         Behaviour
}

func (p *process) alive() bool { return p.gate || p.running }

// slot is what the keeper knows of an instance; it dies with the keeper.
type slot struct {
	executed, adopted, treeEmpty bool
	execFailed                   *policy.ExecFailed
	exited                       *policy.Exited
	forgotten, swept             bool
	named                        int    // by the last Follow
	refused                      string // and why it is not the main process
	results                      map[string]policy.Signaled
	order                        []string // of results
}

// World is the model. It must be used from one goroutine.
type World struct {
	Now policy.Now
	// Queue is what the keeper has to tell, oldest first. Inputs of one instance
	// must be delivered in this order.
	Queue []policy.Input
	// Said is what lies in the notify socket, oldest first.
	Said []Said
	// Tell, if not nil, changes what the keeper is about to tell.
	Tell func(policy.Input) policy.Input
	// Behave says what a new instance will do; nil: it runs and obeys.
	Behave func(service string) Behaviour
	// MayLeave tells services whose leftovers are left alone (stop.mode main).
	MayLeave func(service string) bool
	// Awaits tells services that say when they are ready, Oneshot those that end
	// by themselves as soon as they run.
	Awaits, Oneshot func(service string) bool
	// Violations are the promises that were seen broken.
	Violations []string
	// Keeper is the pid of the current keeper.
	Keeper int
	// Seen counts what happened, by kind, so that nobody believes in a kind that
	// never does.
	Seen map[string]int

	processes map[string]*process
	slots     map[string]*slot
	sent      map[string]int // signals by instance and operation, across keepers
	opened    map[string]int
	hooks     map[string]policy.HookEnded // what the current keeper knows, by operation
	hooked    map[string]int              // runs by operation, across keepers
	laters    []later
	pids      int
	boots     int
}

// New returns a world where nothing lives.
func New() *World {
	w := &World{
		processes: map[string]*process{}, slots: map[string]*slot{}, sent: map[string]int{}, opened: map[string]int{},
		hooks: map[string]policy.HookEnded{}, hooked: map[string]int{}, Seen: map[string]int{},
	}
	w.Now = policy.Now{Wall: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Mono: int64(time.Hour)}
	w.Keeper = 100 // any but PID 1, which may not leave services behind
	w.boot()
	return w
}

func (w *World) boot() {
	w.boots++
	w.Now.Boot = fmt.Sprintf("boot-%d", w.boots)
}

func (w *World) violated(format string, args ...any) {
	w.Violations = append(w.Violations, fmt.Sprintf(format, args...))
}

func (w *World) tell(in policy.Input) {
	if w.Tell != nil {
		in = w.Tell(in)
	}
	w.Queue = append(w.Queue, in)
}

// Park forks a stub that waits at its gate.
func (w *World) Park(service, instance, digest string) {
	if w.slots[instance] != nil {
		return
	}
	b := Behaviour{}
	if w.Behave != nil {
		b = w.Behave(service)
	}
	if b.ParkErrno != 0 {
		w.Seen["no stub"]++
		w.tell(policy.ParkFailed{Service: service, Instance: instance, Step: "fork", Errno: b.ParkErrno, Error: "errno"})
		return
	}
	w.pids++
	p := &process{service: service, instance: instance, pid: 100 + w.pids, boot: w.Now.Boot, gate: true, behaviour: b}
	w.processes[instance] = p
	w.slots[instance] = &slot{results: map[string]policy.Signaled{}}
	w.tell(policy.Parked{
		Service: service, Instance: instance, PID: p.pid, StartTime: uint64(p.pid), Cgroup: "/cgroup/" + instance, SpecDigest: digest,
	})
}

// Open opens a gate, at most once.
func (w *World) Open(instance string) {
	s, p := w.slots[instance], w.processes[instance]
	if s == nil {
		w.Seen["the keeper does not know whose gate to open"]++
		w.tell(policy.Forgotten{Service: w.service(instance), Instance: instance})
		return
	}
	if !p.gate {
		return
	}
	if w.opened[instance]++; w.opened[instance] > 1 {
		w.violated("R3: the gate of %s was opened twice", instance)
	}
	p.gate = false
	if p.behaviour.ExecErrno != 0 {
		w.Seen["no program"]++
		f := policy.ExecFailed{
			Service: p.service, Instance: instance, Step: "exec", Path: "/bin/" + p.service, Errno: p.behaviour.ExecErrno, Error: "errno",
		}
		s.execFailed = &f
		w.tell(f)
		w.dead(p, policy.Exited{Code: 127})
		return
	}
	w.oneInstance(p)
	p.running, p.ran, s.executed = true, true, true
	if p.behaviour.Leaves {
		w.fork(p)
	}
	w.tell(policy.Executed{Service: p.service, Instance: instance})
	if w.Awaits != nil && w.Awaits(p.service) && !p.behaviour.NeverReady {
		w.tell(policy.Ready{Service: p.service, Instance: instance, By: "notify"})
	}
	w.live(p)
	if p.behaviour.Daemons > 0 {
		w.daemon(p)
	}
	if w.Oneshot != nil && w.Oneshot(p.service) {
		w.end(p, policy.Exited{Code: p.behaviour.HookCode})
	}
}

// Hook runs a hook under an operation's name, once; asked again, it tells the
// result again. It returns false if there is nothing to tell.
func (w *World) Hook(d policy.Duty) bool {
	if known, ok := w.hooks[d.Operation]; ok {
		if known.Service != "" {
			w.tell(known)
		}
		return known.Service != ""
	}
	if w.hooked[d.Operation]++; w.hooked[d.Operation] > 1 {
		w.violated("R4: hook %s was run twice", d.Operation)
	}
	b := Behaviour{}
	if p := w.processes[d.Instance]; p != nil {
		b = p.behaviour
	}
	in := policy.HookEnded{Service: d.Service, Instance: d.Instance, Hook: d.Hook, Operation: d.Operation, Executed: true, Code: b.HookCode}
	if b.HookSilent {
		w.Seen["a hook of which nothing is heard"]++
		w.hooks[d.Operation] = policy.HookEnded{}
		return false
	}
	w.hooks[d.Operation] = in
	w.tell(in)
	return true
}

// oneInstance checks P1 when a program is executed.
func (w *World) oneInstance(p *process) {
	for _, other := range w.sorted() {
		switch {
		case other == p || other.service != p.service:
		case other.running:
			w.violated("P1: %s and %s of %s live at once", other.instance, p.instance, p.service)
		case other.tree && (w.MayLeave == nil || !w.MayLeave(p.service)):
			w.violated("P1: %s of %s starts while the tree of %s lives", p.instance, p.service, other.instance)
		}
	}
}

func (w *World) sorted() []*process {
	var ps []*process
	for _, id := range slices.Sorted(maps.Keys(w.processes)) {
		ps = append(ps, w.processes[id])
	}
	return ps
}

func (w *World) service(instance string) string {
	if p := w.processes[instance]; p != nil {
		return p.service
	}
	return ""
}

// Drop lets a parked stub go.
func (w *World) Drop(instance string) {
	s, p := w.slots[instance], w.processes[instance]
	if s == nil || !p.gate {
		return
	}
	p.gate = false
	delete(w.slots, instance)
	w.tell(policy.ParkEnded{Service: p.service, Instance: instance})
}

// Forget releases the slot of an ended instance.
func (w *World) Forget(instance string) {
	s, p := w.slots[instance], w.processes[instance]
	if s == nil || p.alive() {
		return
	}
	if s.exited != nil && w.MayLeave != nil && w.MayLeave(p.service) || !p.tree {
		delete(w.slots, instance)
		return
	}
	s.forgotten = true
}

// end ends a main process.
func (w *World) end(p *process, x policy.Exited) {
	if p.alive() && !w.die(p, x) {
		w.dead(p, x)
	}
}

// dead is the proven death of a main process.
func (w *World) dead(p *process, x policy.Exited) {
	p.gate, p.running, p.ended = false, false, &x
	x.Service, x.Instance, x.Leftovers = p.service, p.instance, p.tree
	if p.tree {
		x.Left = 1
	}
	if s := w.slots[p.instance]; s != nil {
		x.Unknown = s.adopted
		if x.Unknown {
			x.Code, x.Signal = 0, ""
		}
		s.exited = &x
		w.tell(x)
	}
}

// Exit ends a service's running program by itself, with a code.
func (w *World) Exit(service string, code int) bool {
	for _, p := range w.sorted() {
		if p.service == service && p.running && !p.behaviour.Unkillable && !p.dying {
			w.end(p, policy.Exited{Code: code})
			return true
		}
	}
	return false
}

// Release makes everything killable that was not, and ends what was killed.
func (w *World) Release() {
	for _, p := range w.sorted() {
		p.behaviour.Unkillable, p.behaviour.SweepsInVain = false, 0
		if p.killed {
			w.end(p, policy.Exited{Signal: event.Kill})
		}
	}
}

// treeGone ends the rest of a tree.
func (w *World) treeGone(p *process) {
	if !p.tree {
		return
	}
	p.tree = false
	s := w.slots[p.instance]
	if s == nil || p.alive() {
		return
	}
	s.treeEmpty = true
	w.tell(policy.TreeEmpty{Service: p.service, Instance: p.instance})
	if s.forgotten {
		delete(w.slots, p.instance)
	}
}

// Signal sends a signal under an operation's name, once.
func (w *World) Signal(instance, operation, signal, scope string) {
	p, s := w.processes[instance], w.slots[instance]
	res := policy.Signaled{
		Service: w.service(instance), Instance: instance, Operation: operation, Signal: signal, Scope: scope, Result: policy.ResultGone,
	}
	if s == nil {
		w.Seen["a signal to whom the keeper does not know"]++
		w.tell(res)
		return
	}
	if known, ok := s.results[operation]; ok {
		w.Seen["a signal asked for again"]++
		w.tell(known)
		return
	}
	whole := scope != event.ScopeMain
	if p.alive() || whole && p.tree {
		res.Result, res.PIDs = policy.ResultSent, []int{p.pid}
		// KILL may go twice: the dead do not notice, the living have not had it.
		if w.sent[instance+operation]++; w.sent[instance+operation] > 1 && signal != event.Kill {
			w.violated("R4: operation %s was carried out twice", operation)
		}
	}
	s.results[operation] = res
	s.order = append(s.order, operation)
	told := func() { w.tell(res) }
	if p.behaviour.ToldLate && p.alive() { // another thread of the keeper has reaped it meanwhile
		defer func() {
			if !p.alive() && p.behaviour.ToldLate {
				w.Seen["a signal told after the exit it led to"]++
			}
			told()
		}()
	} else {
		told()
	}
	if res.Result == policy.ResultSent {
		w.deliver(p, signal, whole, strings.HasPrefix(operation, projector.SignalOperation("")))
	}
}

func (w *World) deliver(p *process, signal string, whole, harmless bool) {
	kill := signal == event.Kill
	p.killed = p.killed || kill
	switch {
	case p.dying:
		w.Seen["a signal to whom dies already"]++
	case kill && p.behaviour.Unkillable:
		w.Seen["KILL in vain"]++
	case !kill && !harmless && p.behaviour.Stubborn:
		w.Seen["a stop in vain"]++
	}
	if whole && p.tree && (kill || !p.behaviour.Stubborn) {
		w.treeGone(p)
	}
	if kill && !p.behaviour.Unkillable || !kill && !harmless && !p.behaviour.Stubborn && !p.behaviour.Unkillable {
		w.end(p, policy.Exited{Signal: signal})
	}
}

// Sweep ends what is left of a dead instance.
func (w *World) Sweep(instance, operation string) {
	p := w.processes[instance]
	if s := w.slots[instance]; s != nil {
		s.swept = true
	}
	swept := policy.Swept{Service: w.service(instance), Instance: instance, Operation: operation, Method: "cgroup.kill"}
	switch {
	case p == nil:
	case p.running || p.gate:
		w.violated("R4: %s is swept while its main process lives", instance)
		swept.Survived = 1
	case p.behaviour.SweepsInVain > 0:
		p.behaviour.SweepsInVain--
		w.Seen["a sweep in vain"]++
		swept.Survived = 1
	case p.tree:
		swept.Killed = []event.Process{{PID: p.child, Comm: "child"}}
		defer w.treeGone(p) // told after the sweep
	}
	w.tell(swept)
}

// Kill ends all of an instance.
func (w *World) Kill(instance string) {
	if p := w.processes[instance]; p != nil {
		p.tree = false
		w.end(p, policy.Exited{Signal: event.Kill})
	}
}
