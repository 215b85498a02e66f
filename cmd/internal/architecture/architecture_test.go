package architecture

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// root is the module's folder, seen from this test.
const root = "../../.."

// rules say what a package must not depend on, directly or through others. A
// pattern ends in /... for everything below; except names what is allowed all
// the same.
var rules = []struct {
	packages, forbidden, except []string
	direct                      bool // only its own imports, not those of others
	why                         string
}{
	{
		packages:  []string{"supd/journal/event", "supd/projector", "supd/executor/policy"},
		forbidden: []string{"os", "os/...", "net", "net/...", "sync", "sync/...", "math/rand", "math/rand/...", "crypto/rand", "log", "log/...", "context", "io/fs", "syscall", "runtime/..."},
		direct:    true,
		why:       "a decision and a replay must mean the same on another machine next year (P6): no I/O, chance, goroutines or locks here. Take what you need in through the input.",
	},
	{
		packages:  []string{"supd/journal/event", "supd/projector", "supd/executor/policy"},
		forbidden: []string{"github.com/...", "golang.org/...", "net", "os/exec"},
		why:       "the pure packages stand on the standard library alone, so that supreplay can read a journal anywhere",
	},
	{
		packages: []string{"supd/journal/event"}, forbidden: []string{"supd/..."}, except: []string{"supd/journal/event"},
		why: "event is the vocabulary that everybody shares; it knows nobody",
	},
	{
		packages: []string{"supd/projector"}, forbidden: []string{"supd/..."}, except: []string{"supd/projector", "supd/journal/event"},
		why: "the projector folds records. If it knew policy, replay could begin to decide (P6)",
	},
	{
		packages: []string{"supd/executor/policy"}, forbidden: []string{"supd/..."},
		except: []string{"supd/executor/policy", "supd/projector", "supd/journal/event"},
		why:    "policy decides on state and input alone; what carries decisions out is above it",
	},
	{
		packages: []string{"supd/journal", "supd/journal/output", "supd/journal/output/console", "supd/journal/control", "supd/journal/blocks"}, forbidden: []string{"supd/executor/...", "supd/projector/...", "supd/cmd/..."},
		why: "the journal keeps bytes and knows nothing of what they mean; it meets the executor in cmd/supd only, so that each can be tested and replaced alone",
	},
	{
		packages: []string{"supd/executor", "supd/executor/policy", "supd/executor/keeper", "supd/executor/probe"}, forbidden: []string{"supd/journal/...", "github.com/nats-io/..."},
		except: []string{"supd/journal/event"},
		why:    "the executor acts through ports. A path from it into the journal would let supervision wait for a disk (P5)",
	},
	{
		packages: []string{"supd/executor/probe"}, forbidden: []string{"os/exec", "supd/executor/keeper/..."},
		why: "a probe's command is run by the keeper's stub: a path that hangs in exec would stop the engine whole",
	},
	{
		packages: []string{"supd/executor", "supd/projector", "supd/journal"}, forbidden: []string{"supd/cmd/..."},
		why: "commands are at the top; nobody imports upwards",
	},
	{
		packages: []string{"supd/executor/keeper"}, forbidden: []string{"github.com/nats-io/...", "github.com/pelletier/...", "supd/journal/...", "supd/projector/...", "supd/executor/policy", "net/http"},
		why: "the keeper is what must never fail: it decides nothing and touches neither NATS nor configuration nor a slow disk",
	},
	{
		packages: []string{"supd/cmd/supctl", "supd/cmd/supreplay"}, forbidden: []string{"github.com/nats-io/nats-server/..."},
		why: "supctl and supreplay are small tools that start at once; the server belongs to supd",
	},
}

type pkg struct {
	ImportPath, Dir string
	Imports, Deps   []string
	GoFiles         []string
}

// list is what the go command says of all packages of the module.
func list(t *testing.T) map[string]pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-deps", "-e", "-json=ImportPath,Dir,Imports,Deps,GoFiles", "./...")
	cmd.Dir = root
	var problems strings.Builder
	cmd.Stderr = &problems
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("cannot list packages: %v\n%s", err, problems.String())
	}
	all := map[string]pkg{}
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		switch err := d.Decode(&p); {
		case errors.Is(err, io.EOF):
			return all
		case err != nil:
			t.Fatal(err)
		}
		all[p.ImportPath] = p
	}
}

func matches(pattern, name string) bool {
	if below, ok := strings.CutSuffix(pattern, "/..."); ok {
		return name == below || strings.HasPrefix(name, below+"/")
	}
	return pattern == name
}

func TestImportDirection(t *testing.T) {
	all := list(t)
	for _, r := range rules {
		for _, name := range r.packages {
			p, ok := all[name]
			if !ok || len(p.GoFiles) == 0 {
				t.Errorf("a rule names %s, which does not exist: a rule that guards nothing is worse than none. Mend the rule (%s)", name, r.why)
				continue
			}
			deps := p.Deps
			if r.direct {
				deps = p.Imports
			}
			for _, d := range deps {
				bad := slices.ContainsFunc(r.forbidden, func(f string) bool { return matches(f, d) })
				if bad && !slices.ContainsFunc(r.except, func(x string) bool { return matches(x, d) }) {
					t.Errorf("%s depends on %s%s.\n\tIt must not: %s", name, d, through(all, p, d), r.why)
				}
			}
		}
		for _, f := range append(slices.Clone(r.forbidden), r.except...) {
			known := strings.HasPrefix(f, "supd/")
			if known && !slices.ContainsFunc(slices.Collect(keys(all)), func(name string) bool { return matches(f, name) }) {
				t.Errorf("a rule names %s, and no such package exists (%s)", f, r.why)
			}
		}
	}
}

func keys(all map[string]pkg) func(func(string) bool) {
	return func(yield func(string) bool) {
		for name := range all {
			if !yield(name) {
				return
			}
		}
	}
}

// through names the import by which a dependency comes in.
func through(all map[string]pkg, p pkg, dep string) string {
	if slices.Contains(p.Imports, dep) {
		return ""
	}
	for _, i := range p.Imports {
		if slices.Contains(all[i].Deps, dep) {
			return " through " + i
		}
	}
	return ""
}

// clockCalls are the functions of package time that read or run a clock; its
// types and arithmetic are fine.
var clockCalls = []string{"Now", "Since", "Until", "After", "AfterFunc", "Tick", "Sleep", "NewTimer", "NewTicker", "LoadLocation"}

// TestPurity looks for what imports alone do not show: clocks, goroutines,
// channels, and variables that would outlive a call.
func TestPurity(t *testing.T) {
	for _, dir := range []string{"journal/event", "projector", "executor/policy"} {
		files, err := filepath.Glob(filepath.Join(root, dir, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no files in %s: %v", dir, err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			set := token.NewFileSet()
			f, err := parser.ParseFile(set, file, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(f, func(n ast.Node) bool {
				if what := impure(n); what != "" {
					t.Errorf("%s: %s. This package is folded and decided with again and again and must give the same each time (P6): take it in from outside",
						set.Position(n.Pos()), what)
				}
				return true
			})
		}
	}
}

func impure(n ast.Node) string {
	switch n := n.(type) {
	case *ast.GoStmt:
		return "a goroutine"
	case *ast.ChanType, *ast.SendStmt, *ast.SelectStmt:
		return "a channel"
	case *ast.UnaryExpr:
		if n.Op == token.ARROW {
			return "a channel"
		}
	case *ast.SelectorExpr:
		if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" && x.Obj == nil && slices.Contains(clockCalls, n.Sel.Name) {
			return "the clock: time." + n.Sel.Name
		}
	}
	return ""
}

// fileName is a Go, C, shell or text file as comments name it: with a folder
// or without.
var fileName = regexp.MustCompile(`(?:^|[\s("'` + "`" + `])((?:[a-z0-9_.-]+/)*[a-z0-9_-]+\.(?:go|c|sh|md|txt|toml))\b`)

// foreign are names that comments may use and that are no files of the tree: a
// library that is called like one, a file of nats-server, a user's.
var foreign = []string{"nats.go", "filestore.go", "supd.toml", "supervisord.conf"}

// TestCommentsNameFilesThatExist: a comment that sends its reader to a file
// that is gone is worse than none.
func TestCommentsNameFilesThatExist(t *testing.T) {
	have := map[string]bool{}
	var sources []string
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (strings.HasPrefix(d.Name(), ".") && d.Name() != ".." && len(d.Name()) > 2 || d.Name() == "testdata"):
			return fs.SkipDir
		case d.IsDir():
			return nil
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		have[filepath.ToSlash(rel)] = true
		if strings.HasSuffix(p, ".go") {
			sources = append(sources, p)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range sources {
		src, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue // an editor's
		}
		if err != nil {
			t.Fatal(err)
		}
		set := token.NewFileSet()
		f, err := parser.ParseFile(set, file, src, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		rel, _ := filepath.Rel(root, filepath.Dir(file))
		for _, group := range f.Comments {
			for _, m := range fileName.FindAllStringSubmatch(group.Text(), -1) {
				if !exists(have, filepath.ToSlash(rel), m[1]) {
					t.Errorf("%s: a comment names %s, which is no file of the tree", set.Position(group.Pos()), m[1])
				}
			}
		}
	}
}

// exists finds a file as its reader would: beside the comment, from the root,
// below it, or by the end of its path.
func exists(have map[string]bool, dir, name string) bool {
	if have[name] || have[path.Join(dir, name)] || slices.Contains(foreign, path.Base(name)) {
		return true
	}
	for f := range have {
		below := strings.HasPrefix(f, dir+"/") || strings.Contains(name, "/")
		if below && strings.HasSuffix(f, "/"+name) {
			return true
		}
	}
	return false
}
