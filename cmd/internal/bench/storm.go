package main

import (
	"errors"
	"fmt"
	"time"
)

// storm measures how healthy services fare beside hundreds that crash at once
// and for ever, without a wait and with start.rate alone to hold them.
func storm(bin string) (rows []row, err error) {
	const healthy, crashing, samples = 20, 500, 100
	for _, more := range []struct{ what, config string }{
		{"quiet", ""},
		{fmt.Sprintf("beside %d that crash for ever", crashing), fmt.Sprintf(`priority = 10
[start]
rate = 100
burst = 100
[service.crash]
command = "/bin/false"
count = %d
backoff = { initial = "0s", max = "0s" }
`, crashing)},
	} {
		s, err := startWith(bin, healthy, more.config)
		if err != nil {
			return rows, err
		}
		time.Sleep(settle)
		before, began := s.cpu(), time.Now()
		ts, err := s.respawns(healthy, samples)
		used := 100 * float64(s.cpu()-before) / float64(time.Since(began))
		if err = errors.Join(err, s.stop()); err != nil {
			return rows, err
		}
		r := timings(fmt.Sprintf("SIGKILL of a service, 1 of %d → replacement executes, %s", healthy, more.what), ts)
		r.spread += fmt.Sprintf("; p99 %s; CPU of supd %.0f %%", ms(ts[len(ts)*99/100]), used)
		rows = append(rows, r)
	}
	return rows, nil
}

// cpu is what supd's processes have used; one that ends meanwhile is left out.
func (s *supd) cpu() (total time.Duration) {
	pids, _ := s.pids()
	for _, p := range pids {
		t, _ := cpuTime(p.pid)
		total += t
	}
	return total
}
