package rig_test

import (
	"bytes"
	"crypto/sha256"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/minio/highwayhash"
	"golang.org/x/sys/unix"

	"supd/cmd/internal/rig"
	"supd/journal/event"
)

// reseal gives the server's summary another version of its layout, under a
// checksum that is right.
func reseal(t *testing.T, state string, version byte) {
	t.Helper()
	file := filepath.Join(state, "journal", "jetstream", "$G", "streams", event.Stream, "msgs", "index.db")
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	key := sha256.Sum256([]byte(event.Stream))
	h, err := highwayhash.New64(key[:])
	if err != nil {
		t.Fatal(err)
	}
	b = b[:len(b)-8]
	b[1] = version
	_, _ = h.Write(b)
	if err := os.WriteFile(file, h.Sum(b), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestReplayThroughServer: files of a layout that supreplay does not know are
// read by the supd beside it, or in PATH, on a copy, record for record; the
// original stays as it is and nothing is left behind.
func TestReplayThroughServer(t *testing.T) {
	t.Parallel()
	r := rig.New(t, `
[service.web]
command = ["sleep", "1000"]

[service.bad]
command = ["sh", "-c", "exit 3"]
max_retries = 20
backoff = { initial = "1ms", max = "2ms" }
`)
	r.Run()
	r.UntilPhase("bad", event.PhaseFatal)
	r.Supctl("restart", "web").OK()
	r.Shutdown()

	temp := filepath.Join(r.Dir, "temp")
	if err := os.Mkdir(temp, 0o700); err != nil {
		t.Fatal(err)
	}
	alone := filepath.Join(r.Dir, "alone") // a supreplay that nothing is beside
	if err := os.Mkdir(alone, 0o700); err != nil {
		t.Fatal(err)
	}
	if b, err := exec.Command("cp", r.Programs.Supreplay, alone).CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, b)
	}
	replay := func(program, path string, args ...string) (out, said string, code int) {
		t.Helper()
		cmd := exec.Command(program, args...)
		cmd.Env = append(os.Environ(), "TMPDIR="+temp, "PATH="+path)
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		_ = cmd.Run()
		if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
			t.Errorf("%v: left behind: %v %v", args, left, err)
		}
		return stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()
	}
	beside, lone := r.Programs.Supreplay, filepath.Join(alone, "supreplay")
	const through = "read through the server of "

	for _, verb := range [][]string{
		{"timeline", "-o", "json"},
		{"verify", "-o", "json"},
		{"why", "bad"},
		{"at", "40", "-o", "json"},
		{"diff", "10", "40"},
		{"what-if", "--policy", r.Config},
	} {
		args := append(verb, "--from", r.State)
		direct, said, code := replay(beside, "/none", args...)
		if strings.Contains(said, "server") {
			t.Errorf("%v goes through a server unasked: %s", verb, said)
		}
		forced, said, again := replay(beside, "/none", append(args, "--through-server")...)
		if forced != direct || code != again || direct == "" && code == 0 || !strings.Contains(said, through+r.Programs.Supd) {
			t.Errorf("%v: exit codes %d and %d\ndirect:  %s\nthrough: %s\n%s", verb, code, again, direct, forced, said)
		}
	}
	if code, out := checked(t, r); code != 0 {
		t.Errorf("the original is not as it was: %d %s", code, out)
	}

	want, _, _ := replay(beside, "/none", "timeline", "-o", "json", "--from", r.State)
	strange := filepath.Join(r.Dir, "strange")
	if err := os.CopyFS(strange, os.DirFS(r.State)); err != nil {
		t.Fatal(err)
	}
	reseal(t, strange, 9)
	for _, program := range []string{beside, lone} {
		got, said, code := replay(program, filepath.Dir(r.Programs.Supd), "timeline", "-o", "json", "--from", strange)
		if got != want || code != 0 || !strings.Contains(said, through) || !strings.Contains(said, "index.db: it has version 9") {
			t.Errorf("a strange layout: exit code %d, %d bytes of %d\n%s", code, len(got), len(want), said)
		}
	}
	refused := func(what string, parts ...string) func(out, said string, code int) {
		return func(out, said string, code int) {
			t.Helper()
			for _, part := range parts {
				if code != 1 || out != "" || !strings.Contains(said, part) {
					t.Errorf("%s: exit code %d, want 1 and %q\n%s%s", what, code, part, out, said)
				}
			}
		}
	}
	refused("no supd in reach", "index.db: it has version 9", "no supd is beside supreplay or in PATH", "put the supd")(
		replay(lone, alone, "timeline", "--from", strange))

	// One that is older says that it does not know the verb.
	old := filepath.Join(alone, "supd")
	script := "#!/bin/sh\necho 'supd: cannot understand \"read-copy\"' >&2\necho 'Run `supd --help` for usage.' >&2\nexit 2\n"
	if err := os.WriteFile(old, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	refused("an older supd", "with "+old, `cannot understand "read-copy"`)(replay(lone, alone, "verify", "--from", strange))
	// One that stops in the middle is not believed.
	script = "#!/bin/sh\nprintf 'supd records 1\\n'\n"
	if err := os.WriteFile(old, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	refused("half an answer", "they end before their end")(replay(lone, alone, "verify", "--from", strange))

	if err := unix.Mount("tmpfs", temp, "tmpfs", 0, "mode=0700,size=1m"); err != nil {
		t.Skipf("NOT RUN: needs to mount a small tmpfs: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(temp, unix.MNT_DETACH) })
	refused("no room", "cannot copy journal: that takes", temp+" has 1 MiB left: set TMPDIR")(
		replay(beside, "/none", "timeline", "--from", strange))
}
