package rig

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// Programs are the paths of the built binaries.
type Programs struct{ Supd, Supctl, Supreplay, Actor, Handover string }

var built struct {
	once sync.Once
	dir  string
	err  error
}

// Main runs a package's tests and removes the binaries that they had built.
func Main(m *testing.M) {
	code := m.Run()
	if built.dir != "" {
		_ = os.RemoveAll(built.dir)
	}
	os.Exit(code)
}

// Build builds the binaries, once for each run of a test binary. With
// SUPD_RIG_RACE=1 they have the race detector in them.
func Build(t testing.TB) Programs {
	t.Helper()
	built.once.Do(func() { built.dir, built.err = build() })
	if built.err != nil {
		t.Fatal(built.err)
	}
	in := func(name string) string { return filepath.Join(built.dir, name) }
	return Programs{Supd: in("supd"), Supctl: in("supctl"), Supreplay: in("supreplay"), Actor: in("actor"), Handover: in("handover")}
}

func build() (string, error) {
	dir, err := os.MkdirTemp("", "supd-rig-bin-")
	if err != nil {
		return "", err
	}
	// Services run as other users in some tests.
	if err := os.Chmod(dir, 0o755); err != nil {
		return dir, err
	}
	race := os.Getenv("SUPD_RIG_RACE") == "1"
	if err := goBuild(dir, race, "supd/cmd/supd", "supd/cmd/supctl", "supd/cmd/supreplay"); err != nil {
		return dir, err
	}
	return dir, goBuild(dir, false, "supd/cmd/internal/rig/actor", "supd/cmd/internal/rig/handover")
}

func goBuild(dir string, race bool, packages ...string) error {
	args := []string{"build", "-o", dir + "/"}
	env := append(os.Environ(), "CGO_ENABLED=0")
	if race {
		args, env = append(args, "-race"), append(os.Environ(), "CGO_ENABLED=1")
	}
	cmd := exec.Command("go", append(args, packages...)...)
	cmd.Env = env
	cmd.WaitDelay = time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("cannot build %v: %w\n%s", packages, err, out)
	}
	return nil
}
