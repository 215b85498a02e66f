package main

import (
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"supd/cmd/internal/exitcode"
	"supd/journal"
	"supd/journal/blocks"
)

// readCopyCommand is for supreplay, which has no server in it: it reads a copy
// of block files through this program's server, and prints the records as
// blocks.Writer does.
func readCopyCommand() *cobra.Command {
	return &cobra.Command{
		Use: blocks.ReadCopyVerb + " FOLDER", Short: "Print the records of a copied journal for supreplay, and use the copy up", Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			setLog("warn", "text")
			out := blocks.NewWriter(cmd.OutOrStdout())
			err := journal.ReadCopy(cmd.Context(), args[0], slog.New(newLogHandler(os.Stderr, terminal(os.Stderr))), out.Write)
			if err == nil {
				err = out.Close()
			}
			if err != nil {
				return failure{exitcode.Failed, err}
			}
			return nil
		},
	}
}
