package event

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestEnvelope holds that what is written by hand is what the encoder writes.
func TestEnvelope(t *testing.T) {
	text := rapid.OneOf(rapid.StringMatching(`[ -~]{0,40}`), rapid.String(), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }))
	rapid.Check(t, func(t *rapid.T) {
		data, err := Marshal(ServiceFatalData{Detail: text.Draw(t, "detail")})
		if err != nil {
			t.Fatal(err)
		}
		r := Record{
			ID: text.Draw(t, "id"), Source: text.Draw(t, "source"), Kind: ServiceFatal, Subject: text.Draw(t, "subject"),
			Time: time.Unix(rapid.Int64Range(-1<<36, 1<<39).Draw(t, "seconds"), rapid.Int64Range(0, 999999999).Draw(t, "ns")).UTC(),
			Mono: rapid.Int64().Draw(t, "mono"), Boot: text.Draw(t, "boot"), Seq: Seq(rapid.Uint64().Draw(t, "seq")),
			Prev: text.Draw(t, "prev"), Cause: text.Draw(t, "cause"), Actor: text.Draw(t, "actor"),
		}
		want, wantErr := Marshal(wire{
			SpecVersion: SpecVersion, ID: r.ID, Source: r.Source, Type: r.Kind.Type(), Subject: r.Subject,
			Time: r.Time, Mono: r.Mono, Boot: r.Boot, Seq: r.Seq, Prev: r.Prev, Cause: r.Cause, Actor: r.Actor, Data: data,
		})
		got, err := appendWire(nil, &r, data)
		if (err == nil) != (wantErr == nil) || err == nil && string(got) != string(want) {
			t.Fatalf("got\n%s, %v\nwant\n%s, %v", got, err, want, wantErr)
		}
	})
}
