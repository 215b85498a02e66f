package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"supd/executor"
	"supd/executor/policy"
	"supd/journal/control"
	"supd/journal/event"
	"supd/journal/output"
	"supd/projector"
	"supd/projector/timeline"
)

// Command implements control.Handler.
func (e *engine) Command(r control.Request, reply func(event.CommandReply)) {
	cmd := policy.Command{Request: r.Command, Actor: r.Actor, Client: r.Client, Remote: r.Remote}
	if cmd.Request.Verb == event.VerbApply || cmd.Request.Verb == event.VerbScale {
		e.apply(cmd, reply)
		return
	}
	if cmd.Request.Verb == event.VerbUpgrade {
		e.upgrade(cmd, reply)
		return
	}
	if err := e.loop.Command(cmd, reply); err != nil {
		notTaken(cmd.Request.ID, err, reply)
	}
}

// Denied implements control.Handler.
func (e *engine) Denied(actor, subject string) {
	e.loop.Note(policy.Denied{Actor: actor, Subject: subject, Count: 1})
}

// Rejected implements control.Handler.
func (e *engine) Rejected(actor, reason, detail string, id *string) {
	e.loop.Note(policy.Rejected{Actor: actor, Reason: reason, Detail: detail, Command: id, Count: 1})
}

// Ask implements control.Handler: answers come from memory, output from its
// files.
func (e *engine) Ask(ctx context.Context, verb string, r control.Request) (any, error) {
	answer, err := e.answer(ctx, verb, r)
	if errors.Is(err, executor.ErrSucceeded) {
		err = control.Fail(control.AskBusy, "%v", err) // who is told busy asks again
	}
	return answer, err
}

func (e *engine) answer(ctx context.Context, verb string, r control.Request) (any, error) {
	switch verb {
	case event.AskStatus:
		return e.askStatus(ctx, r)
	case event.AskInfo:
		return e.askInfo(ctx, r)
	case event.AskDump:
		var d event.Dump
		err := e.loop.View(ctx, func(s *projector.State, _ event.Seq) {
			d = event.Dump{Seq: s.Seq(), Hash: s.Hash(), State: s.Canonical()}
		})
		return d, err
	case event.AskResult:
		return e.askResult(ctx, r)
	case event.AskLogs:
		return e.askLogs(ctx, r)
	case event.AskPlan:
		return e.askPlan(ctx)
	case event.AskGraph:
		return e.askGraph(ctx, r)
	}
	return nil, control.Fail(control.AskMalformed, "unknown question %q", verb)
}

// question reads the body of a question; an empty one is the zero question.
func question[T any](r control.Request) (q T, err error) {
	if len(r.Data) == 0 {
		return q, nil
	}
	if err := json.Unmarshal(r.Data, &q); err != nil {
		return q, control.Fail(control.AskMalformed, "cannot read the question: %v", err)
	}
	return q, nil
}

func (e *engine) askStatus(ctx context.Context, r control.Request) (any, error) {
	q, err := question[event.StatusRequest](r)
	if err != nil {
		return nil, err
	}
	if len(q.Patterns) > event.MaxPatterns {
		return nil, control.Fail(control.AskMalformed, "%d patterns are more than %d", len(q.Patterns), event.MaxPatterns)
	}
	reply := event.StatusReply{Services: []event.ServiceStatus{}, Unknown: []string{}}
	err = e.loop.View(ctx, func(s *projector.State, _ event.Seq) {
		names, unknown := slices.Sorted(maps.Keys(s.Services)), []string(nil)
		if len(q.Patterns) > 0 {
			names, unknown = policy.Resolve(s, q.Patterns)
		}
		reply.Unknown = append(reply.Unknown, unknown...)
		if len(unknown) > 0 {
			reply.Near = policy.Near(s, unknown[0])
		}
		for _, name := range names {
			reply.Services = append(reply.Services, e.serviceStatus(s.Services[name]))
		}
		if q.Waits {
			reply.Waits = timeline.Waits(s, names)
		}
	})
	return reply, err
}

// serviceStatus is a service with what it last said of itself, which is no fact
// of supd's and so in no record.
func (e *engine) serviceStatus(v *projector.Service) event.ServiceStatus {
	st := timeline.ServiceStatus(v)
	if said := e.prober.Status(v.Name); said != "" {
		if st.Reason != nil {
			said = *st.Reason + ": " + said
		}
		st.Reason = &said
	}
	return st
}

func (e *engine) askGraph(ctx context.Context, r control.Request) (any, error) {
	q, err := question[event.StatusRequest](r)
	if err != nil {
		return nil, err
	}
	var nodes []timeline.GraphNode
	var unknown []string
	near := ""
	err = e.loop.View(ctx, func(s *projector.State, _ event.Seq) {
		if nodes = timeline.Graph(s); len(q.Patterns) > 0 {
			var names []string
			names, unknown = policy.Resolve(s, q.Patterns)
			nodes = timeline.Around(nodes, names)
		}
		if len(unknown) > 0 {
			near = policy.Near(s, unknown[0])
		}
	})
	if err == nil && len(unknown) > 0 {
		if near != "" {
			near = "; did you mean " + near + "?"
		}
		return nil, control.Fail(control.AskUnknownService, "no service %s%s", strings.Join(unknown, ", "), near)
	}
	return nodes, err
}

func (e *engine) askResult(ctx context.Context, r control.Request) (any, error) {
	q, err := question[event.ResultRequest](r)
	if err != nil {
		return nil, err
	}
	var reply *event.CommandReply
	err = e.loop.View(ctx, func(s *projector.State, durable event.Seq) {
		if ended := s.EndedCommand(q.Command); ended != nil {
			x := policy.EndedReply(ended, ended.Seq)
			x.Durable = ended.Seq <= durable
			reply = &x
		} else if c := s.Commands[q.Command]; c != nil {
			reply = &event.CommandReply{Status: event.ReplyAccepted, Command: c.ID, Seq: c.Seq, Durable: c.Seq <= durable}
		}
	})
	if err == nil && reply == nil {
		return nil, control.Fail(control.AskUnknownCommand, "no command %s; results are kept for %.0f hours, at most %d of them", q.Command, projector.EndedAge.Hours(), projector.MaxEnded)
	}
	return reply, err
}

func (e *engine) askInfo(ctx context.Context, r control.Request) (any, error) {
	stats := e.journal.Stats()
	info := event.Info{
		Node: e.args.Node, NodeID: e.identity.NodeID, Version: versionText, Boot: e.boot, Actor: r.Actor,
		RunLog:  event.InfoRunLog{Bytes: stats.RunLogUsed, Size: stats.RunLogSize, Place: e.journal.RunLogPath()},
		Journal: event.InfoJournal{First: stats.First, Bytes: stats.Bytes},
		Output:  event.InfoOutput{Directory: e.args.Output, Bytes: e.outputSize.of(e.args.Output)},
		Started: e.started.UTC(), Kernel: map[string]string{}, Listen: e.network.info(),
	}
	if k := e.loop.KeeperInfo(); k != nil {
		info.PIDs = event.InfoPIDs{Keeper: k.PID, Engine: os.Getpid(), Logger: k.Logger.PID}
		info.Kernel = kernelFeatures(*k)
		info.Priority, info.Kernel["priority"] = priorityOf(*k)
		info.Kernel["oom"] = oomOf(*k)
		info.Mode = e.loop.Mode()
	}
	degraded := false
	err := e.loop.View(ctx, func(s *projector.State, durable event.Seq) {
		info.Journal.Last = durable
		info.RunLog.KeptNotDurable = int(s.Seq() - min(s.Seq(), durable))
		degraded = s.Supd.Degraded
	})
	info.Journal.Health = e.health.text(degraded, info.RunLog.KeptNotDurable, e.args.Places.State)
	return info, err
}

// maxLogsWait bounds how long one question for more output waits.
const maxLogsWait = 30 * time.Second

func (e *engine) askLogs(ctx context.Context, r control.Request) (any, error) {
	q, err := question[event.LogsRequest](r)
	if err != nil {
		return nil, err
	}
	name, instance, err := e.logsTarget(ctx, q)
	if err != nil {
		return nil, err
	}
	query := output.Query{Service: name, Stream: q.Stream, Instance: instance, Tail: q.Tail, Follow: q.Wait > 0}
	if q.Since != nil {
		query.Since = *q.Since
	}
	if q.Cursor != "" {
		if query.Cursor, err = output.ParseCursor(q.Cursor); err != nil {
			return nil, control.Fail(control.AskMalformed, "%v", err)
		}
	}
	deadline, cancel := context.WithTimeout(ctx, min(time.Duration(q.Wait), maxLogsWait))
	defer cancel()
	for {
		chunk, err := output.Read(ctx, e.args.Output, query)
		if err != nil {
			return nil, control.Fail(control.AskFailed, "%v", err)
		}
		if len(chunk.Lines) > 0 || !chunk.EOF || q.Wait <= 0 || deadline.Err() != nil {
			return logsReply(chunk), nil
		}
		query.Cursor, query.Tail = chunk.Next, 0
		_ = output.Wait(deadline, e.args.Output, query) // its end by the deadline is no error
	}
}

func logsReply(c output.Chunk) event.LogsReply {
	reply := event.LogsReply{Lines: make([]event.LogLine, 0, len(c.Lines)), Cursor: c.Next.String(), End: c.EOF}
	for _, l := range c.Lines {
		reply.Lines = append(reply.Lines, event.LogLine{
			Time: l.Time, Stream: l.Stream, Instance: l.Instance, Partial: l.Partial, Data: l.Data,
		})
	}
	return reply
}

// logsTarget finds the service and the instance that a request names: by id,
// by run number, or -1 for the one before the newest.
func (e *engine) logsTarget(ctx context.Context, q event.LogsRequest) (name, instance string, err error) {
	if err := event.CheckServiceName(q.Service); err != nil {
		return "", "", control.Fail(control.AskMalformed, "%v", err)
	}
	var run event.Run
	known := map[event.Run]string{}
	err = e.loop.View(ctx, func(s *projector.State, _ event.Seq) {
		v := s.Services[q.Service]
		if v == nil {
			return
		}
		run = v.Run
		if v.LastExit != nil {
			known[v.LastExit.Run] = v.LastExit.Instance
		}
		if v.Instance != nil {
			known[v.Instance.Run] = v.Instance.ID
		}
		name = v.Name
	})
	switch {
	case err != nil:
		return "", "", err
	case name == "" && !hasOutput(e.args.Output, q.Service):
		return "", "", control.Fail(control.AskUnknownService, "no service %s", q.Service)
	case q.Instance == "" || len(q.Instance) == 36:
		return q.Service, q.Instance, nil
	}
	n, err := strconv.ParseInt(q.Instance, 10, 64)
	if err != nil || n == 0 {
		return "", "", control.Fail(control.AskMalformed, "cannot read instance %q: give an id, a run number, or -1 for the last but one", q.Instance)
	}
	if n < 0 {
		n += int64(run)
	}
	if id := known[event.Run(n)]; id != "" {
		return q.Service, id, nil
	}
	id, err := e.findRun(ctx, q.Service, event.Run(n))
	return q.Service, id, err
}

func hasOutput(dir, service string) bool {
	_, err := os.Stat(filepath.Join(dir, service))
	return err == nil
}

// findRun looks an older run up in the journal.
func (e *engine) findRun(ctx context.Context, service string, run event.Run) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	none := control.Fail(control.AskFailed, "the journal holds no run %d of %s", run, service)
	js, err := jetstream.New(e.conn)
	if err != nil {
		return "", err
	}
	subject := event.RecordSubject(e.args.Node, service, event.InstanceStarting)
	c, err := js.OrderedConsumer(ctx, event.Stream, jetstream.OrderedConsumerConfig{FilterSubjects: []string{subject}})
	if err != nil {
		return "", fmt.Errorf("cannot read the journal: %w", err)
	}
	for {
		batch, err := c.FetchNoWait(500)
		if err != nil {
			return "", fmt.Errorf("cannot read the journal: %w", err)
		}
		seen := 0
		for m := range batch.Messages() {
			seen++
			r, err := event.Decode(m.Data())
			if err != nil {
				continue
			}
			if d, ok := r.Record.Data.(event.InstanceStartingData); ok && d.Run == run {
				return d.Instance, nil
			}
		}
		if seen == 0 {
			return "", none
		}
	}
}
