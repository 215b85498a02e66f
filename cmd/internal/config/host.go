package config

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"supd/journal/event"
)

// Host is what a configuration is resolved against: the machine and the
// process that supd is. Load reads nothing else.
type Host struct {
	Files     fs.FS    // the file system, its root being "/"
	Environ   []string // NAME=value, as supd was started
	Hostname  string
	Directory string // absolute; where supd was started
	UID       uint32 // effective
	GID       uint32 // effective
	Groups    []uint32
	CPUs      int

	// Limits are the resource limits that supd was started with, for those
	// that it raises for itself: services get them back unless they set
	// their own. Go raises the soft RLIMIT_NOFILE before main runs, so the
	// caller has to know the original.
	Limits []event.LaunchLimit

	// Controllers are the cgroup controllers that limits of services can use;
	// without one of them NoController says why.
	Controllers  []string
	NoController string

	Now    func() time.Time                        // to look at certificates with; nil: not looked at
	Lookup func(name string) ([]netip.Addr, error) // resolves the name of a listen.address; nil: cannot
}

func (h Host) now() time.Time {
	if h.Now == nil {
		return time.Time{}
	}
	return h.Now()
}

// lookupTime bounds how long a configuration waits for a name server.
const lookupTime = 3 * time.Second

func resolveName(name string) ([]netip.Addr, error) {
	ctx, cancel := context.WithTimeout(context.Background(), lookupTime)
	defer cancel()
	return net.DefaultResolver.LookupNetIP(ctx, "ip", name)
}

// ThisHost describes the machine and process it runs in. limits become
// Host.Limits.
func ThisHost(limits []event.LaunchLimit) (Host, error) {
	name, err := os.Hostname()
	if err != nil {
		return Host{}, fmt.Errorf("cannot read the host name: %w", err)
	}
	dir, err := os.Getwd()
	if err != nil {
		return Host{}, fmt.Errorf("cannot tell the current directory: %w", err)
	}
	groups, err := os.Getgroups()
	if err != nil {
		return Host{}, fmt.Errorf("cannot read the groups of this process: %w", err)
	}
	h := Host{
		Files:     os.DirFS("/"),
		Environ:   os.Environ(),
		Hostname:  name,
		Directory: dir,
		UID:       uint32(os.Geteuid()),
		GID:       uint32(os.Getegid()),
		CPUs:      runtime.NumCPU(),
		Limits:    limits,
		Now:       time.Now,
		Lookup:    resolveName,
	}
	for _, g := range groups {
		h.Groups = append(h.Groups, uint32(g))
	}
	return h, nil
}

// maxFile bounds every file read, so that a wrong path cannot eat the memory
// (P9).
const maxFile = 16 << 20

// abs makes a path absolute and clean.
func (h Host) abs(path string) string {
	if !filepath.IsAbs(path) {
		path = filepath.Join(h.Directory, path)
	}
	return filepath.Clean(path)
}

// name is how an absolute path is called within Files.
func (h Host) name(path string) string {
	if name := strings.TrimPrefix(h.abs(path), "/"); name != "" {
		return name
	}
	return "."
}

func (h Host) stat(path string) (fs.FileInfo, error) { return fs.Stat(h.Files, h.name(path)) }

func (h Host) read(path string) ([]byte, error) {
	f, err := h.Files.Open(h.name(path))
	if err != nil {
		return nil, cause(err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, cause(err)
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("larger than %d MiB", maxFile>>20)
	}
	return data, nil
}

// glob lists what matches an absolute pattern, sorted.
func (h Host) glob(pattern string) ([]string, error) {
	names, err := fs.Glob(h.Files, h.name(pattern))
	if err != nil {
		return nil, err
	}
	for i, n := range names {
		names[i] = "/" + n
	}
	slices.Sort(names)
	return names, nil
}
