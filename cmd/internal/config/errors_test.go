package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// service wraps lines into the one service of a file; they begin on line 3.
func service(lines string) string { return "[service.web]\ncommand = \"app\"\n" + lines }

// defaultsOf wraps lines into [defaults]; they begin on line 2.
func defaultsOf(lines string) string { return "[defaults]\n" + lines }

// commandLine is a file whose command is in TOML's literal quotes.
func commandLine(text string) string { return "[service.web]\ncommand = '''" + text + "'''\n" }

// TestProblems holds every message with its position.
func TestProblems(t *testing.T) {
	long := strings.Repeat("x", maxArgument)
	for name, tc := range map[string]struct{ text, want string }{
		// The file.
		"syntax":               {"a = = 1", "1:5: cannot read TOML: unexpected character U+003D '=' at start of value"},
		"syntax at the end":    {"[service.web", "1:12: cannot read TOML: expected ']' to close table name"},
		"key twice":            {service("nice = 1\nnice = 2"), "4:1: `nice` is already set at /etc/supd/supd.toml:3:1"},
		"table twice":          {service("[service.web]\n"), "3:10: table [service.web] is already defined at /etc/supd/supd.toml:1:10"},
		"table over dotted":    {service("stop.mode = \"tree\"\n[service.web.stop]\nsignal = \"INT\""), "4:2: cannot read TOML: table stop already exists as defined by a dotted key"},
		"list and table":       {"[[service]]\n[service.web]\ncommand=\"app\"", "1:3: `service` must be a table, not a list"},
		"unknown key":          {"zzz = 1", "1:1: unknown key `zzz`"},
		"unknown in section":   {"[journal]\n  sink = \"always\"", "2:3: unknown key `journal.sink`"},
		"unknown in service":   {service("zzz = 1"), "3:1: unknown key `zzz` in [service.web]"},
		"unknown in defaults":  {defaultsOf("zzz = 1"), "2:1: unknown key `zzz` in [defaults]"},
		"quoted dot":           {service(`"stop.mode" = "tree"`), "3:1: unknown key `stop.mode` in [service.web]"},
		"group is no table":    {service(`stop = "TERM"`), "3:8: `stop` must be a table, not a string"},
		"section is no table":  {`service = 5`, "1:11: `service` must be a table, not an integer"},
		"service is no table":  {"service.web = 5", "1:15: `service.web` must be a table, not an integer"},
		"defaults no table":    {"defaults = []", "1:12: `defaults` must be a table, not a list"},
		"include no list":      {`include = "x"`, "1:11: `include` must be a list, not a string"},
		"include no string":    {`include = [ 5 ]`, "1:13: `include` must be a string, not an integer"},
		"include bad pattern":  {`include = ["a[" ]`, "1:12: `include`: cannot read the pattern \"a[\": syntax error in pattern"},
		"include missing file": {`include = ["absent.toml"]`, "1:12: `include`: cannot read /etc/supd/absent.toml: file does not exist"},

		// Sections.
		"node":              {"supd.node = 'a.b'", "1:13: `supd.node` must have 1 to 64 letters, digits, - and _, not \"a.b\""},
		"enumeration":       {"supd.console = 'maybe'", "1:16: `supd.console` must be one of auto, on, off, not \"maybe\""},
		"mode":              {"control.mode = '0999'", "1:16: `control.mode`: cannot read octal number \"0999\": want up to \"0777\""},
		"mode no string":    {"control.mode = 0o660", "1:16: `control.mode` must be a string, not an integer"},
		"control group":     {"control.admin_group = 'absent'", "1:23: `control.admin_group`: unknown group \"absent\""},
		"records too few":   {"journal.max_records = 9", "1:23: `journal.max_records` must be from 1000 to 9223372036854775807, not 9"},
		"size too small":    {"journal.max_size = '5kB'", "1:20: `journal.max_size` must be at least 1048576 bytes, not 5kB"},
		"size unit":         {"journal.max_size = '5M'", "1:20: `journal.max_size`: cannot read size \"5M\": want bytes or a number with KiB, MiB, GiB, kB, MB or GB, such as \"16MiB\""},
		"size too large":    {"journal.max_size = '9999999999999GiB'", "1:20: `journal.max_size`: cannot read size \"9999999999999GiB\": it is too large"},
		"size no size":      {"journal.max_size = true", "1:20: `journal.max_size` must be a size, not true or false"},
		"path empty":        {"output.directory = ''", "1:20: `output.directory` must not be empty"},
		"path with NUL":     {"output.directory = \"a\\u0000b\"", "1:20: `output.directory` holds a NUL byte"},
		"concurrency":       {"start.concurrency = 0", "1:21: `start.concurrency` must be from 1 to 1024, not 0"},
		"start burst":       {"[start]\nburst = 0", "2:9: `start.burst` must be from 1 to 1048576, not 0"},
		"start rate":        {"[start]\nrate = -1", "2:8: `start.rate` must be from 0 to 1e+06, not -1"},
		"defaults command":  {defaultsOf("command = 'app'"), "2:1: `command` belongs to one service, not to [defaults]"},
		"defaults count":    {defaultsOf("count = 2"), "2:1: `count` belongs to one service, not to [defaults]"},
		"defaults directly": {defaultsOf("directory = '/absent'"), "2:13: `directory`: cannot use directory /absent: file does not exist"},

		// Services: names and commands.
		"name":             {"[service.'a b']\ncommand='app'", "1:10: service name \"a b\" has ' ' at position 2: allowed are letters, digits, _ and, not first, . @ : + -"},
		"name reserved":    {"[service.all]\ncommand='app'", "1:10: service name \"all\" is reserved: it stands for all services in commands"},
		"name of replica":  {"[service." + strings.Repeat("x", 63) + "]\ncommand='app'\ncount=1", "1:10: replica name `" + strings.Repeat("x", 63) + "-0` is longer than 64 characters"},
		"name taken":       {service("count = 1\n[service.web-0]\ncommand = 'app'"), "4:10: name `web-0` of service `web-0` is taken: it is replica 0 of `web` at /etc/supd/supd.toml:1:10"},
		"too many":         {service("count = 10000\n[service.more]\ncommand = 'app'"), "4:10: more than 10000 services, replicas counted"},
		"no command":       {"[service.web]\n", "1:10: service `web` has no command"},
		"command type":     {"[service.web]\ncommand = 5", "2:11: `command` must be a string or a list of strings, not an integer"},
		"command list":     {"[service.web]\ncommand = ['app', 5]", "2:19: `command` must be a string, not an integer"},
		"command empty":    {commandLine(" "), "2:11: `command` must name a program"},
		"command no list":  {"[service.web]\ncommand = []", "2:11: `command` must name a program"},
		"program empty":    {"[service.web]\ncommand = ['', 'x']", "2:11: `command` must name a program, and its first word is empty"},
		"argument long":    {"[service.web]\ncommand = ['app', '" + long + "']", "2:11: `command` has an argument that is longer than the kernel takes (128 KiB)"},
		"program missing":  {"[service.web]\ncommand = 'absent --x'", "2:11: warning: program not found (yet): `absent`"},
		"not executable":   {"[service.web]\ncommand = '/usr/bin/data'", "2:11: warning: program is not executable (yet): `/usr/bin/data`"},
		"single quote":     {commandLine(`app "a' `), "2:11: `command`: a double quote is not closed"},
		"double quote":     {commandLine(`app 'a" `), "2:11: `command`: a single quote is not closed"},
		"backslash":        {commandLine(`app \`), "2:11: `command`: a backslash at the end escapes nothing"},
		"pid of a shell":   {commandLine("app $$"), "2:11: `command`: `$$` means something to a shell only, and supd runs none"},
		"substitution":     {commandLine("app $(date)"), "2:11: `command`: `$(` means something to a shell only, and supd runs none"},
		"quoted substit.":  {commandLine(`app "$(date)"`), "2:11: `command`: `$(` means something to a shell only, and supd runs none"},
		"backtick":         {commandLine("app `date`"), "2:11: `command`: a backtick means something to a shell only, and supd runs none"},
		"bare variable":    {commandLine("app $HOME"), "2:11: `command`: a `$` that does not begin ${NAME}"},
		"and":              {commandLine("app && b"), "2:11: `command`: `&&` means something to a shell only, and supd runs none"},
		"glob":             {commandLine("app *.txt"), "2:11: `command`: `*` means something to a shell only, and supd runs none"},
		"redirection":      {commandLine("app 2>/dev/null"), "2:11: `command`: `>` means something to a shell only, and supd runs none"},
		"semicolon":        {commandLine("app; b"), "2:11: `command`: `;` means something to a shell only, and supd runs none"},
		"tilde":            {commandLine("app ~/x"), "2:11: `command`: `~` at the start of a word: supd runs no shell"},
		"comment":          {commandLine("app # x"), "2:11: `command`: `#` at the start of a word: supd runs no shell"},
		"two lines":        {commandLine("app\nb"), "2:11: `command`: a command is one line"},
		"assignment":       {commandLine("A=1 app"), "2:11: `command`: NAME=value before the program sets a variable in a shell only"},
		"open variable":    {commandLine("app ${A"), "2:11: `command`: `${` is not closed"},
		"shell operator":   {commandLine("app ${A:=b}"), "2:11: `command`: cannot read a variable: want ${NAME} or ${NAME:-text}"},
		"variable not set": {commandLine("app ${NO_SUCH}"), "2:11: `command`: ${NO_SUCH} is not set"},
		"private variable": {commandLine("app ${SUPD_STATE_DIR}"), "2:11: `command`: ${SUPD_STATE_DIR} is not set"},

		// Services: values.
		"count":              {service("count = -1"), "3:9: `count` must be from 0 to 10000, not -1"},
		"directory no dir":   {service("directory = 'plain.file'"), "3:13: `directory`: cannot use directory /etc/supd/plain.file: not a directory"},
		"user":               {service("user = 'absent'"), "3:8: `user`: unknown user \"absent\""},
		"user type":          {service("user = true"), "3:8: `user` must be a string, not true or false"},
		"user without group": {service("user = 4711"), "3:8: `user` 4711 is not in /etc/passwd, so it has no primary group"},
		"group":              {service("group = 'absent'"), "3:9: `group`: unknown group \"absent\""},
		"group id":           {service("group = 4294967295"), "3:9: `group`: unknown group \"4294967295\""},
		"groups":             {service("groups = ['adm', 'absent']"), "3:18: `groups`: unknown group \"absent\""},
		"groups type":        {service("groups = 'adm'"), "3:10: `groups` must be a list, not a string"},
		"umask":              {service("umask = '00022'"), "3:9: `umask`: cannot read octal number \"00022\": want up to \"0777\""},
		"bool":               {service("autostart = 'yes'"), "3:13: `autostart` must be true or false, not a string"},
		"restart":            {service("restart = 'sometimes'"), "3:11: `restart` must be one of always, on-failure, never, not \"sometimes\""},
		"codes type":         {service("success_exit_codes = 0"), "3:22: `success_exit_codes` must be a list, not an integer"},
		"codes range":        {service("success_exit_codes = [256]"), "3:23: `success_exit_codes` must be from 0 to 255, not 256"},
		"codes signal":       {service("success_exit_codes = ['XYZ']"), "3:23: `success_exit_codes`: cannot read signal \"XYZ\": want a name such as \"TERM\", \"INT\", \"HUP\" or \"USR1\""},
		"duration unit":      {service("stop.timeout = '5x'"), "3:16: `stop.timeout`: cannot read duration \"5x\": want a number with a unit, such as \"500ms\", \"10s\" or \"2h\""},
		"duration too long":  {service("stop.timeout = '2562047h'"), "3:16: `stop.timeout`: cannot read duration \"2562047h\": it is longer than 100 years (876000h)"},
		"duration negative":  {service("stop.timeout = '-5s'"), "3:16: `stop.timeout`: cannot read duration \"-5s\": it is negative"},
		"duration integer":   {service("stop.timeout = 5"), "3:16: `stop.timeout` must be a string, not an integer"},
		"float":              {service("backoff.factor = '2'"), "3:18: `backoff.factor` must be a number, not a string"},
		"float range":        {service("backoff.jitter = 1.5"), "3:18: `backoff.jitter` must be from 0 to 1, not 1.5"},
		"float nan":          {service("backoff.jitter = nan"), "3:18: `backoff.jitter` must be from 0 to 1, not nan"},
		"backoff initial":    {service("backoff.initial = '1m'"), "3:19: `backoff.initial` (1m0s) is longer than `backoff.max` (30s)"},
		"backoff max":        {service("backoff.max = '1ms'"), "3:15: `backoff.initial` (500ms) is longer than `backoff.max` (1ms)"},
		"signal type":        {service("stop.signal = 15"), "3:15: `stop.signal` must be a string, not an integer"},
		"limit type":         {service("limits.core = 'much'"), "3:15: `limits.core` must be an integer, \"unlimited\" or {soft, hard}, not a string"},
		"limit negative":     {service("limits.core = -1"), "3:15: `limits.core` must be from 0 to 9223372036854775807, not -1"},
		"limit half":         {service("limits.core = { soft = 1 }"), "3:15: `limits.core` needs both soft and hard"},
		"limit order":        {service("limits.core = { soft = 2, hard = 1 }"), "3:15: `limits.core` has a soft limit above the hard one"},
		"limit key":          {service("limits.core = { soft = 2, hard = 3, mid = 1 }"), "3:37: unknown key `mid` in [limits.core]"},

		// Services: environment.
		"environment type":   {service("environment = 'A=1'"), "3:15: `environment` must be a table, not a string"},
		"environment value":  {service("environment = { A = 1 }"), "3:21: `environment.A` must be a string, not an integer"},
		"environment NUL":    {service("environment.A = \"\\u0000\""), "3:17: `environment.A` holds a NUL byte"},
		"environment name":   {service("environment.'A B' = ''"), "3:13: `environment`: a variable's name must have no blank, = or control character"},
		"environment empty":  {service("environment.'' = ''"), "3:13: `environment`: a variable's name must have 1 to 256 characters"},
		"environment ours":   {service("environment.SUPD_SERVICE = ''"), "3:13: `environment`: variable SUPD_SERVICE is always set by supd"},
		"environment unset":  {service("environment.A = '${NO_SUCH}'"), "3:17: `environment.A`: ${NO_SUCH} is not set"},
		"environment syntax": {service("environment.A = '${}'"), "3:17: `environment.A`: cannot read a variable: want ${NAME} or ${NAME:-text}"},
		"environment long":   {service("environment.A = '" + long + "'"), "3:17: `environment.A`: variable A is longer than the kernel takes (128 KiB)"},
		"file type":          {service("environment_file = 5"), "3:20: `environment_file` must be a string, not an integer"},
		"file empty":         {service("environment_file = '-'"), "3:20: `environment_file` must not be empty"},
		"file missing":       {service("environment_file = 'absent'"), "3:20: `environment_file`: cannot read /etc/supd/absent: file does not exist"},
	} {
		t.Run(name, func(t *testing.T) {
			_, problems := loadText(tc.text)
			if len(problems) != 1 {
				t.Fatalf("want one problem, got:\n%s", Format(problems))
			}
			got := strings.TrimPrefix(problems[0].String(), "/etc/supd/supd.toml:")
			if got != tc.want {
				t.Errorf("got:  %s\nwant: %s", got, tc.want)
			}
		})
	}
}

// TestHints holds the advice that comes with a fault.
func TestHints(t *testing.T) {
	for text, want := range map[string]string{
		service("restrat = 'never'"): "did you mean `restart`?",
		service("stop.sginal = 'X'"): "did you mean `stop.signal`?",
		service("timeout = '5s'"):    "did you mean `stop.timeout`?",
		service("stop.timeout = 5"):  `write the unit too: "5s"`,
		service("xyzzy = 1"):         "",
		"[sevice.web]\ncommand=''":   "did you mean `service`?",
		"user = 'x'":                 "what belongs to one service goes below [service.NAME], what belongs to all below [defaults]",
		commandLine("a | b"):         `for a shell, write ["/bin/sh", "-c", "…"]; to mean the character itself, put it in single quotes`,
		"[service.web]\ncommand = 'app'\nenvironment = { A = 5 }": "write the value in quotes",
	} {
		_, problems := loadText(text)
		if len(problems) != 1 || problems[0].Hint != want {
			t.Errorf("%q: want the hint %q, got\n%s", text, want, Format(problems))
		}
	}
}

// TestEnvironmentFileProblems have the position within that file, and quote
// nothing of it.
func TestEnvironmentFileProblems(t *testing.T) {
	for text, want := range map[string]string{
		"A=1\nsecret":               "2:1: cannot read an environment file: want NAME=value",
		"A=1\n  B=\"secret":         "2:5: a quote is not closed",
		"A='b' secret":              "1:6: text behind a closing quote",
		"=secret":                   "1:1: a variable's name must have 1 to 256 characters",
		"sec ret=1":                 "1:1: a variable's name must have no blank, = or control character",
		"\nexport SUPD_RUN=1":       "2:8: variable SUPD_RUN is always set by supd",
		"A=secret\x00":              "1:1: variable A holds a NUL byte",
		"A=\xffsecret":              "1:1: variable A is not valid UTF-8",
		"A=1\nA=2":                  "2:1: warning: variable A is set twice: the last one counts",
		"A=1\n" + "B=" + longSecret: "2:1: variable B is longer than the kernel takes (128 KiB)",
	} {
		host := testHost(map[string]string{"supd.toml": service("environment_file = 'e'\ncount = 3\n"), "e": text})
		_, problems := Load("/etc/supd/supd.toml", host)
		if len(problems) != 1 || problems[0].String() != "/etc/supd/e:"+want {
			t.Errorf("%.20q: want %s, got\n%s", text, want, Format(problems))
		}
		if strings.Contains(Format(problems), "secret") {
			t.Errorf("%.20q: the message tells the secret", text)
		}
	}
}

var longSecret = strings.Repeat("secret", maxArgument/6+1)

// TestOwnOnly is what supd cannot give when it does not run as root.
func TestOwnOnly(t *testing.T) {
	for text, want := range map[string]string{
		"user = 'ann'":                    "",
		"user = 1000\ngroup = 'ann'":      "",
		"groups = ['ann', 4]":             "",
		"limits.nofile = 4096":            "",
		"user = 'www-data'":               "3:8: `user`: supd runs as uid 1000 and cannot start services as another user",
		"user = 'ann'\ngroup = 'adm'":     "4:9: `group`: supd runs as uid 1000 and cannot start services with another group",
		"groups = ['adm']":                "3:10: `groups`: supd runs as uid 1000 and cannot start services with other groups than its own",
		"limits.nofile = 4097":            "3:17: `limits.nofile` is above the hard limit supd was started with (4096), and only root may raise that",
		"limits = {nofile = 'unlimited'}": "3:20: `limits.nofile` is above the hard limit supd was started with (4096), and only root may raise that",
	} {
		host := testHost(map[string]string{"supd.toml": service(text)})
		host.UID, host.GID, host.Groups = 1000, 1000, []uint32{1000, 4}
		set, problems := Load("/etc/supd/supd.toml", host)
		got := strings.TrimPrefix(strings.Join(lines(problems), "\n"), "/etc/supd/supd.toml:")
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%q:\n%s", text, d)
		}
		if want == "" && (set.Services[0].Launch.SetUser || set.Services[0].Spec.Credential != "1000:1000:4,1000") {
			t.Errorf("%q: the service does not run as supd itself: %+v", text, set.Services[0])
		}
	}
}

func lines(problems []Problem) []string {
	var out []string
	for _, p := range problems {
		out = append(out, p.String())
	}
	return out
}
