package client

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"supd/journal/control/wire"
)

// maxGreeting bounds the first line of the bridge, in bytes.
const maxGreeting = 16 << 10

// dialer connects over the unix socket, or the network, and reads what the bridge says about
// node and actor before nats.go does, which has no place for it.
type dialer struct {
	socket  string
	remote  *remote // nil: socket is a unix socket's path
	timeout time.Duration

	mu        sync.Mutex
	info      wire.Info
	err       error     // of the last dial
	goneSince time.Time // nobody has held the socket since; zero: somebody does
}

// Dial implements nats.CustomDialer; for the socket, network and address are
// nats.go's idea.
func (d *dialer) Dial(network, address string) (net.Conn, error) {
	if d.remote == nil {
		network, address = "unix", d.socket
	}
	conn, info, err := d.dial(network, address)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.err = err
	switch {
	case err == nil:
		d.info, d.goneSince = info, time.Time{}
	case !gone(err):
		d.goneSince = time.Time{}
	case d.goneSince.IsZero():
		d.goneSince = time.Now()
	}
	return conn, err
}

func (d *dialer) dial(network, address string) (net.Conn, wire.Info, error) {
	conn, err := net.DialTimeout(network, address, d.timeout)
	if err != nil {
		return nil, wire.Info{}, err
	}
	if err := conn.SetReadDeadline(time.Now().Add(d.timeout)); err != nil {
		conn.Close()
		return nil, wire.Info{}, err
	}
	r := bufio.NewReaderSize(conn, maxGreeting)
	line, err := r.ReadSlice('\n')
	if err != nil {
		conn.Close()
		if errors.Is(err, bufio.ErrBufferFull) {
			err = errNotSupd
		}
		return nil, wire.Info{}, fmt.Errorf("cannot read the greeting: %w", err)
	}
	info, err := parseGreeting(line)
	switch {
	case err != nil:
	case d.remote != nil:
		info.Actor = d.remote.actor // it is not told before we prove it
	case info.Actor == "":
		err = errNotSupd
	}
	if err != nil {
		conn.Close()
		return nil, wire.Info{}, err
	}
	if err := conn.SetReadDeadline(time.Time{}); err != nil {
		conn.Close()
		return nil, wire.Info{}, err
	}
	return &greeted{Conn: conn, first: bytes.NewReader(bytes.Clone(line)), rest: r}, info, nil
}

var errNotSupd = errors.New("what listens there is not supd")

func parseGreeting(line []byte) (wire.Info, error) {
	body, ok := bytes.CutPrefix(line, []byte("INFO "))
	var greeting struct {
		Supd wire.Info `json:"supd"`
	}
	if !ok || json.Unmarshal(body, &greeting) != nil || greeting.Supd.Node == "" {
		return wire.Info{}, errNotSupd
	}
	return greeting.Supd, nil
}

// known is what the bridge said when it was last reached.
func (d *dialer) known() wire.Info {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.info
}

func (d *dialer) lastError() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.err
}

// goneFor is how long nobody has held the socket.
func (d *dialer) goneFor() (time.Duration, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.goneSince.IsZero() {
		return 0, nil
	}
	return time.Since(d.goneSince), d.err
}

// greeted gives back the line that was read ahead, then the rest.
type greeted struct {
	net.Conn
	first *bytes.Reader
	rest  *bufio.Reader
}

func (g *greeted) Read(p []byte) (int, error) {
	if g.first.Len() > 0 {
		return g.first.Read(p)
	}
	return g.rest.Read(p)
}
