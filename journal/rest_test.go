package journal

import (
	"reflect"
	"testing"

	"github.com/nats-io/nats.go"

	"supd/journal/event"
)

// TestRest holds that the server's newest block is in memory after a write, is
// given up by rest, and can be written and read afterwards.
func TestRest(t *testing.T) {
	s, cfg := quietServer(t)
	js, err := openStream(t.Context(), s, cfg)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the server's clock of access times ends", func() bool { return !runs("server/ats.Register") })
	write := func() {
		t.Helper()
		msg := nats.NewMsg("sup.quiet.evt._.supd.test")
		msg.Data = make([]byte, 1000)
		if _, err := js.js.PublishMsg(t.Context(), msg); err != nil {
			t.Fatal(err)
		}
	}
	for n := uint64(1); n <= 3; n++ {
		write()
		if !cached(t, s) {
			t.Fatal("nothing is cached after a write: this test would show nothing")
		}
		if err := s.rest(); err != nil {
			t.Fatal(err)
		}
		if cached(t, s) {
			t.Fatal("the newest block is still in memory")
		}
		m, err := js.stream.GetMsg(t.Context(), n)
		if err != nil || len(m.Data) != 1000 {
			t.Fatalf("message %d after the rest: %v, %v", n, m, err)
		}
	}
}

// cached tells whether the newest block of JOURNAL has a buffer.
func cached(t *testing.T, s *natsServer) bool {
	t.Helper()
	stream, err := lookupStream(s.srv.GlobalAccount(), event.Stream)
	if err != nil {
		t.Fatal(err)
	}
	block := reflect.ValueOf(storeOf(stream)).Elem().FieldByName("lmb").Elem()
	cache := block.FieldByName("cache")
	if !cache.IsValid() {
		t.Fatal("a block of this server has no field cache")
	}
	return !cache.IsNil() && cache.Elem().FieldByName("buf").Len() > 0
}
