package output

import (
	"context"
	"os"
	"time"
)

// fingerprint changes whenever either stream got bytes or another segment.
type fingerprint [2]struct {
	size  int64
	mtime time.Time
	inode uint64
}

func takeFingerprint(folder string) (f fingerprint) {
	for i, name := range []string{Stdout, Stderr} {
		st, err := os.Lstat(activePath(folder, name))
		if err != nil {
			continue
		}
		f[i].size, f[i].mtime, f[i].inode = st.Size(), st.ModTime(), inodeOf(st)
	}
	return f
}

// hasMore tells whether there is a piece after the query's cursor, and whether
// an unfinished line is held back for the moment.
func hasMore(ctx context.Context, folder string, q Query) (more, held bool, err error) {
	if q.Cursor.IsZero() {
		return true, false, nil
	}
	m := newMerge(folder, q, q.Cursor)
	defer m.close()
	_, p, err := m.next(ctx)
	return p != nil, m.held(), err
}
