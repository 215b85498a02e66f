package manual

import (
	"bytes"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"supd/cmd/internal/config"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the configuration page")

func sample() *cobra.Command {
	root := &cobra.Command{Use: "prog", Short: "Do things", Long: "Does things.\n\n  as it is  .\n.TH is no request here, 'nor' \\this"}
	verb := &cobra.Command{Use: "go NAME…", Short: "Go there", Example: "  prog go \"x\" -n 5", Run: func(*cobra.Command, []string) {}}
	verb.Flags().IntP("number", "n", 3, "so many `TIMES`")
	root.PersistentFlags().String("socket", "", "where")
	root.AddCommand(verb, &cobra.Command{Use: "secret", Hidden: true, Run: func(*cobra.Command, []string) {}})
	return root
}

func TestPages(t *testing.T) {
	pages := Pages(sample())
	var names []string
	for _, p := range pages {
		names = append(names, p.Name)
	}
	if got := strings.Join(names, " "); got != "prog-go.1 prog.1" {
		t.Fatalf("pages %s", got)
	}
	for _, want := range []string{
		".TH PROG\\-GO 1", "prog\\-go \\- Go there\n", ".B prog go\nNAME\\[u2026] [OPTIONS]\n",
		".TP\n\\fB\\-n\\fR, \\fB\\-\\-number\\fR=\\fITIMES\\fR\nso many TIMES (default 3)\n",
		".SH GLOBAL OPTIONS\n.TP\n\\fB\\-\\-socket\\fR=\\fIstring\\fR\nwhere\n", ".nf\n  prog go \\(dqx\\(dq \\-n 5\n.fi\n",
	} {
		if !bytes.Contains(pages[0].Text, []byte(want)) {
			t.Errorf("no %q in\n%s", want, pages[0].Text)
		}
	}
	for _, want := range []string{".nf\n  as it is  .\n.fi\n\\&.TH is no request here, \\(aqnor\\(aq \\ethis\n", "\\fBgo NAME\\[u2026]\\fR\nGo there.\n"} {
		if !bytes.Contains(pages[1].Text, []byte(want)) {
			t.Errorf("no %q in\n%s", want, pages[1].Text)
		}
	}
}

// Readers of manual pages have nothing to say against them, and show all.
func TestRenders(t *testing.T) {
	pages := append(Pages(sample()), Configuration())
	dir := t.TempDir()
	for _, p := range pages {
		path := filepath.Join(dir, p.Name)
		if err := os.WriteFile(path, p.Text, 0o600); err != nil {
			t.Fatal(err)
		}
		t.Run("groff "+p.Name, func(t *testing.T) { renders(t, p, "groff", "-man", "-Tutf8", "-ww", "-P-cbou", path) })
		t.Run("mandoc "+p.Name, func(t *testing.T) {
			renders(t, p, "mandoc", "-man", "-Tutf8", path)
			if out, err := exec.Command("mandoc", "-Tlint", "-Werror", path).CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
		t.Run("man "+p.Name, func(t *testing.T) { renders(t, p, "man", "-l", "--warnings", path) })
	}
}

// overstruck is how bold and underlined text looks on paper.
var overstruck = regexp.MustCompile(".\b")

func renders(t *testing.T, p File, program string, args ...string) {
	if _, err := exec.LookPath(program); err != nil {
		t.Skipf("NOT RUN: needs %s", program)
	}
	var out, errOut bytes.Buffer
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), "MANWIDTH=200", "LC_ALL=C.UTF-8", "MANPAGER=cat", "PAGER=cat")
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil || errOut.Len() > 0 {
		t.Fatalf("%v: %s", err, &errOut)
	}
	text := overstruck.ReplaceAllString(out.String(), "")
	for _, want := range []string{"NAME", "DESCRIPTION"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	if p.Name == "supd.toml.5" {
		for _, e := range config.Reference() {
			if !strings.Contains(text, e.Key) {
				t.Errorf("%s is not shown", e.Key)
			}
		}
	}
}

// The page in the tree is the one that this version makes.
func TestMarkdown(t *testing.T) {
	const path = "../../doc/configuration.md"
	if *rewrite {
		if err := os.WriteFile(path, Markdown(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, Markdown()) {
		t.Errorf("%s is old: go test ./cmd/internal/manual -rewrite", path)
	}
}

func FuzzEscape(f *testing.F) {
	f.Add(".TH \\fB 'x' …")
	f.Fuzz(func(t *testing.T, s string) {
		out := line(escape(s))
		if strings.HasPrefix(out, ".") || strings.HasPrefix(out, "'") {
			t.Errorf("%q is a request", out)
		}
	})
}
