package schema

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"supd/journal/event"
)

var rewrite = flag.Bool("rewrite", false, "write the schemas and the page anew")

const (
	vocabulary = "../../../journal/event"
	page       = "../../doc/records.md"
)

// TestPublished: what is published is what the code says.
func TestPublished(t *testing.T) {
	c, err := ReadComments(vocabulary)
	if err != nil {
		t.Fatal(err)
	}
	text, err := Page(c)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{page: text}
	for _, k := range event.Kinds() {
		b, err := Of(k, c, false)
		if err != nil {
			t.Fatal(err)
		}
		want[filepath.Join(vocabulary, "schema", string(k)+".json")] = string(b)
	}
	present, err := filepath.Glob(filepath.Join(vocabulary, "schema", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range present {
		if want[p] == "" {
			t.Errorf("%s is of no kind", p)
		}
	}
	for path, text := range want {
		if *rewrite {
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if have, err := os.ReadFile(path); err != nil || string(have) != text {
			t.Errorf("%s is not what the code says (%v): go test ./cmd/internal/schema -rewrite", path, err)
		}
	}
}

// TestDescribed: a reader of the page learns something of every kind.
func TestDescribed(t *testing.T) {
	c, err := ReadComments(vocabulary)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range event.Kinds() {
		b, err := Of(k, c, false)
		if err != nil {
			t.Fatal(err)
		}
		var s struct{ Description string }
		if err := json.Unmarshal(b, &s); err != nil || len(s.Description) < 20 {
			t.Errorf("%s is described as %q (%v)", k, s.Description, err)
		}
	}
}

// madeUp is the text of golden records where only some words are allowed.
var madeUp = map[string]*regexp.Regexp{
	"want": regexp.MustCompile(`"want":"<[^"]*"`), "outcome": regexp.MustCompile(`"outcome":"<[^"]*"`),
}

// TestGoldenRecordsMatch: the record of each kind that is kept as an example.
// Their text is made up, so it is replaced where a schema has a list.
func TestGoldenRecordsMatch(t *testing.T) {
	checker, err := NewChecker(vocabulary)
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(vocabulary, "testdata", "golden", "*.json"))
	if err != nil || len(files) < len(event.Kinds()) {
		t.Fatalf("%d golden records, %v", len(files), err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		b = madeUp["want"].ReplaceAll(b, []byte(`"want":"up"`))
		b = madeUp["outcome"].ReplaceAll(b, []byte(`"outcome":"done"`))
		if err := checker.Check(b); err != nil {
			t.Errorf("%s: %v", filepath.Base(f), err)
		}
	}
}

// TestCheckerCanFail: each of these is one step away from a good record.
func TestCheckerCanFail(t *testing.T) {
	checker, err := NewChecker(vocabulary)
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(vocabulary, "testdata", "golden", "instance.exited*.json"))
	if err != nil || len(files) == 0 {
		t.Fatal("there is no golden record of an exit", err)
	}
	b, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	good := string(b)
	for name, bad := range map[string]string{
		"a kind that is none":     strings.Replace(good, "instance.exited.v1", "instance.exploded.v1", 1),
		"another property":        strings.Replace(good, `"data":{`, `"data":{"surprise":1,`, 1),
		"an absent property":      strings.Replace(good, `"instance":`, `"instances":`, 1),
		"a number as text":        strings.Replace(good, `"seq":`, `"seq":"x","seqs":`, 1),
		"a time that is none":     strings.Replace(good, `"time":"`, `"time":"yesterday `, 1),
		"a duration that is none": strings.Replace(good, `"uptime":"`, `"uptime":"long `, 1),
		"a hash that is none":     strings.Replace(good, `"prev":"`, `"prev":"zz`, 1),
	} {
		if bad == good {
			t.Errorf("%s: the test changes nothing", name)
		}
		if checker.Check([]byte(bad)) == nil {
			t.Errorf("%s passes", name)
		}
	}
}
