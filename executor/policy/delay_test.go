package policy_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"supd/executor/policy"
	"supd/journal/event"
)

func TestDelay(t *testing.T) {
	b := baseSpec("web").Backoff
	for n, want := range []time.Duration{
		0, 0, 500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second, 30 * time.Second, 30 * time.Second,
	} {
		if got := policy.Delay(b, n, 0); got != want {
			t.Errorf("restart %d waits %s, want %s", n, got, want)
		}
	}
	if got := policy.Delay(b, 9, 0.5); got != 31500*time.Millisecond {
		t.Errorf("with jitter: %s", got)
	}
	b.Initial = 0
	if got := policy.Delay(b, 50, 0.9); got != 0 {
		t.Errorf("initial = 0 waits %s", got)
	}
}

// No numbers give a delay below 0 or above max with its jitter.
func TestDelayIsBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		most := rapid.Int64Range(0, int64(24*time.Hour)).Draw(t, "max")
		b := event.Backoff{
			Initial: event.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "initial")),
			Factor:  rapid.Float64Range(1, 1e9).Draw(t, "factor"), Max: event.Duration(most),
			Jitter: rapid.Float64Range(0, 1).Draw(t, "jitter"),
		}
		d := policy.Delay(b, rapid.IntRange(0, 1<<30).Draw(t, "n"), rapid.Float64Range(0, 0.999).Draw(t, "rand"))
		if d < 0 || d > time.Duration(2*most) {
			t.Fatalf("%s", d)
		}
	})
}
