package rig_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"supd/cmd/internal/client"
	"supd/cmd/internal/rig"
	"supd/journal/event"
)

// crashConfig is 20 services of all tempers. Nothing of their output may be
// trimmed, for all of it is checked.
const crashConfig = `
[supd]
node = "rig"
log_format = "text"

[defaults]
output = { max_size = "256KiB", max_files = 10000 }
backoff = { initial = "20ms", max = "300ms", reset_after = "5s" }
stop = { timeout = "5s" }

[service.crash]
count = 6
command = ["ACTOR", "-dir", "DIR", "-life", "5ms,400ms", "-exits", "0,1,2,7,42,255,SIGKILL,SIGHUP,SIGINT", "-stdout", "200"]

[service.stable]
count = 5
command = ["ACTOR", "-dir", "DIR"]

[service.talk]
count = 2
command = ["ACTOR", "-dir", "DIR", "-life", "500ms,3s", "-stdout", "300", "-stderr", "300"]

[service.fast]
command = ["ACTOR", "-dir", "DIR", "-stdout", "2000", "-stderr", "500"]

[service.slow]
command = ["ACTOR", "-dir", "DIR", "-stdout", "20", "-stderr", "7"]

[service.forker]
count = 2
command = ["ACTOR", "-dir", "DIR", "-forks", "3", "-life", "300ms,2s", "-exits", "0,9,SIGKILL"]

[service.stubborn]
command = ["ACTOR", "-dir", "DIR", "-term", "ignore", "-stdout", "50"]
stop = { timeout = "300ms" }

[service.plain]
command = ["ACTOR", "-dir", "DIR", "-term", "none", "-stderr", "50"]

[service.picky]
command = ["ACTOR", "-dir", "DIR", "-life", "50ms,500ms", "-exits", "0,3,3"]
restart = "on-failure"
`

var crashTargets = []string{
	"crash-0", "crash-1", "crash-2", "crash-*", "stable-0", "stable-1", "stable-2", "stable", "talk-0", "talk-1",
	"fast", "slow", "forker-0", "forker-1", "stubborn", "plain", "picky",
}

// number reads a number from the environment.
func number(t *testing.T, name string, fallback int64) int64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return fallback
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// TestCrash kills engine and logger at random moments under load, then holds
// the journal and the output against what the services wrote down (P1, P2, P3,
// P6, P8). SUPD_CRASH_KILLS is how often it kills, SUPD_CRASH_SEED repeats the
// choices of a run, not its timing.
func TestCrash(t *testing.T) {
	kills := int(number(t, "SUPD_CRASH_KILLS", 25))
	seed := number(t, "SUPD_CRASH_SEED", time.Now().UnixNano()%1_000_000_000)
	t.Logf("SUPD_CRASH_SEED=%d SUPD_CRASH_KILLS=%d", seed, kills)
	r := rig.New(t, crashConfig)
	r.Run()
	stop := r.Watch()
	began := time.Now()
	stopped := make(chan struct{})
	clients := make([]*commander, 4)
	var wg sync.WaitGroup
	for i := range clients {
		clients[i] = &commander{r: r, rand: rand.New(rand.NewPCG(uint64(seed), uint64(i)))}
		if i%2 == 1 {
			clients[i].client = r.Dial()
		}
		wg.Go(func() { clients[i].run(stopped) })
	}
	engines, loggers := killer(r, rand.New(rand.NewPCG(uint64(seed), 99)), kills)
	close(stopped)
	wg.Wait()
	var dump event.Dump
	r.Supctl("dump").OK().JSON(&dump)
	r.Shutdown()
	c := newCheck(t, r)
	c.answers(clients)
	c.replay(dump)
	c.all(stop)
	t.Logf("SUPD_CRASH_SEED=%d: %d engine and %d logger kills in %v%s", seed, engines, loggers, time.Since(began).Round(time.Second), c.summary())
}

// killer kills engine or logger or both at random moments, sometimes so soon
// that the one before had not done anything yet.
func killer(r *rig.Rig, dice *rand.Rand, kills int) (engines, loggers int) {
	var deaths []time.Time // of engines
	for range kills {
		time.Sleep(time.Duration(dice.Int64N(int64(2 * time.Second)))) // the random moment itself
		choice := dice.IntN(20)
		if len(deaths) >= 4 && time.Since(deaths[len(deaths)-4]) < 11*time.Second && choice > 1 {
			choice = 19 // the fifth death in 10 s means safe mode, where less is tested
		}
		var engine, logger int
		r.Until("engine and logger are there", func() bool {
			engine, logger = r.Engine(), r.Logger()
			return engine != 0 && logger != 0
		})
		if choice < 12 {
			r.Kill(engine)
			deaths = append(deaths, time.Now())
			engines++
		}
		if choice >= 10 {
			r.Kill(logger)
			loggers++
		}
	}
	return engines, loggers
}

// sent is a command that a client sent, and what it was told.
type sent struct {
	id, verb string
	reply    event.CommandReply
	failure  string
}

// commander sends random commands, one after the other, and notes the answers.
type commander struct {
	r      *rig.Rig
	rand   *rand.Rand
	client *client.Client // nil: by supctl
	sent   []sent
}

func (c *commander) run(stopped chan struct{}) {
	for {
		select {
		case <-stopped:
			return
		case <-time.After(time.Duration(c.rand.Int64N(int64(200 * time.Millisecond)))):
		}
		c.one()
	}
}

func (c *commander) one() {
	verb := []string{"start", "start", "stop", "restart", "signal"}[c.rand.IntN(5)]
	sig := []string{"USR1", "USR1", "USR2", "KILL"}[c.rand.IntN(4)]
	targets := []string{crashTargets[c.rand.IntN(len(crashTargets))]}
	if c.rand.IntN(4) == 0 {
		targets = append(targets, crashTargets[c.rand.IntN(len(crashTargets))])
	}
	s := sent{id: uuid.Must(uuid.NewV7()).String(), verb: verb}
	if c.client == nil {
		c.bySupctl(&s, sig, targets)
	} else {
		c.byClient(&s, sig, targets)
	}
	c.sent = append(c.sent, s)
}

func (c *commander) bySupctl(s *sent, sig string, targets []string) {
	args := []string{s.verb}
	if s.verb == "signal" {
		args = append(args, sig)
	}
	args = append(append(args, targets...), "--id", s.id, "--timeout", "40s", "-o", "json")
	res := c.r.Call(nil, args...)
	if err := json.Unmarshal([]byte(res.Out), &s.reply); err != nil || s.reply.Status != event.ReplyEnded {
		s.failure = fmt.Sprintf("supctl %s: exit code %d: %s%s", strings.Join(args, " "), res.Code, res.Out, res.Err)
	}
}

func (c *commander) byClient(s *sent, sig string, targets []string) {
	ctx, cancel := context.WithTimeout(context.Background(), 40*time.Second)
	defer cancel()
	req := event.CommandRequest{ID: s.id, Verb: event.Verb(s.verb), Patterns: targets, SentAt: time.Now().UTC()}
	if s.verb == "signal" {
		req.Args = map[string]string{event.ArgSignal: sig}
	}
	var err error
	if s.reply, err = c.client.Command(ctx, req, nil); err != nil {
		s.failure = fmt.Sprintf("client %s %v: %v", s.verb, targets, err)
	}
}
