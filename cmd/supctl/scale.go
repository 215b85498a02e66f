package main

import (
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"supd/journal/event"
)

func (a *app) scaleCmd() *cobra.Command {
	act := &action{app: a}
	cmd := &cobra.Command{
		Use: "scale NAME=COUNT…", Short: "Set how many replicas services have",
		Long: `Sets the number of replicas of services that have a count in the configuration.
New ones are started, those too many are stopped, the others are not touched.
Returns when that is done.

The number stays, also across an apply and a restart of supd, until it is set
to what the configuration says. Nothing else is applied: changes of files wait
for apply.`,
		Example:           "  supctl scale web=5\n  supctl scale web=5 worker=0 --timeout 30s",
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			bases, counts, err := parseCounts(args)
			if err != nil {
				return err
			}
			return act.run(cmd.Context(), event.VerbScale, bases, counts)
		},
	}
	return act.flags(cmd)
}

func parseCounts(args []string) (bases []string, counts map[string]string, err error) {
	if len(args) == 0 {
		return nil, nil, usage("a service and its count are missing: write NAME=COUNT")
	}
	counts = map[string]string{}
	for _, arg := range args {
		base, count, ok := strings.Cut(arg, "=")
		n, err := strconv.Atoi(count)
		if !ok || base == "" || err != nil || n < 0 {
			return nil, nil, usage("cannot read %q: write NAME=COUNT, such as web=3", arg)
		}
		if _, twice := counts[base]; twice {
			return nil, nil, usage("%s is named twice", base)
		}
		bases, counts[base] = append(bases, base), strconv.Itoa(n)
	}
	return bases, counts, nil
}
