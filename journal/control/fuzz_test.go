package control

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nkeys"
	"pgregory.net/rapid"

	"supd/journal/control/wire"
	"supd/journal/event"
)

// FuzzConnect: whatever a client says first, the server's CONNECT carries our
// token and no other credentials.
func FuzzConnect(f *testing.F) {
	f.Add([]byte("CONNECT {\"user\":\"abcdefgh\",\"verbose\":true}\r\n"))
	f.Add([]byte("CONNECT {\"auth_token\":\"x\",\"AUTH_TOKEN\":\"y\",\"jwt\":\"z\"}\n"))
	f.Add([]byte("connect\t{}\r\n"))
	f.Add([]byte("PING\r\n"))
	f.Fuzz(func(t *testing.T, line []byte) {
		c, err := readConnect(bufio.NewReaderSize(bytes.NewReader(line), 64))
		if err != nil {
			return
		}
		if !wire.ValidToken(c.inbox) {
			t.Fatalf("inbox token %q", c.inbox)
		}
		out := c.line("secret")
		if n := bytes.Count(out, []byte("\n")); n != 1 || !bytes.HasSuffix(out, []byte("\r\n")) {
			t.Fatalf("%d lines: %q", n, out)
		}
		var got map[string]any
		if err := json.Unmarshal(out[len("CONNECT "):], &got); err != nil {
			t.Fatal(err)
		}
		for k, v := range got {
			switch k {
			case "auth_token":
				if v != "secret" {
					t.Fatalf("token %q", v)
				}
			case "verbose", "pedantic", "tls_required", "name", "lang", "version", "protocol", "echo", "headers", "no_responders":
			default:
				t.Fatalf("field %q got through", k)
			}
		}
	})
}

// sentinelInbox is the own inbox of the fuzzed connection.
const sentinelInbox = "_INBOX.fuzztoken."

// FuzzGuard: whatever a client says, the server hears only whole canonical
// operations, no headers, and reply subjects of the own inbox.
func FuzzGuard(f *testing.F) {
	f.Add([]byte("SUB a 1\r\nPUB a 1\r\nx\r\nPING\r\n"))
	f.Add([]byte("HPUB a _INBOX.fuzztoken.x 12 13\r\nNATS/1.0\r\n\r\nx\r\n"))
	f.Add([]byte("PUB $JS.API.CONSUMER.CREATE.JOURNAL.c 44\r\n{\"stream_name\":\"JOURNAL\",\"config\":{\"name\":\"c\"}}\r\n"))
	f.Add([]byte("pub a b 3\r\nPUB\r\nUNSUB 1 2\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		var out bytes.Buffer
		g := &guard{
			in: bufio.NewReaderSize(bytes.NewReader(in), 16<<10), out: bufio.NewWriter(&out), actor: "uid-1",
			inbox: sentinelInbox, consumers: newConsumers(), denied: func(string) {},
			answer: func(b []byte) {
				if bytes.Count(b, []byte("\n")) != 1 || bytes.Count(b, []byte("'")) != 2 {
					t.Fatalf("answer %q", b)
				}
			},
		}
		_ = g.run()
		g.out.Flush()
		checkCanonical(t, out.Bytes())
	})
}

// checkCanonical reads what the guard wrote with a reader of its own. The
// last operation may be cut where the input ended.
func checkCanonical(t interface{ Fatalf(string, ...any) }, b []byte) {
	for len(b) > 0 {
		end := bytes.Index(b, []byte("\r\n"))
		if end < 0 {
			return
		}
		line := string(b[:end])
		b = b[end+2:]
		args := strings.Split(line, " ")
		switch args[0] {
		case "PING", "PONG", "SUB", "UNSUB":
			continue
		case "PUB":
		default:
			t.Fatalf("the server heard %q", line)
		}
		if len(args) == 4 && !strings.HasPrefix(args[2], sentinelInbox) {
			t.Fatalf("reply subject in %q", line)
		}
		n, err := size(args[len(args)-1], maxPayload)
		if err != nil || len(args) < 3 || len(args) > 4 || strings.ContainsAny(line, "\r\n\x00") {
			t.Fatalf("the server heard %q", line)
		}
		if len(b) < n+2 {
			return
		}
		if strings.HasPrefix(args[1], apiConsumerCreate) {
			checkConsumer(t, b[:n])
		}
		if string(b[n:n+2]) != "\r\n" {
			t.Fatalf("no end behind the payload of %q", line)
		}
		b = b[n+2:]
	}
}

func checkConsumer(t interface{ Fatalf(string, ...any) }, body []byte) {
	var req struct {
		Config map[string]any `json:"config"`
	}
	if err := json.Unmarshal(body, &req); err != nil {
		t.Fatalf("consumer %q: %v", body, err)
	}
	for k := range req.Config {
		if lower := strings.ToLower(k); strings.HasPrefix(lower, "deliver_s") || lower == "durable_name" || lower == "direct" || lower == "sourcing" {
			t.Fatalf("consumer %q", body)
		}
	}
}

// FuzzCommand: no bytes make the decoder panic, and what it accepts is within
// bounds and stays the same when it is written and read again.
func FuzzCommand(f *testing.F) {
	f.Add([]byte(`{"id":"01890a5d-ac96-774b-bcce-b302099a8057","verb":"stop","patterns":["web"],"sent_at":"2026-01-01T00:00:00Z"}`))
	f.Add([]byte(`{"id":"01890A5D-ac96-774b-bcce-b302099a8057"}`))
	f.Add([]byte(`[[[[[[[[[[`))
	f.Fuzz(func(t *testing.T, in []byte) {
		c, id, err := DecodeCommand(in)
		if err != nil {
			return
		}
		if id == nil || *id != c.ID || len(c.Patterns) > event.MaxPatterns {
			t.Fatalf("%+v", c)
		}
		b, err := event.Marshal(c)
		if err != nil {
			t.Skip("a time that JSON cannot hold")
		}
		if len(b) > event.MaxRequestSize {
			return
		}
		again, _, err := DecodeCommand(b)
		if err != nil || again.ID != c.ID || again.Verb != c.Verb || len(again.Patterns) != len(c.Patterns) {
			t.Fatalf("%+v, %v, was %+v", again, err, c)
		}
	})
}

func TestDecodeCommand(t *testing.T) {
	const good = `"id":"01890a5d-ac96-774b-bcce-b302099a8057","sent_at":"2026-01-01T00:00:00Z"`
	tests := []struct{ name, in, err string }{
		{"good", `{` + good + `,"verb":"stop","patterns":["web"]}`, ""},
		{"shutdown", `{` + good + `,"verb":"shutdown","patterns":[]}`, ""},
		{"shutdown of one", `{` + good + `,"verb":"shutdown","patterns":["web"]}`, "no patterns"},
		{"unknown field", `{` + good + `,"verb":"stop","patterns":["web"],"actor":"uid-0"}`, "unknown field"},
		{"two values", `{` + good + `,"verb":"stop","patterns":["web"]}{}`, "follows"},
		{"version 4", `{"id":"9f8a5c7e-7b1a-4b6e-9d3b-111111111111","verb":"stop","patterns":["web"]}`, "UUIDv7"},
		{"upper case", `{"id":"01890A5D-AC96-774B-BCCE-B302099A8057","verb":"stop","patterns":["web"]}`, "UUIDv7"},
		{"braces", `{"id":"{01890a5d-ac96-774b-bcce-b302099a8057}","verb":"stop","patterns":["web"]}`, "UUIDv7"},
		{"verb", `{` + good + `,"verb":"fly","patterns":["web"]}`, "verb"},
		{"no patterns", `{` + good + `,"verb":"stop","patterns":[]}`, "patterns"},
		{"empty pattern", `{` + good + `,"verb":"stop","patterns":[""]}`, "pattern"},
		{"control characters", `{` + good + `,"verb":"stop","patterns":["a\u001bb"]}`, "pattern"},
		{"no time", `{"id":"01890a5d-ac96-774b-bcce-b302099a8057","verb":"stop","patterns":["web"]}`, "sent_at"},
		{"counts of many services", `{` + good + many(event.VerbScale, 200, 200), ""},
		{"more counts than services", `{` + good + many(event.VerbScale, 200, 200+maxArgs+1), "arguments"},
		{"arguments of a stop", `{` + good + many(event.VerbStop, 200, maxArgs+1), "arguments"},
		{"more services than can be", `{` + good + many(event.VerbScale, event.MaxPatterns+1, 1), "patterns"},
		{"depth", `{` + good + `,"x":` + strings.Repeat("[", 9) + strings.Repeat("]", 9) + `}`, "deeper"},
		{"not UTF-8", "{\"id\":\"\xff\"}", "UTF-8"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := DecodeCommand([]byte(tt.in))
			if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
				t.Errorf("got %v, want %q", err, tt.err)
			}
		})
	}
}

// many is the rest of a request with so many patterns and arguments.
func many(verb event.Verb, patterns, args int) string {
	p, a := make([]string, patterns), map[string]string{}
	for i := range p {
		p[i] = fmt.Sprint("s", i)
	}
	for i := range args {
		a[fmt.Sprint("s", i)] = "2"
	}
	b, _ := json.Marshal(map[string]any{"verb": verb, "patterns": p, "args": a})
	return "," + string(b[1:])
}

// The table of consumers stays bounded and nobody uses another's, whatever is
// done in whatever order.
func TestConsumersProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newConsumers()
		model := map[string]string{}
		name := rapid.StringMatching(`[a-z][0-9]?`)
		actor := rapid.SampledFrom([]string{"uid-1", "uid-2"})
		t.Repeat(map[string]func(*rapid.T){
			"claim": func(t *rapid.T) {
				a, n := actor.Draw(t, "actor"), name.Draw(t, "name")
				evicted, ok := c.claim(a, n)
				if owner := model[n]; ok != (owner == "" || owner == a) {
					t.Fatalf("claim of %s by %s: %v", n, a, ok)
				}
				if ok {
					model[n] = a
				}
				if evicted != "" {
					if model[evicted] != a {
						t.Fatalf("%s of %s gave way to %s", evicted, model[evicted], a)
					}
					delete(model, evicted)
				}
			},
			"use": func(t *rapid.T) {
				a, n := actor.Draw(t, "actor"), name.Draw(t, "name")
				if got := c.use(a, n); got != (model[n] == a) {
					t.Fatalf("use of %s by %s: %v", n, a, got)
				}
			},
			"release": func(t *rapid.T) {
				a, n := actor.Draw(t, "actor"), name.Draw(t, "name")
				c.release(a, n)
				if model[n] == a {
					delete(model, n)
				}
			},
			"": func(t *rapid.T) {
				total := 0
				for a, names := range c.names {
					if len(names) == 0 || len(names) > maxConsumersPerActor {
						t.Fatalf("%s has %d", a, len(names))
					}
					total += len(names)
				}
				if total != len(c.owner) || total != len(model) {
					t.Fatalf("%d names, %d owners, model %d", total, len(c.owner), len(model))
				}
			},
		})
	})
}

func TestViolationSubject(t *testing.T) {
	for in, want := range map[string]string{
		"-ERR 'Permissions Violation for Publish to \"a.b\"'\r\n":                        "a.b",
		"-ERR 'Permissions Violation for Subscription to \"a.>\" using queue \"q\"'\r\n": "a.>",
		"-ERR 'Permissions Violation for Publish to \"a\\\"b\"'\r\n":                     "a\"b",
		"-ERR 'Slow Consumer'\r\n":                                                       "",
		"-ERR 'Permissions Violation for x'\r\n":                                         "",
		"-ERR 'Permissions Violation for \"x'\r\n":                                       "",
	} {
		if got := violationSubject(in); got != want {
			t.Errorf("%s: got %q, want %q", in, got, want)
		}
	}
}

// FuzzProof: no bytes of a stranger are a proof; only the signature of the
// nonce would be.
func FuzzProof(f *testing.F) {
	pair, err := nkeys.CreateUser()
	if err != nil {
		f.Fatal(err)
	}
	public, err := pair.PublicKey()
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{
		`{"nkey":"` + public + `","sig":"AAAA"}`, `{"nkey":"` + public + `","sig":"` + strings.Repeat("A", 86) + `"}`,
		`{"nkey":"U","sig":""}`, `{"nkey":"` + public + `"}`, `{"sig":"AA=="}`, `{"nkey":5}`, `{"NKEY":"` + public + `","Sig":"%%%"}`,
	} {
		f.Add([]byte("CONNECT " + s + "\r\n"))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		if c, err := parseConnect(line); err == nil && c.proof.check("a nonce") == nil {
			t.Fatalf("%q proves to be %s", line, c.proof.Key)
		}
	})
}
