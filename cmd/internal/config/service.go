package config

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"supd/journal/event"
)

// settings is what [defaults] or one service says, read and checked but not
// resolved yet.
type settings struct {
	spec   event.Spec
	at     map[string]position // of the values set, defaults included
	words  []word              // of the command; nil: none, or a faulty one
	execs  map[string]execText // of hooks and probes, by the key that has them
	named  map[string][]named  // services and groups that keys name
	count  *int
	umask  uint32
	limits map[int]event.LaunchLimit

	user   *account
	group  *uint32
	groups []uint32 // nil: the user's

	environment map[string]variableText
	files       []environmentFile
}

// variableText is one value of environment.
type variableText struct {
	word word
	at   position
}

// environmentFile is one environment_file.
type environmentFile struct {
	path     string
	optional bool
	at       position
}

// newSettings are those of a service that sets nothing.
func newSettings(h Host) *settings {
	return &settings{
		spec: event.Spec{
			Directory:        h.abs("."),
			Groups:           []string{},
			InheritEnv:       true,
			Autostart:        true,
			Type:             event.TypeSimple,
			StartTimeout:     event.Duration(event.DefaultStartTimeout),
			Restart:          event.RestartAlways,
			SuccessExitCodes: []string{"0"},
			Backoff: event.Backoff{
				Initial: event.Duration(500e6), Factor: 2, Max: event.Duration(30e9),
				ResetAfter: event.Duration(10e9), Jitter: 0.1,
			},
			MaxRetries:    -1,
			Stop:          event.Stop{Signal: "SIGTERM", Timeout: event.Duration(10e9), Mode: event.StopTree},
			Output:        event.Output{Console: true, MaxSize: 16 << 20, MaxFiles: 8, OnFull: "block", Compress: "none"},
			CaptureOutput: true,
			Limits:        map[string]string{},
		},
		at:          map[string]position{},
		umask:       0o022,
		limits:      map[int]event.LaunchLimit{},
		environment: map[string]variableText{},
		execs:       map[string]execText{},
		named:       map[string][]named{},
	}
}

// clone copies what a service may change in place; lists are only replaced.
func (s *settings) clone() *settings {
	c := *s
	c.at, c.limits = maps.Clone(s.at), maps.Clone(s.limits)
	c.environment, c.spec.Limits = maps.Clone(s.environment), maps.Clone(s.spec.Limits)
	c.execs, c.named = maps.Clone(s.execs), maps.Clone(s.named)
	return &c
}

func (s *settings) readCommand(c *cell) {
	if written, words, ok := readWords(c); ok {
		s.spec.Command, s.spec.CommandLine, s.words = written, c.v.kind == aString, words
	}
}

// readWords reads a command: a string that is split as a shell would, or a list
// of words as they are. written is what the journal may hold.
func readWords(c *cell) (written []string, words []word, ok bool) {
	switch c.v.kind {
	case aString:
		text, ok := c.text("")
		if !ok {
			return nil, nil, false
		}
		var err error
		if words, err = splitCommand(text); err != nil {
			c.failed(err)
			return nil, nil, false
		}
		written = []string{text}
	case aList:
		good := true
		c.elements(func(c *cell) {
			text, ok := c.text("each argument in quotes")
			good = good && ok
			written, words = append(written, text), append(words, literal(text))
		})
		if !good {
			return nil, nil, false
		}
	default:
		c.wrong("", "must be a string or a list of strings, not %s", c.v.kind)
		return nil, nil, false
	}
	if len(words) == 0 {
		c.wrong("", "must name a program")
	}
	return written, words, len(words) > 0
}

func (s *settings) readCount(c *cell) {
	n := -1
	integer(&n, 0, MaxServices)(c)
	if n >= 0 {
		s.count = &n
	}
}

func (s *settings) readEnvironment(c *cell) {
	if !c.is(aTable, `a table such as { PORT = "8080" }`) {
		return
	}
	for _, f := range c.v.fields {
		c := &cell{c.l, c.key, f.at, f.value}
		if message := checkName(f.name); message != "" {
			c.l.problem(f.at, "", "`%s`: %s", c.key, message)
			continue
		}
		c.key += "." + f.name
		text, ok := c.text("the value in quotes")
		if !ok {
			continue
		}
		w, err := template(text)
		if err != nil {
			c.failed(err)
			continue
		}
		s.environment[f.name] = variableText{w, f.value.at}
	}
}

func (s *settings) readEnvironmentFile(c *cell) {
	s.files = nil
	one := func(c *cell) {
		text, ok := c.text("a path in quotes")
		name, optional := strings.CutPrefix(text, "-")
		if ok && name == "" {
			c.wrong("", "must not be empty")
		} else if ok {
			s.files = append(s.files, environmentFile{c.resolve(name), optional, c.v.at})
		}
	}
	if c.v.kind == aList {
		c.elements(one)
		return
	}
	one(c)
}

func (s *settings) readSuccess(c *cell) {
	if !c.is(aList, `a list such as [0, "TERM"]`) {
		return
	}
	s.spec.SuccessExitCodes = []string{}
	c.elements(func(c *cell) {
		var code string
		if c.v.kind == anInt {
			n := -1
			integer(&n, 0, 255)(c)
			code = strconv.Itoa(n)
		} else {
			signal(&code)(c)
		}
		s.spec.SuccessExitCodes = append(s.spec.SuccessExitCodes, code)
	})
}

// readLimit reads an int or "unlimited" for both limits, or {soft, hard}.
func (s *settings) readLimit(name string, resource int) reader {
	return func(c *cell) {
		soft, hard := limit{}, limit{}
		if c.v.kind == aTable {
			found := map[string]position{}
			c.l.decode(c.v, c.key, "", []key{{"soft", soft.read}, {"hard", hard.read}}, found)
			if len(found) < 2 {
				c.wrong("", "needs both soft and hard")
				return
			}
		} else {
			soft.read(c)
			hard = soft
		}
		if !soft.ok || !hard.ok {
			return
		}
		if soft.n > hard.n {
			c.wrong("", "has a soft limit above the hard one")
			return
		}
		c.l.mayRaise(c, resource, hard)
		s.limits[resource] = event.LaunchLimit{Resource: resource, Soft: soft.n, Hard: hard.n}
		s.spec.Limits[name] = soft.String()
		if soft != hard {
			s.spec.Limits[name] += ":" + hard.String()
		}
	}
}

// mayRaise refuses a hard limit that only root could set.
func (l *loader) mayRaise(c *cell, resource int, hard limit) {
	i := slices.IndexFunc(l.host.Limits, func(o event.LaunchLimit) bool { return o.Resource == resource })
	if i >= 0 && l.host.UID != 0 && hard.n > l.host.Limits[i].Hard {
		c.wrong("", "is above the hard limit supd was started with (%s), and only root may raise that", limit{n: l.host.Limits[i].Hard})
	}
}

// limit is one value of a resource limit.
type limit struct {
	n  uint64
	ok bool
}

func (m *limit) read(c *cell) {
	if c.v.kind == aString && c.v.text == "unlimited" {
		m.n, m.ok = unix.RLIM_INFINITY, true
		return
	}
	if c.v.kind != anInt {
		c.wrong("", "must be an integer, \"unlimited\" or {soft, hard}, not %s", c.v.kind)
		return
	}
	n := int64(-1)
	integer(&n, 0, math.MaxInt64)(c)
	m.n, m.ok = uint64(n), n >= 0
}

func (m limit) String() string {
	if m.n == unix.RLIM_INFINITY {
		return "unlimited"
	}
	return strconv.FormatUint(m.n, 10)
}

// claim says who has a service's name.
type claim struct {
	who string
	at  position
}

// resolve turns settings into one service, or one for each replica.
func (l *loader) resolve(p pending, s *settings) {
	if _, set := s.at["command"]; !set && !l.cut {
		l.problem(p.at, "", "service `%s` has no command", p.name)
	}
	if b := s.spec.Backoff; b.Initial > b.Max {
		at, set := s.at["backoff.initial"]
		if !set {
			at = s.at["backoff.max"]
		}
		l.problem(at, "", "`backoff.initial` (%s) is longer than `backoff.max` (%s)", b.Initial, b.Max)
	}
	l.checkLife(s)
	l.notice(p, s)
	s.spec.Umask = fmt.Sprintf("%04o", s.umask)
	who, known := l.credential(s)
	s.spec.Credential = who.String()
	launch := l.launch(s, who)
	if s.count == nil {
		if l.claim(p, p.name, fmt.Sprintf("service `%s`", p.name)) {
			if v, ok := l.instance(p.name, "", s, launch, known); ok {
				l.set.Services = append(l.set.Services, v)
			}
		}
		return
	}
	template, ok := l.instance(p.name, replicaMark, s, launch, known)
	at := s.at["count"]
	r := Replicas{*s.count, template, Place{at.src.shown, at.line, at.column}}
	for i := range *s.count {
		if !l.claimReplica(p, i) {
			return // the others would say the same
		}
		if ok {
			l.set.Services = append(l.set.Services, r.replica(i))
		}
	}
	if ok {
		l.set.Replicas = append(l.set.Replicas, r)
	}
}

// launch is what all replicas share.
func (l *loader) launch(s *settings, who credential) event.Launch {
	byResource := maps.Clone(s.limits)
	for _, o := range l.host.Limits {
		if _, set := byResource[o.Resource]; !set {
			byResource[o.Resource] = o
		}
	}
	limits := slices.SortedFunc(maps.Values(byResource), func(a, b event.LaunchLimit) int {
		return cmp.Compare(a.Resource, b.Resource)
	})
	if limits == nil {
		limits = []event.LaunchLimit{}
	}
	return event.Launch{
		Directory: s.spec.Directory, Umask: s.umask,
		SetUser: who.set, UID: who.uid, GID: who.gid, Groups: who.groups,
		Nice: s.spec.Nice, OOMScoreAdj: s.spec.OOMScoreAdj, Limits: limits,
	}
}

// instance resolves one service, or the template of its replicas; false if it
// cannot be started so.
func (l *loader) instance(base, replica string, s *settings, launch event.Launch, known bool) (v Service, ok bool) {
	name := base
	if replica != "" {
		name += "-" + replica
	}
	before := len(l.problems.list)
	env := l.resolveEnvironment(s, name, replica)
	args, ok := l.arguments(execText{"command", s.words, s.at["command"]}, env)
	execs := l.resolveExecs(s, env)
	if !ok || !known || l.problems.failedSince(before) {
		return v, false
	}
	launch.Env, launch.Args = env.list(), args
	launch.Paths = l.candidates(s, execText{"command", s.words, s.at["command"]}, args[0], env)
	execs.to(&launch)
	if s.words[0].variable() {
		launch.Program = s.words[0].written
	}
	spec := s.spec
	spec.Environment.Names = slices.Sorted(maps.Keys(env.explicit))
	if spec.Environment.Names == nil {
		spec.Environment.Names = []string{}
	}
	return Service{name, spec, launch, pairs(env.explicit)}, true
}

// claimReplica notes a replica's name.
func (l *loader) claimReplica(p pending, number int) bool {
	name := replicaName(p.name, number)
	if len(name) > event.MaxServiceName {
		l.problem(p.at, "", "replica name `%s` is longer than %d characters", name, event.MaxServiceName)
		return false
	}
	return l.claim(p, name, fmt.Sprintf("replica %d of `%s`", number, p.name))
}

// claim notes a name; two services cannot have one.
func (l *loader) claim(p pending, name, who string) bool {
	if other, taken := l.names[name]; taken {
		l.problem(p.at, "", "name `%s` of %s is taken: it is %s at %s", name, who, other.who, other.at)
		return false
	}
	if len(l.names) >= MaxServices {
		l.problem(p.at, "", "more than %d services, replicas counted", MaxServices)
		return false
	}
	if l.names == nil {
		l.names = map[string]claim{}
	}
	l.names[name] = claim{who, p.at}
	return true
}
