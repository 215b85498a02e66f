package executor

import "supd/journal/event"

// limiter is the witness's view of start.rate and start.burst: between any two
// restarts that it counts there are no more than burst and what flowed in.
type limiter struct {
	limit *event.StartLimit
	boot  string
	at    []int64 // of each restart
}

// set forgets what was before: a bucket is never more than full.
func (l *limiter) set(limit *event.StartLimit) {
	if limit != nil && l.limit != nil && *limit == *l.limit {
		return
	}
	*l = limiter{limit: limit}
}

// take is false if there was no token.
func (l *limiter) take(r event.Record) bool {
	if l.limit == nil || l.limit.Rate <= 0 {
		return true
	}
	if l.boot != r.Boot {
		l.boot, l.at = r.Boot, nil
	}
	l.at = append(l.at, r.Mono)
	for i, from := range l.at {
		most := float64(l.limit.Burst) + l.limit.Rate*float64(r.Mono-from)/1e9
		if float64(len(l.at)-i) > most+0.01 {
			return false
		}
	}
	return true
}
