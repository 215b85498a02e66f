package keeper

import (
	"os/exec"
	"syscall"
	"testing"

	"github.com/google/uuid"
)

// TestStrangersByTag: without cgroups a stranger is known by its environment,
// and only by that of this very supd; a known one and another supd's live on.
func TestStrangersByTag(t *testing.T) {
	node, stranger := uuid.NewString(), uuid.NewString()
	known, foreign := uuid.NewString(), uuid.NewString()
	start := func(instance, node string, more ...string) *exec.Cmd {
		t.Helper()
		c := exec.Command("/bin/sh", "-c", "sleep 600 & sleep 600")
		c.Env = append([]string{tag + instance, NodeTag + node, "SUPD_SERVICE=web"}, more...)
		c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL)
			_ = c.Wait()
		})
		return c
	}
	c := start(stranger, node)
	left := []*exec.Cmd{start(known, node), start(foreign, uuid.NewString()), start(uuid.NewString(), node, taskMark+"x")}
	go func() { _ = c.Wait() }() // a zombie has no environment, but is not gone
	ended, err := EndStrangers("", node, func(instance string) bool { return instance == known })
	if err != nil {
		t.Fatal(err)
	}
	if len(ended) != 1 || ended[0].Instance != stranger || ended[0].Service != "web" || len(ended[0].Processes) < 2 {
		t.Errorf("ended %+v, want the two processes of %s", ended, stranger)
	}
	if alive(c.Process.Pid) {
		t.Error("the stranger lives")
	}
	for _, c := range left {
		if !alive(c.Process.Pid) {
			t.Errorf("pid %d is none of ours to end", c.Process.Pid)
		}
	}
}
