package main

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"supd/cmd/internal/config"
	"supd/journal/event"
)

// TestSettingsAreComplete: a setting of supd itself that is in the
// configuration and not in the table would change in silence.
func TestSettingsAreComplete(t *testing.T) {
	var set map[string]map[string]any
	b, err := json.Marshal(map[string]any{
		"supd": config.Supd{}, "control": config.Control{}, "journal": config.Journal{}, "output": config.Output{}, "start": config.Start{},
	})
	if err == nil {
		err = json.Unmarshal(b, &set)
	}
	if err != nil {
		t.Fatal(err)
	}
	for table, keys := range set {
		for key := range keys {
			name := table + "." + key
			resolved := key == "admin_gid" || key == "read_gid" // of a group that is in the table
			if !resolved && !slices.ContainsFunc(settings, func(s setting) bool { return s.key == name }) {
				t.Errorf("%s is not in the table", name)
			}
		}
	}
}

func TestChangedSettings(t *testing.T) {
	base := func() *config.Set {
		gid := uint32(7)
		return &config.Set{Supd: config.Supd{LogLevel: "info"}, Control: config.Control{Mode: 0o660, AdminGID: &gid}, Journal: config.Journal{Inbox: 5}}
	}
	listen := base()
	listen.Listen = config.Listen{Address: ":1", Cert: "c", Keys: []config.ListenKey{{Key: "U", Role: config.RoleRead}}}
	for _, s := range changedSettings(base(), base(), listen) {
		if !slices.Contains([]string{"listen.address", "listen.tls", "listen.nkeys"}, s.Key) || s.Action != event.PlanUpdate {
			t.Errorf("a listener changes %+v", s)
		}
	}
	if n := len(changedSettings(base(), base(), listen)); n != 3 {
		t.Errorf("%d settings of a listener are seen", n)
	}
	if got := changedSettings(base(), base(), base()); got != nil {
		t.Errorf("equal sets differ: %v", got)
	}
	applied, next := base(), base()
	applied.Supd.LogLevel, applied.Journal.Inbox = "debug", 6
	next.Supd.LogLevel, next.Journal.Inbox, next.Control.AdminGID = "debug", 6, nil
	// The level is live since it was applied; the inbox still waits for a restart.
	want := []event.PlannedSetting{
		{Key: "control.admin_group", Action: event.PlanUpdate},
		{Key: "journal.inbox", Action: event.PlanRestart},
	}
	if diff := cmp.Diff(want, changedSettings(applied, base(), next)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
