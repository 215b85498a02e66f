package config

import (
	"io/fs"
	"testing/fstest"

	"golang.org/x/sys/unix"

	"supd/journal/event"
)

const (
	passwd = `root:x:0:0:root:/root:/bin/bash
# a comment
+nis::::::
www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin
ann:x:1000:1000:Ann,,,:/home/ann:
broken:x:minus:1::/:
`
	groupFile = `root:x:0:
adm:x:4:ann,www-data
www-data:x:33:
video:x:44:www-data
ann:x:1000:
`
)

// testHost is a machine with a few users, programs and folders. files are
// added below /etc/supd unless their names are absolute.
func testHost(files map[string]string) Host {
	h := Host{
		Environ: []string{
			"PATH=/usr/bin:/bin", "HOME=/root", "LANG=de_DE", "LANG=twice", "TOKEN=inherited-secret", "EMPTY=",
			"SUPD_STATE_DIR=/x", "NOTIFY_SOCKET=/n", "LISTEN_FDS=3", "WATCHDOG_USEC=1", "nonsense",
		},
		Hostname: "host.example", Directory: "/work", CPUs: 4, Groups: []uint32{0},
		Limits: []event.LaunchLimit{{Resource: unix.RLIMIT_NOFILE, Soft: 1024, Hard: 4096}},
	}
	h.Controllers = []string{"cpu", "memory", "pids"}
	m := fstest.MapFS{
		"etc/passwd":          {Data: []byte(passwd)},
		"etc/group":           {Data: []byte(groupFile)},
		"work":                {Mode: fs.ModeDir | 0o755},
		"srv/shop":            {Mode: fs.ModeDir | 0o755},
		"srv/shop/bin/shop":   {Mode: 0o755},
		"usr/bin/app":         {Mode: 0o755},
		"usr/bin/data":        {Mode: 0o644},
		"usr/bin/nginx":       {Mode: 0o755},
		"usr/sbin/nginx":      {Mode: 0o755},
		"bin/sh":              {Mode: 0o755},
		"etc/supd/plain.file": {Data: []byte("x")},
	}
	for name, text := range files {
		if name[0] != '/' {
			name = "/etc/supd/" + name
		}
		m[name[1:]] = &fstest.MapFile{Data: []byte(text), Mode: 0o644}
	}
	h.Files = m
	return h
}

// loadText loads one file.
func loadText(text string) (*Set, []Problem) {
	return Load("/etc/supd/supd.toml", testHost(map[string]string{"supd.toml": text}))
}
