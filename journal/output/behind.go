package output

import (
	"fmt"
	"os"
	"path/filepath"
)

// Behind is how many bytes of a service's output, as it is on disk at this
// moment, come after the query's cursor; of q only Service, Stream and Cursor
// count. What retention removed does not count, nor does a stream that the
// cursor does not name yet: all of it is ahead. Like Read it takes no lock.
func Behind(dir string, q Query) (int64, error) {
	if err := q.check(); err != nil {
		return 0, err
	}
	folder := filepath.Join(dir, q.Service)
	var sum int64
	for _, name := range []string{Stdout, Stderr} {
		if q.Stream != "" && q.Stream != name {
			continue
		}
		n, err := behind(folder, name, *q.Cursor.of(name))
		if err != nil {
			return 0, fmt.Errorf("cannot measure output: %w", err)
		}
		sum += n
	}
	return sum, nil
}

func behind(folder, stream string, pos Position) (sum int64, err error) {
	y, err := readLayout(folder, stream)
	if err != nil {
		return 0, err
	}
	add := func(n uint64, size int64) {
		if n == pos.Segment {
			size -= min(size, pos.Offset)
		}
		sum += size
	}
	for _, n := range y.closed {
		if n < pos.Segment {
			continue
		}
		if c, err := statClosed(folder, stream, n); err == nil { // else trimmed meanwhile
			add(n, c.text)
		}
	}
	if st, err := os.Lstat(activePath(folder, stream)); err == nil {
		add(y.active(), st.Size())
	}
	return sum, nil
}
