package journal

import (
	"sync"
	"sync/atomic"
	"time"
	_ "unsafe" // for go:linkname

	"github.com/nats-io/nats-server/v2/server"
)

// nats-server keeps three clocks that nobody asked for: it looks ten times a
// second at the time for the age of its caches, once a second at its own use of
// the processor, and once a second through warnings it has given. In a process
// that sleeps they are nearly all of its work, and the second one starts in
// every process that merely contains the server. None of them can be switched
// off, so they are reached through the linker: a version of the server without
// these names does not link, and TestServerIsQuiet fails for one that uses them
// in another way.

//go:linkname processStat github.com/nats-io/nats-server/v2/server/pse.procStatFile
var processStat string

//go:linkname accessTime github.com/nats-io/nats-server/v2/server/ats.utime
var accessTime atomic.Int64

//go:linkname accessClockOver github.com/nats-io/nats-server/v2/server/ats.done
var accessClockOver chan struct{}

//go:linkname setWarningInterval github.com/nats-io/nats-server/v2/server.(*Server).changeRateLimitLogInterval
func setWarningInterval(s *server.Server, d time.Duration)

// QuietProcess ends the sampling of this process's own use of the processor,
// which nothing of ours reads. Call it once, first in main: it is for every
// process that contains the server, whether or not it runs one.
//
//go:norace
func QuietProcess() {
	// The sampler ends for good when it cannot read. It looks again a second
	// after the process began and then finds an empty name; only the length is
	// changed, which is one word, so that there is no moment between.
	processStat = processStat[:0]
}

const (
	// accessTick is how exact the age of the server's caches is, which expire
	// after 10 s; its own clock has 100 ms.
	accessTick = 5 * time.Second
	// warningInterval is how often the server repeats one and the same warning,
	// and looks through those it has given.
	warningInterval = time.Minute
)

var accessClock sync.Once

// quiet gives the server slower clocks; it is called when a store is open, and
// does its work once.
func (s *natsServer) quiet() {
	setWarningInterval(s.srv, warningInterval)
	accessClock.Do(func() {
		// A store is open, so the server's clock runs and takes this word, and the
		// store that is closed last leaves its own in the channel, for the clock of
		// the next one: from now on there is none but ours.
		accessClockOver <- struct{}{}
		tick()
	})
}

// tick is the clock of the caches, for the rest of the process's life: stores
// come and go with every restart of JetStream.
func tick() {
	accessTime.Store(time.Now().UnixNano())
	time.AfterFunc(accessTick, tick)
}
