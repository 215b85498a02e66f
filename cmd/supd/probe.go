package main

import (
	"context"
	"math/rand/v2"
	"os"
	"time"

	"supd/executor"
	"supd/executor/keeper"
	"supd/executor/policy"
	"supd/executor/probe"
	"supd/journal/output"
)

// Bounds of reading a service's output for its readiness.
const (
	linesChunk  = 64 << 10         // bytes of one read
	linesChunks = 16               // reads at a time
	linesBefore = 10 * time.Minute // that the wall clock may have been set back since the start
)

// newProber wires the prober to the loop, the keeper and the output. It tells
// nothing before the loop runs.
func (e *engine) newProber() (*probe.Prober, error) {
	return probe.New(probe.Config{
		Tell: func(in policy.Input) {
			_ = e.loop.Input(context.Background(), in) // fails if the loop is over, and then nobody wants to know
		},
		Start:  func(r probe.Run) error { return e.client.Park(executor.ProbePark(r, clock{}.Now().Mono)) },
		Stop:   func(id string) { _ = e.client.Drop(id) }, // fails if the keeper is gone, and its probes with it
		Follow: e.follow, IsMain: e.client.IsMain,
		NewID: clock{}.ID, Rand: rand.Float64, Lines: e.lines,
		Notify: os.NewFile(keeper.NotifyFD, "notify socket"), Log: e.log,
	})
}

// follow has another process taken for a main one. One about which nobody can
// tell any more what came of it is no reason to complain.
func (e *engine) follow(m probe.Main) string {
	refused, err := e.loop.Follow(context.Background(), m)
	if err != nil {
		return ""
	}
	return refused
}

// lines reads what an instance has written since it started.
func (e *engine) lines(service, instance string, since time.Time) func(context.Context) ([][]byte, error) {
	q := output.Query{
		Service: service, Instance: instance, Tail: -1, Since: since.Add(-linesBefore), Follow: true, MaxBytes: linesChunk,
	}
	return func(ctx context.Context) (lines [][]byte, err error) {
		for range linesChunks {
			chunk, err := output.Read(ctx, e.args.Output, q)
			if err != nil {
				return lines, err
			}
			for _, l := range chunk.Lines {
				lines = append(lines, l.Data)
			}
			q.Cursor = chunk.Next
			if chunk.EOF {
				break
			}
		}
		return lines, nil
	}
}
