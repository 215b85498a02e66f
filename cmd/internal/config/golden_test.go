package config

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew; read the diff")

// TestGolden loads testdata/*.toml: what is accepted has its set beside it in
// .json, what is refused its problems in .err.
func TestGolden(t *testing.T) {
	inputs, err := filepath.Glob("testdata/*.toml")
	if err != nil || len(inputs) < 5 {
		t.Fatalf("found %d inputs: %v", len(inputs), err)
	}
	for _, input := range append(inputs, "example.toml") {
		t.Run(filepath.Base(input), func(t *testing.T) {
			text := read(t, input)
			base := filepath.Join("testdata", strings.TrimSuffix(filepath.Base(input), ".toml"))
			host := testHost(map[string]string{
				filepath.Base(input): text,
				"app.env":            "# for tests\nexport API_KEY='file secret'\nSHARED=\"from\\tfile\"\n",
			})
			set, problems := Load("/etc/supd/"+filepath.Base(input), host)
			compare(t, base+".err", Format(problems))
			got := ""
			if set != nil {
				b, err := json.MarshalIndent(set, "", "  ")
				if err != nil {
					t.Fatal(err)
				}
				got = string(b) + "\n"
				var back Set
				if err := json.Unmarshal(b, &back); err != nil {
					t.Fatal(err)
				}
				if d := cmp.Diff(*set, back); d != "" {
					t.Errorf("the set does not survive JSON:\n%s", d)
				}
			}
			compare(t, base+".json", got)
		})
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// compare holds got against a golden file; nothing to say is no file.
func compare(t *testing.T, path, got string) {
	t.Helper()
	if *rewrite {
		if got == "" {
			os.Remove(path)
		} else if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s differs (-want +got); -rewrite writes it anew:\n%s", path, d)
	}
}
