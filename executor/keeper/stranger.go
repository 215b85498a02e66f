package keeper

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"supd/executor/keeper/wire"
)

// NodeTag is the environment variable by which a process says which supd it
// belongs to: its value is the node id. Without it the instances of two supds on
// one machine would look alike.
const NodeTag = "SUPD_NODE_ID="

const serviceTag = "SUPD_SERVICE="

// Stranger is an instance that lived, and of which no record says so. Service is
// what its own environment names, which may be anything; empty if it was not to
// be read.
type Stranger struct {
	Service, Instance string
	Processes         []wire.Process // up to wire.MaxPIDs that were ended
	Took              time.Duration
}

// EndStrangers ends the instances of this supd that are not known: the journal
// lost the records that authorised them, and what it would start next would run
// beside them (P1). folder is that of the instances' cgroups, empty if there is
// none; node is the node id. It returns when they are proven dead (R4), after 10 s
// for each at most; then the error names who is left, and nothing may be started.
//
// It is called by an engine, before it has anything started.
func EndStrangers(folder, node string, known func(instance string) bool) ([]Stranger, error) {
	found := strangersIn(folder, known)
	for instance, service := range taggedStrangers(node, known) {
		found[instance] = service
	}
	var ended []Stranger
	for _, instance := range sortedKeys(found) {
		began := time.Now()
		s := Stranger{Service: found[instance], Instance: instance}
		var left []wire.Process
		if folder != "" {
			path := filepath.Join(folder, instance)
			g := cgroup{path, cgroupFeatures(path)}
			_, rep, survived := sweep(g, root{instance: instance}, -1, newChildren())
			s.Processes = rep.processes
			if survived > 0 {
				left = survivors(g, root{}, newChildren())
			}
		}
		r := root{instance: instance} // those that left its cgroup, or never had one
		_, rep, survived := sweepScan(r, -1, newChildren())
		s.Processes = append(s.Processes, rep.processes...)
		s.Processes = s.Processes[:min(len(s.Processes), wire.MaxPIDs)]
		if survived > 0 {
			left = append(left, survivors(cgroup{}, r, newChildren())...)
		}
		if left != nil {
			return ended, fmt.Errorf("cannot go on: processes of instance %s of %q, which no record knows, survive KILL: %s; nothing is started beside them",
				instance, s.Service, strings.Join(described(left), ", "))
		}
		s.Took = time.Since(began)
		ended = append(ended, s)
	}
	return ended, nil
}

// strangersIn lists the cgroups in which somebody lives, with the service that
// the first process there names.
func strangersIn(folder string, known func(string) bool) map[string]string {
	found := map[string]string{}
	if folder == "" {
		return found
	}
	entries, _ := os.ReadDir(folder)
	for _, e := range entries {
		g := cgroup{path: filepath.Join(folder, e.Name())}
		if !e.IsDir() || strings.HasPrefix(e.Name(), taskPrefix) || known(e.Name()) || !g.populated() {
			continue
		}
		found[e.Name()] = ""
		for _, pid := range g.pids() {
			if m := marksOf(pid); m[serviceTag] != "" {
				found[e.Name()] = m[serviceTag]
				break
			}
		}
	}
	return found
}

// taggedStrangers finds processes by their environment. A hook or a probe is
// bounded by its keeper, not by us.
func taggedStrangers(node string, known func(string) bool) map[string]string {
	found := map[string]string{}
	for pid, st := range takeSnapshot().procs {
		if st.zombie {
			continue
		}
		m := marksOf(pid)
		if id := m[tag]; id != "" && node != "" && m[NodeTag] == node && m[taskMark] == "" && !known(id) {
			found[id] = m[serviceTag]
		}
	}
	return found
}

// marksOf reads what a process's environment says of its instance.
func marksOf(pid int) map[string]string {
	m := map[string]string{}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		return m // another user's, or gone
	}
	for v := range bytes.SplitSeq(b, []byte{0}) {
		for _, mark := range []string{tag, NodeTag, serviceTag, taskMark} {
			if value, ok := bytes.CutPrefix(v, []byte(mark)); ok {
				m[mark] = string(value)
			}
		}
	}
	return m
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
