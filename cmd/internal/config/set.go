package config

import "supd/journal/event"

// Set is one resolved configuration. It encodes to JSON and back without
// loss. It holds secrets: whoever writes it somewhere uses mode 0600.
type Set struct {
	Files    []event.ConfigFile `json:"files"` // plain SHA-256, not for records; absolute paths, in the order read; without environment files
	Supd     Supd               `json:"supd"`
	Control  Control            `json:"control"`
	Listen   Listen             `json:"listen,omitzero"`
	Journal  Journal            `json:"journal"`
	Output   Output             `json:"output"`
	Start    Start              `json:"start"`
	Services []Service          `json:"services"`           // sorted by name, replicas expanded
	Replicas []Replicas         `json:"replicas,omitempty"` // the services with count; sorted by base name
	Scale    map[string]int     `json:"scale,omitempty"`    // counts that commands have set in place of those, by base name
}

// Own is what concerns supd itself: the configuration without its services. An
// engine keeps no more of it, since the rest is in its state and on file (R11).
func (s *Set) Own() *Set {
	own := *s
	own.Files, own.Services, own.Replicas = nil, nil, nil
	return &own
}

// Supd says how supd itself runs.
type Supd struct {
	Node      string `json:"node"`       // one subject token
	LogLevel  string `json:"log_level"`  // debug, info, warn, error
	LogFormat string `json:"log_format"` // auto, text, json
	Console   string `json:"console"`    // auto, on, off
}

// Control says who may talk to supd. A group id is nil where no group is set.
type Control struct {
	Mode       uint32  `json:"mode"` // permission bits of the socket
	AdminGroup string  `json:"admin_group"`
	AdminGID   *uint32 `json:"admin_gid"`
	ReadGroup  string  `json:"read_group"`
	ReadGID    *uint32 `json:"read_gid"`
}

// Journal bounds the journal.
type Journal struct {
	Sync       string `json:"sync"` // always, interval
	MaxRecords int64  `json:"max_records"`
	MaxSize    int64  `json:"max_size"` // bytes
	RunLog     int64  `json:"run_log"`  // bytes
	Inbox      int    `json:"inbox"`    // commands accepted and waiting
}

// Output bounds the output of all services together.
type Output struct {
	Directory string `json:"directory"` // absolute; empty: output below the state folder
	MaxTotal  int64  `json:"max_total"` // bytes
}

// Start bounds how services are started.
type Start struct {
	Concurrency int     `json:"concurrency"` // spawns in flight
	Rate        float64 `json:"rate"`        // automatic restarts a second, all services together; 0: not limited
	Burst       int     `json:"burst"`       // of them at once
}

// Service is one service, or one replica of it, ready to be applied. The
// digest in Spec.Environment is empty: only the engine knows the key for it
// and computes it over ExplicitEnv.
type Service struct {
	Name        string       `json:"name"`
	Spec        event.Spec   `json:"spec"`
	Launch      event.Launch `json:"launch"`
	ExplicitEnv []string     `json:"explicit_env"` // NAME=value from environment_file and environment, sorted
}

// MaxServices is how many services, replicas counted, one configuration may
// have (P9).
const MaxServices = 10000
