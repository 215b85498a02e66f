package keeper

import (
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"supd/executor/keeper/wire"
)

// scanInterval is how often the leftovers of instances without a cgroup are
// looked for, while there are any.
const scanInterval = 50 * time.Millisecond

// scanner finds out about trees without cgroups. One search of /proc serves all
// instances that wait for it, since a thousand may die at once.
type scanner struct {
	exits     []*slot // dead, and it is not known yet whether others live
	leftovers []*slot // dead, and others lived when last seen
	running   bool
	armed     bool // a timer will call scan
}

// forget has no more looked for what an instance left: it lives again (Follow).
func (sc *scanner) forget(s *slot) {
	is := func(x *slot) bool { return x == s }
	sc.exits = slices.DeleteFunc(sc.exits, is)
	sc.leftovers = slices.DeleteFunc(sc.leftovers, is)
}

// scanLater has a search made after the interval.
func (k *keeper) scanLater() {
	if k.scanner.armed {
		return
	}
	k.scanner.armed = true
	k.after(scanInterval, func() {
		k.scanner.armed = false
		k.scan()
	})
}

// scan starts a search unless one is running; then the next one follows it.
func (k *keeper) scan() {
	sc := &k.scanner
	if sc.running || len(sc.exits)+len(sc.leftovers) == 0 {
		return
	}
	sc.running = true
	exits, leftovers := sc.exits, sc.leftovers
	sc.exits, sc.leftovers = nil, nil
	roots := make([]root, 0, len(exits)+len(leftovers))
	found := make([]bool, 0, cap(roots))
	for _, s := range append(append([]*slot(nil), exits...), leftovers...) {
		roots = append(roots, s.root())
		// The kernel's answer about the group is exact, also for one that forks fast.
		found = append(found, s.pidfd >= 0 && unix.PidfdSendSignal(s.pidfd, 0, nil, pidfdProcessGroup) == nil)
	}
	go func() {
		snap := takeSnapshot()
		tags := snap.tags()
		for i, r := range roots {
			found[i] = found[i] || snap.blind || len(snap.tree(r, tags, k.children)) > 0
		}
		k.poller.post(func() { k.scanned(exits, leftovers, found) })
	}()
}

func (k *keeper) scanned(exits, leftovers []*slot, found []bool) {
	sc := &k.scanner
	sc.running = false
	for i, s := range exits {
		if s.ExitedAt != 0 && s.State != wire.StateExited { // else it has another main process (Follow)
			k.exitedTree(s, found[i])
		}
	}
	for i, s := range leftovers {
		switch {
		case s.gone || s.State != wire.StateExited:
		case found[len(exits)+i]:
			sc.leftovers = append(sc.leftovers, s)
		default:
			k.treeEmpty(s)
		}
	}
	if len(sc.exits) > 0 {
		k.scan()
	} else if len(sc.leftovers) > 0 {
		k.scanLater()
	}
}
