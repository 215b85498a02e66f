package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestFiles is which files make a configuration, in which order, and what
// they may not do to each other.
func TestFiles(t *testing.T) {
	one := func(name string) string { return "[service." + name + "]\ncommand = 'app'\n" }
	for name, tc := range map[string]struct {
		path     string
		files    map[string]string
		read     string // names of files, relative to /etc/supd
		services string
		problems string
	}{
		"file": {
			path: "/etc/supd/supd.toml", files: map[string]string{"supd.toml": one("a"), "conf.d/b.toml": one("b")},
			read: "supd.toml", services: "a",
		},
		"folder": {
			path: "/etc/supd", files: map[string]string{"supd.toml": one("z"), "conf.d/b.toml": one("b"), "conf.d/a.toml": one("a"), "conf.d/x.txt": "x"},
			read: "supd.toml conf.d/a.toml conf.d/b.toml", services: "a b z",
		},
		"folder without main file": {
			path: "/etc/supd", files: map[string]string{"conf.d/a.toml": one("a")},
			read: "conf.d/a.toml", services: "a",
		},
		"include": {
			path:  "/etc/supd/supd.toml",
			files: map[string]string{"supd.toml": "include = ['z.toml', 'parts/*.toml', 'none/*.toml', 'supd.toml']\n" + one("m"), "z.toml": one("z"), "parts/b.toml": one("b"), "parts/a.toml": one("a")},
			read:  "supd.toml z.toml parts/a.toml parts/b.toml", services: "a b m z",
		},
		"folder that includes its conf.d": {
			path: "/etc/supd/", files: map[string]string{"supd.toml": "include = ['conf.d/*.toml']", "conf.d/a.toml": one("a")},
			read: "supd.toml conf.d/a.toml", services: "a",
		},
		"defaults of any file": {
			path: "/etc/supd", files: map[string]string{"supd.toml": one("a"), "conf.d/d.toml": "defaults.nice = 3", "conf.d/e.toml": "[defaults]\nautostart = false"},
			read: "supd.toml conf.d/d.toml conf.d/e.toml", services: "a",
		},
		"relative": {
			path: "supd.toml", files: map[string]string{"/work/supd.toml": "[zzz]\n"},
			problems: "supd.toml:1:2: unknown key `zzz`",
		},
		"absent file": {
			path: "absent.toml", problems: "absent.toml:1:1: cannot read the configuration: file does not exist",
		},
		"empty folder": {
			path: "/work", problems: "/work/supd.toml:1:1: cannot read the configuration: file does not exist",
		},
		"nested include": {
			path: "/etc/supd", files: map[string]string{"supd.toml": "include = []", "conf.d/a.toml": "include = ['b']"},
			problems: "/etc/supd/conf.d/a.toml:1:1: `include` works in the main file only",
		},
		"include without main file": {
			path: "/etc/supd", files: map[string]string{"conf.d/a.toml": "include = []"},
			problems: "/etc/supd/conf.d/a.toml:1:1: `include` works in the main file only",
		},
		"service twice": {
			path: "/etc/supd", files: map[string]string{"supd.toml": one("a"), "conf.d/a.toml": "\n" + one("a")},
			problems: "/etc/supd/conf.d/a.toml:2:10: service `a` is already defined at /etc/supd/supd.toml:1:10",
		},
		"key twice": {
			path: "/etc/supd", files: map[string]string{"supd.toml": "supd.console = 'on'", "conf.d/a.toml": "supd.console = 'on'\nsupd.node = 'x'"},
			problems: "/etc/supd/conf.d/a.toml:1:6: `supd.console` is already set at /etc/supd/supd.toml:1:16",
		},
		"defaults twice": {
			path: "/etc/supd", files: map[string]string{"supd.toml": "defaults.environment.A = '1'", "conf.d/a.toml": "defaults.environment.B = '1'"},
			problems: "/etc/supd/conf.d/a.toml:1:10: `environment` is already set at /etc/supd/supd.toml:1:10",
		},
		"problems of all files, in order": {
			path: "/etc/supd", files: map[string]string{"supd.toml": "a=1\nb=1", "conf.d/z.toml": "c = = 1", "conf.d/a.toml": "d=1"},
			problems: "/etc/supd/supd.toml:1:1: unknown key `a`\n/etc/supd/supd.toml:2:1: unknown key `b`\n/etc/supd/conf.d/a.toml:1:1: unknown key `d`\n" +
				"/etc/supd/conf.d/z.toml:1:5: cannot read TOML: unexpected character U+003D '=' at start of value",
		},
	} {
		t.Run(name, func(t *testing.T) {
			set, problems := Load(tc.path, testHost(tc.files))
			if d := cmp.Diff(tc.problems, strings.Join(lines(problems), "\n")); d != "" {
				t.Fatal(d)
			}
			if tc.problems != "" {
				return
			}
			var read, services []string
			for _, f := range set.Files {
				read = append(read, strings.TrimPrefix(f.Path, "/etc/supd/"))
			}
			for _, s := range set.Services {
				services = append(services, s.Name)
			}
			if d := cmp.Diff([]string{tc.read, tc.services}, []string{strings.Join(read, " "), strings.Join(services, " ")}); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestRefusedWhole gives no set with a problem, and one with a warning.
func TestRefusedWhole(t *testing.T) {
	if set, _ := loadText(service("nice = 99\n")); set != nil {
		t.Error("a faulty configuration gives a set")
	}
	if set, problems := loadText("[service.web]\ncommand = 'absent'"); set == nil || Failed(problems) {
		t.Errorf("a warning keeps the configuration from being used:\n%s", Format(problems))
	}
}

// TestThisHost reads real files with the accounts and programs of the machine
// that runs the test.
func TestThisHost(t *testing.T) {
	host, err := ThisHost(nil)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, text := range map[string]string{
		"supd.toml":     "include = ['[x]/*.toml']\n[service.a]\ncommand = 'sh -c true'\ndirectory = '.'\nenvironment_file = ['-absent', 'e']",
		"e":             "SECRET=1\n",
		"conf.d/b.toml": "[service.b]\ncommand = ['/bin/sh']\nuser = 'root'\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if os.Geteuid() != 0 {
		t.Skip("NOT RUN: needs root to give a service a user")
	}
	set, problems := Load(dir, host)
	if len(problems) != 0 {
		t.Fatal(Format(problems))
	}
	a, b := set.Services[0], set.Services[1]
	if a.Spec.Directory != dir || !slices.Equal(a.ExplicitEnv, []string{"SECRET=1"}) || !slices.Equal(a.Launch.Args, []string{"sh", "-c", "true"}) {
		t.Errorf("service a: %+v", a)
	}
	if !b.Launch.SetUser || b.Launch.UID != 0 || !slices.Contains(b.Launch.Env, "USER=root") || !slices.Contains(b.Launch.Env, "SUPD_SERVICE=b") {
		t.Errorf("service b: %+v", b)
	}
}

// TestLargeFile is refused before it fills the memory.
func TestLargeFile(t *testing.T) {
	_, problems := loadText(strings.Repeat("#", maxFile+1))
	want := "/etc/supd/supd.toml:1:1: cannot read the configuration: larger than 16 MiB\n"
	if d := cmp.Diff(want, Format(problems)); d != "" {
		t.Error(d)
	}
}
