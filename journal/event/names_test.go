package event

import (
	"strings"
	"testing"
	"time"
)

func TestSubjects(t *testing.T) {
	for got, want := range map[string]string{
		RecordSubject("n", "web", InstanceExited):  "sup.n.evt.web.instance.exited",
		RecordSubject("n", "", InstanceExecFailed): "sup.n.evt._.instance.exec-failed",
		RecordSubject("n", "a.b.c", ServiceFatal):  "sup.n.evt.a%2Eb%2Ec.service.fatal",
		RecordSubjects("n"):                        "sup.n.evt.>",
		CommandSubject("n", "uid-0", "a.b"):        "sup.n.cmd.uid-0.a%2Eb",
		CommandSubject("n", "uid-0", ""):           "sup.n.cmd.uid-0._",
		CommandSubjects("n", "*"):                  "sup.n.cmd.*.*",
		AskSubject("n", "uid-0", AskStatus):        "sup.n.ask.uid-0.status",
		AskSubjects("n", "uid-0"):                  "sup.n.ask.uid-0.*",
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestServiceNames(t *testing.T) {
	good := []string{"a", "_", "web-1", "web.1", "a@b:c+d", "ALL", strings.Repeat("x", 64)}
	bad := []string{"", "all", "-a", ".a", "a b", "a/b", "a*", "a>", "a%", "é", "a\n", strings.Repeat("x", 65)}
	seen := map[string]string{}
	for _, n := range good {
		if err := CheckServiceName(n); err != nil {
			t.Errorf("%q: %v", n, err)
		}
		token := Token(n)
		if strings.ContainsAny(token, ". *>") || seen[token] != "" {
			t.Errorf("%q becomes %q, as %q does", n, token, seen[token])
		}
		seen[token] = n
	}
	for _, n := range bad {
		if CheckServiceName(n) == nil {
			t.Errorf("%q is accepted", n)
		}
	}
}

func TestSignals(t *testing.T) {
	for n := 1; n <= 64; n++ {
		if got, ok := SignalNumber(SignalName(n)); !ok || got != n {
			t.Errorf("%d is %s, which is %d %v", n, SignalName(n), got, ok)
		}
	}
	for name, want := range map[string]int{
		"TERM": 15, "sigterm": 15, "SIGTERM": 15, "15": 15, "SIG9": 9, "RTMIN": 34, "SIGRTMIN+3": 37, "rtmax": 64, "RTMAX-1": 63, "RTMAX-0": 64,
		"RTMIN+30": 64, "RTMAX-30": 34,
	} {
		if got, ok := SignalNumber(name); !ok || got != want {
			t.Errorf("%s is %d %v", name, got, ok)
		}
	}
	for _, name := range []string{
		"", "SIG", "0", "-1", "65", "SIGSIGTERM", "TERM ", "RTMIN-1", "RTMAX+1", "RTMIN+31", "RTMIN3", "RTMIN++1", "RTMIN+9223372036854775807", "EXIT",
	} {
		if n, ok := SignalNumber(name); ok {
			t.Errorf("%q is accepted as %d", name, n)
		}
	}
}

// FuzzSignalNumber: what is accepted is a signal, and its name means it again.
func FuzzSignalNumber(f *testing.F) {
	f.Add("TERM")
	f.Add("RTMIN+3")
	f.Add("64")
	f.Fuzz(func(t *testing.T, name string) {
		n, ok := SignalNumber(name)
		if !ok {
			return
		}
		if again, ok := SignalNumber(SignalName(n)); n < 1 || n > 64 || !ok || again != n {
			t.Errorf("%q is %d, whose name is %s", name, n, SignalName(n))
		}
	})
}

func TestDuration(t *testing.T) {
	for _, d := range []Duration{0, 1, Duration(time.Second), -Duration(time.Hour), 1<<63 - 1, -1 << 63} {
		b, err := d.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		var back Duration
		if err := back.UnmarshalJSON(b); err != nil || back != d {
			t.Errorf("%s: %v %v", b, back, err)
		}
	}
	var d Duration
	for _, bad := range []string{`1`, `"1"`, `"x"`, `null x`} {
		if d.UnmarshalJSON([]byte(bad)) == nil {
			t.Errorf("%s is accepted", bad)
		}
	}
}

func TestMomentAdd(t *testing.T) {
	m := Moment{Mono: 5, Wall: goldenTime}.Add(time.Second)
	if m.Mono != 5+int64(time.Second) || !m.Wall.Equal(goldenTime.Add(time.Second)) {
		t.Errorf("%+v", m)
	}
}
