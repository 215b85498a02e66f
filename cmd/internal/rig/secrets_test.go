package rig_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"supd/cmd/internal/exitcode"
	"supd/cmd/internal/rig"
	"supd/journal/control/controltest"
	"supd/journal/event"
)

// secrets are texts that must stay where they are, by what they are. The
// first half of each is looked for too, so that a cut does not hide one.
type secrets map[string]string

func (s secrets) in(text []byte) (found []string) {
	for what, secret := range s {
		if bytes.Contains(text, []byte(secret[:len(secret)/2])) {
			found = append(found, what)
		}
	}
	return found
}

// TestSecretsStayPrivate: environment values, what ${NAME} became, seeds and
// private keys are in applied/, for supd's user alone, and in the services
// that were given them; nowhere else, whatever happens (P10).
func TestSecretsStayPrivate(t *testing.T) {
	t.Parallel()
	r := rig.New(t, "")
	authority := controltest.NewAuthority(t)
	cert, key := authority.Issue(t, time.Now().Add(time.Hour))
	user, seedFile := controltest.User(t)
	seed, err := os.ReadFile(seedFile)
	if err != nil {
		t.Fatal(err)
	}
	wanted := secrets{
		"an environment value":           "env-3b9f6c1e7a5d-value",
		"a value of an environment file": "file-8d2c5e9b1f4a-value",
		"an inherited value":             "kept-6a1d9c4e8b7f-value",
		"a changed value":                "next-2e7b4f9d6c1a-value",
		"the seed of an nkey":            strings.TrimSpace(string(seed)),
		"the key of a certificate":       strings.Split(string(key), "\n")[1],
	}
	for name, text := range map[string][]byte{
		"cert.pem": cert, "key.pem": key, "secret.env": []byte("FROM_FILE=" + wanted["a value of an environment file"] + "\n"),
	} {
		if err := os.WriteFile(filepath.Join(r.Dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	port := freePort(t)
	configure := func(key, value string) {
		r.Configure(fmt.Sprintf(`
[supd]
node = "rig"
log_level = "debug"
[listen]
address = "127.0.0.1:%d"
tls = { cert = "DIR/cert.pem", key = "DIR/key.pem" }
nkeys = [{ key = %q, role = "command" }]
[defaults]
environment = { TOKEN = %q, COPY = "${INHERITED}" }
environment_file = "secret.env"
stop = { timeout = "1s" }
[service.quiet]
command = ["ACTOR", "-dir", "DIR"]
[service.told]
command = '/bin/sh -c "sleep 1000; :" ${TOKEN} ${FROM_FILE} ${COPY}'
[service.dies]
command = '/bin/sh -c "sleep 0.1; exit 3" ${TOKEN}'
backoff = { initial = "50ms", max = "100ms" }
[service.absent]
command = "/bin/does-not-exist-${TOKEN}"
`, port, key, value))
	}
	run := func() {
		cmd := exec.Command(r.Programs.Supd, "run", "-c", r.Config, "--state-dir", r.State, "--runtime-dir", r.Runtime)
		cmd.Env = []string{"INHERITED=" + wanted["an inherited value"]}
		r.Start(cmd)
		r.Answers()
	}
	configure(user, wanted["an environment value"])
	run()
	told := r.UntilPhase("told", event.PhaseRunning)
	r.UntilPhase("absent", event.PhaseFatal)
	if res := r.SupctlAt(fmt.Sprintf("tls://127.0.0.1:%d", port), "restart", "quiet", "--nkey", seedFile, "--tlsca", controltest.Write(t, "ca.pem", authority.PEM)); res.Code != exitcode.Done {
		t.Fatal(res)
	}
	r.Kill(r.Engine())
	r.Answers()
	r.KillAll()
	run()
	if now := r.UntilPhase("told", event.PhaseRunning); *now.Instance != *told.Instance {
		t.Errorf("told was started anew")
	}
	configure(strings.TrimSpace(string(seed)), wanted["an environment value"])
	r.Supctl("apply").Is(exitcode.Configuration)
	configure(user, wanted["a changed value"])
	answers := []rig.Result{r.Supctl("plan"), r.Supctl("plan", "-o", "json"), r.Supctl("apply")}
	r.Until("dies has died", func() bool { return r.Status("dies").LastExit != nil })
	r.UntilPhase("told", event.PhaseRunning)
	for _, args := range [][]string{
		{"status", "-o", "json"}, {"status"}, {"info", "-o", "json"}, {"dump"}, {"events"}, {"events", "-o", "json"}, {"logs", "quiet"}, {"logs", "told"},
	} {
		answers = append(answers, r.Supctl(args...))
	}
	for _, a := range answers {
		for _, what := range wanted.in([]byte(a.Out + a.Err)) {
			t.Errorf("%s is in what supctl says:\n%.2000s%s", what, a.Out, a.Err)
		}
	}
	commandLines(t, r, wanted)
	var info event.Info
	r.Supctl("info", "-o", "json").OK().JSON(&info)
	places := []string{r.State, r.Runtime, filepath.Join(r.Dir, "supd.log"), info.RunLog.Place}
	written(t, wanted, places, true)
	r.Shutdown()
	written(t, wanted, places[:3], false)
	for _, args := range [][]string{{"timeline"}, {"verify"}, {"at", "--seq", "40"}} {
		res := r.Supreplay(args...)
		for _, what := range wanted.in([]byte(res.Out + res.Err)) {
			t.Errorf("%s is in what supreplay %v says", what, args)
		}
	}
	for _, d := range rig.Of[event.ServiceDefinedData](r.History()) {
		if line := strings.Join(d.Spec.Command, " "); strings.Contains(line, "sleep 1000") && !strings.HasSuffix(line, "${TOKEN} ${FROM_FILE} ${COPY}") {
			t.Errorf("the journal holds the command as %q, not as it is written", line)
		}
	}
}

// commandLines looks at all processes of the rig: only a service may have a
// secret there, because its configuration put it there.
func commandLines(t *testing.T, r *rig.Rig, wanted secrets) {
	t.Helper()
	ours := map[int]bool{r.Keeper(): true, r.Engine(): true, r.Logger(): true}
	seen := 0
	for _, p := range r.Left() {
		found := wanted.in([]byte(strings.Join(p.Args(), " ")))
		if ours[p.PID] {
			seen++
			for _, what := range found {
				t.Errorf("%s is in the command line of supd's %v", what, p.Args()[:2])
			}
		}
	}
	if seen != len(ours) {
		t.Errorf("only %d processes of supd were looked at", seen)
	}
}

// written searches everything below places.
func written(t *testing.T, wanted secrets, places []string, running bool) {
	t.Helper()
	stored, words := map[string]bool{}, false
	for _, place := range places {
		err := filepath.WalkDir(place, func(path string, d fs.DirEntry, err error) error {
			if d != nil && d.Name() == "pidfds" {
				return fs.SkipDir // mounts, without bytes
			}
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			words = words || strings.Contains(path, "journal") && bytes.Contains(text, []byte("sleep 1000"))
			info, err := d.Info()
			if err != nil {
				return err
			}
			mine := filepath.Base(filepath.Dir(path)) == "applied" || filepath.Base(path) == "pending.json"
			for _, what := range wanted.in(text) {
				stored[what] = true
				if !mine || info.Mode().Perm() != 0o600 {
					t.Errorf("%s is in %s (mode %v)", what, path, info.Mode().Perm())
				}
			}
			return nil
		})
		if err != nil && !(running && os.IsNotExist(err)) { // a file that is being replaced
			t.Fatal(err)
		}
	}
	if !words {
		t.Error("the search is blind: it does not find in the journal what must be there")
	}
	if len(stored) != len(wanted)-1 || stored["the seed of an nkey"] {
		t.Errorf("applied/ holds %v", stored)
	}
}
