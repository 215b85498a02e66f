package rig

import (
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// Watch looks for services of which two instances live at once (P1) until stop
// is called, which returns what it saw. It reads /proc again and again.
func (r *Rig) Watch() (stop func() []string) {
	var seen []string
	var wg sync.WaitGroup
	done := make(chan struct{})
	wg.Go(func() {
		for {
			seen = append(seen, r.twins()...)
			select {
			case <-done:
				return
			case <-time.After(100 * time.Millisecond):
			}
		}
	})
	return func() []string {
		close(done)
		wg.Wait()
		return seen
	}
}

// twins finds processes of different instances of one service that live at the
// same time: each was there when the other had already been seen.
func (r *Rig) twins() []string {
	type member struct {
		Process
		instance string
	}
	members := map[string][]member{}
	for _, p := range Processes() {
		if p.State == 'Z' || !r.isActor(p) || p.Getenv(envRig) != r.Dir {
			continue
		}
		if service := p.Getenv("SUPD_SERVICE"); service != "" {
			members[service] = append(members[service], member{p, p.Getenv("SUPD_INSTANCE")})
		}
	}
	var seen []string
	for service, all := range members {
		all = slices.DeleteFunc(all, func(m member) bool { return !m.Live() })
		for _, m := range all[min(1, len(all)):] {
			if m.instance != all[0].instance {
				seen = append(seen, fmt.Sprintf("P1: %s has pid %d of instance %s and pid %d of instance %s",
					service, all[0].PID, all[0].instance, m.PID, m.instance))
			}
		}
	}
	return seen
}

func (r *Rig) isActor(p Process) bool {
	args := p.Args()
	return len(args) > 0 && (args[0] == r.Programs.Actor || filepath.Base(args[0]) == "exe")
}
