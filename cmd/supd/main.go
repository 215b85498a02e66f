// The runtime would ask the kernel every second how many processors there
// are; for processes that mostly sleep that is much of what they do.
//
//go:debug updatemaxprocs=0

// Command supd is the supervisor: keeper, engine and logger are modes of this
// one binary. A person types `supd run`; the other modes are started by the
// keeper and take no part in the command line.
package main

import (
	"fmt"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"supd/cmd/internal/exitcode"
	"supd/cmd/internal/manual"
	"supd/cmd/internal/version"
	"supd/journal"
)

// Modes that only supd itself starts.
const (
	modeKeeper = "keeper"
	modeEngine = "engine"
	modeLogger = "logger"
)

func main() {
	journal.QuietProcess()
	// Before anything else: these modes want none of the command line's cost.
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case modeKeeper:
			os.Exit(flushLog(keeperMain()))
		case modeEngine:
			os.Exit(flushLog(engineMain(slices.Contains(os.Args[2:], "--safe"))))
		case modeLogger:
			os.Exit(flushLog(loggerMain()))
		}
	}
	os.Exit(execute(command()))
}

// failure is an error with its exit code.
type failure struct {
	code int
	err  error
}

func (f failure) Error() string { return f.err.Error() }
func (f failure) Unwrap() error { return f.err }

func execute(root *cobra.Command) int {
	err := root.Execute()
	if err == nil {
		return exitcode.Done
	}
	if f, ok := err.(failure); ok {
		if f.err != nil {
			fmt.Fprintln(os.Stderr, "supd:", f.err)
		}
		return f.code
	}
	fmt.Fprintln(os.Stderr, "supd:", err)
	fmt.Fprintln(os.Stderr, "Run `supd --help` for usage.")
	return exitcode.Usage
}

func command() *cobra.Command {
	run := runCommand()
	root := &cobra.Command{
		Use: "supd", Version: version.Version,
		Short: "A process supervisor that never forgets",
		Long: `supd runs services and records every command and every event of a process in
an append-only journal. After any death of its own it goes on where it was,
with the services still running.

Start it with a configuration, then steer it with supctl:

  supd check -c supd.toml     # find mistakes first
  supd run -c supd.toml       # runs in the foreground
  supctl status`,
		SilenceErrors: true, SilenceUsage: true, Args: commandArgs,
		RunE: run.RunE,
	}
	root.Flags().AddFlagSet(run.Flags())
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(run, checkCommand(), checkStateCommand(), readCopyCommand(), &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		Run: func(cmd *cobra.Command, _ []string) { fmt.Fprintln(cmd.OutOrStdout(), version.Version) },
	}, manual.Command(func(err error) error { return failure{exitcode.Failed, err} }, manual.Configuration))
	return root
}
