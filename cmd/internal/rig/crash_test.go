package rig_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"supd/cmd/internal/client"
	"supd/cmd/internal/exitcode"
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

// TestCrash kills any one, any two or all three of supd's processes at random
// moments under load, then holds the journal and the output against what the
// services wrote down (P1, P2, P3, P6, P8). SUPD_CRASH_KILLS is how often it
// kills, SUPD_CRASH_SEED repeats the choices of a run, not its timing.
func TestCrash(t *testing.T) {
	kills := int(number(t, "SUPD_CRASH_KILLS", 12))
	seed := number(t, "SUPD_CRASH_SEED", time.Now().UnixNano()%1_000_000_000)
	t.Logf("SUPD_CRASH_SEED=%d SUPD_CRASH_KILLS=%d", seed, kills)
	rig.ReapActors(t)
	r := rig.New(t, crashConfig)
	r.Run()
	stop, pinned := r.Watch(), r.Pins()
	began := time.Now()
	k := &killer{r: r, dice: rand.New(rand.NewPCG(uint64(seed), 99)), count: map[string]int{}}
	stopped := make(chan struct{})
	clients := make([]*commander, 4)
	var wg sync.WaitGroup
	for i := range clients {
		clients[i] = &commander{r: r, rand: rand.New(rand.NewPCG(uint64(seed), uint64(i))), outages: &k.outages}
		if i%2 == 1 {
			clients[i].client = r.Dial()
		}
		wg.Go(func() { clients[i].run(stopped) })
	}
	for range kills {
		k.round()
	}
	close(stopped)
	wg.Wait()
	var dump event.Dump
	r.Supctl("dump").OK().JSON(&dump)
	r.Shutdown()
	c := newCheck(t, r)
	c.forgive(pinned)
	c.answers(clients)
	c.replay(dump)
	c.all(stop)
	t.Logf("SUPD_CRASH_SEED=%d: %d kills in %v%s%s", seed, kills, time.Since(began).Round(time.Second), k.summary(), c.summary())
}

// Which of supd's processes a round of the killer ends.
const (
	killEngine = 1 << iota
	killLogger
	killKeeper
)

// killSets are the sets that a round chooses from, the common ones more often.
var killSets = []int{
	killEngine, killEngine, killEngine, killEngine, killEngine, killEngine, killLogger, killLogger,
	killEngine | killLogger, killEngine | killLogger, killKeeper, killKeeper, killKeeper, killKeeper | killLogger,
	killKeeper | killEngine, killKeeper | killEngine, killKeeper | killEngine | killLogger, killKeeper | killEngine | killLogger,
}

// killer kills sets of supd's processes and sees that supd comes back.
type killer struct {
	r       *rig.Rig
	dice    *rand.Rand
	deaths  []time.Time    // of engines
	count   map[string]int // rounds, by what was killed and how supd came back
	outages atomic.Int64   // odd while there is perhaps nobody to answer
}

func (k *killer) round() {
	time.Sleep(time.Duration(k.dice.Int64N(int64(1500 * time.Millisecond)))) // the random moment itself
	set := killSets[k.dice.IntN(len(killSets))]
	if n := len(k.deaths); n >= 4 && time.Since(k.deaths[n-4]) < 11*time.Second && set&killKeeper == 0 {
		set = killLogger // the fifth death in 10 s means safe mode, where less is tested
	}
	parts := map[int]int{}
	k.r.Until("all of supd is there", func() bool {
		parts = map[int]int{killEngine: k.r.Engine(), killLogger: k.r.Logger(), killKeeper: k.r.Keeper()}
		return parts[killEngine] != 0 && parts[killLogger] != 0 && parts[killKeeper] != 0
	})
	if set&killKeeper != 0 {
		k.outages.Add(1)
	}
	// All at once, or one in the midst of what another one's death has begun.
	gap := time.Duration(0)
	if k.dice.IntN(2) == 0 {
		gap = time.Duration(k.dice.Int64N(int64(700 * time.Millisecond)))
	}
	order := []int{killKeeper, killEngine, killLogger}
	k.dice.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	names := map[int]string{killKeeper: "keeper", killEngine: "engine", killLogger: "logger"}
	first, name := true, ""
	for _, part := range []int{killKeeper, killEngine, killLogger} {
		if set&part != 0 {
			name += "+" + names[part]
		}
	}
	for _, part := range order {
		if set&part == 0 {
			continue
		}
		if !first {
			time.Sleep(gap) // a moment of another death
		}
		first = false
		k.end(parts[part])
		if part == killEngine {
			k.deaths = append(k.deaths, time.Now())
		}
	}
	how := ""
	if set&killKeeper != 0 {
		how = k.back()
		k.outages.Add(1)
	}
	k.count[name[1:]+how]++
}

// end kills a process, which may have ended by itself since it was looked for:
// a logger follows its keeper, an engine hands over and ends.
func (k *killer) end(pid int) { _ = syscall.Kill(pid, syscall.SIGKILL) }

// back waits for another keeper, or runs supd as somebody would who does not
// wait for that.
func (k *killer) back() string {
	if k.dice.IntN(2) == 0 {
		k.r.Run()
		return ", run again"
	}
	alone := 0 // looks in a row: one may fall between an engine and the keeper it starts
	k.r.Until("another keeper answers, or nobody is left", func() bool {
		if k.r.Keeper() == 0 && k.r.Engine() == 0 {
			alone++
			return alone == 4
		}
		alone = 0
		return k.r.Keeper() != 0 && k.r.Call(nil, "info").Code == exitcode.Done
	})
	if alone > 0 {
		k.r.Run()
		return ", run after all were gone"
	}
	return ", reborn"
}

func (k *killer) summary() string {
	var b strings.Builder
	for _, what := range slices.Sorted(maps.Keys(k.count)) {
		fmt.Fprintf(&b, "\n%44s %9d", what, k.count[what])
	}
	return b.String()
}

// sent is a command that a client sent, and what it was told.
type sent struct {
	id, verb string
	reply    event.CommandReply
	failure  string
	accepted bool // it was told so
	outage   bool // while it waited there was perhaps nobody to answer
}

// commander sends random commands, one after the other, and notes the answers.
type commander struct {
	r      *rig.Rig
	rand   *rand.Rand
	client *client.Client // nil: by supctl
	sent   []sent

	outages *atomic.Int64 // see killer
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
	before := c.outages.Load()
	if c.client == nil {
		c.bySupctl(&s, sig, targets)
	} else {
		c.byClient(&s, sig, targets)
	}
	s.outage = before%2 == 1 || c.outages.Load() != before
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
	if s.reply, err = c.client.Command(ctx, req, func(event.CommandReply) { s.accepted = true }); err != nil {
		s.failure = fmt.Sprintf("client %s %v: %v", s.verb, targets, err)
	}
}
