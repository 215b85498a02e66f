package main

import (
	"strings"

	"github.com/spf13/cobra"

	"supd/cmd/internal/spelling"
)

// peers are the verbs of other supervisors, and what says the same here.
var peers = map[string]string{
	"tail": "logs -f", "log": "logs", "output": "logs", "maintail": "logs", "catlog": "logs", "journalctl": "events",
	"update": "apply", "reread": "plan", "replan": "apply", "diff": "plan", "daemon-reload": "apply", "rescan": "apply", "config": "plan",
	"list": "status", "ls": "status", "ps": "status", "l": "status", "top": "status --watch", "monit": "status --watch", "watch": "status --watch",
	"services": "status", "show": "status", "describe": "status", "list-units": "status", "is-active": "status", "avail": "status",
	"journal": "events", "notices": "events", "changes": "events", "timeline": "events",
	"enable": "start", "run": "start", "up": "start", "load": "apply", "add": "apply", "disable": "stop", "down": "stop", "remove": "apply", "unload": "stop",
	"kill": "signal KILL", "term": "signal TERM", "hup": "signal HUP", "sigusr1": "signal USR1",
	"respawn": "restart", "bounce": "restart", "reset-failed": "start", "clear": "start",
	"quit": "shutdown", "exit": "shutdown", "stop-all": "stop --all", "poweroff": "shutdown", "daemon-reexec": "upgrade",
	"numprocs": "scale", "replicas": "scale", "list-dependencies": "graph", "deps": "graph", "tree": "graph", "critical-chain": "graph", "blame": "graph",
	"pid": "info", "state": "dump", "outcome": "result", "task": "result", "tasks": "result",
}

// unknownVerb says what was typed instead of a verb, and what may have been
// meant.
func unknownVerb(root *cobra.Command, typed string) error {
	e := &usageError{text: `"` + typed + `" is no verb of supctl`}
	var verbs []string
	for _, c := range root.Commands() {
		if c.IsAvailableCommand() {
			verbs = append(verbs, c.Name())
		}
	}
	meant := peers[strings.ToLower(typed)]
	if meant == "" {
		meant = spelling.Nearest(strings.ToLower(typed), verbs)
	}
	if meant != "" {
		e.text += ": did you mean supctl " + meant + "?"
	}
	return e
}

// knownVerb refuses help about what is no verb: cobra would show that of supctl,
// as if nothing had been wrong.
func knownVerb(help *cobra.Command, args []string) error {
	root := help.Root()
	if about, _, err := root.Find(args); len(args) > 0 && (err != nil || about == root) {
		return unknownVerb(root, args[0])
	}
	return nil
}

// checkKind refuses what is neither a kind of record nor a group of kinds: a
// slip would otherwise look like a journal in which nothing happened.
func checkKind(typed string) error {
	near, known := spelling.Kind(typed)
	switch {
	case known:
		return nil
	case near != "":
		return usage("--kind %q is no kind of record: did you mean %s?", typed, near)
	}
	return usage("--kind %q is no kind of record: supctl events -o json shows them as types", typed)
}
