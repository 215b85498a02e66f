package keeper

import (
	"bytes"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func drawLaunch(t *rapid.T) Launch {
	text := rapid.StringMatching(`[^\x00]{0,20}`)
	l := Launch{
		Paths: rapid.SliceOfN(rapid.StringMatching(`/[^\x00]{0,20}`), 1, 4).Draw(t, "paths"),
		Args:  rapid.SliceOfN(text, 1, 4).Draw(t, "args"),
		Umask: rapid.Uint32Range(0, 0o777).Draw(t, "umask"), Dir: text.Draw(t, "dir"),
		Nice: rapid.IntRange(-20, 19).Draw(t, "nice"), OOMScoreAdj: rapid.IntRange(-1000, 1000).Draw(t, "oom"),
	}
	if env := rapid.SliceOfN(text, 0, 4).Draw(t, "env"); len(env) > 0 {
		l.Env = env
	}
	for range rapid.IntRange(0, 3).Draw(t, "limits") {
		hard := rapid.Uint64().Draw(t, "hard")
		l.Limits = append(l.Limits, Limit{rapid.IntRange(0, 15).Draw(t, "resource"), rapid.Uint64Range(0, hard).Draw(t, "soft"), hard})
	}
	if rapid.Bool().Draw(t, "user") {
		l.SetUser, l.UID, l.GID = true, rapid.Uint32Range(0, math.MaxUint32-1).Draw(t, "uid"), 7
		if g := rapid.SliceOfN(rapid.Uint32(), 0, 5).Draw(t, "groups"); len(g) > 0 {
			l.Groups = g
		}
	}
	return l
}

func TestLaunchRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := drawLaunch(t)
		b, err := EncodeLaunch(l)
		if err != nil {
			t.Fatal(err)
		}
		got, err := DecodeLaunch(b)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(l, got); d != "" {
			t.Fatal(d)
		}
	})
}

func TestLaunchBounds(t *testing.T) {
	good := Launch{Paths: []string{"/a"}, Args: []string{"a"}}
	for name, spoil := range map[string]func(*Launch){
		"no path":    func(l *Launch) { l.Paths = nil },
		"no name":    func(l *Launch) { l.Args = nil },
		"empty path": func(l *Launch) { l.Paths = []string{""} },
		"zero byte":  func(l *Launch) { l.Env = []string{"A=\x00"} },
		"long text":  func(l *Launch) { l.Args = []string{strings.Repeat("x", maxStringSize)} },
		"long block": func(l *Launch) { l.Args = make([]string, maxStrings); l.Env = manyTexts() },
		"umask":      func(l *Launch) { l.Umask = 0o1000 },
		"nice":       func(l *Launch) { l.Nice = 20 },
		"oom":        func(l *Launch) { l.OOMScoreAdj = -1001 },
		"limit":      func(l *Launch) { l.Limits = []Limit{{1, 2, 1}} },
		"no user":    func(l *Launch) { l.SetUser, l.UID = true, math.MaxUint32 },
		"groups":     func(l *Launch) { l.Groups = make([]uint32, maxGroups+1) },
	} {
		l := good
		spoil(&l)
		if _, err := EncodeLaunch(l); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	if _, err := EncodeLaunch(good); err != nil {
		t.Error(err)
	}
}

func manyTexts() []string {
	out := make([]string, 64)
	for i := range out {
		out[i] = strings.Repeat("x", maxStringSize-1)
	}
	return out
}

func FuzzDecodeLaunch(f *testing.F) {
	b, _ := EncodeLaunch(Launch{
		Paths: []string{"/a", "/b"}, Args: []string{"a", "b"}, Env: []string{"A=1"}, Dir: "/d",
		SetUser: true, Groups: []uint32{1, 2, 3}, Limits: []Limit{{1, 2, 3}},
	})
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := DecodeLaunch(b)
		if err != nil {
			return
		}
		again, err := EncodeLaunch(l)
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("%+v is not what it was: %v", l, err)
		}
	})
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("12 (a) b (c) S 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 77 22"))
	f.Fuzz(func(_ *testing.T, b []byte) { _, _ = parseStat(b) })
}
