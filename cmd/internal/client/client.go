// Package client talks to a running supd over its control socket.
//
// A client outlives engines: when the engine dies its connection closes, the
// keeper starts the next one, and the client reconnects and sends whatever
// has no answer yet again. For commands that is safe because the id makes
// them idempotent (P2); questions change nothing.
package client

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"supd/journal/control/wire"
)

// Times of the client.
const (
	dialTimeout    = 2 * time.Second
	defaultConnect = 5 * time.Second
	defaultGone    = 10 * time.Second
	reconnectWait  = 50 * time.Millisecond
	resendSilent   = 2 * time.Second  // no reply at all: send again
	resendAccepted = 10 * time.Second // accepted and not ended: ask whether it still is
	retryPause     = 50 * time.Millisecond
)

// Options change how a client connects. The zero value is good.
type Options struct {
	Name    string        // shown to administrators of the server
	Connect time.Duration // how long to try at first, while an engine starts; 0: 5 s
	Gone    time.Duration // how long nobody may hold the socket before waiting calls fail; 0: 10 s
	Network Network       // how to connect where the socket is a URL
}

// Client is one connection to supd that comes back by itself. It is safe for
// concurrent use.
type Client struct {
	socket string
	opts   Options
	dialer *dialer
	nc     *nats.Conn

	mu        sync.Mutex    // guards what follows
	gone      time.Duration // how long nobody may hold the socket
	reconnect chan struct{} // closed and replaced at each reconnect
	denied    chan struct{} // closed and replaced at each permission violation
}

// Dial connects to the socket, a unix socket's path or the URL of a supd on the
// network: tls://HOST:PORT, or nats://HOST:PORT on the loopback. Where nobody listens it fails at once; where
// the engine is just starting it tries until opts.Connect or ctx is over. The
// error is an *Error.
func Dial(ctx context.Context, socket string, opts Options) (*Client, error) {
	if opts.Connect == 0 {
		opts.Connect = defaultConnect
	}
	if opts.Gone == 0 {
		opts.Gone = defaultGone
	}
	c := &Client{
		socket: socket, opts: opts, dialer: &dialer{socket: socket, timeout: dialTimeout},
		gone: opts.Gone, reconnect: make(chan struct{}), denied: make(chan struct{}),
	}
	var err error
	if c.dialer.remote, err = opts.Network.remote(socket); err != nil {
		return nil, &Error{
			Op: "connect to " + socket, Kind: ErrNotPermitted, Cause: err,
			Hint: "the network needs --nkey, and --tlsca unless this machine trusts the certificate; see supctl --help",
		}
	}
	until := time.Now().Add(opts.Connect)
	for {
		nc, err := c.connect()
		if err == nil {
			c.nc = nc
			return c, nil
		}
		if dialErr := c.dialer.lastError(); dialErr != nil {
			err = dialErr // nats.go hides a refused connection behind its own words
		}
		if final(err) || time.Now().After(until) || ctx.Err() != nil {
			return nil, connectError(socket, err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(retryPause):
		}
	}
}

func (c *Client) connect() (*nats.Conn, error) {
	token := rand.Text()
	url, opts := "nats://127.0.0.1", []nats.Option{} // never looked up: the dialer knows the socket
	if r := c.dialer.remote; r != nil {
		url, opts = c.socket, r.options
	}
	return nats.Connect(url, append(opts,
		nats.SetCustomDialer(c.dialer),
		nats.Name(c.opts.Name),
		nats.UserInfo(token, ""),
		nats.CustomInboxPrefix(wire.InboxPrefix+token),
		nats.Timeout(dialTimeout),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(reconnectWait),
		nats.ReconnectJitter(reconnectWait, reconnectWait),
		nats.ReconnectBufSize(-1), // what is sent again is decided here
		nats.IgnoreAuthErrorAbort(),
		nats.ReconnectHandler(func(*nats.Conn) { c.signal(&c.reconnect) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			if errors.Is(err, nats.ErrPermissionViolation) {
				c.signal(&c.denied)
			}
		}),
	)...)
}

// Close ends the connection.
func (c *Client) Close() { c.nc.Close() }

// Node is the name of the node that supd serves.
func (c *Client) Node() string { return c.dialer.known().Node }

// Actor is who supd takes us for.
func (c *Client) Actor() string { return c.dialer.known().Actor }

func (c *Client) signal(ch *chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(*ch)
	*ch = make(chan struct{})
}

func (c *Client) signals() (reconnect, denied <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reconnect, c.denied
}

// errGone says that nobody has held the socket for too long.
func (c *Client) errGone() error {
	c.mu.Lock()
	limit := c.gone
	c.mu.Unlock()
	if d, err := c.dialer.goneFor(); d > limit {
		return connectError(c.socket, err)
	}
	if c.nc.IsClosed() {
		if err := c.nc.LastError(); err != nil {
			return connectError(c.socket, err)
		}
		return connectError(c.socket, nats.ErrConnectionClosed)
	}
	return nil
}

// call is a request under way: sent again whenever that may be needed, until
// whoever reads its answers is content.
type call struct {
	c       *Client
	subject string
	data    []byte
	sub     *nats.Subscription
	replies chan *nats.Msg
	join    wire.Joiner
	silent  time.Duration // send again after this much silence

	reconnect, denied <-chan struct{} // taken before the first send, so that nothing is missed
}

func (c *Client) call(subject string, data []byte, silent time.Duration) (*call, error) {
	k := &call{c: c, subject: subject, data: data, replies: make(chan *nats.Msg, 64), silent: silent}
	sub, err := c.nc.ChanSubscribe(c.nc.NewInbox(), k.replies)
	if err != nil {
		return nil, connectError(c.socket, err)
	}
	k.sub = sub
	k.reconnect, k.denied = c.signals()
	return k, nil
}

func (k *call) close() { k.sub.Unsubscribe() }

// send fails only while there is no connection; next sends again after it.
func (k *call) send() {
	_ = k.c.nc.PublishRequest(k.subject, k.sub.Subject, k.data)
}

// answer is one whole answer.
type answer struct {
	header nats.Header
	body   []byte
}

// next waits for the next whole answer.
func (k *call) next(ctx context.Context) (answer, error) {
	look := time.NewTicker(200 * time.Millisecond)
	defer look.Stop()
	again := time.Now().Add(k.silent)
	for {
		select {
		case <-ctx.Done():
			return answer{}, fmt.Errorf("%w: %w", ErrTimeout, ctx.Err())
		case <-k.denied:
			return answer{}, &Error{
				Op: "do that as " + k.c.Actor(), Kind: ErrNotPermitted, Cause: ErrNotPermitted,
				Hint: "run supctl as root or as a member of the administrators' group",
			}
		case <-k.reconnect:
			k.reconnect, _ = k.c.signals()
			k.join = wire.Joiner{}
			again = time.Now()
		case <-look.C:
			if err := k.c.errGone(); err != nil {
				return answer{}, err
			}
		case m := <-k.replies:
			if m.Header.Get("Status") == "503" { // the engine does not listen yet
				again = time.Now().Add(retryPause)
				look.Reset(retryPause)
				break
			}
			body, done, err := k.join.Add(m.Header.Get(wire.HeaderPart), m.Data)
			if err != nil {
				k.join = wire.Joiner{} // parts were lost: the whole comes again
				break
			}
			if done {
				return answer{m.Header, body}, nil
			}
			again = time.Now().Add(k.silent)
		}
		if !time.Now().Before(again) && k.c.nc.IsConnected() {
			k.send()
			again = time.Now().Add(k.silent)
		}
	}
}
