package config

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pelletier/go-toml/v2"
)

// FuzzTree holds the tree against go-toml's own decoder: what that accepts we
// read without a fault and with the same content, what it refuses we report.
func FuzzTree(f *testing.F) {
	for _, s := range []string{
		"a = [[1], {b=1}, 'x']", "[[a]]\nb=1\n[[a]]\n[a.c]\nd=2", "[a.b]\n[a]\nc=1", "a.b=1\na=2", "a.b = 1\n[a]\n",
		"a = {b.c = 1, d = {}}\n[a.e]", "x=\"\"\"\n\\u0041\\\n  b\"\"\"", "'k.e' . \"y\" = 1979-05-27", "[a]\n[a]", "i=0x1_0\nf=-1_0.5e3\ng=inf\nt=true",
		"[[a.b]]\n[a]\nb=1", "a=1\n[[a]]", "[a]\n[[a]]", "\r\n#c\n[t] # x\r\nk\t=\t[ # y\n1,\n]",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var faults []Problem
		src := newSource("f", "/f", 0, data)
		root, complete := parse(src, data, func(at position, p Problem) {
			p.File, p.Line, p.Column = at.src.shown, at.line, at.column
			faults = append(faults, p)
		})
		var want map[string]any
		err := toml.Unmarshal(data, &want)
		if complete != (err == nil) || complete != (len(faults) == 0) {
			t.Fatalf("%q: complete %v, the decoder says %v, faults:\n%s", data, complete, err, Format(faults))
		}
		if err != nil {
			return
		}
		if d := cmp.Diff(plain(want), content(t, root)); d != "" {
			t.Fatalf("%q (-decoder +tree):\n%s", data, d)
		}
	})
}

// content is a tree without positions, as the decoder would give it.
func content(t *testing.T, v *value) any {
	switch v.kind {
	case aTable:
		out := map[string]any{}
		for _, f := range v.fields {
			out[f.name] = content(t, f.value)
		}
		return out
	case aList:
		out := []any{}
		for _, item := range v.items {
			out = append(out, content(t, item))
		}
		return out
	case anInt:
		n, err := parseInteger(v.text)
		if err != nil {
			t.Fatalf("%q: %v", v.text, err)
		}
		return n
	case aFloat:
		n, err := parseFloat(v.text)
		if err != nil {
			t.Fatalf("%q: %v", v.text, err)
		}
		return math.Float64bits(n)
	case aBool:
		return v.text == "true"
	case aString:
		return v.text
	}
	return "a time"
}

// plain makes the decoder's values comparable: NaN with itself, times not at
// all, since no key of ours is one.
func plain(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, item := range v {
			out[k] = plain(item)
		}
		return out
	case []any:
		out := []any{}
		for _, item := range v {
			out = append(out, plain(item))
		}
		return out
	case float64:
		return math.Float64bits(v)
	case string, int64, bool:
		return v
	}
	return "a time"
}
