package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"supd/cmd/internal/client"
	"supd/cmd/internal/exitcode"
	"supd/cmd/internal/folders"
	"supd/cmd/internal/manual"
	"supd/cmd/internal/version"
	"supd/journal/event"
)

// app is one call of supctl.
type app struct {
	socket  string
	network client.Network
	format  string
	out     io.Writer
	err     io.Writer
}

// run is main without the process: it returns the exit code.
func run(ctx context.Context, args []string, out, errOut io.Writer) int {
	a := &app{out: out, err: errOut}
	root := a.root()
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(errOut)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitcode.Done
	}
	return a.report(err)
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use: "supctl", Version: version.Version,
		Short: "Control a running supd",
		Long: `supctl sends commands to a running supd and shows what it knows.

The socket is --socket, else SUPD_SOCKET, else supd.sock in the runtime folder:
SUPD_RUNTIME_DIR, else /run/supd for root, else $XDG_RUNTIME_DIR/supd. A supd
that listens on the network is tls://HOST:PORT (nats:// on the loopback) and
wants --nkey, else SUPD_NKEY: the file of a user nkey's seed.

Exit codes: 0 done, 1 failed, 2 wrong command line, 4 not permitted,
5 no such service, 6 bad configuration, 7 not running, 69 supd unreachable, 75 busy, 124 timed out.
status: 3 some are not up, 4 some are unknown.`,
		Example: `  supctl status
  supctl restart web
  supctl stop 'worker-*' --timeout 30s
  supctl logs -f web
  supctl events --since 10m --service web`,
		SilenceUsage: true, SilenceErrors: true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage("a verb is missing")
			}
			return unknownVerb(cmd, args[0])
		},
		RunE: func(*cobra.Command, []string) error { return nil },
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage("%v", err) })
	root.CompletionOptions.DisableDefaultCmd = true // ours knows how to be installed
	root.PersistentFlags().StringVar(&a.socket, "socket", "", "supd's `socket` or URL (default: SUPD_SOCKET, else the runtime folder's)")
	root.PersistentFlags().StringVar(&a.network.NKey, "nkey", os.Getenv("SUPD_NKEY"), "seed `file` of the nkey to connect with over the network")
	root.PersistentFlags().StringVar(&a.network.CA, "tlsca", os.Getenv("SUPD_TLSCA"), "`file` of the authorities that sign supd's certificate")
	root.PersistentFlags().StringVar(&a.network.Cert, "tlscert", os.Getenv("SUPD_TLSCERT"), "`file` of our own certificate")
	root.PersistentFlags().StringVar(&a.network.Key, "tlskey", os.Getenv("SUPD_TLSKEY"), "`file` of its key")
	root.AddCommand(
		a.startCmd(), a.stopCmd(), a.restartCmd(), a.signalCmd(), a.reloadCmd(),
		a.planCmd(), a.applyCmd(), a.scaleCmd(), a.upgradeCmd(), a.shutdownCmd(),
		a.statusCmd(), a.graphCmd(), a.logsCmd(), a.eventsCmd(), a.whyCmd(), a.historyCmd(),
		a.resultCmd(), a.infoCmd(), a.dumpCmd(), a.versionCmd(), a.completionCmd(),
		manual.Command(func(err error) error { return err }),
	)
	root.InitDefaultHelpCmd()
	if help, _, err := root.Find([]string{"help"}); err == nil {
		help.Args = knownVerb
	}
	return root
}

// output gives a command the flag -o.
func (a *app) output(cmd *cobra.Command) *cobra.Command { return a.outputAs(cmd, "text", "json") }

// outputAs gives it with these formats, the first of which is the default.
func (a *app) outputAs(cmd *cobra.Command, formats ...string) *cobra.Command {
	last := len(formats) - 1
	cmd.Flags().StringVarP(&a.format, "output", "o", formats[0], "output `format`: "+strings.Join(formats[:last], ", ")+" or "+formats[last])
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))
	inner := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		switch {
		case slices.Contains(formats, a.format):
			return inner(cmd, args)
		case len(formats) == 2:
			return usage("output format %q is neither %s nor %s", a.format, formats[0], formats[1])
		}
		return usage("output format %q is none of %s", a.format, strings.Join(formats, ", "))
	}
	return cmd
}

func (a *app) json() bool { return a.format == "json" }

// writeJSON writes one value, indented for people who look at it.
func (a *app) writeJSON(v any) error {
	enc := json.NewEncoder(a.out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

func (a *app) dial(ctx context.Context) (*client.Client, error) {
	return client.Dial(ctx, a.socketPath(), client.Options{Name: "supctl", Network: a.network})
}

// socketPath is where supd listens, as commandline and environment say.
func (a *app) socketPath() string {
	if a.socket != "" {
		return a.socket
	}
	return folders.Socket()
}

// ask sends one question over a connection of its own.
func (a *app) ask(ctx context.Context, verb string, req, out any) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	c, err := a.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	return c.Ask(ctx, verb, req, out)
}

// exit is an end with a code of its own, after everything has been said.
type exit int

func (e exit) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

func end(code int) error {
	if code == exitcode.Done {
		return nil
	}
	return exit(code)
}

// usageError is a wrong command line.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

func usage(format string, args ...any) error { return &usageError{fmt.Sprintf(format, args...)} }

// hinted is an error with the next step.
type hinted struct {
	error
	code int
	hint string
}

func (h *hinted) Unwrap() error { return h.error }

// report says what went wrong and what to do next, and finds the exit code.
func (a *app) report(err error) int {
	var (
		code    exit
		wrong   *usageError
		hint    *hinted
		refused *client.Rejected
		failed  *client.Error
		asked   *client.AskError
	)
	switch {
	case errors.As(err, &code):
		return int(code)
	case errors.As(err, &wrong):
		a.complain(err, "run 'supctl --help' or 'supctl VERB --help'")
		return exitcode.Usage
	case errors.As(err, &hint):
		a.complain(err, hint.hint)
		return hint.code
	case errors.As(err, &refused):
		a.complain(err, "")
		return rejectedCode(refused.Reply.Reason)
	case errors.As(err, &failed):
		a.complain(err, failed.Hint)
		return failedCode(failed.Kind)
	case errors.As(err, &asked):
		a.complain(err, "")
		return askCode(asked.Code)
	case errors.Is(err, client.ErrTimeout):
		a.complain(err, "see whether supd is busy: supctl info")
		return exitcode.TimedOut
	}
	a.complain(err, "")
	return exitcode.Failed
}

func (a *app) complain(err error, hint string) {
	fmt.Fprintf(a.err, "supctl: %v\n", err)
	if hint != "" {
		fmt.Fprintf(a.err, "  %s\n", hint)
	}
}

func failedCode(kind error) int {
	switch {
	case errors.Is(kind, client.ErrNotPermitted):
		return exitcode.NotPermitted
	case errors.Is(kind, client.ErrBusy):
		return exitcode.Busy
	}
	return exitcode.Unreachable
}

func rejectedCode(reason string) int {
	switch reason {
	case event.RejectUnknownService:
		return exitcode.NoService
	case event.RejectMalformed, event.RejectTooLarge:
		return exitcode.Usage
	case event.RejectBusy:
		return exitcode.Busy
	case event.RejectShuttingDown:
		return exitcode.Unreachable
	}
	return exitcode.Failed
}

func askCode(code string) int {
	switch code {
	case "unknown-service":
		return exitcode.NoService
	case "malformed":
		return exitcode.Usage
	case "busy":
		return exitcode.Busy
	}
	return exitcode.Failed
}
