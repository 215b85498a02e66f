package journal

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"supd/journal/event"
)

// baseSubject finds bases of all nodes: the node's name may have changed.
var baseSubject = event.RecordSubject("*", "", event.StateBase)

// backlog is what came after the newest base.
type backlog struct{ records, bytes int64 }

// sinceBase tells how much JOURNAL holds behind its newest base. Bytes are
// estimated from the average.
func sinceBase(ctx context.Context, js jetstream.JetStream, info *jetstream.StreamInfo) (backlog, error) {
	all := backlog{int64(info.State.Msgs), int64(info.State.Bytes)}
	if all.records == 0 {
		return all, nil
	}
	st, err := js.Stream(ctx, event.Stream)
	if err != nil {
		return all, fmt.Errorf("cannot find base: %w", err)
	}
	msg, err := st.GetLastMsgForSubject(ctx, baseSubject)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return all, nil
	}
	if err != nil {
		return all, fmt.Errorf("cannot find base: %w", err)
	}
	n := int64(info.State.LastSeq - msg.Sequence)
	return backlog{n, all.bytes / all.records * n}, nil
}
