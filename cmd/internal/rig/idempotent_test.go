package rig_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"supd/cmd/internal/exitcode"
	"supd/cmd/internal/rig"
	"supd/cmd/internal/rig/account"
	"supd/journal/event"
)

const webConfig = `
[supd]
node = "rig"

[service.web]
command = ["ACTOR", "-dir", "DIR", "-stdout", "100"]
autostart = false

[service.late]
command = ["ACTOR", "-dir", "DIR", "-stdout", "100", "-term", "ignore"]
stop = { timeout = "400ms" }
`

// starts counts how often a service lived.
func starts(t *testing.T, r *rig.Rig, service string) int {
	t.Helper()
	entries, err := account.Read(r.Dir)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, e := range entries {
		if e.What == account.Start && e.Service == service {
			n++
		}
	}
	return n
}

// TestConcurrentStart: whoever asks, however often, one process (P1, P2).
func TestConcurrentStart(t *testing.T) {
	t.Parallel()
	r := rig.New(t, webConfig)
	r.Run()
	stop := r.Watch()
	var wg sync.WaitGroup
	results := make([]rig.Result, 20)
	for i := range results {
		wg.Go(func() { results[i] = r.Call(nil, "start", "web", "-o", "json") })
	}
	wg.Wait()
	started := map[string]bool{}
	for _, res := range results {
		var reply event.CommandReply
		res.OK().JSON(&reply)
		started[reply.Results[0].Instance] = true
	}
	s := r.Status("web")
	if len(started) != 1 || s.Instance == nil || !started[*s.Instance] {
		t.Errorf("20 starts name instances %v, status says %v", started, s.Instance)
	}
	r.Shutdown()
	if n := starts(t, r, "web"); n != 1 {
		t.Errorf("P1: 20 concurrent starts started it %d times", n)
	}
	newCheck(t, r).all(stop)
}

// TestSameID: one id is one command, however often it is sent and whoever dies
// meanwhile (P2).
func TestSameID(t *testing.T) {
	t.Parallel()
	r := rig.New(t, webConfig)
	r.Run()
	r.UntilPhase("late", event.PhaseRunning)
	r.Until("late ignores TERM", func() bool { return starts(t, r, "late") == 1 })
	stop := r.Watch()
	id := uuid.Must(uuid.NewV7()).String()
	req := event.CommandRequest{ID: id, Verb: event.VerbRestart, Patterns: []string{"late"}, SentAt: time.Now().UTC()}
	c := r.Dial()
	var wg sync.WaitGroup
	replies := make([]event.CommandReply, 90)
	running := make(chan struct{})
	accepted := sync.OnceFunc(func() { close(running) })
	send := func(i int) {
		ctx, cancel := context.WithTimeout(t.Context(), rig.Patience)
		defer cancel()
		var err error
		if replies[i], err = c.Command(ctx, req, func(event.CommandReply) { accepted() }); err != nil {
			t.Error(err)
		}
	}
	for i := range 40 {
		wg.Go(func() { send(i) })
	}
	<-running // the restart waits for the deadline of its stop
	r.Kill(r.Engine())
	for i := range 40 {
		wg.Go(func() { send(40 + i) })
	}
	wg.Wait()
	for i := range 10 { // long after its end
		send(80 + i)
	}
	for range 10 {
		var reply event.CommandReply
		r.Supctl("restart", "late", "--id", id, "-o", "json").OK().JSON(&reply)
		replies = append(replies, reply)
	}
	for _, reply := range replies {
		if reply.Outcome != event.Done || !cmp.Equal(reply.Results, replies[0].Results) {
			t.Errorf("P2: one answer is %v, another one %v", replies[0], reply)
		}
	}
	if res := r.Supctl("stop", "late", "--id", id); res.Code != exitcode.Failed {
		t.Errorf("the same id with another content: exit code %d", res.Code)
	}
	r.Shutdown()
	if n := starts(t, r, "late"); n != 2 {
		t.Errorf("P2: one restart, sent 100 times, left it with %d instances", n)
	}
	check := newCheck(t, r)
	if n := len(rig.Of[event.EngineStartedData](check.history)); n != 2 {
		t.Errorf("%d engines lived, one was killed", n)
	}
	check.all(stop)
}
