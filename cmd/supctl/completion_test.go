package main

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"supd/cmd/internal/terminaltest"
	"supd/journal/control/controltest"
	"supd/journal/event"
)

// TestCompletion has a person's shells complete command lines, and looks at
// what they then do.
func TestCompletion(t *testing.T) {
	for _, shell := range []struct {
		name string
		args []string
		load string
	}{
		{"bash", []string{"--norc", "--noprofile", "-i"}, "source <(supctl completion bash)"},
		{"zsh", []string{"-f", "-i"}, "autoload -U compinit; compinit -u -D; source <(supctl completion zsh)"},
		{"fish", []string{"--no-config", "-i"}, "supctl completion fish | source"},
	} {
		t.Run(shell.name, func(t *testing.T) {
			path, err := exec.LookPath(shell.name)
			if err != nil {
				t.Skipf("NOT RUN: needs %s", shell.name)
			}
			t.Parallel()
			engine := controltest.NewEngine()
			rig := controltest.Start(t, controltest.Options{Handler: engine})
			rig.Append(t, event.Draft{Subject: "web", Data: event.InstanceStartingData{Instance: "i", Run: 1, PID: 77, Reason: "autostart"}})
			term := terminaltest.New(t, 200, 50)
			cmd := exec.Command(path, shell.args...)
			home := t.TempDir()
			cmd.Env = append(os.Environ(), "SUPD_SOCKET="+rig.Socket, "HOME="+home, "XDG_CONFIG_HOME="+home, "XDG_DATA_HOME="+home,
				"TERM=xterm", "PS1=> ", "HISTFILE=", "NO_COLOR=1")
			term.Start(cmd)
			term.Type(shell.load + "; echo lo''aded\n")
			term.Until("the script is loaded", func(text string) bool { return strings.Contains(text, "loaded") })

			// A verb, a flag, the name of a service.
			term.Type("supctl rest\t--no-w\tdo\t\n")
			seen := func() []string {
				commands, _, _ := engine.Seen()
				var all []string
				for _, c := range commands {
					all = append(all, string(c.Command.Verb)+" "+strings.Join(c.Command.Patterns, " "))
				}
				return all
			}
			term.Until("the command came", func(string) bool { return len(seen()) == 1 })
			if got := seen(); !slices.Equal(got, []string{"restart down"}) {
				t.Errorf("commands %q", got)
			}
			// A signal, and the kind of a record.
			term.Type("supctl signal US\t1 we\t\n")
			term.Until("the signal came", func(text string) bool { return len(seen()) == 2 || strings.Contains(text, "is no signal") })
			if got := seen(); got[len(got)-1] != "signal web" {
				t.Errorf("commands %q\n%s", got, term.Text())
			}
			term.Type("supctl events --kind instance.st\tar\t --service w\t\n")
			term.Until("the record is shown", func(text string) bool { return strings.Contains(text, "run 1, pid 77, autostart") })
			term.Type("exit\n")
			term.Exit(cmd)
		})
	}
}

// Without a supd there is nothing to complete, and nothing to wait for.
func TestCompletionWithoutSupd(t *testing.T) {
	var out, errOut strings.Builder
	begun := time.Now()
	code := run(t.Context(), []string{"__complete", "stop", "--socket", t.TempDir() + "/none", ""}, &out, &errOut)
	if code != 0 || !strings.HasPrefix(out.String(), ":") || time.Since(begun) > 30*time.Second {
		t.Errorf("exit code %d\n%s%s", code, &out, &errOut)
	}
}
