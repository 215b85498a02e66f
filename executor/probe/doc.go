// Package probe finds out how services are: whether they are ready, whether they
// are well, and whether they still give a sign of life. It decides nothing. What
// it finds leaves as inputs of package policy, and only what has changed:
//
//	prober.Watch("web", &target)   // by the loop, whenever the state has moved
//	…
//	policy.Ready, .Reloading, .Extended, .Health, .WatchdogMissed → Config.Tell
//
// What to watch is derived from the state, like a duty, so an engine that starts
// finds it again and nothing of it is stored. Counting of failures and successes
// in a row lives here and begins anew with an engine; the health that was
// recorded does not.
//
// # Ways to be ready
//
// tcp, http and exec are asked again and again until they are well. log reads
// the service's output from its beginning. notify is what services say on the
// notify socket. fd, a newline on a descriptor, is read by the keeper, which
// holds the pipe; it comes as an event of the keeper and not from here.
//
// # The notify socket
//
// The keeper binds and holds it, so that what is said while no engine lives
// waits in the kernel (P8). Its file lets only those users write for whom
// services run. The kernel says who sent a datagram; a process that belongs to
// no instance is a stranger, counted and dropped (P10). One goroutine empties
// the socket and only then judges deadlines: an engine that was held up itself
// never takes a silence of its own for that of a service.
//
// What a service says of its main process (MAINPID) is passed on to the keeper,
// which judges it, before the rest of the same datagram; the datagram leaves the
// socket when the change is kept. Before the loop decides on the exit of a main
// process that left others, it has all heard that lies in the socket (Drain).
//
// Watchdogs run on the monotonic clock, which stands still while the machine
// sleeps: nobody could have given a sign of life then.
//
// # Bounds
//
// At most Concurrency probes run at one time in all, one of each service, each
// for no longer than its timeout. Their beginnings are spread at random, so that
// a thousand services which start together are not asked together. Commands run
// through the keeper and its stub, with the service's credentials: a path that
// hangs in exec would stop a Go process whole.
package probe
