// Command supreplay reads a journal and tells what happened and why, from a
// state folder that is live, stopped, copied, packed or damaged, without a
// server of its own and without writing a byte to it.
//
// It reads through journal/blocks, and files of a layout that is not known
// there through the server of the supd beside it, on a temporary copy.
// journal/blocks reports what it cannot read instead
// of leaving it out, checks the chain of hashes over the records (P11), and
// folds them with the projector that the supervisor itself uses, so that a
// moment of the past is shown exactly as status showed it then (P6).
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"

	"supd/cmd/internal/client"
	"supd/cmd/internal/exitcode"
	"supd/cmd/internal/manual"
	"supd/cmd/internal/version"
)

// exitTail is verify's code for a journal that is intact up to an end that
// was being written.
const exitTail = 3

func main() {
	debug.SetGCPercent(200) // little is kept and much thrown away while a journal is read
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// coded is an error with the exit code it asks for; a nil cause says nothing
// more on stderr.
type coded struct {
	code  int
	cause error
}

func (e *coded) Error() string {
	if e.cause == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.cause.Error()
}

func usage(format string, args ...any) error {
	return &coded{exitcode.Usage, fmt.Errorf(format, args...)}
}

func run(args []string, stdout, stderr io.Writer) int {
	root, done := rootCommand()
	defer done()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.Execute()
	if err == nil {
		return exitcode.Done
	}
	var c *coded
	if !errors.As(err, &c) {
		c = &coded{exitcode.Usage, err} // cobra's own errors are about the command line
	}
	if c.cause != nil {
		fmt.Fprintln(stderr, "supreplay: "+c.cause.Error())
	}
	if c.code == exitcode.Usage {
		fmt.Fprintln(stderr, "See supreplay --help.")
	}
	return c.code
}

// rootCommand makes the command, and what ends whatever it opens.
func rootCommand() (root *cobra.Command, done func()) {
	var from string
	var network client.Network
	var server bool
	var opened []*source
	root = &cobra.Command{
		Use:   "supreplay",
		Short: "Tell from a journal what happened and why",
		Long: `supreplay reads a journal and tells what happened and why. It never writes to
what it reads, so it is safe to use on the only copy there is.

--from names what to read:
  a state folder   with node.json and journal/ in it: this machine's, or copied
                   with cp -a, also while supd was running, also damaged
  a file           of supreplay bundle, or a tar archive of a state folder,
                   plain, gzip or zstd
  a socket         supd.sock of a running supd; its files are read if they may be
  a URL            tls://HOST:PORT of a supd that listens on the network, or
                   nats://HOST:PORT on the loopback, with --nkey
Without --from it is the local supd: SUPD_STATE_DIR, else /var/lib/supd for
root, else $XDG_STATE_HOME/supd, and where that may not be read, its socket.

It reads what is durable. While supd runs, and after a kill of all of it, the
newest milliseconds may only be in its run log, which is in memory and not in
a copy; supctl events shows them.

Where the journal's files are of a layout that it does not know, it has the supd
beside it, or in PATH, read a temporary copy of them, and says so.

Moments are written as
  512                   the record with this number
  512:9f86d081…         the same, and it must have this hash (8 digits or more of
                        it), as dumps, checkpoints and verify name records
  03:12  03:12:40       the last time the clock showed that
  "10m ago"  2h         that long ago
  "2026-11-23 03:12"    local time; set TZ for another machine's
  2026-11-23T03:12:00Z  RFC 3339
  "third crash of web"  first, second, 3rd, … last; crash, exit, start, stop,
                        restart, fatal, oom`,
		Example: `  supreplay timeline --since 03:00 --service web   what happened to web since 3 o'clock
  supreplay why web                                why is web as it is
  supreplay at 03:12                               what status would have shown at 03:12
  supreplay diff 03:00 03:30                       what changed in that half hour
  supreplay verify --from ./copy                   is this journal whole and unaltered?`,
		Version:       version.Version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.PersistentFlags().StringVar(&from, "from", "", "`SOURCE` to read: a state folder, a tar archive of one, a running supd's socket or URL (default: the local supd)")
	root.PersistentFlags().StringVar(&network.NKey, "nkey", os.Getenv("SUPD_NKEY"), "seed `file` of the nkey to read with over the network")
	root.PersistentFlags().StringVar(&network.CA, "tlsca", os.Getenv("SUPD_TLSCA"), "`file` of the authorities that sign supd's certificate")
	root.PersistentFlags().StringVar(&network.Cert, "tlscert", os.Getenv("SUPD_TLSCERT"), "`file` of our own certificate")
	root.PersistentFlags().StringVar(&network.Key, "tlskey", os.Getenv("SUPD_TLSKEY"), "`file` of its key")
	root.PersistentFlags().BoolVar(&server, "through-server", false, "read a temporary copy of the files through supd's server, not the files themselves")
	open := func(cmd *cobra.Command) (*source, error) {
		src, err := openSource(from, network, cmd.ErrOrStderr())
		if err != nil {
			return nil, err
		}
		opened = append(opened, src)
		return src, src.throughServer(server, cmd.ErrOrStderr())
	}
	root.AddCommand(
		timelineCommand(open, time.Now), whyCommand(open, time.Now), atCommand(open, time.Now), diffCommand(open, time.Now),
		stepCommand(open, time.Now), htmlCommand(open, time.Now), bundleCommand(open, time.Now), whatIfCommand(open, time.Now), verifyCommand(open), checkpointCommand(open, time.Now), keygenCommand(),
		manual.Command(func(err error) error { return &coded{exitcode.Failed, err} }),
	)
	return root, func() {
		for _, src := range opened {
			src.close()
		}
	}
}

// opener opens the source that the command line names.
type opener func(*cobra.Command) (*source, error)

// outputFlag is -o; only json is another form than the one for people.
func outputFlag(cmd *cobra.Command, what string) *string {
	return cmd.Flags().StringP("output", "o", "", "json: "+what)
}

func isJSON(form string) (bool, error) {
	switch form {
	case "", "text":
		return false, nil
	case "json":
		return true, nil
	}
	return false, usage("cannot write output as %q: use -o json, or leave it out for text", form)
}
