package config

import (
	"fmt"

	"supd/journal/event"
)

// A configuration is one batch of records, which the run log must hold whole: a
// service takes its specification and what is around it in two records.
const recordsAround = 2 << 10

// runLogDefault is journal.run_log for sets of ordinary size.
const runLogDefault = 16 << 20

// RecordSize is about how many bytes the records take that define a service.
func RecordSize(spec event.Spec) int64 {
	b, err := event.Marshal(spec)
	if err != nil {
		return recordsAround
	}
	return int64(len(b)) + recordsAround
}

// recordSizes is RecordSize over all services.
func (s *Set) recordSizes() (sum int64) {
	ofBase := map[string]int64{}
	for _, v := range s.Services {
		n, known := ofBase[v.Spec.Base]
		if !known || v.Spec.Replica == nil {
			n = RecordSize(v.Spec)
		}
		if v.Spec.Replica != nil {
			ofBase[v.Spec.Base] = n // replicas differ by a digit
		}
		sum += n
	}
	return sum
}

// sizeRunLog makes the run log as large as the services need, and refuses one
// that the configuration makes smaller. It has two halves, of which one holds the
// state and the batch.
func (l *loader) sizeRunLog(found map[string]position) {
	batch, to := l.set.recordSizes(), &l.set.Journal.RunLog
	at, given := found["journal.run_log"]
	switch {
	case !given:
		*to = max(*to, (4*batch+runLogDefault-1)/runLogDefault*runLogDefault)
	case *to < 2*batch:
		l.problem(at, "without it supd takes what its services need", "`journal.run_log` is too small for %s: it must have %d MiB at least",
			count(len(l.set.Services), "service"), 2*batch>>20+1)
	}
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
