package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"supd/executor/keeper"
	"supd/journal"
	"supd/journal/event"
	"supd/projector"
)

// checkStateVerb is what a running supd asks of the program that is to take its
// place.
const checkStateVerb = "check-state"

// stateFormats are the versions of all that one supd leaves to the next. Not the
// version's text decides whether one may follow the other, these do.
type stateFormats struct {
	Estate int          `json:"estate"`
	State  int          `json:"state"`
	RunLog int          `json:"run_log"`
	Kinds  []event.Kind `json:"kinds"`
}

func formats() stateFormats {
	return stateFormats{keeper.EstateFormat, projector.Version, journal.RunLogFormat, event.Kinds()}
}

// preflightState is what the running supd shows.
type preflightState struct {
	Formats stateFormats    `json:"formats"`
	Seq     event.Seq       `json:"seq"`
	Hash    string          `json:"hash"`
	State   json.RawMessage `json:"state"`
	Config  string          `json:"config"` // digest of what is applied
	Args    keeperArgs      `json:"args"`
}

// preflightAnswer is what the other one says.
type preflightAnswer struct {
	Version string `json:"version"`
	Refused string `json:"refused,omitempty"` // why it cannot go on from there
}

func checkStateCommand() *cobra.Command {
	return &cobra.Command{
		Use: checkStateVerb, Short: "Tell whether this program can take over from a running one", Hidden: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			answer := preflightAnswer{Version: versionText}
			if err := checkState(cmd.InOrStdin()); err != nil {
				answer.Refused = err.Error()
			}
			return json.NewEncoder(cmd.OutOrStdout()).Encode(answer)
		},
	}
}

// checkState reads what a running supd shows as the next engine will.
func checkState(in io.Reader) error {
	var s preflightState
	if err := json.NewDecoder(in).Decode(&s); err != nil {
		return fmt.Errorf("cannot read what it shows: %w", err)
	}
	own := formats()
	for _, f := range []struct {
		what       string
		its, reads int
		exact      bool
	}{
		{"estate", s.Formats.Estate, own.Estate, false},
		{"state", s.Formats.State, own.State, false},
		{"run log", s.Formats.RunLog, own.RunLog, true},
	} {
		if f.its > f.reads || f.exact && f.its != f.reads {
			return fmt.Errorf("its %s has format %d, this one reads %d: a downgrade needs supctl shutdown and a new state folder", f.what, f.its, f.reads)
		}
	}
	for _, kind := range s.Formats.Kinds {
		if !slices.Contains(own.Kinds, kind) {
			return fmt.Errorf("it writes records of kind %s, which this one does not know: this one is older", kind)
		}
	}
	if _, err := projector.Parse(s.State, s.Seq, s.Hash); err != nil {
		return fmt.Errorf("cannot read its state: %w", err)
	}
	if s.Config != "" {
		if _, err := (applied{s.Args.Places.State, s.Args.Places.Runtime}).load(s.Config); err != nil {
			return fmt.Errorf("cannot read its configuration: %w", err)
		}
	}
	return nil
}
