package spelling

import (
	"slices"

	"supd/journal/event"
)

// Kind tells whether a word is a kind of record (instance.exited) or a group of
// kinds (instance), and if not, which one it most likely meant; near is empty
// where none is near.
func Kind(typed string) (near string, known bool) {
	var all []string
	for _, k := range event.Kinds() {
		all = append(all, string(k), k.Group())
	}
	if slices.Contains(all, typed) {
		return "", true
	}
	if near = Nearest(typed, all); near != "" {
		return near, false
	}
	// People leave the group away.
	for _, k := range event.Kinds() {
		if typed == k.What() {
			return string(k), false
		}
	}
	return "", false
}
