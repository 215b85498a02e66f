package policy_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"supd/executor/policy"
	"supd/journal/event"
	"supd/projector"
)

var rewrite = flag.Bool("rewrite", false, "write what the transcripts say instead of comparing; read the difference")

// TestTranscripts plays the scripts in testdata: commands, a line of dashes,
// and what supd decides, one record a line, with the effects (!), the duties
// (>) and the phase (=) of each service concerned. They are worked examples
// of each row of the recovery table and of each promise of the policy.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := play(t, string(raw))
			if *rewrite {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			compare(t, string(raw), got)
		})
	}
}

func compare(t *testing.T, want, got string) {
	t.Helper()
	a, b := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range max(len(a), len(b)) {
		x, y := "(end)", "(end)"
		if i < len(a) {
			x = a[i]
		}
		if i < len(b) {
			y = b[i]
		}
		if x != y {
			t.Fatalf("line %d\nwant %s\n got %s\n(after a wanted change: go test ./executor/policy -rewrite, and read the difference)", i+1, x, y)
		}
	}
}

// play runs a script and returns it with the output as it is now.
func play(t *testing.T, script string) string {
	p := &player{bench: newBench(t.Fatalf), t: t, ids: map[string]string{}, names: map[string]string{}}
	var out []string
	for _, block := range strings.Split(strings.TrimSpace(script), "\n\n") {
		commands, _, played := strings.Cut(block, "\n----")
		if !played {
			out = append(out, block) // a comment
			continue
		}
		var b strings.Builder
		for _, line := range strings.Split(commands, "\n") {
			if !strings.HasPrefix(line, "#") {
				p.out = nil
				p.command(strings.Fields(line))
				p.flush()
				for _, l := range p.out {
					b.WriteString("\n" + l)
				}
			}
		}
		out = append(out, commands+"\n----"+b.String())
	}
	p.replay()
	return strings.Join(out, "\n\n") + "\n"
}

type player struct {
	*bench
	t     *testing.T
	ids   map[string]string // command ids by alias
	names map[string]string // and back
	out   []string
	from  int
}

func (p *player) sayf(format string, args ...any) {
	p.out = append(p.out, "  "+fmt.Sprintf(format, args...))
}

var uuids = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}`)

// aliased replaces command ids by the names the script gave them.
func (p *player) aliased(s string) string {
	return uuids.ReplaceAllStringFunc(s, func(id string) string {
		if a := p.names[id]; a != "" {
			return a
		}
		return id
	})
}

// flush writes the records since the last flush.
func (p *player) flush() {
	for _, e := range p.log[p.from:] {
		r := e.Record
		subject := r.Subject
		if subject == "" {
			subject = "-"
		}
		p.out = append(p.out, p.aliased(fmt.Sprintf("%d %s %s %s%s", r.Seq, r.Kind, subject, data(r), from(r))))
	}
	p.from = len(p.log)
	if p.last == nil {
		return
	}
	for _, e := range p.last.Effects {
		p.out = append(p.out, p.aliased("  ! "+effect(e)))
	}
	for _, name := range slices.Sorted(func(yield func(string) bool) {
		for n := range p.last.Touched {
			if !yield(n) {
				return
			}
		}
	}) {
		p.service(name)
	}
	p.last = nil
}

func (p *player) service(name string) {
	v := p.s.Services[name]
	if v == nil {
		p.out = append(p.out, fmt.Sprintf("  = %s is gone", name))
		return
	}
	text := fmt.Sprintf("  = %s: %s, want %s, retries %d", name, v.Phase, v.Want, v.Retries)
	if wait, ok := policy.Wait(p.s, v, p.w.Now); ok {
		text += fmt.Sprintf(", due in %s", wait)
	}
	p.out = append(p.out, text)
	for _, d := range policy.Duties(p.s, v, p.w.Now) {
		line := fmt.Sprintf("  > %s %s", d.Do, d.Key())
		if d.Do == policy.ActHook {
			line = fmt.Sprintf("  > hook %s of %s, at most %s", d.Hook, d.Instance, time.Duration(d.Deadline-p.w.Now.Mono))
		}
		if d.Signal != "" {
			line += fmt.Sprintf(" %s to %s", d.Signal, d.Scope)
		}
		if d.After > 0 {
			line += fmt.Sprintf(" after %d", d.After)
		}
		if d.Urgent {
			line += ", urgent"
		}
		p.out = append(p.out, p.aliased(line))
	}
}

func from(r event.Record) string {
	text := ""
	if r.Cause != "" {
		text = " <- " + r.Cause
	}
	if r.Actor != "supd" {
		text += " by " + r.Actor
	}
	return text
}

// data is a record's data without what does not change in a transcript.
func data(r event.Record) string {
	switch d := r.Data.(type) {
	case event.ServiceDefinedData:
		return "{…}"
	case event.StateBaseData:
		return fmt.Sprintf("{part %d of %d}", d.Part, d.Parts)
	case event.RestartScheduledData:
		shortage := ""
		if d.Shortage {
			shortage = ", shortage"
		}
		return fmt.Sprintf("{retry %d, delay %s, jitter %v%s}", d.Retry, d.Delay, d.Jitter, shortage)
	}
	b, err := event.Marshal(r.Data)
	if err != nil {
		return err.Error()
	}
	var m map[string]any
	if json.Unmarshal(b, &m) != nil {
		return string(b)
	}
	for k, v := range m {
		empty := v == nil || v == "" || v == false || v == 0.0 || v == "0s"
		if empty || slices.Contains([]string{"sent_at", "client", "patterns", "version", "start_time", "cgroup", "files", "spec_digest", "since", "operation"}, k) {
			delete(m, k)
		}
		if at, ok := v.(map[string]any); ok && at["mono"] != nil {
			m[k] = fmt.Sprintf("+%s", time.Duration(at["mono"].(float64))-time.Hour)
		}
	}
	b, _ = event.Marshal(m)
	return strings.ReplaceAll(string(b), `"`, "")
}

func effect(e policy.Effect) string {
	switch e := e.(type) {
	case policy.Reply:
		r := e.Reply
		parts := []string{"reply", e.Command, r.Status}
		for _, s := range []string{string(r.Outcome), r.Reason, r.Detail} {
			if s != "" {
				parts = append(parts, s)
			}
		}
		if e.Everyone {
			parts = append(parts, "(to all who wait)")
		}
		return strings.Join(parts, " ")
	case policy.Drop:
		return "drop " + e.Instance
	case policy.Forget:
		return "forget " + e.Instance
	case policy.Adopt:
		return fmt.Sprintf("adopt %s pid %d", e.Instance, e.PID)
	case policy.Stranger:
		return "kill " + e.Instance
	case policy.Use:
		return "use " + e.Digest
	case policy.Quit:
		return fmt.Sprintf("quit keep_services=%v", e.KeepServices)
	}
	return fmt.Sprintf("%T", e)
}

// options reads the key=value words behind the plain ones.
func options(words []string) (plain []string, o map[string]string) {
	o = map[string]string{}
	for _, w := range words {
		if k, v, ok := strings.Cut(w, "="); ok {
			o[k] = v
		} else {
			plain = append(plain, w)
		}
	}
	return plain, o
}

func (p *player) number(s string) int {
	if s == "" {
		return 0
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		p.t.Fatal(err)
	}
	return n
}

func (p *player) duration(s string) time.Duration {
	d, err := time.ParseDuration(s)
	if err != nil {
		p.t.Fatal(err)
	}
	return d
}

// commandID is the id behind a script's name for it: name@-25h is one of
// another time.
func (p *player) commandID(name string) string {
	if id := p.ids[name]; id != "" {
		return id
	}
	_, shift, _ := strings.Cut(name, "@")
	at := p.w.Now.Wall
	if shift != "" {
		at = at.Add(p.duration(shift))
	}
	id := uuid(at, len(p.ids)+1)
	if strings.HasPrefix(name, "odd") {
		id = name
	}
	p.ids[name], p.names[id] = id, name
	return id
}

func (p *player) operation(name, instance string) (operation, signal, scope string) {
	switch {
	case name == "kill":
		return projector.KillOperation(instance), event.Kill, event.ScopeTree
	case name == "tree":
		return projector.TreeOperation(instance), "SIGTERM", event.ScopeTree
	case name == "stop":
		return projector.StopOperation(instance, "SIGTERM"), "SIGTERM", event.ScopeMain
	}
	return projector.SignalOperation(p.ids[name]), "SIGHUP", event.ScopeMain
}
