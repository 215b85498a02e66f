package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"supd/journal/event"
	"supd/projector/timeline"
)

func (a *app) graphCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "graph [NAME…]", Short: "Show what services need, and what made them start late",
		Long: `Shows services with what they need below them (requires, wants, after, and
which condition), when each was started and how long that took until others
could go on. A star marks the critical path: the chain of starts that took
longest together. With names only those and what they need.

-o dot is for graphviz, -o svg a drawing for a browser, -o json a list in which
each service comes behind what it needs.`,
		Example:           "  supctl graph\n  supctl graph web\n  supctl graph -o svg >graph.svg",
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: a.completeServices,
		RunE: func(cmd *cobra.Command, names []string) error {
			var nodes []timeline.GraphNode
			if err := a.ask(cmd.Context(), event.AskGraph, event.StatusRequest{Patterns: names}, &nodes); err != nil {
				return err
			}
			return a.showGraph(nodes)
		},
	}
	return a.outputAs(cmd, "text", "json", "dot", "svg")
}

func (a *app) showGraph(nodes []timeline.GraphNode) error {
	switch a.format {
	case "json":
		return a.writeJSON(nodes)
	case "dot":
		_, err := fmt.Fprint(a.out, timeline.Dot(nodes))
		return err
	case "svg":
		_, err := fmt.Fprint(a.out, timeline.SVG(nodes))
		return err
	}
	return a.writeLines(timeline.Table{Now: time.Now(), Width: width(a.out)}.Graph(nodes))
}
