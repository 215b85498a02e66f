package keeper

import (
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// crew does jobs on threads of its own. They wait for work in the kernel and not
// in the runtime, whose scheduler would have another thread find the work first
// and hand it over: two wake-ups instead of one, the first of them of a thread
// that busy services keep waiting.
type crew struct {
	bell int // eventfd that counts the jobs

	mu   sync.Mutex
	jobs []func() // guarded by mu
}

// newCrew starts n threads; each calls begin once.
func newCrew(n int, begin func()) (*crew, error) {
	bell, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_SEMAPHORE)
	if err != nil {
		return nil, fmt.Errorf("cannot create eventfd: %w", err)
	}
	c := &crew{bell: bell}
	for range n {
		go func() {
			begin()
			for {
				c.take()()
			}
		}()
	}
	return c, nil
}

// add has a job done soon. It never waits.
func (c *crew) add(job func()) {
	c.mu.Lock()
	c.jobs = append(c.jobs, job)
	c.mu.Unlock()
	_, _ = unix.Write(c.bell, []byte{1, 0, 0, 0, 0, 0, 0, 0})
}

// take waits for a job.
func (c *crew) take() func() {
	var b [8]byte
	for {
		if _, err := unix.Read(c.bell, b[:]); err == nil {
			break
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	job := c.jobs[0]
	c.jobs[0] = nil
	if c.jobs = c.jobs[1:]; len(c.jobs) == 0 {
		c.jobs = nil
	}
	return job
}
