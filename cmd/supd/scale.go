package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strconv"

	"supd/cmd/internal/config"
	"supd/cmd/internal/spelling"
	"supd/executor"
	"supd/executor/policy"
	"supd/journal/event"
	"supd/projector"
)

// standing is what is applied when a command that changes it comes.
type standing struct {
	known  bool // the command itself
	digest string
	scale  map[string]int // counts that commands have set
}

// scaled makes a reading of a set with the counts that commands have set. They
// are in the set, and so in its digest.
func (e *engine) scaled(set *config.Set, scale map[string]int) (*reading, error) {
	set, err := set.Scaled(scale)
	if err != nil {
		return nil, err
	}
	raw, err := json.Marshal(set)
	if err != nil {
		return nil, err
	}
	return e.resolved(set, raw), nil
}

// scaledAtStart is the configuration that supd was started with, as far as the
// counts of commands fit it: a file that has changed meanwhile must not keep
// services from being started.
func (e *engine) scaledAtStart(set *config.Set, raw []byte, scale map[string]int) *reading {
	r, err := e.scaled(set, scale)
	if err != nil {
		e.log.Warn("the counts that commands had set are given up", "scale", scale, "error", err)
		return e.resolved(set, raw)
	}
	return r
}

// tooMuch refuses a configuration that changes more at once than the run log has
// room for: its records are one batch, which is kept whole or not at all (R11).
func (e *engine) tooMuch(s *projector.State, r *reading, room int64) []config.Problem {
	changed := map[string]bool{}
	for _, p := range policy.Plan(s, r.configure()) {
		changed[p.Service] = p.Action != event.PlanStay
	}
	services, size := 0, int64(0)
	for _, d := range r.services {
		if changed[d.Name] {
			services, size = services+1, size+config.RecordSize(d.Spec)
		}
	}
	if size <= room {
		return nil
	}
	return []config.Problem{{
		File: e.args.Places.Config, Line: 1, Column: 1,
		Message: fmt.Sprintf("the run log that supd was started with (journal.run_log) is too small for %d services that change at once", services),
		Hint:    "shut supd down and start it again; with supctl shutdown --keep-services those that run go on",
	}}
}

// refusal is why a command is none.
type refusal struct{ reason, detail string }

// rescaled is what is applied, with the counts that a command asks for: a file
// that was edited and not applied stays without effect (R11). Both are nil if
// the request is malformed, which is decided elsewhere.
func (e *engine) rescaled(req event.CommandRequest, now standing) (*reading, *refusal) {
	set := &config.Set{}
	if now.digest != "" {
		var err error
		if set, err = e.applied.load(now.digest); err != nil {
			return nil, &refusal{event.RejectMalformed, err.Error() + "; apply the configuration once more"}
		}
	}
	counts, known := maps.Clone(now.scale), set.Counts()
	if counts == nil {
		counts = map[string]int{}
	}
	for _, base := range req.Patterns {
		n, err := strconv.Atoi(req.Args[base])
		if err != nil || n < 0 || n > policy.MaxScale {
			return nil, nil
		}
		if _, ok := known[base]; !ok {
			return nil, notCounted(base, set)
		}
		counts[base] = n
	}
	r, err := e.scaled(set, counts)
	if err != nil {
		return nil, &refusal{event.RejectMalformed, err.Error()}
	}
	return r, nil
}

// notCounted says why a name cannot be scaled.
func notCounted(base string, set *config.Set) *refusal {
	var names []string
	for _, s := range set.Services {
		switch {
		case s.Name == base && s.Spec.Replica != nil:
			return &refusal{event.RejectMalformed, fmt.Sprintf("%s is one replica: scale %s", base, s.Spec.Base)}
		case s.Name == base:
			return &refusal{event.RejectMalformed, fmt.Sprintf("%s has no count: write count = 1 into [service.%s] and run supctl apply; then it can be scaled", base, base)}
		case s.Spec.Base == base:
			return &refusal{event.RejectMalformed, fmt.Sprintf("%s was applied by an older supd: apply the configuration once more", base)}
		}
		names = append(names, s.Spec.Base)
	}
	detail := "no service " + base
	if near := spelling.Nearest(base, names); near != "" {
		detail += "; did you mean " + near + "?"
	}
	return &refusal{event.RejectUnknownService, detail}
}

// refuse records and answers a command that cannot be.
func (e *engine) refuse(ctx context.Context, cmd policy.Command, no *refusal, reply func(event.CommandReply)) error {
	id, detail := cmd.Request.ID, no.detail
	var seq event.Seq
	err := e.loop.Do(ctx, func(c *executor.Core) error {
		err := c.Step(policy.Rejected{Actor: cmd.Actor, Reason: no.reason, Detail: detail, Command: &id, Count: 1})
		seq = c.State().Seq()
		return err
	})
	if err != nil {
		return err
	}
	reply(event.CommandReply{Status: event.ReplyRejected, Command: id, Seq: seq, Reason: no.reason, Detail: detail})
	return nil
}
