package wire

import (
	"bytes"
	"errors"
	"testing"

	"pgregory.net/rapid"
)

// Whatever is cut joins to the same, also behind an answer that broke off.
func TestCutAndJoin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.IntRange(0, 4*PartSize).Draw(t, "size")
		want := bytes.Repeat([]byte("0123456789abcdef!"), size/17+1)[:size]
		parts := Cut(want)
		var j Joiner
		for i := range rapid.IntRange(0, len(parts)-1).Draw(t, "broken off after") {
			if _, done, err := j.Add(PartHeader(i+1, len(parts)), parts[i]); done || err != nil {
				t.Fatal(done, err)
			}
		}
		for i, p := range parts {
			header := PartHeader(i+1, len(parts))
			if len(parts) == 1 {
				header = ""
			}
			got, done, err := j.Add(header, p)
			if err != nil || done != (i == len(parts)-1) {
				t.Fatal(i, done, err)
			}
			if done && !bytes.Equal(got, want) {
				t.Fatalf("got %d bytes, want %d", len(got), len(want))
			}
		}
	})
}

func TestJoinerRefuses(t *testing.T) {
	var j Joiner
	if _, _, err := j.Add("2/3", nil); !errors.Is(err, ErrParts) {
		t.Error(err)
	}
	for _, h := range []string{"0/1", "2/1", "x", "1/99999", "1/", "-1/2"} {
		if _, _, err := j.Add(h, nil); err == nil {
			t.Errorf("%s was accepted", h)
		}
	}
}

func TestTokenOf(t *testing.T) {
	for in, want := range map[string]string{
		"_INBOX.abcdefgh.x": "abcdefgh", "_INBOX.abcdefgh.x.y": "abcdefgh", "_INBOX.abcdefgh": "", "_INBOX.abcdefgh.": "",
		"_INBOX.short.x": "", "_INBOX.*.x": "", "inbox.abcdefgh.x": "", "": "",
	} {
		if got := TokenOf(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}
