package config

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestEnvironment is what a service sees; base is what it inherits.
func TestEnvironment(t *testing.T) {
	const none = "inherit_environment = false\n"
	ours := []string{"SUPD_REPLICA=", "SUPD_SERVICE=web"}
	path := "PATH=" + defaultPath
	for name, tc := range map[string]struct {
		lines string
		want  []string
	}{
		"inherited": {"", []string{"EMPTY=", "HOME=/root", "LANG=de_DE", "PATH=/usr/bin:/bin", "TOKEN=inherited-secret"}},
		"none":      {none, []string{path}},
		"own PATH":  {none + "environment.PATH = '/x:${PATH}'", []string{"PATH=/x:/usr/bin:/bin"}},
		"user": {
			none + "user = 'ann'",
			[]string{"HOME=/home/ann", "LOGNAME=ann", path, "SHELL=/bin/sh", "USER=ann"},
		},
		"user, explicitly other": {
			none + "user = 'ann'\nenvironment = { HOME = '/h', CACHE = '${HOME}/c' }",
			[]string{"CACHE=/home/ann/c", "HOME=/h", "LOGNAME=ann", path, "SHELL=/bin/sh", "USER=ann"},
		},
		"user without account": {
			none + "user = 4711\ngroup = 4711",
			[]string{"HOME=/", "LOGNAME=4711", path, "SHELL=/bin/sh", "USER=4711"},
		},
		"table over file, last file wins": {
			none + "environment_file = ['a', 'b']\nenvironment = { Y = 'table', Z = '${Y:-not seen}' }",
			[]string{path, "X=b", "Y=table", "Z=not seen"},
		},
		"variables": {
			none + "environment = { A = '${TOKEN}-${EMPTY}-${EMPTY:-e}-${NO_SUCH:-n}', B = '$A $$ $(x) ${SUPD_SERVICE}' }",
			[]string{"A=inherited-secret--e-n", "B=$A $$ $(x) web", path},
		},
	} {
		t.Run(name, func(t *testing.T) {
			host := testHost(map[string]string{"supd.toml": service(tc.lines), "a": "X=a\nY=${TOKEN}", "b": "X=b"})
			set, problems := Load("/etc/supd/supd.toml", host)
			if Failed(problems) {
				t.Fatal(Format(problems))
			}
			want := slices.Sorted(slices.Values(append(tc.want, ours...)))
			if d := cmp.Diff(want, set.Services[0].Launch.Env); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestUnreadableInherited drops what JSON cannot carry, and says so.
func TestUnreadableInherited(t *testing.T) {
	host := testHost(map[string]string{"supd.toml": service("")})
	host.Environ = []string{"BAD=\xff", "GOOD=1", "PATH=/usr/bin"}
	set, problems := Load("/etc/supd/supd.toml", host)
	want := "/etc/supd/supd.toml:1:1: warning: inherited variable \"BAD\" is not valid UTF-8: services do not get it\n"
	if d := cmp.Diff(want, Format(problems)); d != "" {
		t.Error(d)
	}
	if env := set.Services[0].Launch.Env; slices.ContainsFunc(env, func(s string) bool { return strings.HasPrefix(s, "BAD") }) || !slices.Contains(env, "GOOD=1") {
		t.Error(env)
	}
}

func TestEnvironmentFile(t *testing.T) {
	for text, want := range map[string][]string{
		"":                          {},
		"\n  # x\n\t\nA=1\r\nB = 2": nil, // a blank in the name
		"A=1\r\nB= 2 \n":            {"A=1", "B=2"},
		"A=a#b c # d\nB=#\nC= # x":  {"A=a#b c", "B=", "C="},
		"export A=1\nexport\tB=2":   {"A=1", "B=2"},
		`A="a \"b\" \n\t\r\\ \$ \` + "`" + ` \x"`: {"A=a \"b\" \n\t\r\\ $ ` \\x"},
		`A='a \n "b" #' # c`:                      {`A=a \n "b" #`},
		"A='two\nlines'\nB=\"two\nlines\"\nC=1":   {"A=two\nlines", "B=two\nlines", "C=1"},
		"A=\"con\\\ntinued\"":                     {"A=continued"},
		`A={"json": [1]}`:                         {`A={"json": [1]}`},
		"A=$X ${Y} `z`":                           {"A=$X ${Y} `z`"},
		"A==":                                     {"A=="},
		"a.b-c=1":                                 {"a.b-c=1"},
		"A=\"\\\xe9\"":                            nil,
		`A="ü\ü"`:                                 {`A=ü\ü`},
	} {
		found, faults := parseEnvironmentFile([]byte(text))
		if want == nil {
			if len(faults) != 1 {
				t.Errorf("%q: want a fault, got %v and %v", text, found, faults)
			}
			continue
		}
		got := []string{}
		for _, a := range found {
			got = append(got, a.name+"="+a.value)
		}
		if d := cmp.Diff(want, got); d != "" || len(faults) > 0 {
			t.Errorf("%q: %v\n%s", text, faults, d)
		}
	}
}

// TestCandidates is where exec looks for a program.
func TestCandidates(t *testing.T) {
	for text, want := range map[string][]string{
		"command = 'app'":                                              {"/usr/bin/app", "/bin/app"},
		"command = '/usr/bin/../bin/app'":                              {"/usr/bin/app"},
		"command = 'bin/shop'\ndirectory = '/srv/shop'":                {"/srv/shop/bin/shop"},
		"command = './bin/shop'\ndirectory = '/srv/shop'":              {"/srv/shop/bin/shop"},
		"command = 'app'\nenvironment.PATH = 'rel::/usr/bin:/usr/bin'": {"/work/rel/app", "/work/app", "/usr/bin/app"},
		"command = 'nginx'\ninherit_environment = false": {
			"/usr/local/sbin/nginx", "/usr/local/bin/nginx", "/usr/sbin/nginx", "/usr/bin/nginx", "/sbin/nginx", "/bin/nginx",
		},
		"command = '${P:-app}'": {"/usr/bin/app", "/bin/app"},
	} {
		set, problems := loadText("[service.web]\n" + text)
		if len(problems) > 0 {
			t.Errorf("%q:\n%s", text, Format(problems))
			continue
		}
		if d := cmp.Diff(want, set.Services[0].Launch.Paths); d != "" {
			t.Errorf("%q:\n%s", text, d)
		}
	}
}
