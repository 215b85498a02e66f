package client

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// stuck is an ordered consumer that is being made anew and cannot be: nobody
// serves the journal. Neither Next nor Stop returns before freed.
type stuck struct {
	jetstream.MessagesContext
	freed chan struct{}
}

func (s stuck) Next(...jetstream.NextOpt) (jetstream.Msg, error) {
	<-s.freed
	return nil, jetstream.ErrMsgIteratorClosed
}

func (s stuck) Stop() { <-s.freed }

// Whoever follows the journal can leave while the consumer is stuck.
func TestFollowEndsWhileConsumerIsStuck(t *testing.T) {
	iter := stuck{freed: make(chan struct{})}
	t.Cleanup(func() { close(iter.freed) })
	for _, follow := range []bool{true, false} {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		done := make(chan error, 1)
		go func() {
			m := receive(iter)
			defer m.stop()
			r := eventReader{query: EventsQuery{Follow: follow}}
			_, err := r.next(ctx, nil, m)
			done <- err
		}()
		select {
		case err := <-done:
			if follow != (err == nil) || !follow && !errors.Is(err, ErrTimeout) {
				t.Errorf("follow %v: got error %v", follow, err)
			}
		case <-time.After(time.Minute):
			t.Fatalf("follow %v: the reader does not leave", follow)
		}
	}
}
