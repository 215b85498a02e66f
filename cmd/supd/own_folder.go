package main

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// ownFolder refuses a folder into which others than root and supd's own user may put
// files: what lies there is believed, up to the socket of a keeper that hands
// everything over (P10).
func ownFolder(dir string) error {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return fmt.Errorf("cannot look at folder %s: %w", dir, err)
	}
	switch {
	case st.Uid != 0 && int(st.Uid) != unix.Geteuid():
		return fmt.Errorf("cannot use folder %s: it belongs to user %d, who could put files of his own there: chown it to user %d", dir, st.Uid, unix.Geteuid())
	case st.Mode&0o002 != 0:
		return fmt.Errorf("cannot use folder %s: everybody may write to it (mode %04o): chmod o-w it", dir, st.Mode&0o7777)
	}
	return nil
}
