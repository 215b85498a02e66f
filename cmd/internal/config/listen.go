package config

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/nats-io/nkeys"
)

// Roles of listen.nkeys.
const (
	RoleRead    = "read"
	RoleCommand = "command"
)

// Listen is the listener on the network. Its texts are PEM, read when the
// configuration was; the key is a secret.
type Listen struct {
	Address string      `json:"address"` // as written; empty: none
	Bind    string      `json:"bind"`    // ip:port, or :port for all; empty: the name could not be resolved
	Cert    string      `json:"cert"`
	Key     string      `json:"key"`
	CA      string      `json:"ca"` // of clients' certificates; empty: none are asked for
	Keys    []ListenKey `json:"keys"`
}

// ListenKey is who may connect.
type ListenKey struct {
	Key  string `json:"key"` // public nkey of a user
	Role string `json:"role"`
}

// listenKeys are the keys below listen.
func (l *loader) listenKeys() []key {
	to := &l.set.Listen
	return []key{
		{"listen.address", l.readAddress},
		{"listen.tls.cert", l.readPEM(&to.Cert, false)},
		{"listen.tls.key", l.readPEM(&to.Key, true)},
		{"listen.tls.ca", l.readPEM(&to.CA, false)},
		{"listen.nkeys", l.readNkeys},
	}
}

func (l *loader) readAddress(c *cell) {
	const example = `an address and a port such as "127.0.0.1:4222"`
	text, ok := c.text(example)
	if !ok {
		return
	}
	host, port, ok := cutPort(text)
	n, err := strconv.ParseUint(port, 10, 16)
	if !ok || err != nil || n == 0 {
		c.wrong("write "+example, "must be an address and a port from 1 to 65535, not %q", text)
		return
	}
	to := &l.set.Listen
	to.Address = text
	if host == "" {
		to.Bind, l.listen.open = ":"+port, "all addresses of this machine"
		return
	}
	addresses, err := l.lookup(host)
	if err != nil || len(addresses) == 0 {
		// Not an error: services must start although a name server is away.
		l.warning(c.v.at, "write the IP address itself", "`%s`: cannot resolve %s: supd will not listen until the configuration is applied again", c.key, host)
		return
	}
	best := addresses[0]
	for _, a := range addresses {
		if a.Unmap().Is4() && !best.Unmap().Is4() {
			best = a
		}
		if !a.Unmap().IsLoopback() && l.listen.open == "" {
			l.listen.open = a.String()
		}
	}
	to.Bind = netip.AddrPortFrom(best.Unmap(), uint16(n)).String()
}

// cutPort splits ADDRESS:PORT; an IPv6 address is in brackets.
func cutPort(s string) (host, port string, ok bool) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return "", "", false
	}
	host, port = s[:i], s[i+1:]
	if inner, bracketed := strings.CutPrefix(host, "["); bracketed {
		host, ok = strings.CutSuffix(inner, "]")
		return host, port, ok && strings.Contains(host, ":")
	}
	return host, port, !strings.ContainsAny(host, ":]")
}

func (l *loader) lookup(host string) ([]netip.Addr, error) {
	if ip, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{ip}, nil
	}
	if host == "localhost" { // whatever a name server says
		return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})}, nil
	}
	if l.host.Lookup == nil {
		return nil, fmt.Errorf("no name server")
	}
	return l.host.Lookup(host)
}

// readPEM reads a file of certificates, or of a private key.
func (l *loader) readPEM(to *string, secret bool) reader {
	return func(c *cell) {
		var p string
		path(&p)(c)
		if p == "" {
			return
		}
		data, err := l.host.read(p)
		if err != nil {
			c.refuse("", "cannot read %s: %v", p, err)
			return
		}
		if info, err := l.host.stat(p); secret && err == nil && !l.private(c, p, info) {
			return
		}
		if block, _ := pem.Decode(data); block == nil {
			c.refuse("", "%s holds no PEM text", p)
			return
		}
		*to = string(data)
	}
}

// private refuses the file of a key that others than root, supd's user and
// one group can read, or others than these users can change.
func (l *loader) private(c *cell, p string, info fs.FileInfo) bool {
	if info.Mode().Perm()&0o037 != 0 {
		c.refuse("chmod 600 "+p, "%s has mode %04o: others could read or change the key", p, info.Mode().Perm())
		return false
	}
	if s, ok := info.Sys().(*syscall.Stat_t); ok && s.Uid != 0 && s.Uid != l.host.UID {
		c.refuse("chown it", "%s belongs to uid %d, who could read or change the key", p, s.Uid)
		return false
	}
	return true
}

func (l *loader) readNkeys(c *cell) {
	if !c.is(aList, `a list such as [{ key = "U…", role = "read" }]`) {
		return
	}
	c.elements(func(c *cell) {
		if !c.is(aTable, `{ key = "U…", role = "read" }`) {
			return
		}
		var k ListenKey
		found := map[string]position{}
		l.decode(c.v, c.key, "", []key{{"key", publicKey(&k.Key)}, {"role", oneOf(&k.Role, RoleRead, RoleCommand)}}, found)
		if len(found) < 2 {
			c.wrong("", "needs both key and role")
			return
		}
		if slices.ContainsFunc(l.set.Listen.Keys, func(o ListenKey) bool { return o.Key == k.Key }) && k.Key != "" {
			c.wrong("", "names the key %s twice", k.Key)
			return
		}
		l.set.Listen.Keys = append(l.set.Listen.Keys, k)
	})
}

// publicKey reads a user's public nkey. What is none is not repeated in the
// message: it may be the secret one, and messages go to the journal (P10).
func publicKey(to *string) reader {
	return func(c *cell) {
		s, ok := c.text("a public key in quotes")
		switch {
		case !ok:
		case strings.HasPrefix(s, "S"):
			c.wrong("write the public key, which begins with U; this seed is known to all who have read this file: make another", "must be a public key and seems to be a secret one")
		case !nkeys.IsValidPublicUserKey(s):
			c.wrong("make one with `nk -gen user -pubout` or `nats auth nkey gen user`", "must be the public nkey of a user: 56 letters and digits beginning with U")
		default:
			*to = s
		}
	}
}

// checkListen looks at the keys below listen together.
func (l *loader) checkListen(found map[string]position) {
	to := l.set.Listen
	at, on := found["listen.address"]
	for _, k := range []string{"listen.tls.cert", "listen.tls.key", "listen.tls.ca", "listen.nkeys"} {
		if p, set := found[k]; set && !on {
			l.warning(p, "", "`%s` has no effect without `listen.address`", k)
		}
	}
	if _, set := found["listen.nkeys"]; on && !set {
		l.problem(at, `add listen.nkeys = [{ key = "U…", role = "read" }]`, "`listen.address` needs `listen.nkeys`: without keys nobody could connect")
	}
	l.checkCertificate(found)
	_, tls := found["listen.tls.cert"]
	if on && l.listen.open != "" && !tls {
		l.problem(at, "set listen.tls, or listen on 127.0.0.1", "`listen.address` is not on the loopback (%s) and needs `listen.tls`: commands and output would cross the network in the clear", l.listen.open)
	}
	if !on {
		l.set.Listen = Listen{}
	} else if to.Keys == nil {
		l.set.Listen.Keys = []ListenKey{}
	}
}

func (l *loader) checkCertificate(found map[string]position) {
	to := l.set.Listen
	certAt, cert := found["listen.tls.cert"]
	keyAt, hasKey := found["listen.tls.key"]
	caAt, ca := found["listen.tls.ca"]
	switch {
	case cert && !hasKey:
		l.problem(certAt, "", "`listen.tls.cert` needs `listen.tls.key`")
	case hasKey && !cert:
		l.problem(keyAt, "", "`listen.tls.key` needs `listen.tls.cert`")
	case ca && !cert:
		l.problem(caAt, "", "`listen.tls.ca` needs `listen.tls.cert` and `listen.tls.key`")
	case to.Cert != "" && to.Key != "":
		pair, err := tls.X509KeyPair([]byte(to.Cert), []byte(to.Key))
		if err != nil {
			l.problem(certAt, "", "`listen.tls`: cannot use certificate and key: %s", strings.TrimPrefix(err.Error(), "tls: "))
		} else if now := l.host.now(); !now.IsZero() && now.After(pair.Leaf.NotAfter) {
			// Not an error: services must start although somebody forgot this.
			l.warning(certAt, "renew it and apply the configuration", "`listen.tls.cert` has expired at %s: clients will refuse it", pair.Leaf.NotAfter.UTC().Format("2006-01-02 15:04:05Z"))
		}
	}
	if to.CA != "" && !x509.NewCertPool().AppendCertsFromPEM([]byte(to.CA)) {
		l.problem(caAt, "", "`listen.tls.ca` holds no certificate")
	}
}
