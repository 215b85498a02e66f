package main

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"supd/journal/blocks"
	"supd/journal/event"
)

// inMemory is a journal that was read before.
type inMemory []event.Encoded

func (m inMemory) Records(uint64) iter.Seq2[blocks.Entry, error] {
	return func(yield func(blocks.Entry, error) bool) {
		for i, e := range m {
			entry := blocks.Entry{
				StreamSeq: uint64(i + 1), Data: e.Bytes, Offset: int64(i),
				Subject: event.RecordSubject(testNode, e.Record.Subject, e.Record.Kind),
			}
			if !yield(entry, nil) {
				return
			}
		}
	}
}

// evil is what a hostile service writes and a hostile client sends.
const evil = `</script><script>window.hit=1</script><img src=x onerror="window.hit=2"><!--<script>` + "\u2028\x1b[2J"

// incident is whole with a death of the engine, an end of web for good, and
// texts that try to get out of the page.
func incident(t testing.TB) *scenario {
	s := whole(t)
	s.write(time.Second, "", "supd", event.EngineStartedData{Version: "test", PID: 9, Mode: event.ModeCrash})
	s.write(time.Second, "", "uid-1000", event.CommandRejectedData{Reason: event.RejectMalformed, Detail: evil, Count: 1})
	code := 3
	s.write(time.Second, "web", "supd", event.InstanceExitedData{Instance: instance("web", 2), Code: &code, Cause: event.CauseExited, Uptime: event.Duration(time.Hour)})
	s.caused()
	s.write(0, "web", "supd", event.ServiceFatalData{Reason: event.ReasonMaxRetries, Retries: 3, Detail: evil})
	s.write(time.Second, "", "supd", event.JournalDegradedData{Why: "disk full", Since: s.now})
	return s
}

func makePage(t testing.TB, records []event.Encoded, change func(*report)) (*report, []byte) {
	t.Helper()
	src := &source{name: "test", reader: inMemory(records)}
	rep, err := src.report(query{}, true, func(f *finding) { t.Log(f) })
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(rep)
	}
	var b bytes.Buffer
	if err := rep.write(&b); err != nil {
		t.Fatal(err)
	}
	return rep, b.Bytes()
}

func TestReport(t *testing.T) {
	t.Parallel()
	s := incident(t)
	rep, _ := makePage(t, s.records, nil)
	if len(rep.Seq) != len(s.records) || strings.Join(rep.Services, " ") != "db web" {
		t.Fatalf("%d rows of %q", len(rep.Seq), rep.Services)
	}
	phases := func(l lane) (text string) {
		for _, p := range l.Phase {
			text += rep.Phases[p] + " "
		}
		return text
	}
	if got, want := phases(rep.Lanes[1]), "stopped starting running stopping stopped starting running exited fatal "; got != want {
		t.Errorf("web was %s\n\twant %s", got, want)
	}
	if got := phases(rep.Lanes[0]); !strings.HasPrefix(got, "stopped starting running exited backoff starting running exited backoff ") {
		t.Errorf("db was %s", got)
	}
	// The last restart of db goes back to its crash.
	count := map[int]int{}
	for _, m := range rep.Mark {
		count[m]++
	}
	if count[markCrash] < 20 || count[markFatal] != 1 || count[markDeath] != 1 || count[markExit] != 1 || count[markCommand] != 2 {
		t.Errorf("marks: %v", count)
	}
	for row, n := range rep.Cause {
		if r := s.records[row].Record; r.Kind == event.RestartScheduled && (n < 0 || s.records[n].Record.Kind != event.InstanceExited) {
			t.Errorf("record %d has row %d as its cause", r.Seq, n)
		}
	}
	if got := rep.Targets[12]; len(got) != 1 || rep.Services[got[0]] != "web" {
		t.Errorf("the command concerns %v", got)
	}
}

// A page has no address in it, no way out of its data, and a policy that
// admits its own script and nothing else.
func TestPageIsClosed(t *testing.T) {
	t.Parallel()
	_, page := makePage(t, incident(t).records, func(p *report) { p.Meta.Node = "supd/" + evil + "/1"; p.Meta.Source = evil })
	text := regexp.MustCompile(`(?s)(<script type="application/gzip"[^>]*>)[A-Za-z0-9+/=]*(</script>)`).ReplaceAll(page, []byte("$1$2"))
	if len(text) > 60_000 {
		t.Errorf("%d bytes of the page are not packed", len(text))
	}
	if m := regexp.MustCompile(`(?i)(https?:|//[a-z]|src=|href=|@import|url\()`).FindAll(text, -1); m != nil {
		t.Errorf("the page refers to something: %q", m)
	}
	if n := bytes.Count(page, []byte("<script")); n != bytes.Count(page, []byte("</script>")) || bytes.Contains(page, []byte("onerror")) {
		t.Errorf("something broke out into the page's own text: %d scripts", n)
	}
	if !bytes.Contains(page, []byte(`content="default-src 'none'; script-src 'sha256-`)) || bytes.Contains(page, []byte("unsafe")) {
		t.Error("the page has not the policy that it should have")
	}
}

func TestPageInBrowser(t *testing.T) {
	c := startChromium(t)
	s := incident(t)
	_, page := makePage(t, s.records, func(p *report) {
		p.Meta.Source = evil
		at := s.records[12].Record.Time.UnixMicro() - p.Meta.Start
		p.Output[1] = laneOutput{Time: []int64{at - 1_000_000, 2_000_000}, Stream: []int{0, 1}, Text: []string{"listening " + evil, "bye"}}
	})
	file := filepath.Join(t.TempDir(), "p.html")
	if err := os.WriteFile(file, page, 0o600); err != nil {
		t.Fatal(err)
	}
	c.size(1200, 800, false)
	c.scheme("light")
	c.open(file)
	c.want(`supreplay.data.names.join()`, `"supd,db,web"`)
	c.picture("light")
	rowOf := func(seq event.Seq) string { return fmt.Sprint(seq - 1) }

	// Wheel, drag, buttons and keys.
	c.mouse("mouseWheel", 600, 300, map[string]any{"deltaX": 0, "deltaY": -400})
	c.want(`(w => supreplay.view.to - supreplay.view.from < (w[1] - w[0]) * 0.6)(supreplay.whole())`, "true")
	c.eval(`window.was = supreplay.view.from`)
	c.mouse("mousePressed", 700, 300, nil)
	c.mouse("mouseMoved", 600, 300, nil)
	c.mouse("mouseReleased", 600, 300, nil)
	c.want(`supreplay.view.from > was && document.getElementById('detail').hidden`, "true")
	c.eval(`document.getElementById('picture').focus(); window.was = supreplay.view.from`)
	c.key("ArrowLeft")
	c.want(`supreplay.view.from < was`, "true")
	c.eval(`window.was = supreplay.view.to - supreplay.view.from`)
	c.key("+")
	c.want(`supreplay.view.to - supreplay.view.from < was`, "true")
	c.key("-")
	c.key("-")
	c.want(`supreplay.view.to - supreplay.view.from > was`, "true")
	c.key("0")
	c.want(`JSON.stringify([supreplay.view.from, supreplay.view.to]) === JSON.stringify(supreplay.whole())`, "true")

	// Tab goes from mark to mark, Enter opens, Escape closes.
	c.key("Tab")
	c.want(`supreplay.view.chosen`, "2") // config.applied
	c.key("Tab")
	c.want(`supreplay.view.chosen`, rowOf(13))
	c.key("Enter")
	c.want(`document.getElementById('detail-title').textContent`, `"Record 13: command.accepted"`)
	c.want(`document.getElementById('json').textContent.includes('"verb": "restart"')`, "true")
	c.want(`document.getElementById('json').textContent.includes('"mono": 1772593800008000000')`, "true") // has more digits than a double
	c.want(`document.getElementById('written').textContent.includes('listening </script>')`, "true")
	c.want(`document.activeElement.id`, `"detail-title"`)
	c.picture("detail")
	c.key("Escape")
	c.want(`document.getElementById('detail').hidden && document.activeElement.id`, `"picture"`)

	// A click on a mark opens it; its causes can be clicked.
	row := rowOf(243)
	c.eval(`supreplay.show(supreplay.data.time[` + row + `] - 60000, supreplay.data.time[` + row + `] + 60000)`)
	c.eval(`new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))`)
	var box struct{ X, Y float64 }
	unmarshal(t, c.eval(`(b => ({x: b.left + supreplay.x(supreplay.data.time[`+row+`]), y: b.top + 26 + 2.5 * 30}))(document.getElementById('picture').getBoundingClientRect())`), &box)
	c.mouse("mousePressed", box.X, box.Y, nil)
	c.mouse("mouseReleased", box.X, box.Y, nil)
	c.want(`document.getElementById('detail-title').textContent`, `"Record 244: service.fatal"`)
	c.eval(`document.querySelector('#causes button').click()`)
	c.want(`document.getElementById('detail-title').textContent`, `"Record 243: instance.exited"`)
	c.want(`document.querySelector('#effects button').textContent.includes('#244 web')`, "true")
	c.key("Escape")

	// A kind and an actor are chosen with keys; what has no mark of its own is
	// marked then, and Escape takes the choice back.
	c.eval(`window.was = supreplay.data.marks.length; document.getElementById('picture').focus()`)
	c.key("k")
	c.want(`document.activeElement.id`, `"kind"`)
	for _, kind := range []string{"instance.running", "instance"} {
		c.eval(`(k => { k.value = '` + kind + `'; k.dispatchEvent(new Event('change')); })(document.getElementById('kind'))`)
		c.want(`[...supreplay.data.marks].map(r => supreplay.data.kinds[supreplay.data.kind[r]]).every(k => k.startsWith('`+kind+`')) && supreplay.data.marks.length > 3`, "true")
	}
	c.key("Escape")
	c.want(`document.getElementById('kind').value + supreplay.data.marks.length`, c.eval(`String(was)`))
	c.key("a")
	c.want(`document.activeElement.id`, `"actor"`)
	c.key("u") // uid-1000
	c.want(`[...new Set(Array.from(supreplay.data.marks, r => supreplay.data.actors[supreplay.data.actor[r]]))].join()`, `"uid-1000"`)
	c.picture("actor")
	c.key("Escape")
	c.want(`supreplay.data.marks.length === was`, "true")

	// The list has the marks too; / filters lanes and list.
	c.key("/")
	c.want(`document.activeElement.id`, `"filter"`)
	c.eval(`supreplay.show(...supreplay.whole())`)
	c.key("w")
	c.key("e")
	c.want(`supreplay.view.lanes.length`, "2")
	c.want(`document.querySelector('#marks').textContent.includes(' db ')`, "false")
	c.want(`document.querySelectorAll('#marks [role=listitem]').length > 3`, "true")
	c.key("Escape")
	c.want(`supreplay.view.lanes.length`, "3")

	// On a phone and in the dark.
	c.scheme("dark")
	c.want(`getComputedStyle(document.body).backgroundColor`, `"rgb(17, 21, 26)"`)
	c.picture("dark")
	c.size(360, 740, true)
	c.want(`document.documentElement.scrollWidth <= 360 && supreplay.view.width <= 360`, "true")
	c.picture("phone")
	pinch(c)
	c.eval(`document.querySelector('#marks [role=listitem]').click()`)
	c.want(`document.getElementById('detail').getBoundingClientRect().width <= 360`, "true")
	c.picture("phone-detail")

	c.quiet()
	_, empty := makePage(t, nil, nil)
	if err := os.WriteFile(file, empty, 0o600); err != nil {
		t.Fatal(err)
	}
	c.want(`window.hit === undefined && document.images.length === 0`, "true")
	c.open(file)
	c.want(`document.getElementById('about').textContent.startsWith('0 records of no node')`, "true")
	c.quiet()
}

// pinch pulls two fingers apart.
func pinch(c *chromium) {
	c.t.Helper()
	c.eval(`supreplay.show(...supreplay.whole())`)
	c.eval(`window.was = supreplay.view.to - supreplay.view.from`)
	y := 300.0
	touch := func(kind string, points ...float64) {
		ps := []map[string]any{}
		for i, x := range points {
			ps = append(ps, map[string]any{"x": x, "y": y, "id": i})
		}
		c.call("Input.dispatchTouchEvent", map[string]any{"type": kind, "touchPoints": ps}, nil)
	}
	touch("touchStart", 200, 240)
	for d := 10.0; d <= 60; d += 10 {
		touch("touchMove", 200-d, 240+d)
	}
	touch("touchEnd")
	c.want(`supreplay.view.to - supreplay.view.from < was / 2`, "true")
}

// A journal of 100,000 records of 40 services stays quick to look at. The
// times are told and not judged: they are the machine's.
func TestManyRecordsInBrowser(t *testing.T) {
	if testing.Short() {
		t.Skip("NOT RUN: -short")
	}
	c := startChromium(t)
	rep, page := makePage(t, many(t, 100_000), nil)
	file := filepath.Join(t.TempDir(), "p.html")
	if err := os.WriteFile(file, page, 0o600); err != nil {
		t.Fatal(err)
	}
	c.size(1600, 1000, false)
	begun := time.Now()
	c.open(file)
	t.Logf("%d records in %d services, %.1f MB, open after %v", len(rep.Seq), len(rep.Services), float64(len(page))/1e6, time.Since(begun).Round(time.Millisecond))
	t.Logf("drawn in ms %s", c.eval(`(() => {
	  const { view, show, whole, draw } = supreplay, [a, b] = whole(), all = [];
	  for (let i = 0; i < 60; i++) {
	    const size = (b - a) * Math.pow(0.82, i), mid = a + (b - a) * (0.3 + i / 200);
	    show(mid - size / 2, mid + size / 2);
	    const t = performance.now();
	    draw();
	    all.push(performance.now() - t);
	  }
	  const widest = all.slice(1, 6).sort((x, y) => x - y)[2];
	  all.sort((x, y) => x - y);
	  return { widest, median: all[30], p95: all[57], max: all[59] };
	})()`))
	t.Logf("between frames while it moves in ms %s", c.eval(`new Promise(done => {
	  const { show, whole } = supreplay, [a, b] = whole(), all = [], size = (b - a) / 6;
	  let last = 0, n = 0;
	  const step = now => {
	    if (last) all.push(now - last);
	    last = now;
	    show(a + n * (b - a) / 150, a + n * (b - a) / 150 + size);
	    if (++n < 100) return requestAnimationFrame(step);
	    all.sort((x, y) => x - y);
	    done({ median: all[50], p95: all[94], max: all[98] });
	  };
	  requestAnimationFrame(step);
	})`))
	c.eval(`supreplay.show(...supreplay.whole())`)
	c.picture("many")
	c.want(`supreplay.data.seq.at(-1)`, fmt.Sprint(len(rep.Seq)))
	c.want(fmt.Sprintf(`supreplay.stored(%d).then(x => JSON.parse(x).seq)`, len(rep.Seq)-1), fmt.Sprint(len(rep.Seq)))
	c.quiet()
}

// many is a long history of services that crash, each at its own pace.
func many(t testing.TB, n int) []event.Encoded {
	s := newScenario(t)
	s.write(0, "", "supd", event.EngineStartedData{Version: "test", PID: 1, Mode: event.ModeFirst})
	const services = 40
	name := func(i int) string { return fmt.Sprintf("service-%02d", i) }
	run := make([]int, services)
	id := func(i int) string { return fmt.Sprintf("0195%04d-0000-7000-8000-%012d", i, run[i]) }
	for i := range services {
		s.write(0, name(i), "supd", event.ServiceDefinedData{Spec: event.Spec{Command: []string{"/bin/x"}}, Digest: "d"})
		s.write(0, name(i), "supd", event.ServiceWantedData{Want: event.Up, Reason: event.ReasonAutostart})
	}
	code := 1
	for k := 0; len(s.records) < n; k++ {
		i := (k*k + k/7) % services
		if run[i] > 0 {
			s.write(time.Duration(1+k%900)*time.Millisecond, name(i), "supd", event.InstanceExitedData{Instance: id(i), Code: &code, Cause: event.CauseExited})
			s.caused()
			s.write(0, name(i), "supd", event.RestartScheduledData{
				Retry: 1, NotBefore: event.Moment{Wall: s.now}, Exit: event.Exit{Code: &code}, Policy: event.RestartPolicy{Restart: event.RestartAlways},
			})
			s.caused()
		}
		run[i]++
		s.write(time.Millisecond, name(i), "supd", event.InstanceStartingData{Instance: id(i), Run: event.Run(run[i]), PID: 100 + k, StartTime: uint64(k), SpecDigest: "d", Reason: event.ReasonRestart})
		s.write(time.Millisecond, name(i), "supd", event.InstanceRunningData{Instance: id(i)})
	}
	return s.records[:n]
}

// describePage prints what is packed in a page.
func describePage(ts *testscript.TestScript, _ bool, args []string) {
	page := ts.ReadFile(args[0])
	_, text, _ := strings.Cut(page, `id="columns">`)
	text, _, _ = strings.Cut(text, "<")
	z, err := gzip.NewReader(base64.NewDecoder(base64.StdEncoding, strings.NewReader(text)))
	ts.Check(err)
	var rep report
	ts.Check(json.NewDecoder(z).Decode(&rep))
	marks := 0
	for _, m := range rep.Mark {
		if m != markNone {
			marks++
		}
	}
	out := ts.Stdout()
	fmt.Fprintf(out, "%d records, services %s, marks %d\n", len(rep.Seq), strings.Join(rep.Services, " "), marks)
	if rep.Meta.Damaged {
		fmt.Fprintln(out, "damaged")
	}
	for n, o := range rep.Output {
		for _, l := range o.Text {
			fmt.Fprintf(out, "%s wrote: %s\n", rep.Services[n], l)
		}
	}
}

func unmarshal(t testing.TB, text string, to any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), to); err != nil {
		t.Fatal(err)
	}
}
