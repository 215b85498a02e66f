package executor

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"supd/journal/event"
)

// sawRecord counts what a record tells of.
func (r *rig) sawRecord(rec event.Record) {
	r.saw("record %s", rec.Kind)
	switch d := rec.Data.(type) {
	case event.RecoverySettledData:
		r.saw("recovery row %02d", d.Row)
	case event.CommandEndedData:
		r.saw("a command is %s", d.Outcome)
	case event.CommandAcceptedData:
		r.saw("command %s", d.Verb)
	}
}

// seen adds up, over all seeds, how often each kind of event came.
type seen struct {
	mu    sync.Mutex
	seeds int
	count map[string]int
}

func (s *seen) add(one map[string]int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seeds++
	if s.count == nil {
		s.count = map[string]int{}
	}
	for what, n := range one {
		s.count[what] += n
	}
}

func (s *seen) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "what came in %d seeds:\n", s.seeds)
	for _, what := range slices.Sorted(maps.Keys(s.count)) {
		fmt.Fprintf(&b, "%9d  %s\n", s.count[what], what)
	}
	return b.String()
}

// enough is how many seeds have each kind of event come.
const enough = 1000

// check fails when a kind of event never came that a promise speaks of: a
// simulation proves nothing about what does not happen in it.
func (s *seen) check(t *testing.T) {
	if s.seeds < enough {
		return
	}
	for _, what := range strings.Split(strings.TrimSpace(mustCome), "\n") {
		if s.count[what] == 0 {
			t.Errorf("in %d seeds there never was %q: the world has lost it", s.seeds, what)
		}
	}
	for row := 1; row <= 14; row++ {
		if what := fmt.Sprintf("recovery row %02d", row); s.count[what] == 0 {
			t.Errorf("in %d seeds there never was %q", s.seeds, what)
		}
	}
}

// mustCome are the kinds of events, as the world, the keeper, the journal and
// the clients count them.
const mustCome = `
JOURNAL is forked
KILL in vain
a command again
a command of yesterday
a death that takes time
a hook of which nothing is heard
a late commit
a main process named
a main process that is not followed: ended
a main process that is not followed: gone
a publish acknowledged
a publish acknowledged in part
a publish is lost, and nobody tells
a publish is stored in part, and nobody tells
a publish is stored, and nobody tells
a service ends by itself
a signal asked for again
a signal to whom dies already
a signal to whom the keeper does not know
a signal told after the exit it led to
a stop in vain
a stranger found and ended
a stranger that only the keeper knows
a stub ended by a person
a sweep in vain
adopted
adopted by a number of before
all are lost
an exit in the table that may be taken back
an exit is taken back
an orderly end
another command with its id
another main process
another engine waits for the lock
disk hangs
no program
no stub
nobody gets ready
nobody there to adopt
a base in parts
a base is cut in two
a batch is cut in two
reboot
reboot with records
the engine gets no time
the engine dies after another main process is followed
the engine dies before another main process is followed
the engine is killed
the notify socket is flooded
the keeper does not know whose gate to open
the keeper takes its time to follow
the run log is lost
the run log is lost with records
told in another order
told twice
`
