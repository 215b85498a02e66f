package control_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"supd/journal/control"
	"supd/journal/control/controltest"
	"supd/journal/control/wire"
	"supd/journal/event"
)

func commandJSON(t *testing.T, id string) []byte {
	t.Helper()
	b, err := json.Marshal(event.CommandRequest{ID: id, Verb: event.VerbStop, Patterns: []string{"web"}, SentAt: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

const someID = "01890a5d-ac96-774b-bcce-b302099a8057"

// Whatever a reader publishes where it may not, nothing of it arrives.
func TestForbiddenPublish(t *testing.T) {
	opts, actor := reader()
	rig := controltest.Start(t, opts)
	rig.Append(t, event.Draft{Subject: "web", Data: event.InstanceStartingData{}})
	before := journal(t, rig)
	nc := connect(t, rig.Socket, inboxToken)
	for _, subject := range []string{
		"sup.n1.cmd." + actor + ".web",               // a reader may not command
		"sup.n1.cmd.uid-0.web",                       // a forged actor
		"sup.n1.ask.uid-0.status",                    // a forged actor
		"sup.n1.evt.web.instance.exited",             // a forged record
		"_INBOX.somebody-else.x",                     // an answer to somebody else
		"$JS.API.STREAM.DELETE.JOURNAL",              //
		"$JS.API.STREAM.PURGE.JOURNAL",               //
		"$JS.API.STREAM.UPDATE.JOURNAL",              //
		"$JS.API.STREAM.CREATE.MINE",                 //
		"$JS.API.STREAM.MSG.DELETE.JOURNAL",          //
		"$JS.API.STREAM.SNAPSHOT.JOURNAL",            // delivers to a subject of choice
		"$JS.API.STREAM.RESTORE.X",                   //
		"$JS.API.CONSUMER.DURABLE.CREATE.JOURNAL.me", //
		"$JS.API.CONSUMER.CREATE.JOURNAL",            // the server would choose the name
		"$JS.API.CONSUMER.PAUSE.JOURNAL.x",           //
		"$JS.API.CONSUMER.MSG.NEXT.JOURNAL.another",  // not its own
		"$JS.ACK.JOURNAL.another.1.1.1.1.1",          //
		"$SYS.REQ.SERVER.PING", "$SYS.ACCOUNT.x",     //
	} {
		if err := nc.Publish(subject, commandJSON(t, someID)); err != nil {
			t.Fatal(err)
		}
		denied(t, rig.Engine, actor, subject)
	}
	if nc.IsClosed() {
		t.Error("a violation must not end the connection")
	}
	if commands, _, _ := rig.Engine.Seen(); len(commands) > 0 {
		t.Errorf("commands came through: %+v", commands)
	}
	if diff := cmp.Diff(before, journal(t, rig)); diff != "" {
		t.Errorf("the journal changed:\n%s", diff)
	}
}

func TestForbiddenSubscribe(t *testing.T) {
	opts, actor := reader()
	rig := controltest.Start(t, opts)
	nc := connect(t, rig.Socket, inboxToken)
	for _, subject := range []string{
		">", "_INBOX.>", "_INBOX.*.>", "_INBOX.victim0001.>", "sup.>", "sup.n1.cmd.>", "sup.n1.ask.>", "$JS.>", "$SYS.>", "*.n1.evt.>",
	} {
		if _, err := nc.SubscribeSync(subject); err != nil {
			t.Fatal(err)
		}
		nc.Flush()
		denied(t, rig.Engine, actor, subject)
	}
}

// The server answers wherever a request says: with the server's rights. So a
// reply subject outside the own inbox never reaches it.
func TestReplySubjectIsTheOwnInbox(t *testing.T) {
	rig := controltest.Start(t, root())
	rig.Append(t, event.Draft{Subject: "web", Data: event.InstanceStartingData{}})
	before := journal(t, rig)
	nc := connect(t, rig.Socket, inboxToken)
	victim := connect(t, rig.Socket, "victim0001")
	heard, err := victim.SubscribeSync("_INBOX.victim0001.>")
	if err != nil {
		t.Fatal(err)
	}
	victim.Flush()
	actor := "uid-0"
	for _, reply := range []string{
		"sup.n1.evt.web.instance.exited", "sup.n1.cmd.uid-0.web", "_INBOX.victim0001.x", "_INBOX." + inboxToken + "x.y",
		"$JS.API.STREAM.PURGE.JOURNAL", "_INBOX." + inboxToken + ".*", "_R_.x",
	} {
		for _, subject := range []string{"$JS.API.INFO", "$JS.API.STREAM.INFO.JOURNAL", "$JS.API.DIRECT.GET.JOURNAL", "sup.n1.ask.uid-0.info"} {
			if err := nc.PublishRequest(subject, reply, []byte(`{"seq":1}`)); err != nil {
				t.Fatal(err)
			}
		}
		denied(t, rig.Engine, actor, reply)
	}
	if n, _, _ := heard.Pending(); n > 0 {
		t.Error("the victim heard something")
	}
	if diff := cmp.Diff(before, journal(t, rig)); diff != "" {
		t.Errorf("the journal changed:\n%s", diff)
	}
}

// connectUnguarded is a connection with a reader's permissions that no guard
// sees: what an embedded server alone would offer.
func connectUnguarded(t *testing.T, rig *controltest.Rig) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect("", nats.InProcessServer(rig.NATS), nats.Token(rig.Auth.ReaderToken("uid-1000", inboxToken)),
		nats.CustomInboxPrefix(wire.InboxPrefix+inboxToken), nats.NoReconnect())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// This is why the guard exists: without it the server publishes, with its own
// rights, on subjects that a reader may not publish to. If
// this test fails the server has learnt to check, and the guard could be less.
func TestServerAloneWouldPublishForReaders(t *testing.T) {
	rig := controltest.Start(t, root())
	rig.Append(t, event.Draft{Subject: "web", Data: event.InstanceStartingData{}})
	// A literal subscription: a wildcard alone does not wake a push consumer.
	heard, err := rig.Conn.SubscribeSync("sup.n1.cmd.uid-7.web")
	if err != nil {
		t.Fatal(err)
	}
	rig.Conn.Flush()
	nc := connectUnguarded(t, rig)
	body := `{"stream_name":"JOURNAL","config":{"name":"c","deliver_subject":"sup.n1.cmd.uid-7.web","ack_policy":"none","deliver_policy":"all","replay_policy":"instant"}}`
	m, err := nc.Request("$JS.API.CONSUMER.CREATE.JOURNAL.c", []byte(body), 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := heard.NextMsg(5 * time.Second); err != nil {
		t.Fatalf("the server did not deliver: %v; it answered %s", err, m.Data)
	}
	// The same with a reply subject: a record lands on a command subject.
	if err := nc.PublishRequest("$JS.API.DIRECT.GET.JOURNAL", "sup.n1.cmd.uid-7.web", []byte(`{"seq":1}`)); err != nil {
		t.Fatal(err)
	}
	if _, err := heard.NextMsg(5 * time.Second); err != nil {
		t.Fatalf("the server did not answer there: %v", err)
	}
	// And an answer of the API lands in the journal itself.
	before := journal(t, rig).Msgs
	if err := nc.PublishRequest("$JS.API.INFO", "sup.n1.evt.web.instance.exited", nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, "an answer in the journal", func() bool { return journal(t, rig).Msgs > before })
}

func TestConsumersAreHarmless(t *testing.T) {
	rig := controltest.Start(t, root())
	nc := connect(t, rig.Socket, inboxToken)
	const create = "$JS.API.CONSUMER.CREATE.JOURNAL."
	for i, config := range []string{
		`{"deliver_subject":"sup.n1.cmd.uid-0.web"}`,
		`{"deliver_subject":"_INBOX.attacker01.x"}`,
		`{"DELIVER_SUBJECT":"sup.n1.cmd.uid-0.web"}`,
		`{"deliver_subject":"","deliver_subject":"sup.n1.evt.x"}`,
		`{"deliver\u005fsubject":"sup.n1.evt.x"}`,
		`{"durable_name":"d"}`, `{"direct":true}`, `{"sourcing":true}`, `{"name":"other"}`, `[]`, `{`, ``,
	} {
		name := fmt.Sprintf("bad%d", i)
		body := `{"stream_name":"JOURNAL","config":` + config + `}`
		if _, err := nc.Request(create+name, []byte(body), 100*time.Millisecond); err == nil {
			t.Errorf("%s was accepted", config)
		}
		denied(t, rig.Engine, "uid-0", create+name)
	}
	js, err := rig.Conn.JetStream()
	if err != nil {
		t.Fatal(err)
	}
	for name := range js.ConsumerNames(event.Stream) {
		t.Errorf("consumer %s exists", name)
	}
	// What is allowed is bounded, whatever was asked for.
	body := `{"stream_name":"JOURNAL","config":{"name":"ok","inactive_threshold":99999999999999,"max_waiting":99999,"num_replicas":3,"mem_storage":false}}`
	if _, err := nc.Request(create+"ok", []byte(body), 5*time.Second); err != nil {
		t.Fatal(err)
	}
	info, err := js.ConsumerInfo(event.Stream, "ok")
	if err != nil {
		t.Fatal(err)
	}
	c := info.Config
	if c.InactiveThreshold > 5*time.Minute || c.MaxWaiting > 64 || !c.MemoryStorage || c.Durable != "" || c.DeliverSubject != "" || c.Replicas != 1 {
		t.Errorf("got %+v", c)
	}
}

// asUsers makes whoever connects the user uid; root and 1000 may command.
func asUsers(uid *atomic.Int32) controltest.Options {
	return controltest.Options{
		Access: &control.Access{Owner: 1000},
		Peer:   func(c net.Conn) (control.Peer, error) { return asUser(int(uid.Load()), 100)(c) },
	}
}

// One actor's consumers stay few, and are its own.
func TestConsumersAreFewAndOwn(t *testing.T) {
	var uid atomic.Int32
	rig := controltest.Start(t, asUsers(&uid))
	nc := connect(t, rig.Socket, inboxToken)
	js, err := rig.Conn.JetStream()
	if err != nil {
		t.Fatal(err)
	}
	create := func(nc *nats.Conn, name string, wait time.Duration) error {
		body := `{"stream_name":"JOURNAL","config":{"name":"` + name + `"}}`
		_, err := nc.Request("$JS.API.CONSUMER.CREATE.JOURNAL."+name, []byte(body), wait)
		return err
	}
	for i := range 100 {
		if err := create(nc, fmt.Sprintf("c%d", i), 5*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the oldest consumers give way", func() bool { return journal(t, rig).Consumers == 32 })
	uid.Store(1000)
	other := connect(t, rig.Socket, "another-user")
	if err := create(other, "c99", 100*time.Millisecond); err == nil {
		t.Error("took over another's consumer")
	}
	denied(t, rig.Engine, "uid-1000", "$JS.API.CONSUMER.CREATE.JOURNAL.c99")
	for _, subject := range []string{"$JS.API.CONSUMER.DELETE.JOURNAL.c99", "$JS.API.CONSUMER.MSG.NEXT.JOURNAL.c99"} {
		if err := other.Publish(subject, nil); err != nil {
			t.Fatal(err)
		}
		denied(t, rig.Engine, "uid-1000", subject)
	}
	if _, err := js.ConsumerInfo(event.Stream, "c99"); err != nil {
		t.Error(err)
	}
}

// Headers can make the server publish; none arrives.
func TestHeadersAreTakenOff(t *testing.T) {
	rig := controltest.Start(t, root())
	seen := make(chan control.Request, 1)
	rig.Engine.OnAsk = func(_ string, r control.Request) (any, error) { seen <- r; return "x", nil }
	traced, err := rig.Conn.SubscribeSync("sup.n1.cmd.uid-0.trace")
	if err != nil {
		t.Fatal(err)
	}
	rig.Conn.Flush()
	nc := connect(t, rig.Socket, inboxToken)
	m := nats.NewMsg("sup.n1.ask.uid-0.info")
	m.Header.Set("Nats-Trace-Dest", "sup.n1.cmd.uid-0.trace")
	m.Data = []byte("body")
	if _, err := nc.RequestMsg(m, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	if r := <-seen; string(r.Data) != "body" {
		t.Errorf("got %q", r.Data)
	}
	if n, _, _ := traced.Pending(); n > 0 {
		t.Error("the server published a trace")
	}
}

// Another user can neither take a live inbox nor hear it.
func TestInboxBelongsToOneUser(t *testing.T) {
	var uid atomic.Int32
	rig := controltest.Start(t, asUsers(&uid))
	connect(t, rig.Socket, "shared-token")
	connect(t, rig.Socket, "shared-token") // the same user may, while it reconnects
	uid.Store(1000)
	if _, err := tryConnect(rig.Socket, "shared-token"); !isRefusal(err, wire.RefusedInvalid) {
		t.Errorf("got %v", err)
	}
}

// A client that names no inbox hears no replies, but may listen.
func TestNoInbox(t *testing.T) {
	rig := controltest.Start(t, root())
	nc, err := nats.Connect("nats://127.0.0.1", nats.SetCustomDialer(unixDialer(rig.Socket)), nats.NoReconnect())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	sub, err := nc.SubscribeSync("sup.n1.evt.>")
	if err != nil {
		t.Fatal(err)
	}
	nc.Flush()
	rig.Append(t, event.Draft{Subject: "web", Data: event.InstanceStartingData{}})
	if _, err := sub.NextMsg(5 * time.Second); err != nil {
		t.Error(err)
	}
	if _, err := nc.Request("sup.n1.ask.uid-0.info", nil, 100*time.Millisecond); err == nil {
		t.Error("got a reply on an inbox that is not its own")
	}
}

func TestTooLargeAndMalformed(t *testing.T) {
	rig := controltest.Start(t, root())
	nc := connect(t, rig.Socket, inboxToken)
	ask := func(data []byte) event.CommandReply {
		t.Helper()
		m, err := nc.Request("sup.n1.cmd.uid-0.web", data, 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		var r event.CommandReply
		if err := json.Unmarshal(m.Data, &r); err != nil {
			t.Fatal(err)
		}
		return r
	}
	for _, tt := range []struct {
		data   []byte
		reason string
	}{
		{bytes.Repeat([]byte("x"), event.MaxRequestSize+1), event.RejectTooLarge},
		{nil, event.RejectMalformed},
		{[]byte(`{"id":"x"}`), event.RejectMalformed},
		{[]byte(strings.Repeat("[", 100_000)), event.RejectMalformed},
	} {
		if r := ask(tt.data); r.Status != event.ReplyRejected || r.Reason != tt.reason || len(r.Detail) > event.MaxDetail {
			t.Errorf("%.20q: %+v", tt.data, r)
		}
	}
	if err := nc.Publish("sup.n1.cmd.uid-0.web", make([]byte, 2<<20)); err == nil {
		t.Error("2 MiB were accepted by the client library: INFO did not say max_payload")
	}
	if _, _, rejects := rig.Engine.Seen(); len(rejects) != 4 {
		t.Errorf("rejects: %v", rejects)
	}
}
