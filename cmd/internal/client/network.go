package client

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"supd/journal/control/wire"
)

// Network says how to prove who we are, and what to trust, on the network. All
// are paths of files.
type Network struct {
	NKey string // seed of a user nkey; needed
	CA   string // certificates of authorities, PEM; empty: those the machine trusts
	Cert string // our certificate, PEM, with Key; needed where listen.tls.ca is set
	Key  string
}

// remote is how to connect to one supd on the network.
type remote struct {
	actor   string
	options []nats.Option
}

// remote reads a socket that is a URL; nil where it is a path.
func (n Network) remote(socket string) (*remote, error) {
	if !strings.Contains(socket, "://") {
		return nil, nil
	}
	at, err := url.Parse(socket)
	if err != nil || at.Host == "" || at.User != nil || strings.Trim(at.Path, "/") != "" {
		return nil, errors.New("the URL must read tls://HOST:PORT or nats://HOST:PORT")
	}
	switch {
	case at.Scheme == "nats" && !onLoopback(at.Hostname()):
		// Whoever is on the way could take the demand for TLS out of the greeting.
		return nil, errors.New("nats:// is for the loopback: write tls://")
	case at.Scheme != "nats" && at.Scheme != "tls":
		return nil, fmt.Errorf("the URL begins with %s://, and must with tls:// or nats://", at.Scheme)
	case n.NKey == "":
		return nil, errors.New("no nkey is given")
	}
	seed, err := os.ReadFile(n.NKey)
	if err != nil {
		return nil, fmt.Errorf("the nkey: %w", cause(err))
	}
	pair, err := nkeys.ParseDecoratedUserNKey(seed)
	if err != nil {
		return nil, fmt.Errorf("the nkey: %s holds no seed of a user", n.NKey)
	}
	public, err := pair.PublicKey()
	if err != nil {
		return nil, fmt.Errorf("the nkey: %w", err)
	}
	r := &remote{actor: wire.ActorOf(public), options: []nats.Option{nats.Nkey(public, pair.Sign)}}
	if n.CA != "" {
		r.options = append(r.options, nats.RootCAs(n.CA))
	}
	if n.Cert != "" || n.Key != "" {
		r.options = append(r.options, nats.ClientCert(n.Cert, n.Key))
	}
	return r, nil
}

func onLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}
