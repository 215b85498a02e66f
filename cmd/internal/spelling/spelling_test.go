package spelling

import (
	"strings"
	"testing"
)

func TestNearest(t *testing.T) {
	words := []string{"start", "stop", "restart", "status", "instance.exited"}
	for in, want := range map[string]string{
		"strat": "start", "stpo": "stop", "restrat": "restart", "statsu": "status", "instance.exitd": "instance.exited",
		"x": "", "": "", "entirely": "", strings.Repeat("s", 65): "",
	} {
		if got := Nearest(in, words); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func FuzzNearest(f *testing.F) {
	f.Add("strat", "start")
	f.Fuzz(func(t *testing.T, word, candidate string) {
		if got := Nearest(word, []string{candidate}); got != "" && got != candidate {
			t.Errorf("%q came from nowhere", got)
		}
	})
}

func TestKind(t *testing.T) {
	for typed, want := range map[string]string{
		"instance.exitd": "instance.exited", "comand": "command", "exited": "instance.exited", "quite-another": "",
	} {
		if near, known := Kind(typed); known || near != want {
			t.Errorf("%q: %q, known %v; want %q", typed, near, known, want)
		}
	}
	for _, typed := range []string{"instance", "instance.exited", "supd"} {
		if _, known := Kind(typed); !known {
			t.Errorf("%q is not known", typed)
		}
	}
}
