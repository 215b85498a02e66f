package probe

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"reflect"
	"sync"
	"time"

	"supd/executor/policy"
	"supd/journal/event"
)

// Concurrency is how many probes run at one time (P9). Each costs a goroutine
// and a descriptor, a command also a process.
const Concurrency = 32

// Run is one command to be run by the keeper on behalf of a probe.
type Run struct {
	ID       string // a UUID, new for each run
	Target   *Target
	Launch   *event.LaunchExec // of Target.Launch
	Deadline time.Duration     // from now on; then the keeper ends its tree
}

// Result is how a command ended. Error says why there is neither code nor
// signal, or that its time was up.
type Result struct {
	Code, Signal int
	Error        string
	Tail         []byte // the last of what it wrote
}

// Config is what a prober needs of the outside.
type Config struct {
	// Tell has an input decided and kept, and returns then or when there is no loop
	// any more. It must not be called on the loop's goroutine.
	Tell func(policy.Input)
	// Start has the keeper run a command; Ran answers, once. Stop gives one up,
	// after which there is no answer. Both return at once.
	Start func(Run) error
	Stop  func(id string)
	// Follow has another process taken for an instance's main one, which is decided
	// and kept when it returns, or says why not. It must not be called on the loop's
	// goroutine. Nil: none is.
	Follow func(Main) (refused string)
	// IsMain tells whether a pidfd is of an instance's main process, dead or alive.
	// It must not block. Nil: it is not known of the dead.
	IsMain func(instance string, pidfd int) bool
	// NewID draws an id for a run.
	NewID func() string
	// Lines opens the output that an instance has written since it started, from
	// its beginning. Each call of next returns complete lines that came since the
	// last one, or none; it may hang as a disk may. Nil: nobody can be ready by it.
	Lines func(service, instance string, since time.Time) (next func(context.Context) ([][]byte, error))
	// Notify is the notify socket, which New takes over; nil: there is none.
	Notify *os.File
	Rand   func() float64 // in [0, 1); safe for concurrent use
	Log    *slog.Logger
}

// Main is what a service says of its main process (MAINPID). Sender is the user
// who says it, as the kernel tells.
type Main struct {
	Service, Instance string
	PID               int
	Sender            uint32
}

// Target is what is to be found out about an instance now.
type Target struct {
	Service, Instance string
	PID               int    // of its main process
	StartTime         uint64 // clock ticks since boot
	Cgroup            string // absolute path, or empty
	Run               event.Run
	Started           time.Time

	Running  bool // its program was executed: it may be asked
	Stopping bool // nothing more is asked of it
	Ready    bool // its being ready is in the state already
	ReadyBy  *event.Ready
	Health   *event.Health
	State    string        // its health in the state: unknown, healthy, unhealthy
	Watchdog time.Duration // 0: none

	Launch *event.Launch // for probes that are commands; else nil
}

// listens tells whether what the instance says on the notify socket matters.
func (t *Target) listens() bool { return t.Watchdog > 0 || t.ReadyBy != nil && t.ReadyBy.Notify }

// asks is what has to be asked of the target now.
func (t *Target) asks() string {
	switch {
	case !t.Running || t.Stopping:
		return ""
	case !t.Ready && t.ReadyBy != nil && (t.ReadyBy.Log != "" || t.ReadyBy.Kind() != ""):
		return "ready"
	case (t.Ready || t.ReadyBy == nil) && t.Health != nil:
		return "health"
	}
	return ""
}

// Prober watches targets. Its methods may be called from any goroutine and never
// wait for a service.
type Prober struct {
	cfg    Config
	turns  chan struct{} // one for each probe that runs
	reads  chan struct{} // one for each read of output: it may hang (R2)
	socket *listener     // nil: there is none
	ctx    context.Context
	end    context.CancelFunc
	done   sync.WaitGroup

	mu         sync.Mutex
	byService  map[string]*watch      // guarded by mu
	byInstance map[string]*watch      // guarded by mu: those that listen
	runs       map[string]chan Result // guarded by mu: answers awaited
	poked      bool                   // guarded by mu
	heard      uint64                 // guarded by mu
	foreign    uint64                 // guarded by mu
	asked      []func()               // guarded by mu: of Drain
}

// maxReads bounds reads of output under way: each may hang with its disk.
const maxReads = 4

// New returns a prober that watches nothing yet. Close ends it.
func New(cfg Config) (*Prober, error) {
	p := &Prober{
		cfg: cfg, turns: make(chan struct{}, Concurrency), reads: make(chan struct{}, maxReads),
		byService: map[string]*watch{}, byInstance: map[string]*watch{}, runs: map[string]chan Result{},
	}
	if p.cfg.Log == nil {
		p.cfg.Log = slog.Default()
	}
	if cfg.Notify != nil {
		l, err := newListener(cfg.Notify)
		if err != nil {
			return nil, err
		}
		p.socket = l
	}
	p.ctx, p.end = context.WithCancel(context.Background())
	return p, nil
}

// Listen begins to read the notify socket. It is called once, after recovery:
// what was said before belongs to instances that the state must know first.
func (p *Prober) Listen() {
	if p.socket != nil {
		p.done.Go(func() { p.listen(p.ctx) })
	}
}

// Close ends all probes and waits for them.
func (p *Prober) Close() {
	p.end()
	p.mu.Lock()
	for _, w := range p.byService {
		w.stop()
	}
	p.byService, p.byInstance = map[string]*watch{}, map[string]*watch{}
	p.mu.Unlock()
	p.done.Wait()
	if p.socket != nil {
		p.socket.conn.Close()
	}
}

// Drain has heard called, on another goroutine, when all that lies in the notify
// socket now has been heard and decided; false if there is none, and then it never
// is. Nor is it after Close.
func (p *Prober) Drain(heard func()) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.socket == nil || p.ctx.Err() != nil {
		return false
	}
	p.asked = append(p.asked, heard)
	p.poke()
	return true
}

// Heard is how many messages of services came in on the notify socket, and how
// many of strangers were dropped.
func (p *Prober) Heard() (services, strangers uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.heard, p.foreign
}

// Status is what a service's instance last said of itself (STATUS=); empty if it
// said nothing, or to another engine.
func (p *Prober) Status(service string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if w := p.byService[service]; w != nil {
		return w.status
	}
	return ""
}

// Watch sets what is to be found out about a service; nil is nothing. The same
// target again changes nothing.
func (p *Prober) Watch(service string, t *Target) {
	p.mu.Lock()
	defer p.mu.Unlock()
	old := p.byService[service]
	if old != nil && t != nil && reflect.DeepEqual(old.Target, *t) {
		return
	}
	if old != nil && (t == nil || old.Instance != t.Instance) {
		p.forget(old)
		old = nil
	}
	if t == nil || p.ctx.Err() != nil {
		return
	}
	w := old
	if w == nil {
		w = &watch{stop: func() {}, running: make(chan struct{}), over: make(chan struct{}), toldReady: t.Ready}
		p.byService[service] = w
		if t.listens() {
			p.byInstance[t.Instance] = w
		}
	}
	before := w.Target
	w.Target = *t
	if w.Running && !before.Running {
		w.lastSign = time.Now()
		close(w.running)
	}
	if asks := t.asks(); asks != before.asks() || asks != "" && w.other(before) {
		p.ask(w, asks)
	}
	if t.listens() {
		p.poke()
	}
}

// forget ends a watch. The caller holds mu.
func (p *Prober) forget(w *watch) {
	w.stop()
	close(w.over)
	delete(p.byService, w.Service)
	delete(p.byInstance, w.Instance)
}

// ask ends what is asked of an instance and begins something else. Whatever was
// asked ends first: no service is asked two things at a time. The caller holds mu.
func (p *Prober) ask(w *watch, asks string) {
	w.stop()
	before := w.asked
	if asks == "" {
		return
	}
	ctx, cancel := context.WithCancel(p.ctx)
	ended := make(chan struct{})
	w.stop, w.asked = cancel, ended
	t := w.Target
	p.done.Go(func() {
		defer close(ended)
		defer cancel()
		if before != nil {
			<-before
		}
		if asks == "ready" {
			p.untilReady(ctx, &t)
			return
		}
		p.health(ctx, &t)
	})
}

// errGone ends a probe whose command can have no answer.
var errGone = errors.New("the command was given up")

// run has the keeper run a command and waits for its end.
func (p *Prober) run(ctx context.Context, t *Target, l *event.LaunchExec) (Result, error) {
	if l == nil {
		return Result{}, errors.New("the command of the probe is not known any more; apply the configuration again")
	}
	limit := maxSpan
	if at, ok := ctx.Deadline(); ok {
		limit = time.Until(at)
	}
	id, answer := p.cfg.NewID(), make(chan Result, 1)
	p.mu.Lock()
	p.runs[id] = answer
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.runs, id)
		p.mu.Unlock()
	}()
	if err := p.cfg.Start(Run{ID: id, Target: t, Launch: l, Deadline: limit}); err != nil {
		return Result{}, err
	}
	select {
	case r := <-answer:
		return r, nil
	case <-ctx.Done():
		p.cfg.Stop(id)
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return Result{}, errTimeout
		}
		return Result{}, errGone
	}
}

// Ran answers a run; one that nobody waits for is passed over.
func (p *Prober) Ran(id string, r Result) {
	p.mu.Lock()
	answer := p.runs[id]
	delete(p.runs, id)
	p.mu.Unlock()
	if answer != nil {
		answer <- r
	}
}
