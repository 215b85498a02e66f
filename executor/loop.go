package executor

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"syscall"
	"time"

	"supd/executor/keeper"
	"supd/executor/policy"
	"supd/journal/event"
	"supd/projector"
)

// ErrBusy is returned by Command when the inbox is full.
var ErrBusy = errors.New("the inbox is full")

// ErrEnded is returned to who comes when supd has stopped.
var ErrEnded = errors.New("supd has stopped")

// ErrSucceeded is returned to who comes when the loop is over and supd is not:
// the keeper is gone or the run log failed, and the next engine answers who asks
// again.
var ErrSucceeded = errors.New("this engine of supd has ended; the next one answers")

// ErrKeeperGone ends a loop whose keeper has died. Services live on; the next
// supd finds them again.
var ErrKeeperGone = errors.New("the keeper is gone")

// Host is what the loop needs of the keeper beside the core's verbs.
// *keeper.Client is one.
type Host interface {
	Keeper
	Events() <-chan keeper.Event
	HostSignalDone(number uint64) error
	// Follow asks to take another process of an instance for its main one; its slot
	// answers.
	Follow(keeper.Follow) error
}

// LoopConfig is what a loop is made of.
type LoopConfig struct {
	Core Config
	Host Host
	Log  *slog.Logger
	// Engine is what the first record says of this engine; its mode is found
	// out from the keeper's table.
	Engine event.EngineStartedData
	// Heard is CLOCK_BOOTTIME of the last record before this engine, 0 if that is
	// not known.
	Heard int64
	// Strangers, if not nil, ends the instances that are not known: records are
	// missing from the state, so some may live that it knows nothing of. It may
	// take its time, for nothing may be started beside them (P1). folder is that of
	// the instances' cgroups, or empty.
	Strangers func(folder string, known func(instance string) bool) ([]keeper.Stranger, error)
	// Ready is called on the loop's goroutine after recovery.
	Ready func(*Core) error
	// LoggerEvent reads what the logger reports.
	LoggerEvent func(data []byte) (policy.Note, error)
	// Reload is called for HUP; it must not block. Until done is called, from any
	// goroutine, another engine is told of the signal again.
	Reload func(done func())
	// LoggerStarted, if not nil, is called when a logger has started. It must not
	// block.
	LoggerStarted func()
	// Forward, if not nil, is asked first about each signal that the keeper was
	// sent; done tells that it needs nothing more. The same number may come
	// again, to another engine.
	Forward func(c *Core, number uint64, sig syscall.Signal) (done bool, err error)
	// Drain, if not nil, has heard called on another goroutine when all that services
	// have said so far is decided; false if it never will be.
	Drain func(heard func()) bool
	// Decided, if not nil, is called on the loop's goroutine after each round of
	// decisions, after recovery only. It must not block.
	Decided func(*Core) error
}

// Loop feeds a core from the keeper, from callers and from the clock.
type Loop struct {
	LoopConfig
	core    *Core
	calls   chan func(*Core) error
	durable atomic.Uint64
	moved   chan struct{}
	info    atomic.Pointer[keeper.Info]
	mode    atomic.Value // string
	quit    *QuitError
	follows map[string]follow // that the keeper has not answered, by instance
	ends    map[string]*end   // exits that are not decided yet, by instance
	notes   noteLimit
	noted   chan struct{}

	// post has f run on the loop's goroutine, from any other one, unless the loop is
	// over; after has f called on another goroutine. Simulations replace both.
	post  func(f func(*Core) error)
	after func(d time.Duration, f func())

	shortages map[string]*shortage // that are open, by what there is too little of
	over      error                // what who comes later is told; set before done is closed
	done      chan struct{}
}

// QuitError ends a loop in good order: the last record is appended and all who
// called before have their answers. KeepServices tells that some may live:
// they were to be left running, or a forced end leaves them behind stuck.
type QuitError struct{ KeepServices bool }

// Error says so.
func (QuitError) Error() string { return "supd has stopped" }

// callQueue bounds calls that wait for the loop (P9). Commands beyond it are
// answered busy; reads wait.
const callQueue = 1024

// NewLoop returns a loop that runs when Run is called.
func NewLoop(c LoopConfig) *Loop {
	l := &Loop{
		LoopConfig: c, calls: make(chan func(*Core) error, callQueue), moved: make(chan struct{}, 1),
		noted: make(chan struct{}, 1), done: make(chan struct{}), shortages: map[string]*shortage{},
		follows: map[string]follow{}, ends: map[string]*end{},
	}
	l.post = func(f func(*Core) error) { _ = l.Do(context.Background(), f) }
	l.after = func(d time.Duration, f func()) { time.AfterFunc(d, f) }
	l.LoopConfig.Core.Keeper = c.Host
	l.LoopConfig.Core.Quit = func(keep bool) { l.quit = &QuitError{keep} }
	l.core = NewCore(l.LoopConfig.Core)
	return l
}

// Run drives the core until ctx ends, the keeper is gone or the run log
// fails. It must be called once. Nothing is decided before the keeper's table,
// which comes first, is settled: until then the state may say that supd has
// stopped, or not know what happened meanwhile.
func (l *Loop) Run(ctx context.Context) error {
	err := l.run(ctx)
	l.over = ErrEnded
	if quit := (QuitError{}); err != nil && !errors.As(err, &quit) {
		l.over = ErrSucceeded
	}
	close(l.done)
	return err
}

func (l *Loop) run(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case e, ok := <-l.Host.Events():
		if !ok {
			return ErrKeeperGone
		}
		if err := l.keeperEvent(e); err != nil {
			return err
		}
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		if err := l.settleTime(timer); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-l.Host.Events():
			if !ok {
				return ErrKeeperGone
			}
			if err := l.keeperEvent(e); err != nil {
				return err
			}
			if err := l.keeperEvents(); err != nil {
				return err
			}
		case f := <-l.calls:
			if err := f(l.core); err != nil {
				return err
			}
		case <-l.moved:
			if err := l.core.SetDurable(event.Seq(l.durable.Load())); err != nil {
				return err
			}
		case <-l.noted:
		case <-timer.C:
		}
	}
}

// eventsAtOnce is how many events the loop takes before it looks at the time and
// at its other callers again.
const eventsAtOnce = 32

// keeperEvents takes the events that wait already.
func (l *Loop) keeperEvents() error {
	for range eventsAtOnce {
		select {
		case e, ok := <-l.Host.Events():
			if !ok {
				return ErrKeeperGone
			}
			if err := l.keeperEvent(e); err != nil {
				return err
			}
		default:
			return nil
		}
	}
	return nil
}

// settleTime carries out what is due and sets the timer to what is next.
func (l *Loop) settleTime(timer *time.Timer) error {
	if err := l.tellNotes(l.core.State().Supd.Stopping != nil); err != nil {
		return err
	}
	if err := l.core.Pass(); err != nil {
		return err
	}
	if l.Decided != nil {
		if err := l.Decided(l.core); err != nil {
			return err
		}
	}
	if l.quit != nil {
		if err := l.lastCalls(); err != nil {
			return err
		}
	}
	if err := l.core.Tend(); err != nil {
		return err
	}
	wait, ok := l.core.Next()
	if note, pending := l.notes.wait(); pending && (!ok || note < wait) {
		wait, ok = note, true
	}
	if ok {
		timer.Reset(wait)
	} else {
		timer.Stop()
	}
	return nil
}

// lastCalls answers who called before the end, as many as there are now, and
// ends the loop when all answers are out.
func (l *Loop) lastCalls() error {
	for range len(l.calls) {
		if err := (<-l.calls)(l.core); err != nil {
			return err
		}
	}
	if l.core.Idle() {
		return *l.quit
	}
	return nil
}

// SetDurable tells the loop how far the journal is durable. It never blocks.
func (l *Loop) SetDurable(seq event.Seq) {
	l.durable.Store(uint64(seq))
	select {
	case l.moved <- struct{}{}:
	default:
	}
}

// Command hands a command to the loop; reply is called on the loop's
// goroutine, once or twice, and must not block. It returns ErrBusy at once if
// the inbox is full, ErrEnded if nobody will answer any more, and ErrSucceeded if
// the next engine will.
func (l *Loop) Command(cmd policy.Command, reply func(event.CommandReply)) error {
	select {
	case <-l.done:
		return l.over
	default:
	}
	select {
	case l.calls <- func(c *Core) error {
		if cmd.Request.Verb == event.VerbShutdown {
			if err := l.tellNotes(true); err != nil {
				return err
			}
		}
		c.Await(cmd.Request.ID, reply)
		return c.Step(cmd)
	}:
		return nil
	default:
		return ErrBusy
	}
}

// Input hands the loop an input of its own kind, such as a note. It waits for
// a place in the queue.
func (l *Loop) Input(ctx context.Context, in policy.Input) error {
	return l.Do(ctx, func(c *Core) error { return c.Step(in) })
}

// Do runs f on the loop's goroutine and waits for it; ErrEnded or ErrSucceeded
// if the loop is over. When Do returns, f has run or never will, so that it may write to the
// caller's variables. An error of f ends the loop.
func (l *Loop) Do(ctx context.Context, f func(*Core) error) error {
	ran := make(chan error, 1)
	var taken atomic.Bool // by the loop, or by a caller who waits no longer
	call := func(c *Core) error {
		if !taken.CompareAndSwap(false, true) {
			return nil
		}
		err := f(c)
		ran <- err
		return err
	}
	select {
	case <-l.done:
		return l.over
	default:
	}
	select {
	case l.calls <- call:
	case <-ctx.Done():
		return ctx.Err()
	case <-l.done:
		return l.over
	}
	var gone error
	select {
	case err := <-ran:
		return err
	case <-ctx.Done():
		gone = ctx.Err()
	case <-l.done:
		gone = l.over
	}
	if taken.CompareAndSwap(false, true) {
		return gone
	}
	return <-ran
}

// View runs f on the loop's goroutine with the state, which it must not keep.
func (l *Loop) View(ctx context.Context, f func(s *projector.State, durable event.Seq)) error {
	return l.Do(ctx, func(c *Core) error { f(c.State(), c.Durable()); return nil })
}

// Mode is how this engine came to be; empty before the keeper's table came.
func (l *Loop) Mode() string { m, _ := l.mode.Load().(string); return m }

// KeeperInfo is what the keeper said of itself; nil before its table came.
func (l *Loop) KeeperInfo() *keeper.Info { return l.info.Load() }
