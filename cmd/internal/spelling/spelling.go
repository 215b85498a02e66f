// Package spelling finds what a misspelt word most likely meant.
package spelling

// Nearest returns the candidate that a misspelt name most likely meant, or
// "" where none is near. Of equally near ones the first wins.
func Nearest(name string, candidates []string) string {
	best, limit := "", max(1, len(name)/3)+1
	if len(name) > 64 { // nobody misspells that much
		return ""
	}
	for _, c := range candidates {
		if d := distance(name, c); d < limit && d < len(c) {
			best, limit = c, d
		}
	}
	return best
}

// distance counts the edits between two words: letters inserted, deleted,
// replaced, or two neighbours swapped.
func distance(a, b string) int {
	older, old := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range old {
		old[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(old[j]+1, row[j-1]+1, old[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], older[j-2]+1)
			}
		}
		older, old = old, row
	}
	return old[len(b)]
}
