package rig_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"supd/cmd/internal/rig"
	"supd/journal/event"
)

// sources runs supreplay on one source after the other.
func sources(r *rig.Rig, source string, args ...string) (out string, code int) {
	cmd := exec.Command(r.Programs.Supreplay, append(args, "--from", source)...)
	// Not the state folder of this machine, nor its socket.
	cmd.Env = append(os.Environ(), "TZ=UTC", "SUPD_STATE_DIR="+filepath.Join(r.Dir, "none"), "SUPD_SOCKET="+r.Socket)
	b, _ := cmd.CombinedOutput()
	return string(b), cmd.ProcessState.ExitCode()
}

// TestReplayOfARunningSupd: supreplay reads a running supd through its files
// and through its socket, finds its state to be the replayed one (P6), and
// names root causes as supctl does.
func TestReplayOfARunningSupd(t *testing.T) {
	t.Parallel()
	r := rig.New(t, `
[output]
directory = "DIR/out"

[service.web]
command = ["sleep", "1000"]

[service.bad]
command = ["sh", "-c", "echo it is broken >&2; exit 3"]
max_retries = 1
backoff.initial = "1ms"

[service.none]
command = ["/nowhere/to/be/found"]
`)
	r.Run()
	r.UntilPhase("web", event.PhaseRunning)
	r.UntilPhase("bad", event.PhaseFatal)
	r.UntilPhase("none", event.PhaseFatal)
	r.Supctl("restart", "web").OK()
	r.Supctl("stop", "web").OK()

	roots := map[string]string{"web": "command", "bad": "exit", "none": "exec"}
	for service, root := range roots {
		var e struct {
			Root     string
			Complete bool
		}
		r.Supctl("why", service, "-o", "json").OK().JSON(&e)
		if e.Root != root || !e.Complete {
			t.Errorf("supctl why %s: root %q, complete %t, want %s", service, e.Root, e.Complete, root)
		}
		// The folder is not named by the configuration's output: the socket is read.
		for _, source := range []string{r.Socket, r.State} {
			out, code := sources(r, source, "why", service, "-o", "json")
			if at := strings.Index(out, "{"); code != 0 || at < 0 || json.Unmarshal([]byte(out[at:]), &e) != nil || e.Root != root {
				t.Errorf("supreplay why %s from %s: %d %s", service, source, code, out)
			}
		}
	}
	var deaths []struct{ Root, Then string }
	r.Supctl("history", "bad", "-o", "json").OK().JSON(&deaths)
	if len(deaths) != 2 || deaths[0].Root != "exit" || !strings.HasPrefix(deaths[0].Then, "retry 1") || !strings.HasPrefix(deaths[1].Then, "gave up") {
		t.Errorf("the deaths of bad: %+v", deaths)
	}
	if out := r.Supctl("history", "web").OK().Out; strings.Count(out, "asked from supctl") != 2 {
		t.Errorf("the deaths of web:\n%s", out)
	}
	for _, source := range []string{r.Socket, r.State} {
		out, code := sources(r, source, "verify")
		if code != 0 && code != 3 || !strings.Contains(out, "is the replayed one") {
			t.Errorf("verify from %s: %d\n%s", source, code, out)
		}
		if out, code := sources(r, source, "at", "last", "start", "of", "web"); code != 0 || !strings.Contains(out, "starting") {
			t.Errorf("at from %s: %d\n%s", source, code, out)
		}
	}

	// A plain copy of the live folder, with a server on none of it.
	copied := filepath.Join(r.Dir, "copy")
	if err := os.CopyFS(copied, os.DirFS(r.State)); err != nil {
		t.Fatal(err)
	}
	if out, code := sources(r, copied, "verify"); code != 0 && code != 3 {
		t.Errorf("verify of a live copy: %d\n%s", code, out)
	}
	r.Shutdown()
	// What a program wrote that failed is quoted: it may be gone from where supctl would find it.
	if err := os.Rename(filepath.Join(r.Dir, "out"), filepath.Join(r.State, "output")); err != nil {
		t.Fatal(err)
	}
	minute := time.Now().UTC().Format("15:04")
	for _, args := range [][]string{{"why", "bad"}, {"why", "bad", "--at", "first exit of bad"}, {"why", "bad", "--at", minute}} {
		if out, code := sources(r, r.State, args...); code != 0 || strings.Count(out, "stderr| it is broken") != 1 {
			t.Errorf("%v does not quote the program, or not once: %d\n%s", args, code, out)
		}
	}
	if out, code := sources(r, r.State, "verify"); code != 0 || strings.Contains(out, "live ") {
		t.Errorf("verify of a stopped one: %d\n%s", code, out)
	}
}
