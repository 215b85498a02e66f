package config

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"supd/journal/control/controltest"
)

// listenHost has a certificate with its key in cert.pem and key.pem.
func listenHost(t *testing.T, text string, until time.Time) Host {
	t.Helper()
	a := controltest.NewAuthority(t)
	cert, key := a.Issue(t, until)
	other, _ := a.Issue(t, until)
	h := testHost(map[string]string{
		"supd.toml": text, "cert.pem": string(cert), "other.pem": string(other), "ca.pem": string(a.PEM), "text.pem": "nothing",
	})
	m := h.Files.(fstest.MapFS)
	m["etc/supd/key.pem"] = &fstest.MapFile{Data: key, Mode: 0o600}
	m["etc/supd/group.pem"] = &fstest.MapFile{Data: key, Mode: 0o640, Sys: &syscall.Stat_t{Uid: 0}}
	m["etc/supd/open.pem"] = &fstest.MapFile{Data: key, Mode: 0o644}
	m["etc/supd/theirs.pem"] = &fstest.MapFile{Data: key, Mode: 0o600, Sys: &syscall.Stat_t{Uid: 77}}
	h.Now = time.Now
	h.Lookup = func(name string) ([]netip.Addr, error) {
		switch name {
		case "here":
			return []netip.Addr{netip.MustParseAddr("::1"), netip.MustParseAddr("127.0.0.2")}, nil
		case "both":
			return []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("192.0.2.7")}, nil
		}
		return nil, errors.New("no such host")
	}
	return h
}

func TestListen(t *testing.T) {
	user, _ := controltest.User(t)
	const (
		tlsKeys = "\ntls = { cert = 'cert.pem', key = 'key.pem' }"
		inClear = "is not on the loopback (%s) and needs `listen.tls`: commands and output would cross the network in the clear"
	)
	keys := fmt.Sprintf("\nnkeys = [{ key = %q, role = 'read' }]", user)
	for name, tt := range map[string]struct {
		text    string
		bind    string // if it is accepted
		problem string // a part of the only one
		expired bool
	}{
		"loopback":              {"address = '127.0.0.1:4222'" + keys, "127.0.0.1:4222", "", false},
		"loopback 6":            {"address = '[::1]:4222'" + keys, "[::1]:4222", "", false},
		"localhost":             {"address = 'localhost:4222'" + keys, "127.0.0.1:4222", "", false},
		"name on the loopback":  {"address = 'here:4222'" + keys, "127.0.0.2:4222", "", false},
		"all with TLS":          {"address = ':4222'" + keys + tlsKeys, ":4222", "", false},
		"a group's key":         {"address = ':1'" + keys + "\ntls = { cert = 'cert.pem', key = 'group.pem', ca = 'ca.pem' }", ":1", "", false},
		"off":                   {"", "", "", false},
		"all":                   {"address = ':4222'" + keys, "", fmt.Sprintf(inClear, "all addresses of this machine"), false},
		"any":                   {"address = '0.0.0.0:4222'" + keys, "", fmt.Sprintf(inClear, "0.0.0.0"), false},
		"any 6":                 {"address = '[::]:4222'" + keys, "", fmt.Sprintf(inClear, "::"), false},
		"mapped":                {"address = '[::ffff:192.0.2.7]:4222'" + keys, "", fmt.Sprintf(inClear, "::ffff:192.0.2.7"), false},
		"name off the loopback": {"address = 'both:4222'" + keys, "", fmt.Sprintf(inClear, "192.0.2.7"), false},
		"unknown name":          {"address = 'absent:4222'" + keys, "", "2:11: warning: `listen.address`: cannot resolve absent: supd will not listen until the configuration is applied again", false},
		"no port":               {"address = '127.0.0.1'" + keys, "", "2:11: `listen.address` must be an address and a port from 1 to 65535, not \"127.0.0.1\"", false},
		"port 0":                {"address = '127.0.0.1:0'" + keys, "", "must be an address and a port", false},
		"bare IPv6":             {"address = '::1:4222'" + keys, "", "must be an address and a port", false},
		"no keys":               {"address = '127.0.0.1:4222'", "", "2:11: `listen.address` needs `listen.nkeys`: without keys nobody could connect", false},
		"no address":            {keys, "", "warning: `listen.nkeys` has no effect without `listen.address`", false},
		"keys no list":          {"address = '127.0.0.1:1'\nnkeys = 'x'", "", "3:9: `listen.nkeys` must be a list, not a string", false},
		"key no table":          {"address = '127.0.0.1:1'\nnkeys = ['x']", "", "`listen.nkeys` must be a table, not a string", false},
		"key twice":             {fmt.Sprintf("address = '127.0.0.1:1'\nnkeys = [{key=%q,role='read'},{key=%q,role='command'}]", user, user), "", "twice", false},
		"role":                  {fmt.Sprintf("address = '127.0.0.1:1'\nnkeys = [{key=%q,role='admin'}]", user), "", "`role` must be one of read, command, not \"admin\"", false},
		"no role":               {fmt.Sprintf("address = '127.0.0.1:1'\nnkeys = [{key=%q}]", user), "", "needs both key and role", false},
		"a seed":                {"address = '127.0.0.1:1'\nnkeys = [{key='SUAJFHDWF3XYZ',role='read'}]", "", "`key` must be a public key and seems to be a secret one", false},
		"no key of a user":      {"address = '127.0.0.1:1'\nnkeys = [{key='AAJFHDWF3XYZ',role='read'}]", "", "`key` must be the public nkey of a user", false},
		"cert alone":            {"address = ':1'" + keys + "\ntls = { cert = 'cert.pem' }", "", "`listen.tls.cert` needs `listen.tls.key`", false},
		"key alone":             {"address = '127.0.0.1:1'" + keys + "\ntls = { key = 'key.pem' }", "", "`listen.tls.key` needs `listen.tls.cert`", false},
		"ca alone":              {"address = '127.0.0.1:1'" + keys + "\ntls = { ca = 'ca.pem' }", "", "`listen.tls.ca` needs", false},
		"not a pair":            {"address = ':1'" + keys + "\ntls = { cert = 'other.pem', key = 'key.pem' }", "", "private key does not match public key", false},
		"key for all":           {"address = ':1'" + keys + "\ntls = { cert = 'cert.pem', key = 'open.pem' }", "", "`listen.tls.key`: /etc/supd/open.pem has mode 0644: others could read or change the key", false},
		"key of another":        {"address = ':1'" + keys + "\ntls = { cert = 'cert.pem', key = 'theirs.pem' }", "", "belongs to uid 77", false},
		"missing file":          {"address = ':1'" + keys + "\ntls = { cert = 'absent.pem', key = 'key.pem' }", "", "`listen.tls.cert`: cannot read /etc/supd/absent.pem: file does not exist", false},
		"no PEM":                {"address = ':1'" + keys + "\ntls = { cert = 'text.pem', key = 'key.pem' }", "", "/etc/supd/text.pem holds no PEM text", false},
		"ca without one":        {"address = ':1'" + keys + "\ntls = { cert = 'cert.pem', key = 'key.pem', ca = 'key.pem' }", "", "`listen.tls.ca` holds no certificate", false},
		"unknown key":           {"adress = ':1'", "", "unknown key `listen.adress`", false},
		"expired":               {"address = ':1'" + keys + tlsKeys, ":1", "warning: `listen.tls.cert` has expired", true},
	} {
		t.Run(name, func(t *testing.T) {
			until := time.Now().Add(time.Hour)
			if tt.expired {
				until = time.Now().Add(-time.Hour)
			}
			set, problems := Load("/etc/supd/supd.toml", listenHost(t, "[listen]\n"+tt.text, until))
			got := Format(problems)
			if n := len(problems); (n != 0) != (tt.problem != "") || n > 1 || !strings.Contains(got, tt.problem) {
				t.Fatalf("want one problem with %q, got:\n%s", tt.problem, got)
			}
			if strings.Contains(got, "XYZ") || strings.Contains(got, "PRIVATE") {
				t.Errorf("a problem repeats what may be a secret:\n%s", got)
			}
			if tt.bind != "" && set.Listen.Bind != tt.bind {
				t.Errorf("it binds %q, want %q", set.Listen.Bind, tt.bind)
			}
			if set != nil && tt.bind == "" && set.Listen.Bind != "" {
				t.Errorf("it binds %q", set.Listen.Bind)
			}
		})
	}
}
