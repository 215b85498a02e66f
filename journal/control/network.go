package control

import (
	"bufio"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nkeys"

	"supd/journal/control/wire"
)

// maxStrangers bounds the connections of the network that have not proven who
// they are; one address has at most three quarters of them (P9). Each has
// handshakeTime for all of it.
const maxStrangers = 64

// Network is what a connection of the network must show. It does not change
// once it is made.
type Network struct {
	Keys map[string]Role // by public nkey

	tls   *tls.Config // nil: plaintext, which is for the loopback alone
	trust string      // what is checked besides the keys; connections that were not are closed
}

// NewNetwork makes the conditions of a listener from PEM texts. Without
// certificate and key it speaks plaintext; with authorities it takes only
// clients whose certificate one of them has signed.
func NewNetwork(keys map[string]Role, certificate, key, authorities []byte) (Network, error) {
	n := Network{Keys: keys, trust: "plaintext"}
	if len(certificate) == 0 && len(key) == 0 && len(authorities) == 0 {
		return n, nil
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return Network{}, fmt.Errorf("cannot use the certificate: %w", err)
	}
	n.tls = &tls.Config{
		Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12,
		SessionTicketsDisabled: true, // each connection shows its certificate anew
	}
	n.trust = "tls"
	if len(authorities) > 0 {
		n.tls.ClientCAs, n.tls.ClientAuth = x509.NewCertPool(), tls.RequireAndVerifyClientCert
		if !n.tls.ClientCAs.AppendCertsFromPEM(authorities) {
			return Network{}, errors.New("cannot use the authorities: there is no certificate in them")
		}
		n.trust = fmt.Sprintf("tls and certificates of %x", sha256.Sum256(authorities))
	}
	return n, nil
}

// ServeNetwork accepts connections of the network, until the listener or the
// bridge is closed, which is no error. Who they are they prove with an nkey,
// and what they must show besides says Access.Network.
func (b *Bridge) ServeNetwork(l net.Listener) error { return b.accept(l, b.serveNetwork) }

// serveNetwork is the life of one connection of the network. Nothing of it
// reaches the embedded server before it has proven who it is.
func (b *Bridge) serveNetwork(raw net.Conn) {
	from := addressOf(raw)
	if !b.strangers.take(from) {
		b.stats.Refused.Add(1)
		return
	}
	stranger := true
	known := func() {
		if stranger {
			stranger = false
			b.strangers.give(from)
		}
	}
	defer known()
	raw.SetDeadline(time.Now().Add(handshakeTime))
	conn, in, hello, peer, err := b.identify(raw)
	role := RoleNone
	if err == nil {
		role = b.admit(raw, peer)
		defer b.dismiss(raw)
		if role == RoleNone {
			err = fmt.Errorf("%w: the key %s is not listed, or what else is asked for has just changed", errUnproven, peer.Key)
		}
	}
	if err != nil {
		b.unproven(conn, from, err)
		return
	}
	known()
	if !b.enter(peer) {
		b.farewell(conn, refusal(wire.RefusedBusy, "too many connections"))
		return
	}
	defer b.leave(peer)
	b.talk(conn, in, hello, peer, role)
}

// errUnproven says that a connection did not prove to be one of the keys.
var errUnproven = errors.New("not permitted")

// identify makes a stranger prove who it is: it signs a nonce that no other
// connection gets, so that a signature overheard is worth nothing.
func (b *Bridge) identify(raw net.Conn) (conn net.Conn, in *bufio.Reader, hello connect, peer Peer, err error) {
	b.mu.Lock()
	network := b.cfg.Access.Network
	b.mu.Unlock()
	g := b.greeting("")
	g.Go, g.Host, g.Auth, g.Nonce = "", "supd", true, rand.Text()
	g.TLS = network.tls != nil
	g.TLSVerify = g.TLS && network.tls.ClientCAs != nil
	conn = raw
	if _, err = raw.Write(greetingLine(g)); err != nil {
		return conn, nil, hello, peer, err
	}
	if network.tls != nil {
		secure := tls.Server(raw, network.tls)
		if err = secure.Handshake(); err != nil { // bounded by the connection's deadline
			return conn, nil, hello, peer, fmt.Errorf("TLS: %w", err)
		}
		conn = secure
	}
	in = bufio.NewReaderSize(conn, 16<<10)
	if hello, err = readConnect(in); err != nil {
		return conn, in, hello, peer, err
	}
	if err = hello.proof.check(g.Nonce); err != nil {
		return conn, in, hello, peer, err
	}
	peer = Peer{Key: hello.proof.Key, Remote: raw.RemoteAddr().String(), trust: network.trust}
	if !hello.chosen {
		hello.inbox = peer.Key // tools that cannot name a user beside an nkey know this one
	}
	return conn, in, hello, peer, nil
}

// check verifies the signature of a nonce.
func (p proof) check(nonce string) error {
	if p.Key == "" || p.Signature == "" {
		return fmt.Errorf("%w: it brought no nkey", errUnproven)
	}
	if !nkeys.IsValidPublicUserKey(p.Key) {
		return fmt.Errorf("%w: what it brought is no user nkey", errUnproven)
	}
	sig, err := base64.RawURLEncoding.DecodeString(p.Signature)
	if err != nil { // some clients write it so
		sig, err = base64.StdEncoding.DecodeString(p.Signature)
	}
	if err != nil {
		return fmt.Errorf("%w: its signature cannot be read", errUnproven)
	}
	key, err := nkeys.FromPublicKey(p.Key)
	if err != nil || key.Verify([]byte(nonce), sig) != nil {
		return fmt.Errorf("%w: its signature is not that of the key %s", errUnproven, p.Key)
	}
	return nil
}

// unproven ends the connection of a stranger. It is told nothing but that, in
// the words for which NATS clients stop trying; supd's log says why. For the
// journal all strangers are one actor: nobody without a key may choose what is
// written there.
func (b *Bridge) unproven(conn net.Conn, from string, err error) {
	if passed, ok := b.refused.pass(time.Now()); ok {
		b.cfg.Log.Warn("a connection of the network was refused", "from", from, "why", printable(err.Error(), 256), "passed_over", passed)
	}
	if gone(err) {
		b.stats.Refused.Add(1)
		return // a port scan, or a probe of its own network: not an attempt
	}
	b.denied("network", "connect")
	if errors.Is(err, errUnproven) || errors.Is(err, errNotNATS) {
		b.farewell(conn, errLine("Authorization Violation"))
		return
	}
	b.stats.Refused.Add(1)
}

// gone tells whether a stranger left or was silent until its time was over.
func gone(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, net.ErrClosed)
}

// addressOf is what strangers are counted by: an IPv4 address, or the network
// of an IPv6 address, for one host has a whole one.
func addressOf(conn net.Conn) string {
	at, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	if err != nil {
		return conn.RemoteAddr().String()
	}
	ip := at.Addr().Unmap()
	if ip.Is4() {
		return ip.String()
	}
	return netip.PrefixFrom(ip.WithZone(""), 64).Masked().String()
}

// logLimit lets one line a second pass and counts the others (P4, P9).
type logLimit struct {
	mu     sync.Mutex
	last   time.Time
	passed int // over, since the last line
}

func (l *logLimit) pass(now time.Time) (passed int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Sub(l.last) < time.Second {
		l.passed++
		return 0, false
	}
	passed, l.passed, l.last = l.passed, 0, now
	return passed, true
}
