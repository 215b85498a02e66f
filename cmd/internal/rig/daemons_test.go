package rig_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"supd/cmd/internal/rig"
)

// daemon is a real service: where it is, how it runs, how to see that it works.
// In its configuration and its files PROGRAM, BESIDE (the program's folder),
// FOLDER, PORT and HEXPORT are filled in. Each says, or shows to a probe, when it
// is ready: when supctl start has returned, it serves.
type daemon struct {
	name, program, user string
	config              string // of supd: command, stop and reload signal
	files               map[string]string
	ends                string // how it may end when it is asked to: codes and signals
	workers             bool   // children that outlive a killed main process
	prepare             func(t *testing.T, dir string, as *syscall.Credential)
	serves              func(port int, dir string) error
}

// program finds a file by its pattern; the newest version if there are several.
func program(pattern string) string {
	found, err := filepath.Glob(pattern)
	if err != nil || len(found) == 0 {
		return ""
	}
	return found[len(found)-1]
}

// daemons are the programs that are tried. Their signals are those of their
// manual pages. How they end is theirs: 0, a code of 128 and the signal's number,
// 255, or by the signal itself; all of it is clean, for they were asked to.
func daemons() []daemon {
	return []daemon{
		{
			name: "nginx", program: program("/usr/sbin/nginx"), user: "www-data", ends: "0", workers: true, serves: serveHTTP,
			config: `command = ["PROGRAM", "-e", "stderr", "-p", "FOLDER", "-c", "FOLDER/nginx.conf"]
stop = { signal = "QUIT" }
reload = { signal = "HUP" }
ready.http = "http://127.0.0.1:PORT/"`,
			files: map[string]string{"nginx.conf": `daemon off;
worker_processes 2;
pid pid;
error_log stderr notice;
events {}
http {
	access_log off;
	client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
	server { listen 127.0.0.1:PORT; location / { return 200 "it works"; } }
}
`},
		},
		{
			name: "redis", program: program("/usr/bin/redis-server"), user: "redis", ends: "0", serves: serveRedis,
			config: `command = ["PROGRAM", "--bind", "127.0.0.1", "--port", "PORT", "--dir", "FOLDER", "--daemonize", "no", "--supervised", "systemd"]
ready.notify = true`,
		},
		{
			// Its children lead groups and sessions of their own. INT: the fast shutdown.
			name: "postgres", program: program("/usr/lib/postgresql/*/bin/postgres"), user: "postgres", ends: "0",
			prepare: initPostgres, serves: servePostgres,
			config: `command = ["PROGRAM", "-D", "FOLDER/data", "-p", "PORT", "-k", "FOLDER", "-c", "listen_addresses=127.0.0.1"]
stop = { signal = "INT", timeout = "30s" }
reload = { signal = "HUP" }
ready.exec = ["BESIDE/pg_isready", "-h", "127.0.0.1", "-p", "PORT"]`,
		},
		{
			name: "memcached", program: program("/usr/bin/memcached"), user: "memcache", ends: "0", serves: serveMemcached,
			config: `command = ["PROGRAM", "-l", "127.0.0.1", "-p", "PORT", "-U", "0"]
ready.tcp = "127.0.0.1:PORT"`,
		},
		{
			// The master ignores QUIT, and ends with 143 after TERM, or by it while it
			// executes itself anew, as USR2 makes it do.
			name: "haproxy", program: program("/usr/sbin/haproxy"), user: "haproxy", ends: "0 143 SIGTERM", serves: serveHTTP,
			config: `command = ["PROGRAM", "-W", "-db", "-f", "FOLDER/haproxy.cfg"]
reload = { signal = "USR2" }
ready.http = "http://127.0.0.1:PORT/"`,
			files: map[string]string{"haproxy.cfg": haproxyConfig},
		},
		{
			// It says RELOADING before its first READY.
			name: "haproxy-notify", program: program("/usr/sbin/haproxy"), user: "haproxy", ends: "0 143 SIGTERM", serves: serveHTTP,
			config: `command = ["PROGRAM", "-Ws", "-f", "FOLDER/haproxy.cfg"]
reload = { signal = "USR2" }
ready.notify = true`,
			files: map[string]string{"haproxy.cfg": haproxyConfig},
		},
		{
			name: "mosquitto", program: program("/usr/sbin/mosquitto"), user: "mosquitto", ends: "0", serves: serveMQTT,
			config: `command = ["PROGRAM", "-c", "FOLDER/mosquitto.conf"]
reload = { signal = "HUP" }
ready.tcp = "127.0.0.1:PORT"`,
			files: map[string]string{"mosquitto.conf": "listener PORT 127.0.0.1\nallow_anonymous true\n"},
		},
		{
			// It ignores INT.
			name: "dnsmasq", program: program("/usr/sbin/dnsmasq"), user: "dnsmasq", ends: "0", serves: serveDNS,
			config: `command = ["PROGRAM", "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=", "--log-facility=-", "--no-resolv",
	"--no-hosts", "--listen-address=127.0.0.1", "--bind-interfaces", "--port=PORT", "--address=/works.test/192.0.2.1"]
reload = { signal = "HUP" }
ready.tcp = "127.0.0.1:PORT"`,
		},
		{
			// HUP makes it execute itself anew; asked to end, it ends with 0, older ones
			// with 255.
			name: "sshd", program: program("/usr/sbin/sshd"), user: "sshd", ends: "0 255", prepare: hostKey, serves: serveSSH,
			config: `command = ["PROGRAM", "-D", "-e", "-f", "FOLDER/sshd_config"]
reload = { signal = "HUP" }
ready.tcp = "127.0.0.1:PORT"`,
			files: map[string]string{"sshd_config": `Port PORT
ListenAddress 127.0.0.1
HostKey FOLDER/key
PidFile none
UsePAM no
`},
		},
		{
			// It is root's, and keeps to its own mount namespace here: the machine's
			// tables are none of the test's. It has no handler for TERM.
			name: "cron", program: program("/usr/sbin/cron"), user: "root", ends: "SIGTERM", serves: serveCron,
			config: `command = ["/usr/bin/unshare", "--mount", "--propagation", "private", "/bin/sh", "-e", "-c", """
for dir in /run /etc/cron.d /var/spool/cron; do mount -t tmpfs none $dir; done
mkdir -m 1730 /var/spool/cron/crontabs
mount --bind /dev/null /etc/crontab
echo '@reboot root touch FOLDER/worked' >/etc/cron.d/table
rm -f FOLDER/worked
exec PROGRAM -f
"""]
ready.exec = ["/usr/bin/test", "-e", "FOLDER/worked"]`,
		},
		{
			name: "unbound", program: program("/usr/sbin/unbound"), user: "unbound", ends: "0", serves: serveDNS,
			config: `command = ["PROGRAM", "-d", "-p", "-c", "FOLDER/unbound.conf"]
reload = { signal = "HUP" }
ready.notify = true`,
			files: map[string]string{"unbound.conf": `server:
	interface: 127.0.0.1
	port: PORT
	chroot: ""
	username: ""
	directory: "FOLDER"
	pidfile: ""
	use-syslog: no
	logfile: ""
	local-zone: "test." static
	local-data: "works.test. A 192.0.2.1"
remote-control:
	control-enable: no
`},
		},
		{
			name: "lighttpd", program: program("/usr/sbin/lighttpd"), user: "www-data", ends: "0", serves: serveHTTP,
			config: `command = ["PROGRAM", "-D", "-f", "FOLDER/lighttpd.conf"]
stop = { signal = "INT" }
reload = { signal = "USR1" }
ready.http = "http://127.0.0.1:PORT/"`,
			files: map[string]string{
				"lighttpd.conf": `server.document-root = "FOLDER"
server.bind = "127.0.0.1"
server.port = PORT
index-file.names = ( "index.html" )
`,
				"index.html": "it works",
			},
		},
		{
			// It opens /dev/stderr by name, as a user that did not make the pipe.
			name: "apache2", program: program("/usr/sbin/apache2"), user: "www-data", ends: "0", workers: true, serves: serveHTTP,
			config: `command = ["PROGRAM", "-D", "FOREGROUND", "-f", "FOLDER/apache2.conf"]
stop = { signal = "WINCH" }
reload = { signal = "USR1" }
ready.http = "http://127.0.0.1:PORT/"`,
			files: map[string]string{
				"apache2.conf": `ServerRoot FOLDER
ServerName localhost
Listen 127.0.0.1:PORT
PidFile FOLDER/pid
DefaultRuntimeDir FOLDER
ErrorLog /dev/stderr
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule dir_module /usr/lib/apache2/modules/mod_dir.so
DocumentRoot FOLDER
DirectoryIndex index.html
`,
				"index.html": "it works",
			},
		},
		{
			name: "rsyslog", program: program("/usr/sbin/rsyslogd"), user: "nobody", ends: "0", serves: serveSyslog,
			config: `command = ["PROGRAM", "-n", "-iNONE", "-f", "FOLDER/rsyslog.conf"]
reload = { signal = "HUP" }
ready.notify = true`,
			files: map[string]string{"rsyslog.conf": `global(workDirectory="FOLDER")
module(load="imtcp")
input(type="imtcp" address="127.0.0.1" port="PORT")
*.* action(type="omfile" file="FOLDER/log")
`},
		},
		{
			name: "chrony", program: program("/usr/sbin/chronyd"), user: "_chrony", ends: "0", serves: serveNTP,
			config: `command = ["PROGRAM", "-d", "-x", "-U", "-f", "FOLDER/chrony.conf"]
ready.exec = ["/bin/grep", "-q", "0100007F:HEXPORT", "/proc/net/udp"]`,
			files: map[string]string{"chrony.conf": `port PORT
bindaddress 127.0.0.1
allow 127.0.0.1
local stratum 10
cmdport 0
bindcmdaddress /
pidfile FOLDER/pid
`},
		},
	}
}

const haproxyConfig = `defaults
	mode http
	timeout client 5s
	timeout server 5s
	timeout connect 5s
frontend web
	bind 127.0.0.1:PORT
	http-request return status 200 content-type text/plain string "it works"
`

func initPostgres(t *testing.T, dir string, as *syscall.Credential) {
	prepare(t, dir, as, program("/usr/lib/postgresql/*/bin/initdb"), "-D", filepath.Join(dir, "data"), "-A", "trust", "--no-sync")
}

func hostKey(t *testing.T, dir string, as *syscall.Credential) {
	prepare(t, dir, as, "/usr/bin/ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(dir, "key"))
}

// prepare runs a program as the service's user.
func prepare(t *testing.T, dir string, as *syscall.Credential, path string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), rig.Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as}
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "LC_ALL=C.UTF-8", "HOME="+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", path, err, out)
	}
}
