package config

import (
	"slices"
	"strconv"
	"strings"
)

// account is one line of /etc/passwd.
type account struct {
	name        string
	uid, gid    uint32
	home, shell string
	unknown     bool // an id without a line: it has no primary group
}

// group is one line of /etc/group.
type group struct {
	name    string
	gid     uint32
	members []string
}

// accounts holds /etc/passwd and /etc/group as they were at one moment. We
// read them ourselves: os/user knows no login shell, answers differently with
// and without cgo, and with it may wait for a directory server.
type accounts struct {
	users  []account
	groups []group
}

func readAccounts(h Host) accounts {
	var a accounts
	// An absent file is an empty one: every name in it is then reported
	// where it is used, and ids work without.
	passwd, _ := h.read("/etc/passwd")
	for _, f := range colonLines(string(passwd), 7) {
		uid, ok1 := id(f[2])
		gid, ok2 := id(f[3])
		if ok1 && ok2 {
			a.users = append(a.users, account{name: f[0], uid: uid, gid: gid, home: f[5], shell: f[6]})
		}
	}
	groups, _ := h.read("/etc/group")
	for _, f := range colonLines(string(groups), 4) {
		if gid, ok := id(f[2]); ok {
			members := strings.FieldsFunc(f[3], func(r rune) bool { return r == ',' })
			a.groups = append(a.groups, group{name: f[0], gid: gid, members: members})
		}
	}
	return a
}

// colonLines splits lines into exactly n fields; others, such as comments and
// the + lines of NIS, are no accounts.
func colonLines(text string, n int) [][]string {
	var out [][]string
	for line := range strings.Lines(text) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) == n && f[0] != "" && !strings.ContainsAny(f[0][:1], "+-#") {
			out = append(out, f)
		}
	}
	return out
}

// id reads a user or group id. The greatest one means "leave it" to the
// kernel and is nobody's.
func id(s string) (uint32, bool) {
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err == nil && n != 1<<32-1
}

// user finds an account by name, else by id. An id needs no line of its own:
// images of containers often lack them.
func (a accounts) user(nameOrID string) (account, bool) {
	if i := slices.IndexFunc(a.users, func(u account) bool { return u.name == nameOrID }); i >= 0 {
		return a.users[i], true
	}
	n, ok := id(nameOrID)
	if !ok {
		return account{}, false
	}
	if i := slices.IndexFunc(a.users, func(u account) bool { return u.uid == n }); i >= 0 {
		return a.users[i], true
	}
	return account{name: nameOrID, uid: n, home: "/", unknown: true}, true
}

// group finds a group's id by name, else by id.
func (a accounts) group(nameOrID string) (uint32, bool) {
	if i := slices.IndexFunc(a.groups, func(g group) bool { return g.name == nameOrID }); i >= 0 {
		return a.groups[i].gid, true
	}
	return id(nameOrID)
}

// groupsOf lists the groups a user gets at login: the primary one and those
// that name it as a member, sorted.
func (a accounts) groupsOf(u account) []uint32 {
	out := []uint32{}
	if !u.unknown {
		out = append(out, u.gid)
	}
	for _, g := range a.groups {
		if slices.Contains(g.members, u.name) {
			out = append(out, g.gid)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
