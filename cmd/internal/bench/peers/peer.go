package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// peer is a supervisor under comparison. Each captures the output of its
// services as its users would: into files, by a logger process where that is
// how it is done.
type peer struct {
	name    string
	needs   []string // programs
	version []string // a command that tells it
	// prepare writes what it needs into dir and returns the command that runs in
	// the foreground. Services are NAME-0 to NAME-(n-1).
	prepare func(dir string, services []service) ([]string, error)
	// daemon: what was started goes into the background, and stays the bench's
	// descendant.
	daemon bool
	// output are the files with the captured output of a service; nil where the
	// peer captures none.
	output func(dir, name string) string
	// alone is how a service is started without the peer; who has one finds running
	// services by their pid files and takes them for its own.
	alone func(dir string, s service) []string
}

// service is a command with a name.
type service struct {
	name string
	args []string
}

func peers(bin string) []peer {
	return []peer{
		supd(bin), supervisord(), runit(), s6(), daemontools(), monit(), pm2(),
	}
}

// missing is the first program that is not there.
func (p peer) missing() string {
	for _, n := range p.needs {
		if _, err := exec.LookPath(n); err != nil {
			return n
		}
	}
	return ""
}

func quoted(args []string) string {
	words := make([]string, len(args))
	for i, a := range args {
		words[i] = fmt.Sprintf("%q", a)
	}
	return strings.Join(words, ", ")
}

func supd(bin string) peer {
	return peer{
		name: "supd", needs: []string{filepath.Join(bin, "supd")}, version: []string{filepath.Join(bin, "supd"), "version"},
		prepare: func(dir string, services []service) ([]string, error) {
			var b strings.Builder
			b.WriteString("[supd]\nnode = \"bench\"\n[defaults]\nbackoff = { initial = \"0s\" }\noutput = { max_files = 20 }\n")
			for _, s := range services {
				fmt.Fprintf(&b, "[service.%s]\ncommand = [%s]\n", s.name, quoted(s.args))
			}
			config := filepath.Join(dir, "supd.toml")
			return []string{filepath.Join(bin, "supd"), "run", "-c", config, "--state-dir", filepath.Join(dir, "state"), "--runtime-dir", runtimeFolder(dir)},
				os.WriteFile(config, []byte(b.String()), 0o600)
		},
		output: func(dir, name string) string { return filepath.Join(dir, "state", "output", name, "stdout.log*") },
	}
}

func supervisord() peer {
	return peer{
		name: "supervisord", needs: []string{"supervisord"}, version: []string{"supervisord", "--version"},
		prepare: func(dir string, services []service) ([]string, error) {
			var b strings.Builder
			fmt.Fprintf(&b, "[supervisord]\nnodaemon=true\nminfds=20000\nlogfile=%s/log\npidfile=%[1]s/pid\nchildlogdir=%[1]s\nuser=root\n", dir)
			for _, s := range services {
				fmt.Fprintf(&b, "[program:%s]\ncommand=%s\nautorestart=true\nstdout_logfile=%s/%s.out\nstdout_logfile_maxbytes=0\n",
					s.name, strings.Join(s.args, " "), dir, s.name)
			}
			config := filepath.Join(dir, "supervisord.conf")
			return []string{"supervisord", "-c", config}, os.WriteFile(config, []byte(b.String()), 0o600)
		},
		output: func(dir, name string) string { return filepath.Join(dir, name+".out") },
	}
}

// scanned is how the family of daemontools is set up: a folder for each service
// with a script, and one with the script of its logger.
func scanned(scan, logger []string) func(string, []service) ([]string, error) {
	return func(dir string, services []service) ([]string, error) {
		for _, s := range services {
			at := filepath.Join(dir, "scan", s.name)
			out := filepath.Join(dir, "out", s.name)
			for _, d := range []string{filepath.Join(at, "log"), out} {
				if err := os.MkdirAll(d, 0o755); err != nil {
					return nil, err
				}
			}
			// svlogd's own settings; the others have theirs as arguments.
			if err := os.WriteFile(filepath.Join(out, "config"), []byte("s16777215\nn20\n"), 0o644); err != nil {
				return nil, err
			}
			for file, args := range map[string][]string{
				filepath.Join(at, "run"): s.args, filepath.Join(at, "log", "run"): append(append([]string{}, logger...), out),
			} {
				if err := os.WriteFile(file, []byte("#!/bin/sh\nexec "+strings.Join(args, " ")+"\n"), 0o755); err != nil {
					return nil, err
				}
			}
		}
		return append(append([]string{}, scan...), filepath.Join(dir, "scan")), nil
	}
}

func scannedOutput(dir, name string) string { return filepath.Join(dir, "out", name, "*") }

func runit() peer {
	return peer{
		name: "runit", needs: []string{"runsvdir", "svlogd"}, version: []string{"dpkg-query", "-W", "-f", "${Version}", "runit"},
		prepare: scanned([]string{"runsvdir"}, []string{"svlogd"}), output: scannedOutput,
	}
}

func s6() peer {
	return peer{
		name: "s6", needs: []string{"s6-svscan", "s6-log"}, version: []string{"dpkg-query", "-W", "-f", "${Version}", "s6"},
		prepare: scanned([]string{"s6-svscan", "-c", "5000"}, []string{"s6-log", "-b", "n20", "s16777215"}), output: scannedOutput,
	}
}

func daemontools() peer {
	return peer{
		name: "daemontools", needs: []string{"svscan", "supervise", "multilog"}, version: []string{"dpkg-query", "-W", "-f", "${Version}", "daemontools"},
		prepare: scanned([]string{"svscan"}, []string{"multilog", "s16777215", "n20"}), output: scannedOutput,
	}
}

// monit looks at processes that have put themselves into the background, once a
// second here, which is as often as it can. It starts one after the other, so a
// large set is started without it where the launch is not what is measured. Who
// writes output writes it into files without its help.
func monit() peer {
	return peer{
		name: "monit", needs: []string{"monit"}, version: []string{"monit", "-V"},
		prepare: func(dir string, services []service) ([]string, error) {
			var b strings.Builder
			fmt.Fprintf(&b, "set daemon 1\nset logfile %s/log\nset pidfile %[1]s/pid\nset idfile %[1]s/id\nset statefile %[1]s/state\n", dir)
			for _, s := range services {
				script := filepath.Join(dir, s.name+".sh")
				text := fmt.Sprintf("#!/bin/sh\n%s >>%s/%s.out 2>&1 &\necho $! >%[2]s/%[3]s.pid\n", strings.Join(s.args, " "), dir, s.name)
				if err := os.WriteFile(script, []byte(text), 0o755); err != nil {
					return nil, err
				}
				fmt.Fprintf(&b, "check process %s with pidfile %s/%[1]s.pid\n  start program = \"%[3]s\"\n", s.name, dir, script)
			}
			config := filepath.Join(dir, "monitrc")
			return []string{"monit", "-I", "-c", config}, os.WriteFile(config, []byte(b.String()), 0o600)
		},
		alone: func(dir string, s service) []string { return []string{filepath.Join(dir, s.name+".sh")} },
	}
}

func pm2() peer {
	return peer{
		name: "pm2", needs: []string{"pm2", "node"}, version: []string{"node", "-p", "require('child_process').execSync('pm2 --version 2>/dev/null').toString().trim().split('\\n').pop()"}, daemon: true,
		prepare: func(dir string, services []service) ([]string, error) {
			var b strings.Builder
			b.WriteString("module.exports = { apps: [\n")
			for _, s := range services {
				fmt.Fprintf(&b, "{ name: %q, script: %q, args: [%s], interpreter: \"none\", out_file: %q, autorestart: true, max_restarts: 1000000 },\n",
					s.name, s.args[0], quoted(s.args[1:]), filepath.Join(dir, s.name+".out"))
			}
			b.WriteString("] };\n")
			config := filepath.Join(dir, "ecosystem.config.js")
			return []string{"pm2", "start", config, "--silent"}, os.WriteFile(config, []byte(b.String()), 0o600)
		},
		output: func(dir, name string) string { return filepath.Join(dir, name+".out") },
	}
}
