package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"supd/cmd/internal/client"
	"supd/cmd/internal/exitcode"
	"supd/journal/event"
)

// action is a command to supd with the flags that all of them have.
type action struct {
	*app
	all     bool
	noWait  bool
	timeout time.Duration
	id      string
}

const targetsHelp = `NAME is a service, a glob in quotes, the base name of replicas, a group (with @
before it, if you like), or "all".
All targets are handled in parallel. supctl waits for the outcome; when it is
interrupted or out of time the command goes on, and its id is printed.`

func (a *app) startCmd() *cobra.Command {
	return a.targetsCmd(event.VerbStart, "start NAME…", "Start services",
		"Starts services that are not running, and clears fatal. Returns when they run.\n\n"+targetsHelp,
		"  supctl start web\n  supctl start 'worker-*' db --timeout 30s\n  supctl start --all --no-wait")
}

func (a *app) stopCmd() *cobra.Command {
	return a.targetsCmd(event.VerbStop, "stop NAME…", "Stop services",
		"Stops services. Returns when their whole trees of processes are gone.\n\n"+targetsHelp,
		"  supctl stop web\n  supctl stop all")
}

func (a *app) restartCmd() *cobra.Command {
	rolling := false
	cmd := a.targetsCmd(event.VerbRestart, "restart NAME…", "Restart services, or start stopped ones",
		`Stops services and starts them again; a stopped one is started. With --rolling
one after the other in the order of their names, each when the one before is
ready; the first that fails ends it, and those behind it are not touched.

`+targetsHelp,
		"  supctl restart web\n  supctl restart web --rolling\n  supctl restart web -o json",
		func() map[string]string {
			if rolling {
				return map[string]string{event.ArgRolling: "true"}
			}
			return nil
		})
	cmd.Flags().BoolVar(&rolling, "rolling", false, "one after the other, each when the one before is ready")
	return cmd
}

// targetsCmd is an action on services; args, if there is one, gives its
// arguments.
func (a *app) targetsCmd(verb event.Verb, use, short, long, example string, args ...func() map[string]string) *cobra.Command {
	act := &action{app: a}
	cmd := &cobra.Command{
		Use: use, Short: short, Long: long, Example: example, Args: cobra.ArbitraryArgs,
		ValidArgsFunction: a.completeServices,
		RunE: func(cmd *cobra.Command, names []string) error {
			patterns, err := act.patterns(names)
			if err != nil {
				return err
			}
			var with map[string]string
			for _, more := range args {
				with = more()
			}
			return act.run(cmd.Context(), verb, patterns, with)
		},
	}
	cmd.Flags().BoolVar(&act.all, "all", false, "all services")
	return act.flags(cmd)
}

func (a *app) signalCmd() *cobra.Command {
	act := &action{app: a}
	cmd := &cobra.Command{
		Use: "signal SIG NAME…", Short: "Send a signal to services",
		Long:    "Sends a signal, by name or number, to the main processes of services.\nExit code 7: not running.\n\n" + targetsHelp,
		Example: "  supctl signal HUP web\n  supctl signal SIGUSR1 'worker-*'\n  supctl signal 10 web",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage("the signal is missing")
			}
			return nil
		},
		ValidArgsFunction: func(cmd *cobra.Command, args []string, to string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 0 {
				return []string{"HUP", "INT", "QUIT", "KILL", "TERM", "USR1", "USR2", "STOP", "CONT"}, cobra.ShellCompDirectiveNoFileComp
			}
			return a.completeServices(cmd, args, to)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			sig, err := parseSignal(args[0])
			if err != nil {
				if last := len(args) - 1; last > 0 {
					if _, swapped := parseSignal(args[last]); swapped == nil {
						return usage("%q is no signal, which comes first: supctl signal %s %s", args[0], args[last], strings.Join(args[:last], " "))
					}
				}
				return err
			}
			patterns, err := act.patterns(args[1:])
			if err != nil {
				return err
			}
			return act.run(cmd.Context(), event.VerbSignal, patterns, map[string]string{event.ArgSignal: sig})
		},
	}
	cmd.Flags().BoolVar(&act.all, "all", false, "all services")
	return act.flags(cmd)
}

func (a *app) shutdownCmd() *cobra.Command {
	act, keep, force := &action{app: a}, false, false
	cmd := &cobra.Command{
		Use: "shutdown", Short: "Stop all services, then supd",
		Long:    "Stops all services, then supd itself; returns when the next supd may start.\nWhat services are wanted to be does not change: the next supd starts them again.\n\n--force kills what runs at once, also while another shutdown waits for it. Hooks\nare not run. What even SIGKILL does not end is left behind.",
		Example: "  supctl shutdown\n  supctl shutdown --keep-services\n  supctl shutdown --force",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var args map[string]string
			switch {
			case keep && force:
				return usage("give --keep-services or --force, not both")
			case keep:
				args = map[string]string{event.ArgKeepServices: "true"}
			case force:
				args = map[string]string{event.ArgForce: "true"}
			}
			return act.run(cmd.Context(), event.VerbShutdown, nil, args)
		},
	}
	cmd.Flags().BoolVar(&keep, "keep-services", false, "leave the services running for the next supd")
	cmd.Flags().BoolVar(&force, "force", false, "kill services at once instead of waiting for them")
	return act.flags(cmd)
}

func noArgs(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usage("%q is one argument too many", args[0])
	}
	return nil
}

func (act *action) flags(cmd *cobra.Command) *cobra.Command {
	f := cmd.Flags()
	f.BoolVar(&act.noWait, "no-wait", false, "return when the command is accepted, and print its id")
	f.Var((*span)(&act.timeout), "timeout", "wait for `SPAN` at most, such as 5s (default: no limit)")
	f.StringVar(&act.id, "id", "", "the command's `UUID`, version 7: the same id never runs twice")
	for _, name := range []string{"timeout", "id"} {
		_ = cmd.RegisterFlagCompletionFunc(name, cobra.NoFileCompletions)
	}
	return act.output(cmd)
}

// span is a flag that is a time span with its unit.
type span time.Duration

// Set implements pflag.Value.
func (s *span) Set(text string) error {
	d, err := time.ParseDuration(text)
	if _, number := strconv.ParseFloat(text, 64); err != nil && number == nil {
		return fmt.Errorf("it has no unit: write %ss", text)
	}
	if err != nil {
		return errors.New("want a time span, such as 500ms, 5s or 2m")
	}
	*s = span(d)
	return nil
}

// String implements pflag.Value.
func (s *span) String() string {
	if *s == 0 {
		return ""
	}
	return time.Duration(*s).String()
}

// Type implements pflag.Value.
func (s *span) Type() string { return "span" }

func (act *action) patterns(args []string) ([]string, error) {
	switch {
	case act.all && len(args) > 0:
		return nil, usage("give names or --all, not both")
	case act.all:
		return []string{"all"}, nil
	case len(args) == 0:
		return nil, usage("the name of a service is missing (--all for all of them)")
	}
	return args, nil
}

func (act *action) run(ctx context.Context, verb event.Verb, patterns []string, args map[string]string) error {
	if act.timeout < 0 {
		return usage("--timeout %v is negative", act.timeout)
	}
	id, err := commandID(act.id)
	if err != nil {
		return err
	}
	waiting := ctx
	if act.timeout > 0 {
		var cancel context.CancelFunc
		waiting, cancel = context.WithTimeout(ctx, act.timeout)
		defer cancel()
	}
	c, err := act.dial(waiting)
	if err != nil {
		return err
	}
	defer c.Close()
	req := event.CommandRequest{ID: id, Verb: verb, Patterns: patterns, Args: args, SentAt: time.Now().UTC(), NoWait: act.noWait}
	last := event.CommandReply{Command: id}
	done := func() {}
	if !act.noWait {
		done = act.progress(waiting, c, verb, id)
	}
	reply, err := c.Command(waiting, req, func(r event.CommandReply) { last = r })
	var gone error
	if err == nil && verb == event.VerbShutdown && reply.Status == event.ReplyEnded {
		gone = c.WaitGone(waiting)
	}
	done()
	if errors.Is(err, client.ErrTimeout) {
		return act.outOfTime(ctx, verb, last)
	}
	if err != nil {
		if _, ok := errors.AsType[*client.Rejected](err); ok {
			return fmt.Errorf("cannot %s: %w", strings.TrimSpace(string(verb)+" "+strings.Join(patterns, " ")), err)
		}
		return err
	}
	if gone != nil {
		return act.outOfTime(ctx, verb, reply)
	}
	if err := act.show(verb, reply); err != nil || verb != event.VerbStop || act.json() || !reply.Durable {
		return err
	}
	return act.writeLines(stoppedToo(waiting, c, last.Seq, reply))
}

// commandID is the caller's id or a new one.
func commandID(given string) (string, error) {
	if given == "" {
		id, err := uuid.NewV7()
		if err != nil {
			return "", fmt.Errorf("cannot draw an id: %w", err)
		}
		return id.String(), nil
	}
	id, err := uuid.Parse(given)
	if err != nil || id.Version() != 7 {
		return "", usage("--id %q is not a UUID of version 7", given)
	}
	return id.String(), nil
}

// outOfTime leaves the command to itself, but not without its name.
func (act *action) outOfTime(ctx context.Context, verb event.Verb, last event.CommandReply) error {
	if act.json() {
		if err := act.writeJSON(last); err != nil {
			return err
		}
	} else {
		fmt.Fprintln(act.out, last.Command)
	}
	why, code := "the time is over", exitcode.TimedOut
	if ctx.Err() != nil {
		why, code = "interrupted", 128+int(unix.SIGINT)
	}
	hint := "see its outcome: supctl result " + last.Command
	if verb == event.VerbShutdown {
		hint = "what does not end by itself is killed at its stop.timeout; at once: supctl shutdown --force"
	}
	return &hinted{error: fmt.Errorf("cannot wait for the end of %s: %s; the command goes on", verb, why), code: code, hint: hint}
}

// show prints a reply and finds the exit code.
func (act *action) show(verb event.Verb, r event.CommandReply) error {
	if r.Results == nil {
		r.Results = []event.Result{}
	}
	switch {
	case act.json():
		if err := act.writeJSON(r); err != nil {
			return err
		}
	case r.Status == event.ReplyAccepted:
		fmt.Fprintln(act.out, r.Command)
	case r.Outcome == event.Expired:
		act.complain(fmt.Errorf("cannot %s: the id is too old, so whether it was done already is not known any more", verb), "let supctl draw an id, or use a new one")
	case len(r.Results) == 0:
		fmt.Fprintf(act.out, "%s: %s\n", verb, r.Outcome)
	case verb == event.VerbUpgrade:
		a := act.app
		a.complain(fmt.Errorf("cannot upgrade: %s", r.Results[0].Error), "supd and its services go on as before")
	case len(faults(r)) > 0:
		act.showFaults(faults(r))
	default:
		for _, result := range r.Results {
			fmt.Fprintln(act.out, resultLine(result))
		}
	}
	code := replyCode(r)
	if code == exitcode.Done && !r.Durable {
		fmt.Fprintf(act.err, "supctl: %s (not yet durable: the journal's disk is behind; see supctl info)\n", r.Outcome)
	}
	return end(code)
}

func resultLine(r event.Result) string {
	if r.Error == "" {
		return fmt.Sprintf("%s: %s", r.Service, r.Outcome)
	}
	return fmt.Sprintf("%s: %s: %s", r.Service, r.Outcome, r.Error)
}

// errNotRunning is what supd writes for a signal to a service without process.
const errNotRunning = "not running"

func replyCode(r event.CommandReply) int {
	if r.Status == event.ReplyAccepted || r.Outcome == event.Done || r.Outcome == event.Unchanged {
		return exitcode.Done
	}
	if len(faults(r)) > 0 {
		return exitcode.Configuration
	}
	for _, result := range r.Results {
		if result.Error != errNotRunning {
			return exitcode.Failed
		}
	}
	if len(r.Results) == 0 {
		return exitcode.Failed
	}
	return exitcode.NotRunning
}

// parseSignal reads a signal as people write it and returns its name without
// SIG, or the number of one that has no name.
func parseSignal(s string) (string, error) {
	name := strings.ToUpper(s)
	if n, err := strconv.Atoi(s); err == nil {
		if n < 1 || n > 64 {
			return "", usage("signal %d is not between 1 and 64", n)
		}
		if name = unix.SignalName(unix.Signal(n)); name == "" {
			return strconv.Itoa(n), nil
		}
	}
	name = strings.TrimPrefix(name, "SIG")
	if unix.SignalNum("SIG"+name) == 0 {
		return "", usage("%q is no signal", s)
	}
	return name, nil
}
