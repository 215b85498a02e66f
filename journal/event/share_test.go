package event_test

import (
	"encoding/json"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"

	"supd/journal/event"
)

func decoded(t *testing.T, text string) (s event.Spec) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestSharing takes two specifications that were decoded apart: afterwards they
// say the same, and what is equal in them is there once.
func TestSharing(t *testing.T) {
	text := `{"command":["/bin/a","x"],"groups":[],"user":"nobody","environment":{"names":["HOME","PATH"],"digest":"d"},` +
		`"success_exit_codes":["0"],"replica":3,"after":[{"service":"db"}],"ready":{"exec":["/bin/a","x"]}}`
	var h event.Sharing
	one, two := decoded(t, text), decoded(t, text)
	if unsafe.SliceData(one.Command) == unsafe.SliceData(two.Command) {
		t.Fatal("decoded specifications share a list already: this test would show nothing")
	}
	h.Spec(&one)
	h.Spec(&two)
	for _, s := range []event.Spec{one, two} {
		if d := cmp.Diff(decoded(t, text), s); d != "" {
			t.Errorf("a shared specification says something else (-was +is):\n%s", d)
		}
		if s.Digest() != decodedDigest(t, text) {
			t.Error("its digest changed")
		}
	}
	lists := [][2][]string{
		{one.Command, two.Command}, {one.Environment.Names, two.Environment.Names}, {one.Command, two.Ready.Exec},
	}
	for _, l := range lists {
		if unsafe.SliceData(l[0]) != unsafe.SliceData(l[1]) {
			t.Errorf("%v is there twice", l[0])
		}
	}
	if unsafe.StringData(one.User) != unsafe.StringData(two.User) {
		t.Error("a text is there twice")
	}
	if l := append(one.Command, "mine"); unsafe.SliceData(l) == unsafe.SliceData(two.Command) {
		t.Error("what is appended to one list lands in the other")
	}
}

func decodedDigest(t *testing.T, text string) string { return decoded(t, text).Digest() }

// TestSharingKeepsApart holds that lists with the same joined text stay what
// they are.
func TestSharingKeepsApart(t *testing.T) {
	var h event.Sharing
	one, two := event.Launch{Args: []string{"a\x00b"}}, event.Launch{Args: []string{"a", "b"}}
	h.Launch(&one)
	h.Launch(&two)
	if len(one.Args) != 1 || len(two.Args) != 2 {
		t.Errorf("shared: %q and %q", one.Args, two.Args)
	}
}
