package control_test

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"supd/journal/control"
	"supd/journal/control/controltest"
	"supd/journal/control/wire"
	"supd/journal/event"
)

// networkRig is a rig with a listener on the loopback.
type networkRig struct {
	*controltest.Rig
	address                string
	authority              *controltest.Authority
	authorityFile          string
	reader, commander      string // public keys
	readerSeed, commanders string // their seeds' files
}

// how a rig's listener asks for certificates.
type demand int

const (
	plaintext demand = iota
	serverTLS
	mutualTLS
	expiredTLS
)

func startNetwork(t *testing.T, how demand) *networkRig {
	t.Helper()
	r := &networkRig{authority: controltest.NewAuthority(t)}
	r.authorityFile = controltest.Write(t, "ca.pem", r.authority.PEM)
	r.reader, r.readerSeed = controltest.User(t)
	r.commander, r.commanders = controltest.User(t)
	opts := root()
	opts.Access = &control.Access{Owner: os.Getuid(), Network: r.network(t, how)}
	r.Rig = controltest.Start(t, opts)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.address = l.Addr().String()
	go r.Bridge.ServeNetwork(l) // ends with the bridge
	return r
}

func (r *networkRig) network(t *testing.T, how demand) control.Network {
	t.Helper()
	var cert, key, ca []byte
	until := time.Now().Add(time.Hour)
	if how == expiredTLS {
		until = time.Now().Add(-time.Hour)
	}
	if how != plaintext {
		cert, key = r.authority.Issue(t, until)
	}
	if how == mutualTLS {
		ca = r.authority.PEM
	}
	n, err := control.NewNetwork(map[string]control.Role{r.reader: control.RoleRead, r.commander: control.RoleCommand}, cert, key, ca)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func (r *networkRig) clientCert(t *testing.T, a *controltest.Authority, until time.Time) nats.Option {
	t.Helper()
	cert, key := a.Issue(t, until)
	return nats.ClientCert(controltest.Write(t, "cert.pem", cert), controltest.Write(t, "key.pem", key))
}

// dial connects with the key of a seed.
func (r *networkRig) dial(t *testing.T, seedFile string, opts ...nats.Option) (*nats.Conn, error) {
	t.Helper()
	nkey, err := nats.NkeyOptionFromSeed(seedFile)
	if err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect("nats://"+r.address, append([]nats.Option{
		nkey, nats.NoReconnect(), nats.Timeout(5 * time.Second), nats.CustomInboxPrefix(wire.InboxPrefix + publicOf(t, seedFile)),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}),
	}, opts...)...)
	if err == nil {
		t.Cleanup(nc.Close)
	}
	return nc, err
}

func publicOf(t *testing.T, seedFile string) string {
	t.Helper()
	text, err := os.ReadFile(seedFile)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := nkeys.ParseDecoratedUserNKey(text)
	if err != nil {
		t.Fatal(err)
	}
	public, err := pair.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return public
}

func (r *networkRig) mustDial(t *testing.T, seedFile string, opts ...nats.Option) *nats.Conn {
	t.Helper()
	nc, err := r.dial(t, seedFile, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return nc
}

// Everything a client does on the socket it does on the network, under the
// name of its key, with the role the key has.
func TestNetworkClient(t *testing.T) {
	for _, how := range []demand{plaintext, serverTLS, mutualTLS} {
		t.Run(fmt.Sprint(how), func(t *testing.T) {
			r := startNetwork(t, how)
			r.Append(t, event.Draft{Subject: "web", Data: event.InstanceStartingData{}})
			var opts []nats.Option
			if how != plaintext {
				opts = append(opts, nats.RootCAs(r.authorityFile))
			}
			if how == mutualTLS {
				opts = append(opts, r.clientCert(t, r.authority, time.Now().Add(time.Hour)))
			}
			actor := "nkey-" + r.commander
			nc := r.mustDial(t, r.commanders, opts...)
			m, err := nc.Request("sup.n1.cmd."+actor+".web", commandJSON(t, someID), 5*time.Second)
			if err != nil || !strings.Contains(string(m.Data), "accepted") {
				t.Fatalf("%v %s", err, m.Data)
			}
			commands, _, _ := r.Engine.Seen()
			if len(commands) != 1 || commands[0].Actor != actor || commands[0].Client != nil || commands[0].Remote != nc.LocalAddr() {
				t.Errorf("the engine saw %+v", commands)
			}
			if m, err := nc.Request("$JS.API.DIRECT.GET.JOURNAL", []byte(`{"seq":1}`), 5*time.Second); err != nil || !strings.Contains(string(m.Data), "instance.starting") {
				t.Errorf("the journal: %v %+v", err, m)
			}
		})
	}
}

// A reader's key may do what a reader may do on the socket, and no more.
func TestNetworkReader(t *testing.T) {
	r := startNetwork(t, serverTLS)
	r.Append(t, event.Draft{Subject: "web", Data: event.InstanceStartingData{}})
	before := journal(t, r.Rig)
	nc := r.mustDial(t, r.readerSeed, nats.RootCAs(r.authorityFile))
	actor := "nkey-" + r.reader
	victim := r.mustDial(t, r.commanders, nats.RootCAs(r.authorityFile), nats.UserInfo("victim0001", ""), nats.CustomInboxPrefix("_INBOX.victim0001"))
	heard, err := victim.SubscribeSync("_INBOX.victim0001.>")
	if err != nil {
		t.Fatal(err)
	}
	victim.Flush()
	for _, subject := range []string{
		"sup.n1.cmd." + actor + ".web", "sup.n1.cmd.nkey-" + r.commander + ".web", "sup.n1.cmd.uid-0.web", "sup.n1.ask.uid-0.status",
		"sup.n1.evt.web.instance.exited", "_INBOX.victim0001.x",
		"$JS.API.STREAM.DELETE.JOURNAL", "$JS.API.STREAM.PURGE.JOURNAL", "$JS.API.STREAM.MSG.DELETE.JOURNAL",
		"$JS.API.CONSUMER.DURABLE.CREATE.JOURNAL.me",
	} {
		if err := nc.Publish(subject, commandJSON(t, someID)); err != nil {
			t.Fatal(err)
		}
		denied(t, r.Engine, actor, subject)
	}
	push := `{"stream_name":"JOURNAL","config":{"deliver_subject":"sup.n1.cmd.nkey-` + r.commander + `.web"}}`
	if err := nc.Publish("$JS.API.CONSUMER.CREATE.JOURNAL.c", []byte(push)); err != nil {
		t.Fatal(err)
	}
	denied(t, r.Engine, actor, "$JS.API.CONSUMER.CREATE.JOURNAL.c")
	for _, subject := range []string{"_INBOX.>", "_INBOX.victim0001.>", "_INBOX." + r.commander + ".>", "sup.n1.cmd.>", "$JS.>", ">"} {
		if _, err := nc.SubscribeSync(subject); err != nil {
			t.Fatal(err)
		}
		nc.Flush()
		denied(t, r.Engine, actor, subject)
	}
	if m, err := nc.Request("sup.n1.ask."+actor+".info", nil, 5*time.Second); err != nil || len(m.Data) == 0 {
		t.Errorf("a reader may ask: %v", err)
	}
	if commands, _, _ := r.Engine.Seen(); len(commands) > 0 {
		t.Errorf("commands came through: %+v", commands)
	}
	if n, _, _ := heard.Pending(); n > 0 {
		t.Error("the victim heard something")
	}
	if diff := cmp.Diff(before, journal(t, r.Rig)); diff != "" {
		t.Errorf("the journal changed:\n%s", diff)
	}
}

// Nobody else's inbox can be had, by the name of a key or otherwise.
func TestNetworkInboxes(t *testing.T) {
	r := startNetwork(t, plaintext)
	if _, err := r.dial(t, r.readerSeed, nats.UserInfo(r.commander, "")); !isRefusal(err, wire.RefusedInvalid) {
		t.Errorf("the inbox of another key: %v", err)
	}
	// Nor from the socket: it would keep the key's owner out.
	if _, err := tryConnect(r.Socket, r.commander); !isRefusal(err, wire.RefusedInvalid) {
		t.Errorf("the inbox of a key, from the socket: %v", err)
	}
}

func TestNetworkRefuses(t *testing.T) {
	_, strange := controltest.User(t)
	foreign := controltest.NewAuthority(t)
	for _, tt := range []struct {
		name  string
		how   demand
		seed  func(*networkRig) string
		opts  func(*testing.T, *networkRig) []nats.Option
		error string // part of it
	}{
		{"a key that is not listed", serverTLS, func(*networkRig) string { return strange }, nil, "authorization violation"},
		{"a certificate nobody trusts", serverTLS, nil, func(*testing.T, *networkRig) []nats.Option {
			return []nats.Option{nats.RootCAs(controltest.Write(t, "f.pem", foreign.PEM))}
		}, "unknown authority"},
		{"an expired certificate of ours", expiredTLS, nil, nil, "expired"},
		{"TLS 1.0", serverTLS, nil, func(_ *testing.T, r *networkRig) []nats.Option {
			return []nats.Option{nats.Secure(&tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11})}
		}, "protocol version"},
		{"no client certificate", mutualTLS, nil, nil, ""},
		{"a client certificate of another authority", mutualTLS, nil, func(t *testing.T, r *networkRig) []nats.Option {
			return []nats.Option{r.clientCert(t, foreign, time.Now().Add(time.Hour))}
		}, ""},
		{"an expired client certificate", mutualTLS, nil, func(t *testing.T, r *networkRig) []nats.Option {
			return []nats.Option{r.clientCert(t, r.authority, time.Now().Add(-time.Minute))}
		}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := startNetwork(t, tt.how)
			opts := []nats.Option{nats.RootCAs(r.authorityFile)}
			if tt.opts != nil {
				opts = append(opts, tt.opts(t, r)...)
			}
			seed := r.commanders
			if tt.seed != nil {
				seed = tt.seed(r)
			}
			nc, err := r.dial(t, seed, opts...)
			if err == nil { // TLS 1.3 clients hear of their certificate only when they read
				err = nc.FlushTimeout(5 * time.Second)
			}
			if err == nil || !strings.Contains(strings.ToLower(err.Error()), tt.error) {
				t.Fatalf("got %v, want an error with %q", err, tt.error)
			}
			denied(t, r.Engine, "network", "connect")
			if n := r.Bridge.Stats().Accepted.Load(); n != 0 {
				t.Errorf("%d connections were let in", n)
			}
		})
	}
}

// Who speaks plaintext where TLS is asked for is not answered, whatever it
// can prove.
func TestNetworkPlaintextForTLS(t *testing.T) {
	r := startNetwork(t, serverTLS)
	conn, in, nonce := r.challenge(t)
	fmt.Fprintf(conn, "CONNECT {\"nkey\":%q,\"sig\":%q}\r\nPING\r\n", r.commander, sign(t, r.commanders, nonce))
	if rest, _ := io.ReadAll(in); strings.Contains(string(rest), "PONG") {
		t.Errorf("it was answered: %q", rest)
	}
	denied(t, r.Engine, "network", "connect")
	if n := r.Bridge.Stats().Accepted.Load(); n != 0 {
		t.Errorf("%d connections were let in", n)
	}
}

// challenge connects without NATS code and returns the nonce.
func (r *networkRig) challenge(t *testing.T) (net.Conn, *bufio.Reader, string) {
	t.Helper()
	conn, err := net.Dial("tcp", r.address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(time.Minute))
	in := bufio.NewReader(conn)
	line, err := in.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	var info struct {
		Nonce string `json:"nonce"`
		Auth  bool   `json:"auth_required"`
	}
	if err := json.Unmarshal([]byte(strings.TrimPrefix(line, "INFO ")), &info); err != nil || len(info.Nonce) < 22 || !info.Auth {
		t.Fatalf("%v: %s", err, line)
	}
	return conn, in, info.Nonce
}

func sign(t *testing.T, seedFile, nonce string) string {
	t.Helper()
	seed, err := os.ReadFile(seedFile)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := nkeys.ParseDecoratedUserNKey(seed)
	if err != nil {
		t.Fatal(err)
	}
	sig, err := pair.Sign([]byte(nonce))
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(sig)
}

// Of what a stranger may say, only the signature of this connection's nonce
// lets it in.
func TestNetworkProof(t *testing.T) {
	r := startNetwork(t, plaintext)
	_, _, old := r.challenge(t)
	overheard := sign(t, r.commanders, old)
	for name, line := range map[string]func(nonce string) string{
		"nothing":                   func(string) string { return "{}" },
		"a key without a signature": func(string) string { return fmt.Sprintf(`{"nkey":%q}`, r.commander) },
		"a signature overheard":     func(string) string { return fmt.Sprintf(`{"nkey":%q,"sig":%q}`, r.commander, overheard) },
		"another's signature": func(n string) string {
			return fmt.Sprintf(`{"nkey":%q,"sig":%q}`, r.commander, sign(t, r.readerSeed, n))
		},
		"a signature that is none": func(string) string { return fmt.Sprintf(`{"nkey":%q,"sig":"***"}`, r.commander) },
		"an empty signature":       func(string) string { return fmt.Sprintf(`{"nkey":%q,"sig":"AA"}`, r.commander) },
		"no user's key": func(n string) string {
			return fmt.Sprintf(`{"nkey":"A%s","sig":%q}`, r.commander[1:], sign(t, r.commanders, n))
		},
		"a token of the engine":       func(string) string { return fmt.Sprintf(`{"auth_token":%q}`, r.Auth.InternalToken()) },
		"a user and a password":       func(string) string { return `{"user":"root","pass":"root"}` },
		"a key that the socket knows": func(string) string { return `{"nkey":"uid-0","sig":"AA"}` },
	} {
		t.Run(name, func(t *testing.T) {
			conn, in, nonce := r.challenge(t)
			fmt.Fprintf(conn, "CONNECT %s\r\nPING\r\n", line(nonce))
			answer, err := in.ReadString('\n')
			if err != nil || answer != "-ERR 'Authorization Violation'\r\n" {
				t.Errorf("%q %v", answer, err)
			}
			if rest, _ := io.ReadAll(in); len(rest) > 0 {
				t.Errorf("it went on: %q", rest)
			}
		})
	}
	conn, in, nonce := r.challenge(t)
	fmt.Fprintf(conn, "CONNECT {\"nkey\":%q,\"sig\":%q}\r\nPING\r\n", r.commander, sign(t, r.commanders, nonce))
	if answer, err := in.ReadString('\n'); err != nil || answer != "PONG\r\n" {
		t.Errorf("the right signature: %q %v", answer, err)
	}
	if n := r.Bridge.Stats().Accepted.Load(); n != 1 {
		t.Errorf("%d connections were let in", n)
	}
}

// Strangers that say nothing, or a little at a time, or too much, keep nobody
// out for long, and one address never takes all room.
func TestNetworkStrangers(t *testing.T) {
	t.Parallel()
	r := startNetwork(t, plaintext)
	conn, in, _ := r.challenge(t)
	conn.Write([]byte("CONNECT "))
	go func() {
		for { // a slow loris
			if _, err := conn.Write([]byte(" ")); err != nil {
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
	}()
	big, bigIn, _ := r.challenge(t)
	big.Write([]byte("CONNECT {\"name\":\"" + strings.Repeat("x", 100<<10)))
	if answer, _ := bigIn.ReadString('\n'); !strings.Contains(answer, "Authorization Violation") {
		t.Errorf("an endless line: %q", answer)
	}
	var crowd []net.Conn
	for range 200 {
		c, err := net.Dial("tcp", r.address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		crowd = append(crowd, c)
	}
	greeted := 0
	for _, c := range crowd {
		c.SetReadDeadline(time.Now().Add(time.Minute))
		if n, _ := c.Read(make([]byte, 5)); n == 5 {
			greeted++
		}
	}
	if greeted == 0 || greeted > 48 {
		t.Errorf("%d strangers of one address were greeted", greeted)
	}
	if _, err := tryConnect(r.Socket, inboxToken); err != nil {
		t.Errorf("the socket is not the network's: %v", err)
	}
	if _, err := io.ReadAll(in); err != nil && !errors.Is(err, net.ErrClosed) && !strings.Contains(err.Error(), "reset") {
		t.Errorf("the slow one was not ended: %v", err)
	}
	eventually(t, "a key gets in again", func() bool {
		nc, err := r.dial(t, r.commanders)
		if err == nil {
			nc.Close()
		}
		return err == nil
	})
}

// An apply closes the connections of keys that are gone, changed or no longer
// asked what is asked now, and no others.
func TestNetworkAccessChanges(t *testing.T) {
	r := startNetwork(t, plaintext)
	reader, commander := r.mustDial(t, r.readerSeed), r.mustDial(t, r.commanders)
	local := connect(t, r.Socket, inboxToken)
	change := func(keys map[string]control.Role, cert, key []byte) {
		t.Helper()
		n, err := control.NewNetwork(keys, cert, key, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Bridge.SetAccess(control.Access{Owner: os.Getuid(), Network: n})
	}
	change(map[string]control.Role{r.commander: control.RoleCommand}, nil, nil)
	eventually(t, "the removed key is out", reader.IsClosed)
	if err := commander.FlushTimeout(5 * time.Second); err != nil {
		t.Errorf("the other was closed too: %v", err)
	}
	if _, err := r.dial(t, r.readerSeed); !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("the removed key: %v", err)
	}
	cert, key := r.authority.Issue(t, time.Now().Add(time.Hour))
	change(map[string]control.Role{r.commander: control.RoleCommand}, cert, key)
	eventually(t, "who came without TLS is out", commander.IsClosed)
	secure := r.mustDial(t, r.commanders, nats.RootCAs(r.authorityFile))
	cert, key = r.authority.Issue(t, time.Now().Add(2*time.Hour))
	change(map[string]control.Role{r.commander: control.RoleCommand}, cert, key)
	if err := secure.FlushTimeout(5 * time.Second); err != nil {
		t.Errorf("a renewed certificate closes nothing: %v", err)
	}
	r.Bridge.SetAccess(control.Access{Owner: os.Getuid()})
	eventually(t, "without a listener all are out", secure.IsClosed)
	if err := local.FlushTimeout(5 * time.Second); err != nil {
		t.Errorf("the socket's were closed: %v", err)
	}
}

// What died with an engine may be tidied up; what others have, and what the
// engine has, may not.
func TestDeletingWhatIsGone(t *testing.T) {
	rig := controltest.Start(t, root())
	js, err := rig.Conn.JetStream()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.AddConsumer(event.Stream, &nats.ConsumerConfig{Name: "engines", InactiveThreshold: time.Minute}); err != nil {
		t.Fatal(err)
	}
	nc := connect(t, rig.Socket, inboxToken)
	for _, name := range []string{"gone", "engines"} {
		m, err := nc.Request("$JS.API.CONSUMER.DELETE.JOURNAL."+name, nil, 5*time.Second)
		if err != nil || !strings.Contains(string(m.Data), "consumer not found") {
			t.Errorf("%s: %v %s", name, err, m.Data)
		}
	}
	if _, denials, _ := rig.Engine.Seen(); len(denials) > 0 {
		t.Errorf("denied: %v", denials)
	}
	if _, err := js.ConsumerInfo(event.Stream, "engines"); err != nil {
		t.Errorf("the engine's own consumer: %v", err)
	}
}
