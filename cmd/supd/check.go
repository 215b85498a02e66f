package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"supd/cmd/internal/exitcode"
	"supd/cmd/internal/folders"
	"supd/journal"
	"supd/journal/blocks"
)

func checkCommand() *cobra.Command {
	path, state := folders.Config(), folders.State()
	var ofJournal bool
	cmd := &cobra.Command{
		Use: "check", Short: "Check a configuration, or a journal, and do nothing", Args: cobra.NoArgs,
		Long: `Checks a configuration; with --journal the journal of a state folder instead:
every checksum of its block files, and that no record is missing between them.
It only reads. A folder that was copied, or whose supd has stopped, is checked
whole; while a supd runs on it, what is being written at its end does not
count. After an unclean stop supd checks the same by itself, keeps what is
damaged as evidence in the folder damaged, and mends the rest.

Exit codes: 0 all is well, 6 not, 1 it cannot be read.`,
		Example: `  supd check -c ./supd.toml
  supd check --journal --state-dir ./copy`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			given := cmd.Flags().Changed
			switch {
			case ofJournal && given("config"):
				return errors.New("give either a configuration or --journal")
			case !ofJournal && given("state-dir"):
				return errors.New("--state-dir goes with --journal")
			case ofJournal:
				return checkJournal(cmd.OutOrStdout(), state)
			}
			set, err := load(path)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s is good: %s\n", path, count(len(set.Services), "service"))
			return nil
		},
	}
	cmd.Flags().StringVarP(&path, "config", "c", path, "configuration file or folder")
	cmd.Flags().BoolVar(&ofJournal, "journal", false, "check the journal in --state-dir")
	cmd.Flags().StringVar(&state, "state-dir", state, "folder for journal and output")
	return cmd
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// checkJournal prints what is wrong with the journal of a state folder.
func checkJournal(w io.Writer, state string) error {
	store := filepath.Join(state, "journal")
	if _, err := os.ReadDir(store); err != nil {
		return failure{exitcode.Failed, fmt.Errorf("cannot check journal: %w; name a state folder with --state-dir", err)}
	}
	known, err := journal.KnownHoles(state)
	if err != nil {
		return failure{exitcode.Failed, err}
	}
	rep, err := (&blocks.Checker{Dir: store, Known: known}).Check()
	if err != nil {
		return failure{exitcode.Failed, err}
	}
	rel := func(path string) string {
		if r, err := filepath.Rel(state, path); err == nil {
			return r
		}
		return path
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if rep.Damaged() {
		fmt.Fprintln(t, "WHAT\tFILE\tBYTE\tRECORDS\tDETAIL")
	}
	for _, d := range append(rep.Descriptions, rep.Damage...) {
		if d.What == blocks.Tail && !rep.CutOff() {
			continue
		}
		records := d.Range()
		if records == "" {
			records = "none lost"
		}
		fmt.Fprintf(t, "%s\t%s\t%d\t%s\t%s\n", d.What, rel(d.File), d.Offset, records, d.Detail)
	}
	if err := t.Flush(); err != nil {
		return failure{exitcode.Failed, fmt.Errorf("cannot write the result: %w", err)}
	}
	for _, h := range known {
		fmt.Fprintf(w, "known and recorded: stream records %d to %d are missing\n", h.First, h.Last)
	}
	if rep.Damaged() {
		return failure{exitcode.Configuration, fmt.Errorf("the journal in %s is damaged: supd mends it at its next start and keeps the evidence; `supreplay verify --from %s` names the records", state, state)}
	}
	fmt.Fprintf(w, "the journal in %s is good: %s in %s, %d bytes\n", state, count(int(rep.Records), "record"), count(int(rep.Blocks), "block"), rep.Bytes)
	return nil
}
