package config

import (
	"slices"
	"strings"
	"testing"

	"supd/journal/event"
)

func TestCommand(t *testing.T) {
	set, problems := Command([]string{"app", "$HOME", "a b", "--flag"}, testHost(nil))
	if set == nil || len(problems) > 0 {
		t.Fatal(Format(problems))
	}
	s := set.Services[0]
	if len(set.Services) != 1 || s.Name != Main || s.Spec.Restart != event.RestartNever || s.Spec.CommandLine {
		t.Errorf("%+v", s)
	}
	if want := []string{"app", "$HOME", "a b", "--flag"}; !slices.Equal(s.Launch.Args, want) || !slices.Equal(s.Spec.Command, want) {
		t.Errorf("args %q, command %q, want %q", s.Launch.Args, s.Spec.Command, want)
	}
	if s.Launch.Paths[0] != "/usr/bin/app" || s.Launch.Directory != "/work" {
		t.Errorf("paths %q in %s", s.Launch.Paths, s.Launch.Directory)
	}
	env := strings.Join(s.Launch.Env, "\n")
	if !strings.Contains(env, "TOKEN=inherited-secret") || strings.Contains(env, "NOTIFY_SOCKET") || strings.Contains(env, "SUPD_STATE_DIR") {
		t.Errorf("environment:\n%s", env)
	}
	if len(set.Files) > 0 {
		t.Errorf("files %v", set.Files)
	}
}

func TestCommandProblems(t *testing.T) {
	if set, problems := Command([]string{"nowhere"}, testHost(nil)); set == nil || !strings.Contains(Format(problems), "warning: program not found") {
		t.Errorf("%v\n%s", set, Format(problems))
	}
	for _, args := range [][]string{{""}, {"app", strings.Repeat("x", maxArgument)}} {
		if set, problems := Command(args, testHost(nil)); set != nil || !Failed(problems) {
			t.Errorf("%d arguments: %v", len(args), problems)
		}
	}
}
