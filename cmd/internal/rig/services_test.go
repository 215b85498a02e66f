package rig_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"supd/cmd/internal/rig"
	"supd/journal/event"
)

// need skips loudly, and fails where everything must be there.
func need(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf("needs %s: run scripts/ci-packages", what)
	}
	t.Skipf("NOT RUN: needs %s: run scripts/ci-packages", what)
}

// daemon is a real service: where it is, how it runs, how to see that it works.
type daemon struct {
	name, program, user string
	config              string // of supd
	prepare             func(t *testing.T, dir string, port int, as *syscall.Credential)
	serves              func(port int) error
}

// program finds a file by its pattern; the newest version if there are several.
func program(pattern string) string {
	found, err := filepath.Glob(pattern)
	if err != nil || len(found) == 0 {
		return ""
	}
	return found[len(found)-1]
}

func daemons() []daemon {
	return []daemon{
		{
			name: "nginx", program: program("/usr/sbin/nginx"), user: "www-data", prepare: nginxConfig, serves: nginxServes,
			config: `command = ["PROGRAM", "-e", "stderr", "-p", "FOLDER", "-c", "FOLDER/nginx.conf"]
stop = { signal = "QUIT" }`,
		},
		{
			name: "redis", program: program("/usr/bin/redis-server"), user: "redis", serves: redisServes,
			config: `command = ["PROGRAM", "--bind", "127.0.0.1", "--port", "PORT", "--dir", "FOLDER", "--daemonize", "no"]`,
		},
		{
			name: "postgres", program: program("/usr/lib/postgresql/*/bin/postgres"), user: "postgres",
			prepare: postgresInit, serves: postgresServes,
			config: `command = ["PROGRAM", "-D", "FOLDER/data", "-p", "PORT", "-k", "FOLDER", "-c", "listen_addresses=127.0.0.1"]
stop = { signal = "INT", timeout = "30s" }`,
		},
	}
}

func nginxConfig(t *testing.T, dir string, port int, as *syscall.Credential) {
	text := `daemon off;
worker_processes 2;
pid pid;
error_log stderr notice;
events {}
http {
	access_log off;
	client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
	server { listen 127.0.0.1:` + strconv.Itoa(port) + `; location / { return 200 "it works"; } }
}
`
	if err := os.WriteFile(filepath.Join(dir, "nginx.conf"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func nginxServes(port int) error {
	c := http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := c.Get("http://127.0.0.1:" + strconv.Itoa(port))
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && string(body) != "it works" {
		err = fmt.Errorf("got %q", body)
	}
	return err
}

func redisServes(port int) error {
	conn, err := net.DialTimeout("tcp", "127.0.0.1:"+strconv.Itoa(port), 2*time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(2 * time.Second))
	if _, err := conn.Write([]byte("PING\r\n")); err != nil {
		return err
	}
	answer := make([]byte, 7)
	if _, err := io.ReadFull(conn, answer); err != nil || string(answer) != "+PONG\r\n" {
		return fmt.Errorf("got %q, %w", answer, err)
	}
	return nil
}

func postgresInit(t *testing.T, dir string, _ int, as *syscall.Credential) {
	ctx, cancel := context.WithTimeout(t.Context(), rig.Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program("/usr/lib/postgresql/*/bin/initdb"), "-D", filepath.Join(dir, "data"), "-A", "trust", "--no-sync")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as}
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "LC_ALL=C.UTF-8")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
}

func postgresServes(port int) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, program("/usr/lib/postgresql/*/bin/psql"),
		"-X", "-h", "127.0.0.1", "-p", strconv.Itoa(port), "-U", "postgres", "-Atc", "select 6 * 7")
	out, err := cmd.CombinedOutput()
	if err == nil && strings.TrimSpace(string(out)) != "42" {
		err = fmt.Errorf("got %q", out)
	}
	return err
}

func credential(t *testing.T, name string) *syscall.Credential {
	t.Helper()
	u, err := user.Lookup(name)
	if err != nil {
		need(t, "user "+name)
	}
	uid, _ := strconv.ParseUint(u.Uid, 10, 32)
	gid, _ := strconv.ParseUint(u.Gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// TestRealServices: programs that people run, each as its own user, stop by
// their own signals and come back when they are killed.
func TestRealServices(t *testing.T) {
	for _, d := range daemons() {
		t.Run(d.name, func(t *testing.T) { d.test(t) })
	}
}

func (d daemon) test(t *testing.T) {
	if d.program == "" {
		need(t, d.name)
	}
	if os.Geteuid() != 0 {
		need(t, "root")
	}
	as := credential(t, d.user)
	r := rig.New(t, "")
	port, folder := freePort(t), filepath.Join(r.Dir, d.name)
	if err := os.Mkdir(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(folder, int(as.Uid), int(as.Gid)); err != nil {
		t.Fatal(err)
	}
	if d.prepare != nil {
		d.prepare(t, folder, port, as)
	}
	settings := strings.NewReplacer("PROGRAM", d.program, "FOLDER", folder, "PORT", strconv.Itoa(port)).Replace(d.config)
	r.Configure("[service." + d.name + "]\n" + settings + "\nuser = \"" + d.user + "\"\ndirectory = \"" + folder + "\"\n")
	r.Run()
	serves := func() { r.Until(d.name+" serves", func() bool { return d.serves(port) == nil }) }
	serves()
	first := r.UntilPhase(d.name, event.PhaseRunning)
	if st, err := os.Stat(fmt.Sprintf("/proc/%d", *first.PID)); err != nil || st.Sys().(*syscall.Stat_t).Uid != as.Uid {
		t.Errorf("%s does not run as %s (%v)", d.name, d.user, err)
	}
	if err := syscall.Kill(*first.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	r.Until("another instance runs", func() bool {
		s := r.Status(d.name)
		return s.State == event.PhaseRunning && *s.Instance != *first.Instance
	})
	serves()
	second := r.Status(d.name)
	if second.Restarts != 1 {
		t.Errorf("after one SIGKILL it was restarted %d times: the port was still taken", second.Restarts)
	}
	r.Kill(r.Engine())
	r.Supctl("stop", d.name).OK()
	if err := d.serves(port); err == nil {
		t.Error("it is stopped and still serves")
	}
	s := r.Status(d.name)
	if s.State != event.PhaseStopped || s.LastExit == nil || s.LastExit.Code == nil || *s.LastExit.Code != 0 {
		t.Errorf("stopped, it is %s, its exit was %+v\n%s", s.State, s.LastExit, r.Output(d.name, "stderr"))
	}
	r.Supctl("start", d.name).OK()
	serves()
	r.Shutdown()
	d.check(t, r.History(), *first.Instance)
}

// check looks at what the journal tells of the killed instance and of the
// orderly ends.
func (d daemon) check(t *testing.T, h rig.History, killed string) {
	swept := false
	for _, s := range rig.Of[event.InstanceSweptData](h) {
		if s.Instance == killed {
			swept = true
			if s.Survived != 0 {
				t.Errorf("%d processes survived", s.Survived)
			}
		}
	}
	if d.name == "nginx" && !swept {
		t.Error("the workers of the killed nginx were not ended")
	}
	for _, x := range rig.Of[event.InstanceExitedData](h) {
		switch {
		case x.Instance == killed:
			if x.Signal == nil || *x.Signal != event.Kill || x.Expected {
				t.Errorf("the killed instance: %+v", x)
			}
		case x.Code == nil || *x.Code != 0 || !x.Expected:
			t.Errorf("an instance that was asked to stop: %+v", x)
		}
	}
}
