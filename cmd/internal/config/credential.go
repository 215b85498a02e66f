package config

import (
	"fmt"
	"slices"
	"strings"
)

// groupID reads a group of [control].
func groupID(written *string, gid **uint32) reader {
	return func(c *cell) {
		if g, ok := c.group(); ok {
			*written, *gid = c.v.text, &g
		}
	}
}

// group reads a group by name or id.
func (c *cell) group() (uint32, bool) {
	s, ok := c.idText()
	if !ok {
		return 0, false
	}
	g, ok := c.l.accounts.group(s)
	if !ok {
		c.refuse("create it first, or name another", "unknown group %q", s)
	}
	return g, ok
}

func (s *settings) readUser(c *cell) {
	name, ok := c.idText()
	if !ok {
		return
	}
	u, ok := c.l.accounts.user(name)
	if !ok {
		c.refuse("create it first, or name another", "unknown user %q", name)
		return
	}
	s.spec.User, s.user = name, &u
}

func (s *settings) readGroup(c *cell) {
	if g, ok := c.group(); ok {
		s.spec.Group, s.group = c.v.text, &g
	}
}

func (s *settings) readGroups(c *cell) {
	if !c.is(aList, `a list such as ["adm"]`) {
		return
	}
	s.spec.Groups, s.groups = []string{}, []uint32{}
	c.elements(func(c *cell) {
		if g, ok := c.group(); ok {
			s.spec.Groups, s.groups = append(s.spec.Groups, c.v.text), append(s.groups, g)
		}
	})
	slices.Sort(s.groups)
	s.groups = slices.Compact(s.groups)
}

// credential is who a service runs as.
type credential struct {
	set      bool // differs from supd's own, or must be set to be sure
	uid, gid uint32
	groups   []uint32 // sorted
}

// String is "uid:gid:group,group".
func (c credential) String() string {
	groups := strings.Trim(strings.ReplaceAll(fmt.Sprint(c.groups), " ", ","), "[]")
	return fmt.Sprintf("%d:%d:%s", c.uid, c.gid, groups)
}

// credential resolves user, group and groups; false if that cannot be.
func (l *loader) credential(s *settings) (credential, bool) {
	own := append([]uint32{}, l.host.Groups...)
	slices.Sort(own)
	c := credential{uid: l.host.UID, gid: l.host.GID, groups: slices.Compact(own)}
	if s.user == nil && s.group == nil && s.groups == nil {
		return c, true
	}
	if l.host.UID != 0 {
		return c, l.ownOnly(s, c)
	}
	c.set = true
	if s.user != nil {
		c.uid, c.gid, c.groups = s.user.uid, s.user.gid, l.accounts.groupsOf(*s.user)
		if s.user.unknown && s.group == nil {
			l.problem(s.at["user"], "set `group` too", "`user` %s is not in /etc/passwd, so it has no primary group", s.user.name)
			return c, false
		}
	}
	if s.group != nil {
		c.gid = *s.group
	}
	if s.groups != nil {
		c.groups = s.groups
	}
	return c, true
}

// ownOnly refuses what only root can give a service.
func (l *loader) ownOnly(s *settings, own credential) bool {
	ok := true
	refuse := func(key, what string) {
		ok = false
		l.problem(s.at[key], "remove it, or run supd as root", "`%s`: supd runs as uid %d and cannot start services %s", key, own.uid, what)
	}
	if s.user != nil && s.user.uid != own.uid {
		refuse("user", "as another user")
	}
	if s.group != nil && *s.group != own.gid {
		refuse("group", "with another group")
	}
	if s.groups != nil && !slices.Equal(s.groups, own.groups) {
		refuse("groups", "with other groups than its own")
	}
	return ok
}
