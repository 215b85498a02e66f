package policy_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"supd/projector/timeline"
)

// TestWhy: histories that the policy itself decides, and what why makes of
// them: the root cause, and every step of the way from it.
func TestWhy(t *testing.T) {
	const up = "start c1 web\nparked web i1\nexecuted web i1\n"
	for _, c := range []struct {
		name, script  string
		service, run  string
		root          timeline.Root
		summary       string
		chain, deaths string
	}{
		{
			"unhealthy", "define web health=restart\n" + up + "healthy web i1\nunhealthy web i1\nsignaled web i1 op=stop\nexited web i1 signal=SIGTERM", "web", "",
			timeline.RootHealth, "web: its health went from healthy to unhealthy by tcp after 3 failures: connection refused",
			"restart.scheduled instance.exited instance.stopping health.changed", "health",
		},
		{
			"silent", "define web watchdog=5s\n" + up + "watchdog web i1\nsignaled web i1 op=stop\nexited web i1 signal=SIGTERM", "web", "",
			timeline.RootWatchdog, "web: it was silent for longer than its watchdog allows", "restart.scheduled instance.exited instance.stopping", "watchdog",
		},
		{
			"not prepared", "define web pre_start=x max_retries=0\nstart c1 web\nparked web i1\nhooked web i1 code=2\nsignaled web i1 op=kill\nexited web i1 signal=SIGKILL", "web", "",
			timeline.RootHook, "web: its hook failed: pre_start after 0s: it exited with code 2",
			"service.wanted service.fatal instance.exited instance.stopping hook.ended", "hook",
		},
		{
			"not ready in time", "define web ready=5s\n" + up + "advance 5s\ntick web\nsignaled web i1 op=stop\nexited web i1 signal=SIGTERM", "web", "",
			timeline.RootStartTimeout, "web: it was not ready within its ready.timeout of 5s (READY=1 on NOTIFY_SOCKET)", "restart.scheduled instance.exited instance.stopping", "start-timeout",
		},
		{
			"not ready in time, given up", "define web ready=5s max_retries=0\n" + up + "advance 5s\ntick web\nsignaled web i1 op=stop\nexited web i1 signal=SIGTERM", "web", "",
			timeline.RootStartTimeout, "web: it was not ready within its ready.timeout of 5s (READY=1 on NOTIFY_SOCKET)",
			"service.wanted service.fatal instance.exited instance.stopping", "start-timeout",
		},
		{
			"a requirement gave up", "define db\ndefine web requires=db\nstart c1 web\nparkfailed db d1 step=exec errno=2 path=/bin/db", "web", "",
			timeline.RootExec, "db: it could not be executed: exec /bin/db: errno",
			"service.wanted service.fatal service.wanted service.fatal instance.exec-failed", "",
		},
		{
			"a requirement that crashes", "define db ready=5s\ndefine web requires=db:ready\nstart c1 web\nparked db d1\nexecuted db d1\nexited db d1 signal=SIGSEGV", "web", "",
			timeline.RootSignal, "db: it ended: signal SIGSEGV", "service.waiting restart.scheduled instance.exited", "",
		},
		{
			"waits for what is never ready", "define db ready=5s\ndefine web requires=db:ready\nstart c1 web\nparked db d1\nexecuted db d1\nadvance 5s\ntick db\nsignaled db d1 op=stop\nexited db d1 signal=SIGTERM", "web", "",
			timeline.RootStartTimeout, "db: it was not ready within its ready.timeout of 5s",
			"service.waiting restart.scheduled instance.exited instance.stopping", "",
		},
		{
			"stopped with its requirement", "define db\ndefine web requires=db:started\nstart c1 web\nparked db d1\nexecuted db d1\nparked web i1\nexecuted web i1\nstop c2 db\nsignaled web i1 op=stop\nexited web i1", "web", "",
			timeline.RootCommand, "uid-0 asked: stop db", "instance.exited instance.stopping service.wanted command.accepted", "command",
		},
		{
			"no resources", "define web\nstart c1 web\nparkfailed web i1 step=fork errno=11", "web", "",
			timeline.RootShortage, "web: it could not be executed: fork: errno", "restart.scheduled instance.exec-failed", "",
		},
		{
			"went into the background", "define web\n" + up + "exited web i1 code=0", "web", "",
			timeline.RootExit, "did it go into the background?", "restart.scheduled instance.exited", "exit",
		},
		{
			"a health restart, an instance later", "define web health=restart\n" + up + "unhealthy web i1\nsignaled web i1 op=stop\nexited web i1 signal=SIGTERM\nparked web i2\nexecuted web i2\nexited web i2 code=4", "web", "1",
			timeline.RootHealth, "unknown to unhealthy", "instance.exited instance.stopping health.changed", "health exit",
		},
		{
			"leftovers of a crash", "define web\n" + up + "exited web i1 code=3 left=1\nswept web i1", "web", "",
			timeline.RootExit, "web: it ended: exit code 3", "restart.scheduled instance.exited", "exit",
		},
		{
			"leftovers of a crash, being ended", "define web\n" + up + "exited web i1 code=3 left=1", "web", "",
			timeline.RootExit, "web: it ended: exit code 3", "instance.stopping instance.exited", "exit",
		},
		{
			"post_stop failed, which decides nothing", "define web post_stop=x\n" + up + "exited web i1 code=3\nhooked web i1 code=9", "web", "",
			timeline.RootExit, "web: it ended: exit code 3", "restart.scheduled instance.exited", "exit",
		},
		{
			"killed as it would not end", "define web health=restart timeout=1s\n" + up + "unhealthy web i1\nsignaled web i1 op=stop\nadvance 1s\ntick web\nsignaled web i1 op=kill\nexited web i1 signal=SIGKILL", "web", "",
			timeline.RootHealth, "unknown to unhealthy", "restart.scheduled instance.exited instance.stopping health.changed", "health",
		},
		{
			"stuck", "define web timeout=1s\n" + up + "stop c2 web\nadvance 1s\ntick web\nsignaled web i1 op=kill\nadvance 5s\ntick web", "web", "",
			timeline.RootCommand, "uid-0 asked: stop web", "instance.stuck instance.stopping command.accepted", "",
		},
		{
			"lost with supd", "define web\nengine\nsettle\n" + up + "engine keeper=9\nsettle\nlost web i1", "web", "",
			timeline.RootSupd, "supd's engine had died", "restart.scheduled instance.exited recovery.settled engine.started", "supd",
		},
		{
			"the machine went", "define web\nengine\nsettle\n" + up + "engine keeper=9 boot=2\nsettle", "web", "",
			timeline.RootSupd, "supd's engine had died", "instance.exited recovery.settled engine.started", "supd",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := &player{bench: newBench(t.Fatalf), t: t, ids: map[string]string{}, names: map[string]string{}}
			for line := range strings.Lines(c.script) {
				p.command(strings.Fields(line))
			}
			story := timeline.NewStory(c.service, c.run)
			for _, e := range p.log {
				story.Add(e.Record)
			}
			e, err := story.Why()
			if err != nil {
				t.Fatal(err)
			}
			var kinds, roots []string
			for _, l := range e.Chain {
				kinds = append(kinds, string(l.Kind))
			}
			for _, d := range story.Deaths() {
				roots = append(roots, string(d.Root))
			}
			var text strings.Builder
			if err := timeline.WriteWhy(&text, e, time.UTC); err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(kinds, " "); e.Root != c.root || got != c.chain || !strings.Contains(e.Summary, c.summary) || !e.Complete {
				t.Errorf("root %s, want %s\nchain %s\nwant  %s\nsummary %s\nwant    %s\n%s", e.Root, c.root, got, c.chain, e.Summary, c.summary, text.String())
			}
			if got := fmt.Sprint(strings.Join(roots, " ")); got != c.deaths {
				t.Errorf("deaths came from %q, want %q", got, c.deaths)
			}
		})
	}
}
