package main

import (
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"supd/journal/event"
)

func (a *app) upgradeCmd() *cobra.Command {
	act := &action{app: a}
	cmd := &cobra.Command{
		Use: "upgrade [BINARY]", Short: "Replace supd by another version, in place",
		Long: `Has supd execute BINARY in its own place: same pid, same services, nothing is
stopped and no line of output is lost. Without BINARY it is the file that the
running supd was started from, as it is now.

BINARY is asked first whether it can go on from the present state; an older
one that cannot is refused, and so is a file that others than root and the
user of supd may write to. Returns when the new version serves. If the new
program cannot be executed, everything goes on as before.`,
		Example: "  supctl upgrade\n  supctl upgrade /opt/supd-2.1/supd",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			options := map[string]string{}
			if len(args) > 0 {
				binary, err := filepath.Abs(args[0])
				if err != nil {
					return fmt.Errorf("cannot find %s: %w", args[0], err)
				}
				options[event.ArgBinary] = binary
			}
			return act.run(cmd.Context(), event.VerbUpgrade, nil, options)
		},
	}
	return act.flags(cmd)
}
