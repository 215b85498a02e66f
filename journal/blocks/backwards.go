package blocks

import "iter"

// Backwards iterates over the intact records whose subject matches, the newest
// first. What cannot be read is passed over. Each block is read whole and only
// when its turn comes; entries own their bytes. A batch that is still in
// staging is left out.
func (r *Reader) Backwards(match func(subject string) bool) iter.Seq[Entry] {
	return func(yield func(Entry) bool) {
		for i := len(r.files) - 1; i >= 0; i-- {
			var found []Entry
			w := walk{subjects: map[string]string{}, yield: func(e Entry, err error) bool {
				if err == nil && match(e.Subject) {
					found = append(found, e.clone())
				}
				return true
			}}
			w.block(r.files[i], i == len(r.files)-1)
			for k := len(found) - 1; k >= 0; k-- {
				if !yield(found[k]) {
					return
				}
			}
		}
	}
}
