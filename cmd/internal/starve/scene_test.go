package starve_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"supd/cmd/internal/client"
	"supd/cmd/internal/exitcode"
	"supd/cmd/internal/rig"
	"supd/cmd/internal/rig/account"
	"supd/journal/event"
)

// sceneConfig is a service to be restarted and one that writes all the time.
const sceneConfig = `
[supd]
node = "starve"
log_format = "text"

[defaults]
output = { max_size = "64KiB", max_files = 10000, on_full = "ON_FULL", console = false }

[service.target]
command = ["ACTOR", "-dir", "DIR"]

[service.talk]
command = ["ACTOR", "-dir", "DIR", "-stdout", "4000"]
`

// fault is one row: what is taken away and given back.
type fault struct {
	name   string
	onFull string        // block if empty
	more   string        // configuration
	long   bool          // only in the long run
	span   time.Duration // how long it lasts; four times that in the long run
	before func(*scene)  // before supd runs
	ready  func(*scene)  // when it runs
	begin  func(*scene)
	while  func(*scene) // again and again
	end    func(*scene)
	// shows are the kinds of records that prove that the fault was felt.
	shows []string
	// noStart: no process can be started in the meantime; restarts may fail.
	noStart bool
	// newEngine: the engine may die of it, and is replaced.
	newEngine bool
	// newLogger: so may the logger. A descriptor that is sent to it and finds no
	// room is lost, and a successor gets it again.
	newLogger bool
	// alone replaces all of this.
	alone func(*scene)
}

// row is what came of it.
type row struct {
	name                    string
	status, restart         samples
	counted                 bool
	written, kept, declared int64
	resumed                 time.Duration
	notes, broken           []string
}

func (r *row) note(format string, args ...any) {
	if s := fmt.Sprintf(format, args...); !slices.Contains(r.notes, s) {
		r.notes = append(r.notes, s)
	}
}

func (r *row) fail(format string, args ...any) {
	r.broken = append(r.broken, fmt.Sprintf(format, args...))
}

// samples are durations of one kind.
type samples []time.Duration

func (s samples) String() string {
	if len(s) == 0 {
		return "-"
	}
	s = slices.Sorted(slices.Values(s))
	at := func(p int) string { return round(s[min(len(s)-1, len(s)*p/100)]) }
	return fmt.Sprintf("%s / %s / %s (%d)", at(50), at(99), round(s[len(s)-1]), len(s))
}

// scene is one supd under one fault.
type scene struct {
	*rig.Rig
	t     *testing.T
	row   *row
	disk  *disk
	limit *limit
	parts map[string]rig.Process
}

func newScene(t *testing.T, r *row) *scene { return &scene{t: t, row: r} }

func (s *scene) play(f fault, span time.Duration) {
	onFull := f.onFull
	if onFull == "" {
		onFull = "block"
	}
	s.Rig = rig.New(s.t, strings.ReplaceAll(sceneConfig, "ON_FULL", onFull)+f.more)
	s.Abandon() // a row that breaks has said so; cleanup ends what is left
	if f.before != nil {
		f.before(s)
	}
	if f.alone != nil {
		f.alone(s)
		return
	}
	s.Run()
	s.Until("talk is heard", func() bool { return s.heard() > 0 })
	if f.ready != nil {
		f.ready(s)
	}
	s.parts = s.look()
	stop := s.probe(f)
	time.Sleep(span / 4) // before, to compare
	f.begin(s)
	for until := time.Now().Add(span); time.Now().Before(until); time.Sleep(20 * time.Millisecond) {
		if f.while != nil {
			f.while(s)
		}
	}
	s.resume(f)
	stop()
	s.survived(f)
	s.settle(f.shows...)
}

// look finds the processes that must live on.
func (s *scene) look() map[string]rig.Process {
	parts := map[string]rig.Process{}
	for name, pid := range map[string]int{"keeper": s.Keeper(), "engine": s.Engine(), "logger": s.Logger(), "talk": *s.Status("talk").PID} {
		if p, ok := rig.ReadProcess(pid); ok {
			parts[name] = p
		}
	}
	return parts
}

// heard is how many bytes of talk are on disk.
func (s *scene) heard() (n int64) {
	files, _ := filepath.Glob(filepath.Join(s.State, "output", "talk", "stdout.log*"))
	for _, f := range files {
		if st, err := os.Stat(f); err == nil {
			n += st.Size()
		}
	}
	return n
}

// probe asks and restarts until stop is called.
func (s *scene) probe(f fault) (stop func()) {
	asker, restarter := s.Dial(), s.Dial()
	done := make(chan struct{})
	ended := func() bool {
		select {
		case <-done:
			return true
		default:
			return false
		}
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	fail := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		s.row.fail(format, args...)
	}
	wg.Go(func() {
		for ; !ended(); time.Sleep(20 * time.Millisecond) {
			began := time.Now()
			if _, err := status(asker, "talk"); err != nil {
				fail("status: %v", err)
				return
			}
			s.row.status = append(s.row.status, time.Since(began))
		}
	})
	wg.Go(func() {
		for ; !ended(); time.Sleep(30 * time.Millisecond) {
			took, err := restart(restarter, "target", 20*time.Second)
			switch {
			case err == nil:
				s.row.restart = append(s.row.restart, took)
			case f.noStart:
				mu.Lock()
				s.row.note("a restart meanwhile: %v", err)
				mu.Unlock()
			default:
				fail("restart: %v", err)
				return
			}
		}
	})
	return func() { close(done); wg.Wait() }
}

func status(c *client.Client, service string) (event.ServiceStatus, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var reply event.StatusReply
	err := c.Ask(ctx, event.AskStatus, event.StatusRequest{Patterns: []string{service}}, &reply)
	if err == nil && len(reply.Services) != 1 {
		err = fmt.Errorf("no service %s", service)
	}
	if err != nil {
		return event.ServiceStatus{}, err
	}
	return reply.Services[0], nil
}

// restart is the time from the command to the next instance's running. The
// answer to the caller is another matter: it waits for the journal's disk.
func restart(c *client.Client, service string, limit time.Duration) (time.Duration, error) {
	before, err := status(c, service)
	if err != nil {
		return 0, err
	}
	began := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	sent := make(chan error, 1)
	go func() {
		_, err := c.Command(ctx, event.CommandRequest{
			ID: uuid.Must(uuid.NewV7()).String(), Verb: event.VerbRestart, Patterns: []string{service}, SentAt: began, NoWait: true,
		}, nil)
		sent <- err
	}()
	for answered := false; ; time.Sleep(2 * time.Millisecond) {
		now, err := status(c, service)
		if err != nil {
			return 0, err
		}
		if now.State == event.PhaseRunning && now.Run != nil && (before.Run == nil || *now.Run > *before.Run) {
			took := time.Since(began)
			cancel()
			if !answered {
				<-sent
			}
			return took, nil
		}
		if !answered {
			select {
			case err := <-sent:
				if answered = true; err != nil {
					return 0, err
				}
			default:
			}
		}
		if time.Since(began) > limit {
			cancel()
			if !answered {
				<-sent
			}
			reason := ""
			if now.Reason != nil {
				reason = *now.Reason
			}
			return 0, fmt.Errorf("no new instance of %s within %v: %s %s", service, limit, now.State, reason)
		}
	}
}

// resume gives back what was taken and waits until everything goes on.
func (s *scene) resume(f fault) {
	before := s.heard()
	began := time.Now()
	f.end(s)
	s.Until("output goes on", func() bool { return s.heard() > before })
	heard := time.Since(began)
	s.Until("the journal is well", func() bool {
		var info event.Info
		res := s.Call(nil, "info", "-o", "json")
		if res.Code == exitcode.Done {
			res.JSON(&info)
		}
		return info.Journal.Health == "ok"
	})
	s.row.resumed = heard
	if d := time.Since(began); d > heard+time.Second {
		s.row.note("journal durable after %s", round(d))
	}
}

// survived holds the processes against what they were.
func (s *scene) survived(f fault) {
	now := s.look()
	for name, p := range s.parts {
		if now[name] == p || now[name].PID == p.PID && now[name].Start == p.Start {
			continue
		}
		if name == "engine" && f.newEngine {
			s.row.note("the engine was replaced")
			continue
		}
		if name == "logger" && f.newLogger {
			s.row.note("the logger was replaced")
			continue
		}
		s.row.fail("the %s did not live on: %v became %v", name, p, now[name])
	}
	c := s.Dial()
	if _, err := restart(c, "target", 20*time.Second); err != nil {
		s.row.fail("afterwards: %v", err)
	}
}

// settle ends supd and counts lines: written = kept + declared (P3, P4).
func (s *scene) settle(shows ...string) {
	s.Supctl("stop", "talk").OK()
	s.Shutdown()
	entries, err := account.Read(s.Dir)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, e := range entries {
		if e.Service == "talk" && e.What == account.End {
			s.row.written += int64(e.Lines[0])
		}
	}
	s.row.kept = int64(strings.Count(s.Output("talk", "stdout"), "\n"))
	history := s.History()
	for _, g := range rig.Of[event.OutputGapData](history) {
		if g.Lines != nil {
			s.row.declared += *g.Lines
		}
	}
	for _, kind := range shows {
		if !slices.ContainsFunc(history, func(e event.Encoded) bool { return string(e.Record.Kind) == kind }) {
			s.row.fail("the fault was not felt: there is no %s", kind)
		}
	}
	s.row.counted = true
	if s.row.written == 0 || s.row.written != s.row.kept+s.row.declared {
		s.row.fail("%d lines written, %d kept, %d declared lost", s.row.written, s.row.kept, s.row.declared)
	}
	violations, err := account.Violations(s.Dir)
	if err != nil || len(violations) > 0 {
		s.row.fail("violations: %v %v", violations, err)
	}
}
