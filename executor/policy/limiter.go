package policy

import (
	"math"
	"time"

	"supd/journal/event"
	"supd/projector"
)

// The start limiter is a bucket of tokens that automatic restarts share
// (start.rate, start.burst), so that a storm of failures does not become a
// storm of starts. Who waits for it stands in a queue by priority, then by the
// moment its restart was due. A person's command never waits.

// granted tells whether the limiter lets a service start now: there are more
// tokens than services before it in the queue.
func granted(s *projector.State, v *projector.Service, now Now) bool {
	l := s.Config.Start
	if l == nil || l.Rate <= 0 || v.NextStart == nil || len(v.Pending) > 0 {
		return true
	}
	// Half a nanosecond's worth is added: the sum of what flows in between two
	// moments may be a hair below the whole token it stands for.
	return float64(ahead(s, v)) < math.Floor(s.Tokens(now.Mono, now.Boot)+l.Rate*0.5e-9+1e-9)
}

// ahead counts the services that stand before this one in the queue.
func ahead(s *projector.State, v *projector.Service) int {
	n := 0
	for _, u := range s.Services {
		queued := u.Phase == event.PhaseWaiting && u.Waiting.Limiter && u.NextStart != nil && u.Want == event.Up
		if queued && u != v && before(u, v) {
			n++
		}
	}
	return n
}

func before(a, b *projector.Service) bool {
	switch {
	case a.Spec.Priority != b.Spec.Priority:
		return a.Spec.Priority > b.Spec.Priority
	case a.NextStart.At.Mono != b.NextStart.At.Mono:
		return a.NextStart.At.Mono < b.NextStart.At.Mono
	}
	return a.Name < b.Name
}

// limiterWait is how long until the bucket holds a token for the service.
func limiterWait(s *projector.State, v *projector.Service, now Now) time.Duration {
	missing := float64(ahead(s, v)+1) - s.Tokens(now.Mono, now.Boot)
	wait := math.Ceil(missing / s.Config.Start.Rate * 1e9)
	return time.Duration(min(max(1, wait), float64(time.Hour)))
}
