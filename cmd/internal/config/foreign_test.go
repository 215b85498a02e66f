package config

import (
	"strings"
	"testing"
)

// Each word of another supervisor leads to a key that we have.
func TestForeignWordsLeadHome(t *testing.T) {
	l := &loader{set: builtin(Host{})}
	for _, tt := range []struct {
		words map[string]string
		keys  []key
	}{{foreign, serviceKeys(&settings{})}, {foreignTables, l.rootKeys()}} {
		for word, ours := range tt.words {
			if word != strings.ToLower(word) || strings.Contains(word, "-") {
				t.Errorf("%s is never looked up", word)
			}
			if k, isGroup := lookup(tt.keys, word); k != nil || isGroup {
				t.Errorf("%s is a key of ours", word)
			}
			if strings.Contains(ours, " ") {
				continue
			}
			if k, isGroup := lookup(tt.keys, ours); k == nil && !isGroup && !within1(tt.keys, ours) {
				t.Errorf("%s leads to %s, which is no key", word, ours)
			}
		}
	}
}

// within1 tells that a key's group is known by name only, as long as what is
// in it is not.
func within1(keys []key, name string) bool {
	group, _, _ := strings.Cut(name, ".")
	k, _ := lookup(keys, group)
	return k != nil
}

func TestForeignHints(t *testing.T) {
	for text, want := range map[string]string{
		service("env = {}"):                  "did you mean `environment`?",
		service("cwd = '/'"):                 "did you mean `directory`?",
		service("WorkingDirectory = '/'"):    "did you mean `directory`?",
		service("ExecStart = 'x'"):           "did you mean `command`?",
		service("depends_on = []"):           "did you mean `requires`?",
		service("numprocs = 2"):              "did you mean `count`?",
		service("autorestart = true"):        "did you mean `restart`?",
		service("stopwaitsecs = 2"):          "did you mean `stop.timeout`?",
		service("stop-signal = 'INT'"):       "did you mean `stop.signal`?",
		service("startretries = 2"):          "did you mean `max_retries`?",
		service("user_id = 2"):               "did you mean `user`?",
		service("stdout_logfile = 'x'"):      ownOutput,
		service("type = 'forking'"):          "run the program in the foreground",
		service("type = 'notify'"):           "remove `type` and write ready = { notify = true }",
		service("type = 'DBus'"):             "remove `type`; with `ready`",
		"[\"program:web\"]\ncommand = 'app'": "did you mean `service`?",
		"[supervisord]\nnodaemon = true":     "did you mean `supd`?",
	} {
		_, problems := loadText(text)
		if got := Format(problems); !strings.Contains(got, want) {
			t.Errorf("%q: want the hint %q, got\n%s", text, want, got)
		}
	}
}
