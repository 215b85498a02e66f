package main

import (
	"context"
	"time"

	"supd/cmd/internal/config"
	"supd/executor/policy"
	"supd/journal/control"
	"supd/journal/event"
	"supd/projector"
)

// planWait bounds how long a question waits for the disk that has the
// configuration.
const planWait = 30 * time.Second

// askPlan says what an apply would do now.
func (e *engine) askPlan(ctx context.Context) (any, error) {
	select {
	case e.configs.readers <- struct{}{}:
	default:
		return nil, control.Fail(control.AskBusy, "others wait for the configuration to be read: does its disk answer?")
	}
	type answer struct {
		r        *reading
		problems []config.Problem
	}
	read := make(chan answer, 1)
	go func() {
		defer func() { <-e.configs.readers }()
		var scale map[string]int
		if err := e.loop.View(ctx, func(s *projector.State, _ event.Seq) { scale = s.Config.Scale }); err != nil {
			return // who asked is gone, or supd is
		}
		r, problems := e.read(scale)
		read <- answer{r, problems}
	}()
	late := time.NewTimer(planWait)
	defer late.Stop()
	var a answer
	select {
	case a = <-read:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-late.C:
		return nil, control.Fail(control.AskFailed, "%s could not be read within %s: does its disk answer?", e.args.Places.Config, planWait)
	}
	plan := event.Plan{Problems: []event.ConfigProblem{}, Services: []event.PlannedService{}, Settings: []event.PlannedSetting{}}
	for _, p := range a.problems {
		plan.Problems = append(plan.Problems, event.ConfigProblem{
			ConfigError: event.ConfigError{File: p.File, Line: p.Line, Column: p.Column, Message: p.Message}, Hint: p.Hint, Warning: p.Warning,
		})
	}
	if a.r == nil {
		return plan, nil
	}
	err := e.loop.View(ctx, func(s *projector.State, _ event.Seq) {
		plan.Services = policy.Plan(s, a.r.configure())
		plan.Settings = append(plan.Settings, changedSettings(e.set, e.configs.startup, a.r.set)...)
	})
	return plan, err
}
