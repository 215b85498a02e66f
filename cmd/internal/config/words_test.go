package config

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var wordVariables = map[string]string{"A": "va lue", "B": "*", "C": "${A}", "E": ""}

// words splits and expands; nil if that is refused.
func words(t testing.TB, text string) []string {
	t.Helper()
	split, err := splitCommand(text)
	if err != nil {
		return nil
	}
	out := []string{}
	for _, w := range split {
		s, err := w.expand(wordVariables)
		if err != nil {
			return nil
		}
		out = append(out, s)
	}
	return out
}

func TestWords(t *testing.T) {
	for text, want := range map[string][]string{
		"":                              {},
		" \n a  b\t c \n":               {"a", "b", "c"},
		`a 'b c' "d e" f\ g`:            {"a", "b c", "d e", "f g"},
		`a'b'"c"\d`:                     {"abcd"},
		`'' ""`:                         {"", ""},
		`'*?[|&;<>$(x)` + "`" + `~#'`:   {"*?[|&;<>$(x)`~#"},
		`"*?[|&;<>~# \$ \" \\ \x"`:      {`*?[|&;<>~# $ " \ \x`},
		`\$A \* \~ \#`:                  {"$A", "*", "~", "#"},
		`x${A}y`:                        {"xva luey"},  // never split again
		`${B} ${C}`:                     {"*", "${A}"}, // never read again
		`"${A}" '${A}'`:                 {"va lue", "${A}"},
		`${E} ${E:-d} ${N:-d e} ${N:-}`: {"", "d", "d e", ""},
		"a \\\n b":                      {"a", "b"},
		"a\\\nb":                        {"ab"},
		"a~ b#c ]} a=b -x=~":            {"a~", "b#c", "]}", "a=b", "-x=~"},
		"ü ÿ":                           {"ü", "ÿ"},
		"${N}":                          nil,
		"${N:=x}":                       nil,
		"${1}":                          nil,
		"${A:-${B}}":                    nil,
		"${A:-'x'}":                     nil,
		"A=1 b":                         nil,
		"'A=1' b":                       {"A=1", "b"},
		"a & b":                         nil,
		"(a)":                           nil,
		"a\nb":                          nil,
		`"$A"`:                          nil,
		"\"`a`\"":                       nil,
	} {
		if d := cmp.Diff(want, words(t, text)); d != "" {
			t.Errorf("%q:\n%s", text, d)
		}
	}
}

// TestWordsLikeShell holds every command that is accepted against what a real
// shell makes of it, one that does not split again what replaces a variable.
func TestWordsLikeShell(t *testing.T) {
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("NOT RUN: needs sh")
	}
	pieces := rapid.SampledFrom([]string{
		"a", "b", " ", "  ", "\t", `'`, `"`, `\`, `\\`, `\"`, `"${A}"`, `"x${E:-d e}y"`, "$", "\n", "\\\n", "*", "|", "=", "-", "~", "#", "ü", `""`, "''", `'"'`, `"'"`,
	})
	accepted := 0
	rapid.Check(t, func(t *rapid.T) {
		text := strings.Join(rapid.SliceOfN(pieces, 0, 12).Draw(t, "pieces"), "")
		got := words(nilTB{}, "x "+text)
		if len(got) < 2 {
			return
		}
		accepted++
		cmd := exec.Command(sh, "-c", `IFS=; set -f; printf '%s\0' `+text)
		cmd.Env = []string{"A=va lue", "E="}
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("accepted %q, and the shell says %v", text, err)
		}
		want := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
		if d := cmp.Diff(want, got[1:]); d != "" {
			t.Fatalf("%q: the shell disagrees (-shell +supd):\n%s", text, d)
		}
	})
	if accepted < 10 {
		t.Errorf("only %d commands were accepted: the test compares too little", accepted)
	}
}

// nilTB serves where a helper wants a test and reports nothing.
type nilTB struct{ testing.TB }

func (nilTB) Helper() {}

func FuzzWords(f *testing.F) {
	for _, s := range []string{"a 'b' \"c\" \\d ${A:-x} $$", "${", "a\n", "\\", "'"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		split, err := splitCommand(text)
		if err != nil {
			if r, ok := err.(*refusal); !ok || r.message == "" {
				t.Fatalf("%q is refused without a reason: %v", text, err)
			}
			return
		}
		for _, w := range split {
			if w.written == "" || !strings.Contains(text, w.written) {
				t.Fatalf("%q: word %q is not in it", text, w.written)
			}
		}
	})
}
