package executor

import (
	"syscall"

	"supd/executor/keeper/wire"
	"supd/executor/policy"
	"supd/projector"
)

// strangers are the instances that no record authorises and that are being
// ended (recovery, row 9), with their services. A signal proves nothing: until
// the keeper has told that nothing of them is left, their service does not
// start (P1, R4). They are not in the state; each engine finds them again.
type strangers map[string]string

// keepDown tells that a service has to wait for a stranger's end.
func (s strangers) keepDown(service string) bool {
	for _, of := range s {
		if of == service {
			return true
		}
	}
	return false
}

// endStranger ends all of an instance that nobody answers for.
func (c *Core) endStranger(e policy.Stranger) {
	c.strangers[e.Instance] = e.Service
	_ = c.Keeper.Signal(e.Instance, projector.KillOperation(e.Instance), syscall.SIGKILL, wire.ScopeTree)
}

// strangerGone has the keeper forget a stranger of which nothing is left, and
// lets its service go on.
func (c *Core) strangerGone(instance string) {
	service, ok := c.strangers[instance]
	if !ok {
		return
	}
	delete(c.strangers, instance)
	_ = c.Keeper.Forget(instance)
	c.refresh(service)
}
