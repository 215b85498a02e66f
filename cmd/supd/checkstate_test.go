package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"supd/journal/event"
	"supd/projector"
)

// A program takes over only from what it reads whole: not its version decides
// that, but the formats.
func TestCheckState(t *testing.T) {
	s := projector.New()
	good := func() preflightState {
		return preflightState{Formats: formats(), Seq: s.Seq(), Hash: s.Hash(), State: s.Canonical()}
	}
	for name, tt := range map[string]struct {
		change func(*preflightState)
		want   string
	}{
		"the same":          {func(*preflightState) {}, ""},
		"an older one":      {func(p *preflightState) { p.Formats.Kinds = p.Formats.Kinds[1:]; p.Formats.Estate-- }, ""},
		"newer records":     {func(p *preflightState) { p.Formats.Kinds = append(p.Formats.Kinds, event.Kind("new.thing")) }, "kind new.thing"},
		"a newer estate":    {func(p *preflightState) { p.Formats.Estate++ }, "its estate has format"},
		"a newer state":     {func(p *preflightState) { p.Formats.State++ }, "its state has format"},
		"another run log":   {func(p *preflightState) { p.Formats.RunLog-- }, "its run log has format"},
		"a broken state":    {func(p *preflightState) { p.State = json.RawMessage(`{"version":"x"}`) }, "cannot read its state"},
		"no configuration":  {func(p *preflightState) { p.Config = strings.Repeat("0", 64); p.Args.Places.State = t.TempDir() }, "cannot read its configuration"},
		"a newer one still": {func(p *preflightState) { p.Formats.Kinds = nil }, ""},
	} {
		p := good()
		tt.change(&p)
		b, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		err = checkState(bytes.NewReader(b))
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
	if err := checkState(strings.NewReader("{")); err == nil {
		t.Error("half an object was taken")
	}
}
