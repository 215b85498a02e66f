package main

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"supd/cmd/internal/config"
	"supd/executor"
	"supd/executor/policy"
	"supd/journal/event"
	"supd/projector"
)

// maxReaders bounds who waits for the disk that has the configuration: each
// has a goroutine, and on a hung disk a thread (P9).
const maxReaders = 8

// configurator reads the configuration again: for a plan, for an apply, for
// HUP. Reading and storing happen in a goroutine of who asked and never in
// the loop's, so that a disk that hangs holds up nobody else (P5).
type configurator struct {
	readers chan struct{} // one token for each
	order   sync.Mutex    // applies are read and decided one after the other: what is read last is applied last

	mu       sync.Mutex
	underway map[string]bool // applies by actor and id: one that is sent again waits for its first

	copying atomic.Bool             // into the state folder, by one goroutine at a time
	latest  atomic.Pointer[reading] // what it copies next

	// Of the loop's goroutine.
	startup *config.Set // what supd was started with: settings that need a restart of supd have these values
	next    *reading    // being decided
}

// reading is a configuration as it was read.
type reading struct {
	set      *config.Set
	own      *config.Set // of supd itself; what stays in memory
	raw      []byte
	digest   string
	files    []event.ConfigFile
	services []policy.Definition
	launches launches
	bound    net.Listener // on a new listen.address, until it is used
}

func newConfigurator(startup *config.Set) *configurator {
	return &configurator{readers: make(chan struct{}, maxReaders), underway: map[string]bool{}, startup: startup}
}

func (r *reading) configure() policy.Configure {
	in := policy.Configure{Actor: "supd", Digest: r.digest, Files: r.files, Services: r.services, Scale: r.set.Scale}
	if s := r.set.Start; s.Rate > 0 {
		in.Start = &event.StartLimit{Rate: s.Rate, Burst: s.Burst}
	}
	return in
}

// resolved makes a reading of a set.
func (e *engine) resolved(set *config.Set, raw []byte) *reading {
	defs, starts := definitions(set, e.identity.Key)
	return &reading{
		set: set, own: set.Own(), raw: raw, digest: keyed(e.identity.Key, string(raw)), files: keyedFiles(set.Files, e.identity.Key),
		services: defs, launches: starts,
	}
}

// read reads the configuration of supd run as it is now, with the counts that
// commands have set. r is nil if a problem is more than a warning.
func (e *engine) read(scale map[string]int) (r *reading, problems []config.Problem) {
	failed := func(err error) (*reading, []config.Problem) {
		return nil, append(problems, config.Problem{File: e.args.Places.Config, Line: 1, Column: 1, Message: err.Error()})
	}
	if e.args.Places.Config == "" {
		return nil, []config.Problem{{File: "command line", Line: 1, Column: 1, Message: "this supd runs one command and has no configuration"}}
	}
	host, err := thisHost()
	if err != nil {
		return failed(err)
	}
	set, problems := config.Load(e.args.Places.Config, host)
	if set == nil {
		return nil, problems
	}
	if r, err = e.scaled(set, scale); err != nil {
		return failed(err)
	}
	return r, append(problems, r.set.Overridden()...)
}

// apply reads and stores the configuration, then has the command decided. The
// command is accepted after that, in one batch with config.applied and all
// that follows: whatever dies in between, it is done whole or not at all, and
// what is recorded as applied is stored (R11).
func (e *engine) apply(cmd policy.Command, reply func(event.CommandReply)) {
	key := cmd.Actor + " " + cmd.Request.ID
	e.configs.mu.Lock()
	again := e.configs.underway[key]
	if !again {
		select {
		case e.configs.readers <- struct{}{}:
			e.configs.underway[key] = true
		default:
			e.configs.mu.Unlock()
			reply(event.CommandReply{
				Status: event.ReplyBusy, Command: cmd.Request.ID, Reason: event.RejectBusy,
				Detail: "others wait for the configuration to be read: does its disk answer?",
			})
			return
		}
	}
	e.configs.mu.Unlock()
	if again {
		return // the first is answered; who has lost that answer asks again
	}
	go func() {
		defer func() {
			e.configs.mu.Lock()
			delete(e.configs.underway, key)
			e.configs.mu.Unlock()
			<-e.configs.readers
		}()
		e.configs.order.Lock()
		defer e.configs.order.Unlock()
		if err := e.applyNow(cmd, reply); err != nil {
			notTaken(cmd.Request.ID, err, reply)
		}
	}()
}

// applyNow reads, stores and decides. An error means that the command was not
// decided.
func (e *engine) applyNow(cmd policy.Command, reply func(event.CommandReply)) error {
	ctx := context.Background() // the loop's end ends it
	id := cmd.Request.ID
	var now standing
	err := e.loop.View(ctx, func(s *projector.State, _ event.Seq) {
		now = standing{s.Commands[id] != nil || s.EndedCommand(id) != nil, s.Config.Digest, s.Config.Scale}
	})
	if err != nil {
		return err
	}
	var r *reading
	if !now.known { // else the answer is in the state, whatever the file says now
		var problems []config.Problem
		if cmd.Request.Verb == event.VerbScale {
			var no *refusal
			if r, no = e.rescaled(cmd.Request, now); no != nil {
				return e.refuse(ctx, cmd, no, reply)
			}
		} else {
			r, problems = e.read(now.scale)
		}
		if r != nil {
			if r.bound, err = e.network.bindAgain(r.set.Listen); err == nil {
				err = storeIn(e.applied.runtime, r.raw, r.digest, false, now.digest)
			}
			if err != nil {
				problems = append(problems, config.Problem{File: e.args.Places.Config, Line: 1, Column: 1, Message: err.Error()})
			}
		}
		cmd.Errors = e.errorsOf(problems)
	}
	room := e.journal.Stats().RunLogSize / 2 // it is compacted when it is fuller than that
	err = e.loop.Do(ctx, func(c *executor.Core) error {
		if r != nil && cmd.Errors == nil {
			cmd.Errors = e.errorsOf(e.tooMuch(c.State(), r, room))
		}
		if r != nil && cmd.Errors == nil {
			in := r.configure()
			in.Own = len(changedSettings(e.set, e.set, r.set)) > 0
			cmd.Configure, e.configs.next = &in, r
		}
		c.Await(id, reply)
		err := c.Step(cmd)
		e.configs.next = nil
		return err
	})
	if r != nil && r.bound != nil {
		r.bound.Close() // it was not decided so
	}
	if err == nil && cmd.Configure != nil {
		e.settle(r)
	}
	return err
}

// errorsOf are the problems that keep a configuration from being applied, as
// they are recorded. Warnings go to the log.
func (e *engine) errorsOf(problems []config.Problem) []event.ConfigError {
	var errs []event.ConfigError
	for _, p := range problems {
		if p.Warning {
			e.log.Warn("the configuration: "+p.String(), "hint", p.Hint)
			continue
		}
		errs = append(errs, configError(p))
	}
	return errs
}

func configError(p config.Problem) event.ConfigError {
	message := p.Message
	if p.Hint != "" {
		message += " (" + p.Hint + ")"
	}
	return event.ConfigError{File: p.File, Line: p.Line, Column: p.Column, Message: message}
}

// use is called by the core when a configuration is applied, before services
// start with it.
func (e *engine) use(c *executor.Core, digest string) {
	r := e.configs.next
	if r == nil || r.digest != digest {
		return
	}
	before := e.launches
	e.set, e.launches = r.own, r.launches
	setLog(r.set.Supd.LogLevel, r.set.Supd.LogFormat)
	c.SetConcurrency(executor.Window(r.set.Start.Concurrency))
	if e.bridge != nil {
		e.bridge.SetAccess(e.access())
		e.network.use(r.set.Listen, r.bound)
		r.bound = nil
	}
	for _, d := range r.services {
		// Telling the logger what it knows changes nothing.
		if old, ok := before[d.Name]; ok && old.digest != r.launches[d.Name].digest {
			e.tellOutput(d.Name, d.Spec)
		}
	}
	e.tellLogger(false)
}

// tellOutput gives the logger the output settings of a service. An error is
// the keeper's end, which ends the engine too; the next one tells it again.
func (e *engine) tellOutput(service string, spec event.Spec) {
	_ = e.client.Settings(service, executor.OutputSettings(spec))
}

// tellAll tells the logger what an engine before this one may have applied
// and not told.
func (e *engine) tellAll(s *projector.State) {
	for _, v := range s.Services {
		if v.Live() {
			e.tellOutput(v.Name, v.Spec)
		}
	}
	e.tellLogger(false)
}

// loggerSettings are what the logger is told about all output, under no
// service's name, and the keeper on the way. What they were started with may
// be older.
type loggerSettings struct {
	MaxTotal  int64  `json:"max_total"`
	LogLevel  string `json:"log_level"`
	LogFormat string `json:"log_format"`
	Console   string `json:"console"` // as in keeperArgs
	Quiet     bool   `json:"quiet"`   // nothing happens: time to give memory back
}

// keeperSettings takes what of them concerns the keeper: its own log.
func keeperSettings(data []byte) {
	var s loggerSettings
	if json.Unmarshal(data, &s) == nil {
		setLog(s.LogLevel, s.LogFormat)
		if s.Quiet {
			go giveBack()
		}
	}
}

func (e *engine) tellLogger(quiet bool) {
	b, err := event.Marshal(loggerSettings{
		MaxTotal: e.set.Output.MaxTotal, LogLevel: e.set.Supd.LogLevel, LogFormat: e.set.Supd.LogFormat,
		Console: consoleMode(e.set, e.args.Single, e.args.Watched), Quiet: quiet,
	})
	if err == nil {
		err = e.client.Settings("", b)
	}
	if err != nil {
		e.log.Debug("cannot tell the logger its settings", "error", err)
	}
}

// settle does what an applied configuration needs of the disk, outside the
// loop. It may fail or be lost: the next engine does it again, and the copy in
// the state folder is spare.
func (e *engine) settle(r *reading) {
	var control config.Control
	used := false
	err := e.loop.View(context.Background(), func(*projector.State, event.Seq) { control, used = e.set.Control, e.set == r.own })
	if err != nil || !used {
		return // decided otherwise, or applied already
	}
	if err := openSocket(e.socket, control); err != nil {
		e.log.Error("the control socket is not open as the configuration says", "error", err)
	}
	e.copy(r)
}

// copy keeps a spare of what is applied in the state folder. A hung disk has
// one goroutine waiting for it, and the last of what came meanwhile.
func (e *engine) copy(r *reading) {
	e.configs.latest.Store(r)
	if !e.configs.copying.CompareAndSwap(false, true) {
		return
	}
	go func() {
		for {
			for r := e.configs.latest.Swap(nil); r != nil; r = e.configs.latest.Swap(nil) {
				if err := storeIn(e.applied.state, r.raw, r.digest, true); err != nil {
					e.log.Warn("no spare of the applied configuration is in the state folder", "error", err)
				}
			}
			e.configs.copying.Store(false)
			// Who came between the two found us copying.
			if e.configs.latest.Load() == nil || !e.configs.copying.CompareAndSwap(false, true) {
				return
			}
		}
	}()
}

// reload is HUP: an apply by the actor signal. done is called when it need not
// be told to another engine any more.
func (e *engine) reload(done func()) {
	id, err := uuid.NewV7()
	if err != nil {
		e.log.Error("cannot apply on HUP", "error", err)
		done()
		return
	}
	cmd := policy.Command{Actor: event.ReasonSignal, Request: event.CommandRequest{
		ID: id.String(), Verb: event.VerbApply, SentAt: time.Now().UTC(),
	}}
	e.apply(cmd, func(r event.CommandReply) {
		switch {
		case r.Status == event.ReplyAccepted:
			done()
		case r.Status == event.ReplyEnded && (r.Outcome == event.Done || r.Outcome == event.Unchanged):
			e.log.Info("the configuration is applied", "outcome", r.Outcome, "services", len(r.Results))
		case r.Status == event.ReplyEnded:
			for _, res := range r.Results {
				if res.Error != "" {
					e.log.Error("the configuration: "+res.Error, "service", res.Service, "outcome", res.Outcome)
				}
			}
			e.log.Error("HUP did not apply the configuration as it is", "outcome", r.Outcome)
		default:
			e.log.Error("cannot apply on HUP", "status", r.Status, "why", r.Detail)
			done()
		}
	})
}

// notTaken answers a command that the loop did not decide. Where this engine
// ends and supd does not, nothing is answered: a client whom nobody answers sends
// the same id again, to the next engine, and a rejection would be untrue (P2).
func notTaken(id string, err error, reply func(event.CommandReply)) {
	switch {
	case errors.Is(err, executor.ErrBusy):
		reply(event.CommandReply{Status: event.ReplyBusy, Command: id, Reason: event.RejectBusy, Detail: "the inbox is full"})
	case errors.Is(err, executor.ErrEnded):
		reply(event.CommandReply{Status: event.ReplyRejected, Command: id, Reason: event.RejectShuttingDown, Detail: err.Error()})
	}
}
