// Package controltest sets up what is behind the control socket for tests: a
// real embedded NATS server with a JOURNAL stream, the bridge, the server of
// requests, and a small scripted engine. It is for tests only.
package controltest

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"supd/journal/control"
	"supd/journal/event"
)

// Node is the name of the node that rigs serve.
const Node = "n1"

// Options change a rig; the zero value is good.
type Options struct {
	Socket  string          // default: in a temporary folder
	Dir     string          // JetStream's folder; default: a temporary one
	Access  *control.Access // default: the test's own uid owns the socket
	Handler control.Handler // default: a new Engine
	Inbox   int             // default: 64
	Denied  func(actor, subject string)
	Peer    func(net.Conn) (control.Peer, error) // default: ask the kernel
}

// Rig is everything behind one socket.
type Rig struct {
	Socket string
	NATS   *server.Server
	Auth   *control.Authentication
	Bridge *control.Bridge
	Server *control.Server
	Engine *Engine    // nil if Options.Handler was given
	Conn   *nats.Conn // the engine's own connection, with all rights

	closed bool
}

// Start sets a rig up; it is taken down with the test, or by Close.
func Start(tb testing.TB, o Options) *Rig {
	tb.Helper()
	r, err := start(tb, o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(r.Close)
	return r
}

func start(tb testing.TB, o Options) (*Rig, error) {
	if o.Dir == "" {
		o.Dir = tb.TempDir()
	}
	if o.Socket == "" {
		dir, err := os.MkdirTemp("", "supd-control-") // t.TempDir can be too long for a socket's path
		if err != nil {
			return nil, err
		}
		tb.Cleanup(func() { os.RemoveAll(dir) })
		o.Socket = filepath.Join(dir, "supd.sock")
	}
	if o.Access == nil {
		o.Access = &control.Access{Owner: os.Getuid()}
	}
	if o.Inbox == 0 {
		o.Inbox = 64
	}
	r := &Rig{Socket: o.Socket, Auth: control.NewAuthentication(Node)}
	if o.Handler == nil {
		r.Engine = NewEngine()
		o.Handler = r.Engine
	}
	if o.Denied == nil {
		o.Denied = o.Handler.Denied
	}
	if err := r.startNATS(o.Dir); err != nil {
		return nil, err
	}
	r.Bridge = control.NewBridge(control.BridgeConfig{
		Node: Node, Access: *o.Access, Auth: r.Auth, Dial: r.NATS.InProcessConn, Denied: o.Denied, Peer: o.Peer,
	})
	var err error
	r.Server, err = control.NewServer(control.ServerConfig{
		Node: Node, Conn: r.Conn, Bridge: r.Bridge, Handler: o.Handler, Inbox: o.Inbox,
	})
	if err != nil {
		return nil, err
	}
	os.Remove(o.Socket)
	l, err := net.Listen("unix", o.Socket)
	if err != nil {
		return nil, err
	}
	go r.Bridge.Serve(l)
	return r, os.Chmod(o.Socket, 0o666)
}

func (r *Rig) startNATS(dir string) error {
	opts := &server.Options{
		ServerName: Node, DontListen: true, NoSigs: true, JetStream: true, StoreDir: dir,
		JetStreamMaxMemory: 64 << 20, JetStreamMaxStore: 1 << 30, MaxPayload: 8 << 20,
	}
	r.Auth.Configure(opts)
	ns, err := server.NewServer(opts)
	if err != nil {
		return err
	}
	r.NATS = ns
	ns.Start()
	if !ns.ReadyForConnections(10 * time.Second) {
		return fmt.Errorf("nats-server is not ready")
	}
	if r.Conn, err = nats.Connect("", nats.InProcessServer(ns), nats.Token(r.Auth.InternalToken())); err != nil {
		return err
	}
	js, err := r.Conn.JetStream()
	if err != nil {
		return err
	}
	if _, err := js.StreamInfo(event.Stream); err == nil {
		return nil
	}
	_, err = js.AddStream(&nats.StreamConfig{
		Name: event.Stream, Subjects: []string{event.RecordSubjects(Node)}, DenyDelete: true, DenyPurge: true,
		AllowDirect: true, MaxConsumers: control.MaxConsumers, MaxMsgs: 1e6, MaxBytes: 1 << 28,
	})
	return err
}

// Close takes the rig down. A second call does nothing.
func (r *Rig) Close() {
	if r.closed {
		return
	}
	r.closed = true
	if r.Bridge != nil {
		r.Bridge.Close()
	}
	if r.Server != nil {
		r.Server.Close()
	}
	if r.Conn != nil {
		r.Conn.Close()
	}
	if r.NATS != nil {
		r.NATS.Shutdown()
		r.NATS.WaitForShutdown()
	}
}

// Append stores records in the journal, chained behind what is there, and
// returns them.
func (r *Rig) Append(tb testing.TB, drafts ...event.Draft) []event.Encoded {
	tb.Helper()
	js, err := jetstream.New(r.Conn)
	if err != nil {
		tb.Fatal(err)
	}
	s, err := js.Stream(tb.Context(), event.Stream)
	if err != nil {
		tb.Fatal(err)
	}
	seq, prev := event.Seq(0), event.Genesis
	if last := s.CachedInfo().State.LastSeq; last > 0 {
		m, err := s.GetMsg(tb.Context(), last)
		if err != nil {
			tb.Fatal(err)
		}
		e, err := event.Decode(m.Data)
		if err != nil {
			tb.Fatal(err)
		}
		seq, prev = e.Record.Seq, e.Hash
	}
	var out []event.Encoded
	for _, d := range drafts {
		seq++
		e, err := event.Encode(event.Record{
			ID: newID(), Source: "supd/" + Node + "/test", Kind: d.Data.Kind(), Subject: d.Subject, Time: time.Now(),
			Mono: int64(seq), Boot: "boot", Seq: seq, Prev: prev, Cause: d.Cause, Actor: "supd", Data: d.Data,
		})
		if err != nil {
			tb.Fatal(err)
		}
		if _, err := js.Publish(tb.Context(), event.RecordSubject(Node, d.Subject, d.Data.Kind()), e.Bytes); err != nil {
			tb.Fatal(err)
		}
		prev = e.Hash
		out = append(out, e)
	}
	return out
}
