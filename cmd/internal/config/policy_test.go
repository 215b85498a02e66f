package config

import (
	"fmt"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"supd/journal/event"
)

func TestRestartPolicies(t *testing.T) {
	t.Parallel()
	read := func(text string) (*RestartPolicies, []Problem) {
		return LoadRestartPolicies("/p.toml", Host{Files: fstest.MapFS{"p.toml": {Data: []byte(text)}}, Directory: "/", Hostname: "h", CPUs: 1})
	}
	p, problems := read(`
[supd]
node = "x"
[defaults]
restart = "on-failure"
max_retries = 4
[service.web]
command = "/bin/web"
max_retries = 2
backoff.initial = "3s"
success_exit_codes = [0, "SIGTERM"]
`)
	if p == nil || len(problems) != 0 {
		t.Fatalf("%v", problems)
	}
	was := event.Spec{Base: "web", Restart: event.RestartAlways, MaxRetries: -1, Backoff: event.Backoff{Factor: 7}, SuccessExitCodes: []string{"0"}}
	now, keys := p.Apply("web@1", was)
	if got := fmt.Sprint(keys); got != "[backoff.initial max_retries restart success_exit_codes]" {
		t.Errorf("changed: %s", got)
	}
	if now.MaxRetries != 2 || now.Restart != event.RestartOnFailure || now.Backoff.Factor != 7 || now.Backoff.Initial != event.Duration(3*time.Second) {
		t.Errorf("web is %+v", now)
	}
	if _, keys := p.Apply("db", event.Spec{Base: "db", Restart: event.RestartOnFailure, MaxRetries: 4}); keys != nil {
		t.Errorf("db changes %v", keys)
	}
	if was.MaxRetries != -1 || len(was.SuccessExitCodes) != 1 {
		t.Error("the specification that was given is changed")
	}

	for text, want := range map[string]string{
		"[defaults]\nrestart = \"sometimes\"":    "p.toml:2:11: `restart` must be",
		"[service.web]\nbackoff.initial = \"x\"": "p.toml:2:19: `backoff.initial`",
		"[service.web]\nmax_retrys = 3":          "unknown key `max_retrys` in [service.web]",
		"max_retries = 3":                        "unknown key `max_retries`",
		"service = 3":                            "must be a table",
	} {
		p, problems := read(text)
		if p != nil || len(problems) == 0 || !strings.Contains(problems[0].String(), want) {
			t.Errorf("%q: %v, want %s", text, problems, want)
		}
	}
}
