// Package exitcode names the exit codes of supd, supctl and supreplay. Scripts
// depend on them: they never change their meaning.
package exitcode

// The codes.
const (
	Done          = 0   // done, or already so
	Failed        = 1   // failed, or done for some of several targets only
	Usage         = 2   // the command line is wrong
	StatusDown    = 3   // status: some of the named services are not up
	StatusUnknown = 4   // status: some of the names are no service
	NotPermitted  = 4   // everything but status: this user may not do that
	NoService     = 5   // no such service
	Configuration = 6   // the configuration has errors
	NotRunning    = 7   // signal, reload: the service is not running
	Unreachable   = 69  // no supd answers at the socket
	Busy          = 75  // supd has too much to do: try again
	TimedOut      = 124 // the time given is over; the command goes on
	NotExecutable = 126 // supd run -- CMD: CMD may not be executed
	NotFound      = 127 // supd run -- CMD: there is no CMD
	Signal        = 128 // supd run -- CMD: and the number of the signal that ended CMD
)
