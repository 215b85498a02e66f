package rig_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"supd/cmd/internal/exitcode"
	"supd/cmd/internal/rig"
	"supd/cmd/internal/rig/account"
	"supd/journal/event"
	"supd/projector/timeline"
)

// node is a service of a graph: the actor with flags, and keys of its own. It is
// not started by itself.
func node(name, flags, keys string) string {
	args := ""
	for _, f := range strings.Fields(flags) {
		args += ", " + strconv.Quote(f)
	}
	return fmt.Sprintf("[service.%s]\ncommand = [\"ACTOR\", \"-dir\", \"DIR\"%s]\nautostart = false\n%s\n", name, args, keys)
}

// touch makes files in the rig's folder, for services that wait for them.
func touch(t *testing.T, r *rig.Rig, names ...string) {
	t.Helper()
	for _, name := range names {
		if err := os.WriteFile(filepath.Join(r.Dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// phases are the phases of all services.
func phases(r *rig.Rig) map[string]event.Phase {
	var list []event.ServiceStatus
	r.Supctl("status", "-o", "json").OK().JSON(&list)
	all := map[string]event.Phase{}
	for _, s := range list {
		all[s.Name] = s.State
	}
	return all
}

// untilPhases waits until services are where they should be.
func untilPhases(r *rig.Rig, phase event.Phase, names ...string) {
	var now map[string]event.Phase
	r.Until(fmt.Sprintf("%v are %s", names, phase), func() bool {
		now = phases(r)
		return !slices.ContainsFunc(names, func(n string) bool { return now[n] != phase })
	})
}

// reason is why a service is where it is.
func reason(r *rig.Rig, service string) string {
	if why := r.Status(service).Reason; why != nil {
		return *why
	}
	return ""
}

// order is where in the history each service first shows a kind of record.
func order(h rig.History, kind event.Kind) map[string]int {
	at := map[string]int{}
	for i, e := range h {
		if _, seen := at[e.Record.Subject]; e.Record.Kind == kind && !seen {
			at[e.Record.Subject] = i
		}
	}
	return at
}

// behind checks that services show a kind of record behind that of others.
func behind(t *testing.T, at map[string]int, service string, others map[string]int, names ...string) {
	t.Helper()
	for _, name := range names {
		if other, ok := others[name]; !ok || at[service] <= other {
			t.Errorf("%s at record %d is not behind %s at %d", service, at[service], name, other)
		}
	}
}

func noViolations(t *testing.T, r *rig.Rig) {
	t.Helper()
	broken, err := account.Violations(r.Dir)
	if err != nil || len(broken) > 0 {
		t.Error(err, broken)
	}
}

// TestGraphOfServices: services that show in six ways that they are ready start
// at once beside each other, what needs them at the moment the last of them is
// ready, whatever becomes of the engine meanwhile, and they end in reverse.
func TestGraphOfServices(t *testing.T) {
	t.Parallel()
	ports := [2]string{fmt.Sprintf("127.0.0.1:%d", freePort(t)), fmt.Sprintf("127.0.0.1:%d", freePort(t))}
	leaves := []string{"audit", "cache", "db", "files", "queue", "search"}
	r := rig.New(t, node("db", "-when go-db -ready notify=loaded", "ready.notify = true\ngroups_of = [\"data\"]")+
		node("cache", "-when go-cache -ready fd", "ready.fd = 3\ngroups_of = [\"data\"]")+
		node("search", "-when go-search -ready tcp="+ports[0], "ready.tcp = \""+ports[0]+"\"")+
		node("files", "-when go-files -ready http="+ports[1], "ready.http = \"http://"+ports[1]+"/\"")+
		node("queue", "-when go-queue -ready exec", "ready.exec = [\"/usr/bin/test\", \"-e\", \"DIR/queue.ready\"]")+
		node("audit", "-when go-audit -ready log", "ready.log = \"^ready\"")+
		node("migrate", "-when go-migrate -life 0s,0s", "type = \"oneshot\"\nrequires = [\"db\"]")+
		node("api", "-when go-api -ready notify", "ready.notify = true\nrequires = [\"db\", \"cache\", \"search\", \"queue\"]\nwants = [\"files\", \"audit\"]")+
		node("web", "", "requires = [\"api\", { name = \"migrate\", condition = \"completed\" }]\n"+
			"hooks.pre_stop = [\"/bin/sh\", \"-c\", \"until test -e DIR/go-stop; do sleep 0.02; done\"]"))
	r.Run()
	r.Supctl("start", "web", "--no-wait").OK()
	untilPhases(r, event.PhaseStarting, leaves...)
	untilPhases(r, event.PhaseWaiting, "web", "api", "migrate")
	if why := reason(r, "migrate"); why != "waits for db ready" {
		t.Errorf("migrate: %s", why)
	}
	touch(t, r, "go-files", "go-queue", "go-search", "go-audit")
	untilPhases(r, event.PhaseRunning, "files", "queue", "search", "audit")
	if p := phases(r)["api"]; p != event.PhaseWaiting {
		t.Errorf("api is %s before db and cache are ready", p)
	}
	if why := reason(r, "api"); why != "waits for cache ready, db ready" {
		t.Errorf("api: %s", why)
	}
	// Both say that they are ready to nobody.
	r.Kill(r.Engine())
	touch(t, r, "go-db", "go-cache")
	r.Answers()
	untilPhases(r, event.PhaseRunning, "db", "cache")
	untilPhases(r, event.PhaseStarting, "api")
	if why := reason(r, "db"); why != "loaded" {
		t.Errorf("db says of itself: %s", why)
	}
	r.Kill(r.Engine())
	touch(t, r, "go-migrate")
	r.Answers()
	untilPhases(r, event.PhaseExited, "migrate")
	if why := reason(r, "web"); why != "waits for api ready" {
		t.Errorf("web: %s", why)
	}
	touch(t, r, "go-api")
	r.Supctl("start", "web").OK()                                             // it is started already: both return when it runs
	stop := strings.TrimSpace(r.Supctl("stop", "data", "--no-wait").OK().Out) // a group
	untilPhases(r, event.PhaseStopping, "web")
	if why := reason(r, "db"); why != "it ends when those that depend on it are gone" {
		t.Errorf("db: %s", why)
	}
	r.Kill(r.Engine())
	touch(t, r, "go-stop")
	r.Answers()
	r.Until("the stop has ended", func() bool { return strings.Contains(r.Call(nil, "result", stop).Out, "db: done") })
	now := phases(r)
	for _, name := range []string{"db", "cache", "api", "web"} {
		if now[name] != event.PhaseStopped {
			t.Errorf("the group is stopped, and %s is %s", name, now[name])
		}
	}
	if now["search"] != event.PhaseRunning {
		t.Errorf("nothing that search needs was stopped, and it is %s", now["search"])
	}
	r.Shutdown()
	h := r.History()
	started, ready, ended := order(h, event.InstanceStarting), order(h, event.InstanceReady), order(h, event.InstanceExited)
	behind(t, started, "api", ready, leaves...)
	behind(t, started, "web", ready, "api")
	behind(t, started, "web", ended, "migrate")
	behind(t, ended, "db", ended, "api", "web", "migrate")
	behind(t, ended, "api", ended, "web")
	if n := len(rig.Of[event.InstanceStartingData](h)); n != 9 {
		t.Errorf("%d instances of 9 services: something was started twice", n)
	}
	noViolations(t, r)
}

// TestRequirementFails: whoever waits for a service is told which of its
// requirements failed, and how.
func TestRequirementFails(t *testing.T) {
	t.Parallel()
	r := rig.New(t, node("migrate", "-when go -life 0s,0s -exits 3", "type = \"oneshot\"")+
		node("slow", "-when never", "ready = { notify = true, timeout = \"300ms\" }\nmax_retries = 0")+
		node("web", "", "requires = [\"migrate\"]")+node("api", "", "requires = [\"slow\"]")+
		node("old", "-term ignore", "stop.timeout = \"200ms\"")+node("new", "", "conflicts = [\"old\"]"))
	r.Run()
	touch(t, r, "go")
	res := r.Supctl("start", "web").Is(exitcode.Failed)
	if !strings.Contains(res.Out, "migrate") || !strings.Contains(res.Out, "code 3; restart is never") {
		t.Errorf("start web: %s%s", res.Out, res.Err)
	}
	if why := reason(r, "web"); !strings.Contains(why, "migrate") {
		t.Errorf("web: %s", why)
	}
	untilPhases(r, event.PhaseFatal, "web", "migrate")
	res = r.Supctl("start", "api").Is(exitcode.Failed)
	if !strings.Contains(res.Out, "slow") {
		t.Errorf("start api: %s%s", res.Out, res.Err)
	}
	untilPhases(r, event.PhaseFatal, "api", "slow")
	if why := reason(r, "slow"); !strings.Contains(why, "start-timeout") {
		t.Errorf("slow: %s", why)
	}
	r.Supctl("start", "old").OK()
	r.Supctl("start", "new").OK()
	if now := phases(r); now["old"] != event.PhaseStopped || now["new"] != event.PhaseRunning {
		t.Errorf("in conflict: %v", now)
	}
	r.Shutdown()
	h := r.History()
	behind(t, order(h, event.InstanceStarting), "new", order(h, event.InstanceExited), "old")
	if n := len(rig.Of[event.InstanceStartingData](h)); n != 4 {
		t.Errorf("%d instances: a oneshot that failed was tried again, or what needs it was started", n)
	}
}

// TestIllServices: a service that is unhealthy, or gives no sign of life, is
// started again and the journal says why.
func TestIllServices(t *testing.T) {
	t.Parallel()
	r := rig.New(t, node("sick", "", "health = { exec = [\"/usr/bin/test\", \"!\", \"-e\", \"DIR/sick.sick\"], interval = \"100ms\", failures = 2 }")+
		node("mute", "-ready notify=well", "ready.notify = true\nwatchdog = \"600ms\""))
	r.Run()
	r.Supctl("start", "sick", "mute").OK()
	first := map[string]string{"sick": *r.Status("sick").Instance, "mute": *r.Status("mute").Instance}
	touch(t, r, "sick.sick")
	r.Until("sick is started again", func() bool { i := r.Status("sick").Instance; return i != nil && *i != first["sick"] })
	if err := os.Remove(filepath.Join(r.Dir, "sick.sick")); err != nil {
		t.Fatal(err)
	}
	if i := r.Status("mute").Instance; i == nil || *i != first["mute"] {
		t.Error("mute was started again while it gave signs of life")
	}
	r.Kill(r.Engine()) // the watch on it begins anew
	r.Answers()
	touch(t, r, "mute.hang")
	r.Until("mute is started again", func() bool { i := r.Status("mute").Instance; return i != nil && *i != first["mute"] })
	if err := os.Remove(filepath.Join(r.Dir, "mute.hang")); err != nil {
		t.Fatal(err)
	}
	untilPhases(r, event.PhaseRunning, "sick", "mute")
	r.Shutdown()
	why := map[string]bool{}
	for _, d := range rig.Of[event.InstanceStoppingData](r.History()) {
		why[d.Reason] = true
	}
	if !why[event.ReasonHealth] || !why[event.ReasonWatchdog] {
		t.Errorf("the reasons are %v", why)
	}
	noViolations(t, r)
}

// TestHooksOfServices: hooks run as their service's user; one that fails or
// hangs is a failed start; an engine that dies under a hook runs none twice.
func TestHooksOfServices(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		need(t, "root")
	}
	credential(t, "nobody")
	r := rig.New(t, node("good", "", `hooks.pre_start = ["/bin/sh", "-c", "id -un >>DIR/good.hooks; until test -e DIR/go; do sleep 0.02; done"]
hooks.post_start = ["/bin/sh", "-c", "echo post_start >>DIR/good.hooks"]
hooks.pre_stop = ["/bin/sh", "-c", "echo pre_stop >>DIR/good.hooks"]
hooks.post_stop = ["/bin/sh", "-c", "echo post_stop >>DIR/good.hooks"]
user = "nobody"`)+
		node("bad", "", "hooks.pre_start = [\"/bin/sh\", \"-c\", \"echo no licence; exit 4\"]\nmax_retries = 0")+
		node("hung", "", "hooks.pre_start = [\"/bin/sleep\", \"600\"]\nstart_timeout = \"300ms\"\nmax_retries = 0"))
	r.Run()
	r.Supctl("start", "good", "--no-wait").OK()
	written := func() string {
		b, err := os.ReadFile(filepath.Join(r.Dir, "good.hooks"))
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		return string(b)
	}
	r.Until("pre_start runs", func() bool { return written() == "nobody\n" })
	if why := reason(r, "good"); why != "the hook pre_start runs" {
		t.Errorf("good: %s", why)
	}
	r.Kill(r.Engine())
	touch(t, r, "go")
	r.Answers()
	untilPhases(r, event.PhaseRunning, "good")
	r.Until("post_start has run", func() bool { return written() == "nobody\npost_start\n" })
	r.Supctl("stop", "good").OK()
	if got := written(); got != "nobody\npost_start\npre_stop\npost_stop\n" {
		t.Errorf("the hooks wrote\n%s", got)
	}
	for service, want := range map[string]string{"bad": "pre_start", "hung": ""} {
		if res := r.Supctl("start", service).Is(exitcode.Failed); !strings.Contains(res.Out, want) {
			t.Errorf("start %s: %s", service, res.Out)
		}
		untilPhases(r, event.PhaseFatal, service)
	}
	r.Shutdown()
	if n := len(rig.Of[event.HookStartedData](r.History())); n != 6 {
		t.Errorf("%d hooks were begun, not 6", n)
	}
	noViolations(t, r)
}

// TestScale: a command's count is kept across an apply and a restart of supd,
// until it is what the file says; nothing else of an edited file is applied, and
// replicas that stay are not touched (P7).
func TestScale(t *testing.T) {
	config := func(count int) string {
		return applyHead + fmt.Sprintf("[service.web]\ncommand = [\"ACTOR\", \"-dir\", \"DIR\"]\ncount = %d\n", count)
	}
	r := rig.New(t, config(2))
	r.Run()
	untilPhases(r, event.PhaseRunning, "web-0", "web-1")
	first := pids(r)
	r.Configure(strings.Replace(config(2), "count", "nice = 1\ncount", 1))
	sameMap(t, "scale up", results(r.Supctl("scale", "web=4", "-o", "json").OK()), map[string]event.Outcome{"web-2": event.Done, "web-3": event.Done})
	grown := pids(r)
	if len(grown) != 4 || grown["web-0"] != first["web-0"] || grown["web-1"] != first["web-1"] {
		t.Errorf("scaled to 4: %v, before %v", grown, first)
	}
	if p := plan(r); p["web-0"] != event.PlanRestart || p["web-3"] != event.PlanRestart {
		t.Errorf("the edited file waits for its apply: %v", p)
	}
	r.Configure(config(2))
	if res := r.Supctl("plan"); !strings.Contains(res.Out, "nothing to do") || !strings.Contains(res.Err, "supctl scale web=2") {
		t.Errorf("plan: %s%s", res.Out, res.Err)
	}
	r.Kill(r.Engine())
	r.Supctl("apply").OK()
	sameMap(t, "an apply", pids(r), grown)
	r.Supctl("scale", "web=4").OK()
	sameMap(t, "the same count", pids(r), grown)
	r.Supctl("scale", "web=3").OK()
	if now := pids(r); len(now) != 3 || now["web-0"] != first["web-0"] || now["web-2"] != grown["web-2"] {
		t.Errorf("scaled to 3: %v, before %v", now, grown)
	}
	r.Supctl("scale", "wep=3").Is(exitcode.NoService)
	r.Supctl("scale", "web-1=3").Is(exitcode.Usage)
	r.Supctl("scale", "web").Is(exitcode.Usage)
	r.Supctl("scale", "web=-1").Is(exitcode.Usage)
	r.Supctl("shutdown", "--keep-services").OK()
	r.Exit()
	kept := len(r.Left())
	r.Run()
	if now := pids(r); len(now) != 3 || now["web-0"] != first["web-0"] {
		t.Errorf("with the next supd: %v, before %v; %d were kept", now, grown, kept)
	}
	r.Supctl("shutdown").OK()
	r.Exit()
	r.Run()
	untilPhases(r, event.PhaseRunning, "web-0", "web-1", "web-2")
	r.Configure(config(3))
	before := pids(r)
	r.Supctl("apply").OK() // the file says the same: it rules again
	r.Configure(config(1))
	r.Supctl("apply").OK()
	if now := pids(r); len(now) != 1 || now["web-0"] != before["web-0"] {
		t.Errorf("the file says 1 again: %v", now)
	}
	r.Shutdown()
	noViolations(t, r)
}

// TestRollingRestart goes from replica to replica, each when the one before is
// ready, and stops at the first that does not come up, whatever becomes of the
// engine.
func TestRollingRestart(t *testing.T) {
	t.Parallel()
	r := rig.New(t, node("web", "-ready notify", "count = 3\nready = { notify = true, timeout = \"30s\" }"))
	r.Run()
	r.Supctl("start", "web").OK()
	first := pids(r)
	id := strings.TrimSpace(r.Supctl("restart", "web", "--rolling", "--no-wait").OK().Out)
	r.Kill(r.Engine())
	r.Until("it has ended", func() bool {
		res := r.Call(nil, "result", id, "-o", "json")
		return res.Code == exitcode.Done && strings.Contains(res.Out, `"ended"`)
	})
	second := pids(r)
	for name, pid := range second {
		if pid == 0 || pid == first[name] {
			t.Errorf("%s was not restarted: %v", name, second)
		}
	}
	r.Configure(node("web", "-ready notify", "count = 3\nready = { notify = true, timeout = \"30s\" }\n"+
		"hooks.pre_start = [\"/usr/bin/test\", \"!\", \"-e\", \"DIR/broken\"]\nmax_retries = 0"))
	r.Supctl("apply").OK()
	third := pids(r)
	touch(t, r, "broken")
	var reply event.CommandReply
	r.Supctl("restart", "web", "--rolling", "-o", "json").Is(exitcode.Failed).JSON(&reply)
	for _, res := range reply.Results {
		want := event.Refused
		if res.Service == "web-0" {
			want = event.Failed
		}
		if res.Outcome != want {
			t.Errorf("%s: %s %s, want %s", res.Service, res.Outcome, res.Error, want)
		}
	}
	if now := pids(r); now["web-1"] != third["web-1"] || now["web-2"] != third["web-2"] {
		t.Errorf("the others were touched: %v, before %v", now, third)
	}
	r.Shutdown()
	h := r.History()
	at, seen := map[string]int{}, map[string]int{} // of the second starts and readinesses
	for i, e := range h {
		key := string(e.Record.Kind) + " " + e.Record.Subject
		if seen[key]++; seen[key] == 2 {
			at[key] = i
		}
	}
	for n := 1; n < 3; n++ {
		start, ready := at[fmt.Sprintf("%s web-%d", event.InstanceStarting, n)], at[fmt.Sprintf("%s web-%d", event.InstanceReady, n-1)]
		if start == 0 || start < ready {
			t.Errorf("web-%d was started at record %d, before its predecessor was ready at %d", n, start, ready)
		}
	}
	noViolations(t, r)
}

// TestGraphCommand: supctl graph says in each form what needed what and what
// took longest.
func TestGraphCommand(t *testing.T) {
	t.Parallel()
	r := rig.New(t, node("net", "", "")+node("db", "-when go -ready notify", "ready.notify = true\nafter = [\"net\"]")+
		node("log", "", "")+node("web", "", "requires = [\"db\"]\nwants = [\"log\"]"))
	r.Run()
	r.Supctl("start", "net").OK()
	r.Supctl("start", "web", "--no-wait").OK()
	untilPhases(r, event.PhaseStarting, "db")
	time.Sleep(50 * time.Millisecond) // so that db takes longest
	touch(t, r, "go")
	r.Supctl("start", "web").OK()
	var nodes []timeline.GraphNode
	r.Supctl("graph", "-o", "json").OK().JSON(&nodes)
	if len(nodes) != 4 || nodes[3].Service != "web" && nodes[2].Service != "web" {
		t.Fatalf("%+v", nodes)
	}
	for _, n := range nodes {
		if n.StartedAt == nil || n.ReadyAt == nil || n.ReadyAt.Before(*n.StartedAt) {
			t.Errorf("%s has no times: %v %v", n.Service, n.StartedAt, n.ReadyAt)
		}
		if n.Service == "web" && !slices.Equal(n.CriticalPath, []string{"net", "db", "web"}) {
			t.Errorf("critical path %v", n.CriticalPath)
		}
	}
	text := r.Supctl("graph").OK().Out
	for _, want := range []string{"web *", "├─ db *", "│  └─ net *", "└─ log ", "requires ready", "* critical path: net "} {
		if !strings.Contains(text, want) {
			t.Errorf("the text does not say %q:\n%s", want, text)
		}
	}
	if got := r.Supctl("graph", "db").OK().Out; strings.Contains(got, "log") || !strings.Contains(got, "net") {
		t.Errorf("graph db:\n%s", got)
	}
	if got := r.Supctl("graph", "-o", "svg").OK().Out; !strings.HasPrefix(got, "<svg ") || strings.Count(got, "<path ") != 3 {
		t.Errorf("the drawing:\n%s", got)
	}
	if got := r.Supctl("graph", "-o", "dot").OK().Out; !strings.Contains(got, `"db" -> "web" [label="ready", style=solid, color=red`) {
		t.Errorf("dot:\n%s", got)
	}
	r.Supctl("graph", "nobody").Is(exitcode.NoService)
	r.Supctl("graph", "-o", "png").Is(exitcode.Usage)
	r.Shutdown()
}
