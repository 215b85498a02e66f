package controltest

import (
	"context"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"supd/journal/control"
	"supd/journal/event"
)

func newID() string { return uuid.Must(uuid.NewV7()).String() }

// Engine is a scripted engine. Its services behave by their names: "bad"
// fails, "slow" never ends a command, "kept" ends not yet durable, "down" is
// stopped; "web" and "db" are fine.
type Engine struct {
	mu       sync.Mutex
	Hold     chan struct{}                                     // if set, Command blocks on it
	Commands []control.Request                                 // in the order they came
	Results  map[string]event.CommandReply                     // ended, by id
	Denials  []string                                          // "actor subject"
	Rejects  []string                                          // "actor reason"
	Lines    map[string][]event.LogLine                        // output by service
	OnAsk    func(verb string, r control.Request) (any, error) // instead of the script, if set
	Apply    *event.CommandReply                               // how an apply ends, if set
}

// NewEngine makes an engine with its five services.
func NewEngine() *Engine {
	return &Engine{Results: map[string]event.CommandReply{}, Lines: map[string][]event.LogLine{}}
}

var services = []string{"bad", "db", "down", "kept", "slow", "web"}

// Command implements control.Handler.
func (e *Engine) Command(r control.Request, reply func(event.CommandReply)) {
	if e.Hold != nil {
		<-e.Hold
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	c := r.Command
	if ended, ok := e.Results[c.ID]; ok {
		reply(ended)
		return
	}
	targets, unknown := match(c.Patterns)
	if len(unknown) > 0 {
		reply(event.CommandReply{
			Status: event.ReplyRejected, Command: c.ID, Reason: event.RejectUnknownService,
			Detail: strings.Join(unknown, ", ") + ": no such service; did you mean web?",
		})
		return
	}
	e.Commands = append(e.Commands, r)
	durable := !slices.Contains(targets, "kept")
	reply(event.CommandReply{Status: event.ReplyAccepted, Command: c.ID, Seq: 7, Durable: durable})
	if slices.Contains(targets, "slow") {
		return
	}
	end := event.CommandReply{Status: event.ReplyEnded, Command: c.ID, Seq: 9, Durable: durable, Outcome: event.Done}
	for _, s := range targets {
		result := event.Result{Service: s, Outcome: event.Done}
		switch {
		case s == "bad" && c.Verb == event.VerbReload:
			result.Outcome, result.Error = event.Refused, "it has no reload.signal: set one"
		case s == "bad":
			result.Outcome, result.Error = event.Failed, "exec: no such file or directory"
		case s == "down" && (c.Verb == event.VerbSignal || c.Verb == event.VerbReload):
			result.Outcome, result.Error = event.Refused, "not running"
		case s == "web" && c.Verb == event.VerbStart:
			result.Outcome = event.Unchanged
		}
		if result.Outcome == event.Failed || result.Outcome == event.Refused {
			end.Outcome = event.Failed
		}
		end.Results = append(end.Results, result)
	}
	if c.Verb == event.VerbApply && e.Apply != nil {
		end.Outcome, end.Results = e.Apply.Outcome, e.Apply.Results
	}
	e.Results[c.ID] = end
	reply(end)
}

func match(patterns []string) (targets, unknown []string) {
	for _, p := range patterns {
		found := false
		for _, s := range services {
			if ok, _ := path.Match(p, s); ok || p == "all" {
				targets, found = append(targets, s), true
			}
		}
		if !found {
			unknown = append(unknown, p)
		}
	}
	slices.Sort(targets)
	return slices.Compact(targets), unknown
}

// Ask implements control.Handler.
func (e *Engine) Ask(ctx context.Context, verb string, r control.Request) (any, error) {
	if e.OnAsk != nil {
		return e.OnAsk(verb, r)
	}
	switch verb {
	case event.AskStatus:
		var req event.StatusRequest
		if err := control.Decode(r.Data, &req); err != nil {
			return nil, control.Fail(control.AskMalformed, "%v", err)
		}
		return status(req.Patterns), nil
	case event.AskInfo:
		return event.Info{
			Node: Node, NodeID: "test", Version: "1.2.3", Boot: "boot", Actor: r.Actor, Mode: event.ModeFirst,
			PIDs: event.InfoPIDs{Keeper: 1, Engine: 2, Logger: 3}, Started: time.Unix(1e9, 0).UTC(),
			Journal: event.InfoJournal{First: 1, Last: 9, Health: "ok"},
			Kernel:  map[string]string{"pidfd": "yes"},
		}, nil
	case event.AskDump:
		return event.Dump{Seq: 9, Hash: event.Genesis, State: json.RawMessage(`{"services":{}}`)}, nil
	case event.AskResult:
		return e.result(r)
	case event.AskLogs:
		return e.logs(ctx, r)
	}
	return nil, control.Fail(control.AskMalformed, "verb %q is unknown", verb)
}

func status(patterns []string) event.StatusReply {
	if len(patterns) == 0 {
		patterns = []string{"all"}
	}
	targets, unknown := match(patterns)
	reply := event.StatusReply{Services: []event.ServiceStatus{}, Unknown: unknown}
	for _, s := range targets {
		st := event.ServiceStatus{Name: s, Want: event.Up, State: event.PhaseRunning}
		if s == "down" || s == "bad" {
			code := 1
			st.Want, st.State = event.Down, event.PhaseStopped
			st.LastExit = &event.LastExit{Code: &code, At: time.Unix(1e9, 0).UTC(), Cause: event.CauseExited}
		} else {
			pid, started := 4242, time.Now().Add(-90*time.Second).UTC()
			st.PID, st.StartedAt = &pid, &started
		}
		reply.Services = append(reply.Services, st)
	}
	return reply
}

func (e *Engine) result(r control.Request) (any, error) {
	var req event.ResultRequest
	if err := control.Decode(r.Data, &req); err != nil {
		return nil, control.Fail(control.AskMalformed, "%v", err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if reply, ok := e.Results[req.Command]; ok {
		return reply, nil
	}
	return nil, control.Fail(control.AskUnknownCommand, "command %s is not known", req.Command)
}

// logs serves Lines; the cursor is the index of the next line.
func (e *Engine) logs(ctx context.Context, r control.Request) (any, error) {
	var req event.LogsRequest
	if err := control.Decode(r.Data, &req); err != nil {
		return nil, control.Fail(control.AskMalformed, "%v", err)
	}
	if !slices.Contains(services, req.Service) {
		return nil, control.Fail(control.AskUnknownService, "no service %q; did you mean web?", req.Service)
	}
	until := time.Now().Add(time.Duration(req.Wait))
	for {
		reply := e.piece(req)
		if len(reply.Lines) > 0 || time.Now().After(until) || ctx.Err() != nil {
			return reply, nil
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (e *Engine) piece(req event.LogsRequest) event.LogsReply {
	e.mu.Lock()
	defer e.mu.Unlock()
	all, from := e.Lines[req.Service], 0
	if req.Cursor != "" {
		fmt.Sscan(req.Cursor, &from)
	} else if req.Tail >= 0 {
		from = max(len(all)-req.Tail, 0)
	}
	to := min(from+2, len(all)) // small pieces, so that readers must go on
	return event.LogsReply{Lines: all[from:to], Cursor: fmt.Sprint(to), End: to == len(all)}
}

// Print adds lines to a service's output.
func (e *Engine) Print(service string, lines ...string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, l := range lines {
		e.Lines[service] = append(e.Lines[service], event.LogLine{Time: time.Now(), Stream: "stdout", Data: []byte(l)})
	}
}

// Denied implements control.Handler.
func (e *Engine) Denied(actor, subject string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.Denials = append(e.Denials, actor+" "+subject)
}

// Rejected implements control.Handler.
func (e *Engine) Rejected(actor, reason, _ string, _ *string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.Rejects = append(e.Rejects, actor+" "+reason)
}

// Seen is a copy of what came in so far.
func (e *Engine) Seen() (commands []control.Request, denials, rejects []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.Commands), slices.Clone(e.Denials), slices.Clone(e.Rejects)
}
