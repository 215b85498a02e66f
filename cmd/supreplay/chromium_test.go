package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// chromium is a browser without a window, driven over a pair of pipes.
type chromium struct {
	t       testing.TB
	to      *os.File
	from    *bufio.Reader
	id      int
	session string
	loaded  bool
	asked   []string // addresses that pages asked for
	console []string
}

// startChromium starts a browser of its own, which ends with the test.
func startChromium(t testing.TB) *chromium {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "chrome"} {
		if p, err := exec.LookPath(name); err == nil && path == "" {
			path = p
		}
	}
	if path == "" {
		t.Skip("NOT RUN: needs chromium, to open a page as people do")
	}
	in, to, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	from, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	cmd := exec.Command(path, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--remote-debugging-pipe", "--user-data-dir="+home, "about:blank")
	cmd.Env = append(os.Environ(), "HOME="+home, "TZ=UTC")
	cmd.ExtraFiles = []*os.File{in, out} // 3 and 4
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	in.Close()
	out.Close()
	c := &chromium{t: t, to: to, from: bufio.NewReaderSize(from, 1<<20)}
	t.Cleanup(func() {
		fmt.Fprintf(to, `{"id":1000000,"method":"Browser.close"}`+"\x00")
		ended := make(chan struct{})
		go func() { _ = cmd.Wait(); close(ended) }()
		select {
		case <-ended:
		case <-time.After(5 * time.Second):
			_ = cmd.Process.Kill()
			<-ended
		}
		to.Close()
		from.Close()
	})
	if err := from.SetReadDeadline(time.Now().Add(100 * time.Second)); err != nil {
		t.Fatal(err)
	}
	var target struct {
		TargetID string `json:"targetId"`
	}
	c.call("Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	var attached struct {
		SessionID string `json:"sessionId"`
	}
	c.call("Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached)
	c.session = attached.SessionID
	for _, domain := range []string{"Page", "Runtime", "Network", "Log"} {
		c.call(domain+".enable", nil, nil)
	}
	return c
}

func (c *chromium) call(method string, params any, result any) {
	c.t.Helper()
	c.id++
	m := map[string]any{"id": c.id, "method": method}
	if params != nil {
		m["params"] = params
	}
	if c.session != "" {
		m["sessionId"] = c.session
	}
	b, err := json.Marshal(m)
	if err != nil {
		c.t.Fatal(err)
	}
	if _, err := c.to.Write(append(b, 0)); err != nil {
		c.t.Fatal(err)
	}
	for {
		r := c.read()
		if r.ID != c.id {
			continue
		}
		if r.Error != nil {
			c.t.Fatalf("%s: %s", method, r.Error)
		}
		if result != nil {
			if err := json.Unmarshal(r.Result, result); err != nil {
				c.t.Fatal(err)
			}
		}
		return
	}
}

type chromiumReply struct {
	ID     int             `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
	Result json.RawMessage `json:"result"`
	Error  json.RawMessage `json:"error"`
}

// read takes the next message and notes what tests ask about.
func (c *chromium) read() (r chromiumReply) {
	c.t.Helper()
	b, err := c.from.ReadBytes(0)
	if err != nil {
		c.t.Fatalf("chromium is gone: %v", err)
	}
	if err := json.Unmarshal(bytes.TrimSuffix(b, []byte{0}), &r); err != nil {
		c.t.Fatal(err)
	}
	switch r.Method {
	case "Page.loadEventFired":
		c.loaded = true
	case "Network.requestWillBeSent":
		var p struct{ Request struct{ URL string } }
		_ = json.Unmarshal(r.Params, &p)
		c.asked = append(c.asked, p.Request.URL)
	case "Runtime.exceptionThrown", "Log.entryAdded", "Page.javascriptDialogOpening":
		c.console = append(c.console, r.Method+" "+string(r.Params))
	}
	return r
}

// open goes to a file and waits until its records are shown.
func (c *chromium) open(file string) {
	c.t.Helper()
	c.loaded, c.asked, c.console = false, nil, nil
	c.call("Page.navigate", map[string]any{"url": "file://" + file}, nil)
	for !c.loaded {
		c.read()
	}
	c.want(`document.body.dataset.ready`, `"yes"`)
	c.eval(`new Promise(done => requestAnimationFrame(() => done(1)))`)
}

// eval runs a script in the page and returns its value as JSON.
func (c *chromium) eval(script string) string {
	c.t.Helper()
	var r struct {
		Result    struct{ Value json.RawMessage }
		Exception json.RawMessage `json:"exceptionDetails"`
	}
	c.call("Runtime.evaluate", map[string]any{"expression": script, "awaitPromise": true, "returnByValue": true}, &r)
	if r.Exception != nil {
		c.t.Fatalf("%s: %s", script, r.Exception)
	}
	return string(r.Result.Value)
}

// want runs a script until it gives a value: what follows an event takes a
// frame or two.
func (c *chromium) want(script, value string) {
	c.t.Helper()
	got := ""
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		if got = c.eval(script); got == value {
			return
		}
		c.eval(`new Promise(done => setTimeout(done, 20))`)
	}
	c.t.Errorf("%s\n\tis   %s\n\twant %s", script, got, value)
}

// key presses and releases a key.
func (c *chromium) key(name string) {
	c.t.Helper()
	codes := map[string]int{"Tab": 9, "Enter": 13, "Escape": 27, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}
	p := map[string]any{"type": "keyDown", "key": name}
	if code, ok := codes[name]; ok {
		p["windowsVirtualKeyCode"], p["code"] = code, name
	} else {
		p["text"] = name
	}
	c.call("Input.dispatchKeyEvent", p, nil)
	p["type"] = "keyUp"
	delete(p, "text")
	c.call("Input.dispatchKeyEvent", p, nil)
}

func (c *chromium) mouse(kind string, x, y float64, more map[string]any) {
	c.t.Helper()
	p := map[string]any{"type": kind, "x": x, "y": y}
	if kind != "mouseWheel" {
		p["button"], p["clickCount"], p["buttons"] = "left", 1, 1
	}
	for k, v := range more {
		p[k] = v
	}
	c.call("Input.dispatchMouseEvent", p, nil)
}

func (c *chromium) size(width, height int, phone bool) {
	c.t.Helper()
	scale := 1
	if phone {
		scale = 2
	}
	c.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": height, "deviceScaleFactor": scale, "mobile": phone}, nil)
	c.call("Emulation.setTouchEmulationEnabled", map[string]any{"enabled": phone}, nil)
}

func (c *chromium) scheme(name string) {
	c.t.Helper()
	c.call("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": name}}}, nil)
}

// picture saves what is on the screen if somebody wants to look at it.
func (c *chromium) picture(name string) {
	c.t.Helper()
	dir := os.Getenv("SUPREPLAY_PICTURES")
	if dir == "" {
		return
	}
	c.eval(`new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))`)
	var r struct{ Data string }
	c.call("Page.captureScreenshot", map[string]any{"format": "png"}, &r)
	b, err := base64.StdEncoding.DecodeString(r.Data)
	if err != nil {
		c.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), b, 0o600); err != nil {
		c.t.Fatal(err)
	}
}

// quiet fails if the page asked for an address, or anything was blocked or
// went wrong.
func (c *chromium) quiet() {
	c.t.Helper()
	for _, url := range c.asked {
		if !strings.HasPrefix(url, "file://") && !strings.HasPrefix(url, "about:") {
			c.t.Errorf("the page asks for %s", url)
		}
	}
	if len(c.asked) > 1 {
		c.t.Errorf("the page asks for more than itself: %q", c.asked)
	}
	for _, m := range c.console {
		c.t.Errorf("the page is not quiet: %s", m)
	}
}
