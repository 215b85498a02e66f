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
