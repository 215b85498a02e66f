package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// FuzzLoad: whatever a file holds, Load ends, every problem has a position
// within the file and a message, and a set comes exactly when none is more
// than a warning.
func FuzzLoad(f *testing.F) {
	inputs, _ := filepath.Glob("testdata/*.toml")
	for _, name := range append(inputs, "example.toml") {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	for _, s := range []string{
		"a = [[1], {b=1}]", "[[service]]", "[a.b]\n[a]\nb.c=1", "a.b=1\na=2", "\xff", "x=\"\\u0000\"", "[service]\na={command='app',limits.core=1}", "service=[{}]\n[service.a]",
		"[service.a]\ncommand='app'\nafter=['b',{name='c',condition='ready'}]\n[service.b]\ncommand='app'\nrequires=['a']\nconflicts=['a']\ngroups_of=['a','g']",
		"[service.a]\ncommand='app'\nready={log='('}\nhealth={tcp=':1',http='http://a'}\nhooks={pre_start='x ${Y}',post_stop=[]}\nlimits={memory=1,pids=0}",
		"[listen]\naddress='[::1%eth0]:1'\nnkeys=[{key='U',role='read'},[]]\ntls={cert='supd.toml',key='supd.toml'}",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		set, problems := loadText(string(data))
		checkProblems(t, string(data), problems)
		if (set == nil) != Failed(problems) {
			t.Fatalf("set %v with problems:\n%s", set, Format(problems))
		}
	})
}

func checkProblems(t *testing.T, text string, problems []Problem) {
	t.Helper()
	lines := strings.Split(text, "\n")
	for _, p := range problems {
		switch {
		case p.File == "" || p.Line < 1 || p.Column < 1 || p.Message == "":
			t.Fatalf("incomplete problem: %+v", p)
		case strings.HasSuffix(p.File, "supd.toml") && (p.Line > len(lines) || p.Column > len(lines[p.Line-1])+1):
			t.Fatalf("position outside the file: %s\n%q", p, text)
		}
	}
}

func FuzzEnvironmentFile(f *testing.F) {
	for _, s := range []string{"A=1\nexport B='x'\n# c\nC=\"a\\n\"", "A=\"", "=\n=", "A='\n'x", "\r\n", "export ", "A=\"\\"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		found, faults := parseEnvironmentFile(data)
		for _, a := range found {
			if checkName(a.name) != "" || checkValue(a.name, a.value) != "" || a.offset > len(data) {
				t.Fatalf("%q gives %+v", data, a)
			}
		}
		for _, fault := range faults {
			if fault.offset < 0 || fault.offset > len(data) || fault.message == "" {
				t.Fatalf("%q gives %+v", data, fault)
			}
		}
	})
}

// drawConfig writes a configuration of random services. Values of the
// environment all hold the word hush.
func drawConfig(t *rapid.T) map[string]string {
	var b strings.Builder
	for i := range rapid.IntRange(1, 5).Draw(t, "services") {
		fmt.Fprintf(&b, "[service.s%d]\n", i)
		b.WriteString(rapid.SampledFrom([]string{
			"command = 'app ${SECRET} --x'\n", "command = ['app', '${SECRET}']\n", "command = 'app ${FROM_FILE:-x}'\n",
			"command = '${SECRET}'\n", "command = 'app \"${NEXT}\"'\n",
		}).Draw(t, "command"))
		for _, line := range []string{
			"count = 3\n", "user = 'ann'\n", "environment_file = 'e'\n", "inherit_environment = false\n", "limits.core = 0\n",
			"output.max_files = 3\n", "success_exit_codes = ['TERM', 1]\n", "directory = '/srv/shop'\n",
			"hooks.pre_start = 'app ${SECRET}'\n", "hooks.post_stop = '${SECRET}'\n", "ready = { exec = 'app ${SECRET}' }\n",
			"health = { exec = ['app', '${SECRET}'], interval = '1s' }\n", "after = ['s0']\n",
		} {
			if rapid.Bool().Draw(t, line) {
				b.WriteString(line)
			}
		}
		b.WriteString("environment = { SECRET = 'hush-table', NEXT = 'hush ${TOKEN}' }\n")
	}
	if rapid.IntRange(0, 3).Draw(t, "faulty") == 0 {
		b.WriteString("[service.faulty]\ncommand = 'app ${NO_SUCH}'\nenvironment = { A = 'hush ${', B = 'hush\\ ${NO_SUCH}' }\n")
	}
	file := "FROM_FILE=hush-file\n"
	if rapid.IntRange(0, 3).Draw(t, "faulty file") == 0 {
		file = rapid.SampledFrom([]string{"FROM_FILE='hush\n", "hush\n", "FROM_FILE=hush\x00\n", "hush hush=1"}).Draw(t, "file")
	}
	return map[string]string{"supd.toml": b.String(), "e": file}
}

// TestDeterministic: the same files on the same host give the same bytes.
func TestDeterministic(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		files := drawConfig(t)
		load := func() []byte {
			set, problems := Load("/etc/supd", testHost(files))
			b, err := json.Marshal(struct {
				Set      *Set
				Problems []Problem
			}{set, problems})
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
		if a, b := load(), load(); !bytes.Equal(a, b) {
			t.Fatalf("two loads differ:\n%s\n%s", a, b)
		}
	})
}

// TestSecretsStayOut: no value of an environment variable, written or
// inherited, gets into what the journal may hold: a Spec, or a problem. (P10)
func TestSecretsStayOut(t *testing.T) {
	accepted, refused := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		set, problems := Load("/etc/supd", testHost(drawConfig(t)))
		public := Format(problems)
		refused += len(problems)
		if set != nil {
			accepted++
			for _, s := range set.Services {
				b, err := json.Marshal(s.Spec)
				if err != nil {
					t.Fatal(err)
				}
				public += string(b)
			}
		}
		if strings.Contains(public, "hush") || strings.Contains(public, "inherited-secret") {
			t.Fatalf("a secret is in what the journal may hold:\n%s", public)
		}
	})
	if accepted < 5 || refused < 5 {
		t.Errorf("%d sets and %d problems: the test looks at too little", accepted, refused)
	}
}
