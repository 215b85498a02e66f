package client

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"supd/journal/control"
	"supd/journal/control/controltest"
	"supd/journal/event"
)

// TestAccessChanges: who may do less from now on loses his connection with it;
// the others keep theirs (P10).
func TestAccessChanges(t *testing.T) {
	group := 60
	var uid atomic.Int64 // of who connects next
	uid.Store(1000)
	access := control.Access{Owner: 1, ReadGroup: &group}
	rig := controltest.Start(t, controltest.Options{
		Access: &access,
		Peer: func(net.Conn) (control.Peer, error) {
			return control.Peer{Client: event.Client{UID: int(uid.Load()), GID: group}}, nil
		},
	})
	dial := func() (*Client, error) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		return Dial(ctx, rig.Socket, Options{Name: "test", Connect: time.Minute, Gone: time.Second})
	}
	reader, err := dial()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(reader.Close)
	uid.Store(1)
	owner, err := dial()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(owner.Close)
	for who, c := range map[string]*Client{"reader": reader, "owner": owner} {
		if err := c.Ask(t.Context(), event.AskInfo, nil, nil); err != nil {
			t.Fatalf("%s: %v", who, err)
		}
	}
	before := rig.Bridge.Stats().Accepted.Load()
	uid.Store(1000)
	rig.Bridge.SetAccess(control.Access{Owner: 1})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if err := reader.Ask(ctx, event.AskInfo, nil, nil); err == nil {
		t.Error("P10: one who was let in before may still read")
	}
	if c, err := dial(); !errors.Is(err, ErrNotPermitted) {
		t.Errorf("one who comes again gets %v", err)
		if err == nil {
			c.Close()
		}
	}
	if err := owner.Ask(t.Context(), event.AskInfo, nil, nil); err != nil {
		t.Errorf("the owner: %v", err)
	}
	if now := rig.Bridge.Stats().Accepted.Load(); now != before {
		t.Errorf("%d connections were let in after the change: the owner's was cut too", now-before)
	}
}
