package control_test

import (
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"supd/journal/control"
	"supd/journal/control/controltest"
	"supd/journal/control/wire"
	"supd/journal/event"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// unixDialer lets plain nats.go speak over the socket.
type unixDialer string

func (d unixDialer) Dial(string, string) (net.Conn, error) { return net.Dial("unix", string(d)) }

const inboxToken = "attacker01"

// connect is a hostile but well-spoken client: plain nats.go.
func connect(t *testing.T, socket, token string, opts ...nats.Option) *nats.Conn {
	t.Helper()
	nc, err := tryConnect(socket, token, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

func tryConnect(socket, token string, opts ...nats.Option) (*nats.Conn, error) {
	return nats.Connect("nats://127.0.0.1", append([]nats.Option{
		nats.SetCustomDialer(unixDialer(socket)), nats.UserInfo(token, ""),
		nats.CustomInboxPrefix(wire.InboxPrefix + token), nats.NoReconnect(),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}),
	}, opts...)...)
}

// reader is a rig's options under which uid 1000 connects and may only read.
func reader() (opts controltest.Options, actor string) {
	gid := 100
	return controltest.Options{Access: &control.Access{Owner: 1, ReadGroup: &gid}, Peer: asUser(1000, gid)}, "uid-1000"
}

// root is a rig's options under which root connects, whoever runs the test.
func root() controltest.Options { return controltest.Options{Peer: asUser(0, 0)} }

// asUser makes the bridge see a member of group gid.
func asUser(uid, gid int) func(net.Conn) (control.Peer, error) {
	return func(net.Conn) (control.Peer, error) {
		return control.Peer{Client: event.Client{UID: uid, GID: gid, PID: 1}}, nil
	}
}

// denied waits until the engine was told of a violation on a subject.
func denied(t *testing.T, e *controltest.Engine, actor, subject string) {
	t.Helper()
	eventually(t, "a denial on "+subject, func() bool {
		_, denials, _ := e.Seen()
		return slices.Contains(denials, actor+" "+subject)
	})
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for until := time.Now().Add(time.Minute); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("%s: did not come true in time", what)
		}
	}
}

// journal is the stream's state: what no attack may change.
func journal(t *testing.T, r *controltest.Rig) nats.StreamState {
	t.Helper()
	js, err := r.Conn.JetStream()
	if err != nil {
		t.Fatal(err)
	}
	info, err := js.StreamInfo(event.Stream)
	if err != nil {
		t.Fatal(err)
	}
	return info.State
}

func isRefusal(err error, code string) bool {
	return err != nil && strings.Contains(err.Error(), wire.Refusal+code)
}
