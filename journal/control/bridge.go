package control

import (
	"bufio"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"supd/journal/control/wire"
	"supd/journal/event"
)

// Bounds of connections (P9). One user cannot take them all, so that root
// gets in while somebody's script runs wild.
const (
	maxConnections         = 256
	maxConnectionsPerActor = 128
	maxConnectionsRemote   = 192 // of the network, all actors together: the socket keeps its room
	maxRefusals            = 64  // refusals being explained at the same time; the rest is just closed
)

// BridgeConfig is what a bridge needs.
type BridgeConfig struct {
	Node   string
	Access Access
	Auth   *Authentication
	Dial   func() (net.Conn, error)     // the embedded server's InProcessConn
	Denied func(actor, subject string)  // a violation was seen; may be called concurrently, must not block
	Log    *slog.Logger                 // nil: silent
	Peer   func(net.Conn) (Peer, error) // who connected; nil: ask the kernel
	// Short is told of each connection that could not be accepted, most often for
	// want of descriptors; Eased, that one could be again. Both may be nil and must
	// not block.
	Short func(error)
	Eased func()
}

// Bridge joins connections of a unix socket, and of the network, to the
// embedded server. It is safe for concurrent use.
type Bridge struct {
	cfg       BridgeConfig
	id        string
	consumers *consumers
	refusals  chan struct{}
	strangers slots // connections of the network that have not proven who they are, by address
	refused   logLimit
	wg        sync.WaitGroup
	stats     BridgeStats

	mu       sync.Mutex // guards what follows
	closed   bool
	open     map[net.Conn]struct{} // listeners' connections and in-process ones, to close them
	listener map[net.Listener]struct{}
	actors   map[string]int        // connections by actor
	roles    map[net.Conn]peerRole // of those that were let in
	total    int
	remote   int               // of total, those of the network
	inboxes  map[string]*inbox // by token
}

// BridgeStats counts since the bridge was made.
type BridgeStats struct {
	Accepted atomic.Int64 // connections that were let in
	Refused  atomic.Int64 // connections that were turned away
	Denied   atomic.Int64 // operations that an actor was not permitted
}

// NewBridge makes a bridge; Serve sets it to work.
func NewBridge(cfg BridgeConfig) *Bridge {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Peer == nil {
		cfg.Peer = peerOf
	}
	return &Bridge{
		cfg: cfg, id: rand.Text(), consumers: newConsumers(), refusals: make(chan struct{}, maxRefusals),
		strangers: newSlots(maxStrangers),
		open:      map[net.Conn]struct{}{}, listener: map[net.Listener]struct{}{},
		actors: map[string]int{}, roles: map[net.Conn]peerRole{}, inboxes: map[string]*inbox{},
	}
}

// Stats are the bridge's counters.
func (b *Bridge) Stats() *BridgeStats { return &b.stats }

// Serve accepts connections of the unix socket until the listener or the
// bridge is closed, which is no error. When descriptors run out it waits and
// goes on (P5).
func (b *Bridge) Serve(l net.Listener) error { return b.accept(l, b.serveSocket) }

func (b *Bridge) accept(l net.Listener, serve func(net.Conn)) error {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return l.Close()
	}
	b.listener[l] = struct{}{}
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		delete(b.listener, l)
		b.mu.Unlock()
	}()
	short := false
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			if !short { // once: it is tried twenty times a second
				b.cfg.Log.Warn("cannot accept a control connection; trying on", "err", err)
			}
			if short = true; b.cfg.Short != nil {
				b.cfg.Short(err)
			}
			time.Sleep(50 * time.Millisecond)
			continue
		}
		if short && b.cfg.Eased != nil {
			b.cfg.Eased()
		}
		short = false
		if !b.track(conn) {
			conn.Close()
			return nil
		}
		go func() {
			defer b.wg.Done()
			defer b.untrack(conn)
			serve(conn)
		}()
	}
}

// Close ends all connections and waits for them. Clients see their connection
// close and come back to the next engine.
func (b *Bridge) Close() {
	b.mu.Lock()
	b.closed = true
	for l := range b.listener {
		l.Close()
	}
	for c := range b.open {
		c.Close()
	}
	b.mu.Unlock()
	b.wg.Wait()
}

// track makes Close reach the connection; the caller owns one count of wg.
func (b *Bridge) track(conn net.Conn) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return false
	}
	b.open[conn] = struct{}{}
	b.wg.Add(1)
	return true
}

func (b *Bridge) untrack(conn net.Conn) {
	conn.Close()
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.open, conn)
}

// serveSocket is the life of one connection of the unix socket.
func (b *Bridge) serveSocket(conn net.Conn) {
	conn.SetDeadline(time.Now().Add(handshakeTime))
	peer, err := b.cfg.Peer(conn)
	if err != nil {
		b.cfg.Log.Warn("control connection refused", "err", err)
		return
	}
	actor, role := peer.Actor(), b.admit(conn, peer)
	defer b.dismiss(conn)
	if role == RoleNone {
		b.denied(actor, "connect")
		b.turnAway(conn, actor, refusal(wire.RefusedDenied,
			"uid %d is not permitted: ask root, or join the group that the configuration names under [control]", peer.UID))
		return
	}
	if !b.enter(peer) {
		b.turnAway(conn, actor, refusal(wire.RefusedBusy, "too many connections"))
		return
	}
	defer b.leave(peer)

	in := bufio.NewReaderSize(conn, 16<<10)
	if _, err := conn.Write(greetingLine(b.greeting(actor))); err != nil {
		return
	}
	hello, err := readConnect(in)
	if err != nil {
		if errors.Is(err, errNotNATS) {
			b.farewell(conn, refusal(wire.RefusedInvalid, "%v", err))
		}
		return
	}
	b.talk(conn, in, hello, peer, role)
}

// talk is the rest of a connection whose peer and role are known.
func (b *Bridge) talk(conn net.Conn, in *bufio.Reader, hello connect, peer Peer, role Role) {
	if !b.hold(hello.inbox, peer) {
		b.farewell(conn, refusal(wire.RefusedInvalid, "the inbox token is in use by another user: choose another"))
		return
	}
	defer b.drop(hello.inbox)
	b.join(conn, in, hello, grant{actor: peer.Actor(), role: role, inbox: hello.inbox})
}

// join connects client and server until one of them goes.
func (b *Bridge) join(conn net.Conn, in *bufio.Reader, hello connect, g grant) {
	srv, err := b.cfg.Dial()
	if err != nil || !b.track(srv) {
		if err == nil {
			srv.Close()
		}
		b.farewell(conn, refusal(wire.RefusedClosing, "the engine is not ready"))
		return
	}
	defer b.wg.Done()
	defer b.untrack(srv)
	token := b.cfg.Auth.grant(g)
	defer b.cfg.Auth.revoke(token)

	b.stats.Accepted.Add(1)
	denied := func(subject string) { b.denied(g.actor, subject) }
	client := newToClient(conn)
	guard := &guard{
		in: in, out: bufio.NewWriterSize(srv, 16<<10), answer: client.line,
		actor: g.actor, inbox: wire.Inbox(g.inbox), consumers: b.consumers, denied: denied,
	}
	pump := &pump{in: bufio.NewReaderSize(srv, 16<<10), out: client, denied: denied}
	conn.SetDeadline(time.Time{})

	pumped := make(chan error, 1)
	go func() {
		err := pump.run()
		conn.Close() // ends the guard's read
		pumped <- err
	}()
	guard.out.Write(hello.line(token))
	err = guard.run()
	if errors.Is(err, errProtocol) {
		b.cfg.Log.Debug("control connection ended", "actor", g.actor, "err", err)
		client.line(errLine(fmt.Sprintf("%s%s: %v", wire.Refusal, wire.RefusedInvalid, err)))
	}
	srv.Close()
	conn.Close()
	<-pumped
}

// turnAway tells a client that may not come in why. It listens first, because
// a client that cannot send its first line would report that instead.
func (b *Bridge) turnAway(conn net.Conn, actor string, why []byte) {
	conn.Write(greetingLine(b.greeting(actor)))
	select {
	case b.refusals <- struct{}{}:
		readConnect(bufio.NewReaderSize(conn, maxLine))
		<-b.refusals
	default:
	}
	b.farewell(conn, why)
}

// farewell sends the reason for the end, and reads on for a moment: a client
// in the middle of writing would see a broken pipe instead of the reason.
func (b *Bridge) farewell(conn net.Conn, why []byte) {
	b.stats.Refused.Add(1)
	conn.SetDeadline(time.Now().Add(time.Second))
	conn.Write(why)
	half, ok := conn.(interface{ CloseWrite() error })
	if !ok {
		return
	}
	half.CloseWrite()
	select {
	case b.refusals <- struct{}{}:
		io.CopyN(io.Discard, conn, maxPayload)
		<-b.refusals
	default:
	}
}

func (b *Bridge) denied(actor, subject string) {
	b.stats.Denied.Add(1)
	if b.cfg.Denied != nil {
		b.cfg.Denied(actor, printable(subject, event.MaxDetail))
	}
}

func (b *Bridge) enter(p Peer) bool {
	actor, remote := p.Actor(), 0
	if p.Key != "" {
		remote = 1
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.total >= maxConnections || b.remote+remote > maxConnectionsRemote || b.actors[actor] >= maxConnectionsPerActor {
		return false
	}
	b.total++
	b.remote += remote
	b.actors[actor]++
	return true
}

// peerRole is what a connection may do, and whose it is.
type peerRole struct {
	peer Peer
	role Role
}

// admit finds the role of a peer, and notes it for SetAccess.
func (b *Bridge) admit(conn net.Conn, peer Peer) Role {
	b.mu.Lock()
	defer b.mu.Unlock()
	role := b.cfg.Access.Role(peer)
	b.roles[conn] = peerRole{peer, role}
	return role
}

func (b *Bridge) dismiss(conn net.Conn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.roles, conn)
}

// SetAccess changes who may connect, and how. Connections of those who may do
// less or more now are closed; their clients come back with their new role.
func (b *Bridge) SetAccess(access Access) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.cfg.Access = access
	for conn, is := range b.roles {
		if access.Role(is.peer) != is.role {
			conn.Close()
		}
	}
}

func (b *Bridge) leave(p Peer) {
	actor := p.Actor()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.total--
	if p.Key != "" {
		b.remote--
	}
	if b.actors[actor]--; b.actors[actor] == 0 {
		delete(b.actors, actor)
	}
}
