package main

import (
	"reflect"

	"supd/cmd/internal/config"
	"supd/journal/event"
)

// setting is one setting of supd itself.
type setting struct {
	key  string
	of   func(*config.Set) any
	live bool // takes effect when it is applied; else when supd is started again
}

// settings are those of supd itself, in the order of the reference.
var settings = []setting{
	{"supd.node", func(s *config.Set) any { return s.Supd.Node }, false},
	{"supd.log_level", func(s *config.Set) any { return s.Supd.LogLevel }, true},
	{"supd.log_format", func(s *config.Set) any { return s.Supd.LogFormat }, true},
	{"supd.console", func(s *config.Set) any { return s.Supd.Console }, true},
	{"control.mode", func(s *config.Set) any { return s.Control.Mode }, true},
	{"control.admin_group", func(s *config.Set) any { return s.Control.AdminGID }, true},
	{"control.read_group", func(s *config.Set) any { return s.Control.ReadGID }, true},
	{"listen.address", func(s *config.Set) any { return []string{s.Listen.Address, s.Listen.Bind} }, true},
	{"listen.tls", func(s *config.Set) any { return []string{s.Listen.Cert, s.Listen.Key, s.Listen.CA} }, true},
	{"listen.nkeys", func(s *config.Set) any { return s.Listen.Keys }, true},
	{"journal.sync", func(s *config.Set) any { return s.Journal.Sync }, false},
	{"journal.max_records", func(s *config.Set) any { return s.Journal.MaxRecords }, false},
	{"journal.max_size", func(s *config.Set) any { return s.Journal.MaxSize }, false},
	{"journal.run_log", func(s *config.Set) any { return s.Journal.RunLog }, false},
	{"journal.inbox", func(s *config.Set) any { return s.Journal.Inbox }, false},
	{"output.directory", func(s *config.Set) any { return s.Output.Directory }, false},
	{"output.max_total", func(s *config.Set) any { return s.Output.MaxTotal }, true},
	{"start.concurrency", func(s *config.Set) any { return s.Start.Concurrency }, true},
	{"start.rate", func(s *config.Set) any { return s.Start.Rate }, true},
	{"start.burst", func(s *config.Set) any { return s.Start.Burst }, true},
}

// changedSettings are the settings that next has otherwise: live ones than
// applied, others than startup, which is what supd runs with.
func changedSettings(applied, startup, next *config.Set) []event.PlannedSetting {
	var changed []event.PlannedSetting
	for _, s := range settings {
		now, action := startup, event.PlanRestart
		if s.live {
			now, action = applied, event.PlanUpdate
		}
		if !reflect.DeepEqual(s.of(now), s.of(next)) {
			changed = append(changed, event.PlannedSetting{Key: s.key, Action: action})
		}
	}
	return changed
}
