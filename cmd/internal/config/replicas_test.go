package config

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const replicated = `
[service.web]
count = %d
command = "app --port 80${SUPD_REPLICA} ${NAME:-x}"
environment = { DATA = "/data/${SUPD_SERVICE}", FIXED = "1" }
hooks.pre_start = "app ${SUPD_REPLICA}"
ready.exec = "app ask ${SUPD_SERVICE}"
health.exec = ["app", "health"]
[service.db]
command = "app db"
`

func mustLoad(t *testing.T, text string) *Set {
	t.Helper()
	set, problems := loadText(text)
	if set == nil {
		t.Fatal(Format(problems))
	}
	return set
}

// TestScaledIsWhatTheFileWouldSay: replicas made by a command are those that the
// same count in the file makes, so that moving the count there restarts nothing
// (P7).
func TestScaledIsWhatTheFileWouldSay(t *testing.T) {
	for _, from := range []int{0, 1, 3} {
		for _, to := range []int{0, 1, 2, 12} {
			set := mustLoad(t, fmt.Sprintf(replicated, from))
			got, err := set.Scaled(map[string]int{"web": to, "db": 4, "gone": 2})
			if err != nil {
				t.Fatal(err)
			}
			want := mustLoad(t, fmt.Sprintf(replicated, to))
			if d := cmp.Diff(want.Services, got.Services); d != "" {
				t.Errorf("from %d to %d:\n%s", from, to, d)
			}
			if n, set := got.Scale["web"]; set != (from != to) || set && n != to || len(got.Scale) > 1 {
				t.Errorf("from %d to %d: %v", from, to, got.Scale)
			}
			if n := got.Counts()["web"]; n != to {
				t.Errorf("from %d to %d: it counts %d", from, to, n)
			}
			back, err := got.Scaled(nil)
			if d := cmp.Diff(set, back); d != "" || err != nil {
				t.Errorf("from %d to %d and back: %v\n%s", from, to, err, d)
			}
			if p := got.Overridden(); len(p) != len(got.Scale) || len(p) == 1 && p[0].Line != 3 {
				t.Errorf("from %d to %d: %v", from, to, p)
			}
			if strings.Contains(fmt.Sprint(got.Services), replicaMark) {
				t.Errorf("a replica has no number: %v", got.Services)
			}
		}
	}
}

func TestCountsThatCannotBe(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"taken":     {"[service.web]\ncount=1\ncommand='app'\n[service.web-4]\ncommand='app'", "the name web-4 would be that of a replica and of another service"},
		"required":  {"[service.web]\ncount=7\ncommand='app'\n[service.a]\ncommand='app'\nrequires=['web-5']", "a requires web-5, which would not be there"},
		"too many":  {"[service.web]\ncount=1\ncommand='app'\n[service.more]\ncount=9996\ncommand='app'", "that makes more than 10000 services, replicas counted"},
		"long name": {"[service." + strings.Repeat("x", 62) + "]\ncount=1\ncommand='app'", ""},
	} {
		set := mustLoad(t, c.text)
		_, err := set.Scaled(map[string]int{"web": 5, strings.Repeat("x", 62): 11})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	set := mustLoad(t, "[service.web]\ncount=2\ncommand='app'\n[service.a]\ncommand='app'\nrequires=['web']")
	if _, err := set.Scaled(map[string]int{"web": 0}); err == nil || err.Error() != "a requires web, of which there would be no replica" {
		t.Error(err)
	}
}
