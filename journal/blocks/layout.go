package blocks

import (
	"fmt"
	"os"
	"path/filepath"

	"supd/journal/event"
)

// LayoutError says that files are not of the layout that this package knows.
// Nothing is damaged then: another reader, the server that wrote them, may
// know better.
type LayoutError struct {
	File   string
	Detail string
	// Certain tells that the file itself says so. Else nothing in the blocks
	// verifies, which utter damage looks like as well.
	Certain bool
	// Encrypted files can be read by nobody who has not got the key.
	Encrypted bool
}

// Error names file and cause.
func (e *LayoutError) Error() string {
	return fmt.Sprintf("cannot read files of this layout: %s: %s", e.File, e.Detail)
}

// Layout tells whether the files are of the layout that this package knows:
// nil, or a *LayoutError. It reads the summary and of the blocks as much as it
// takes to find one record that verifies. A journal without a byte in it is of
// any layout.
func (r *Reader) Layout() error {
	msgs := filepath.Join(r.dir, "msgs")
	keys, _ := filepath.Glob(filepath.Join(msgs, "*.key")) // the pattern is a good one
	for _, key := range append(keys, filepath.Join(r.dir, "meta.key")) {
		if _, err := os.Lstat(key); err == nil {
			return &LayoutError{File: key, Detail: "there is a key for encryption, which supd's server never makes", Certain: true, Encrypted: true}
		}
	}
	index := filepath.Join(msgs, "index.db")
	if b, ok := sealedIndex(index, event.Stream); ok && b[0] == indexMagic && b[1] > indexVersion {
		return &LayoutError{
			File: index, Certain: true,
			Detail: fmt.Sprintf("it has version %d of a layout known up to version %d: a newer server wrote it", b[1], indexVersion),
		}
	}
	var strange *LayoutError
	for _, f := range r.files {
		if _, ok := f.firstSeq(); ok {
			return nil
		}
		b := f.load()
		if len(b.bytes) == 0 {
			continue
		}
		if len(b.bytes) > 3 && string(b.bytes[:3]) == packedMark && !b.packed && b.bytes[3] > packedS2 {
			return &LayoutError{File: f.path, Detail: fmt.Sprintf("it is compressed by algorithm %d, which is not known", b.bytes[3]), Certain: true}
		}
		if f.anyRecord(b) {
			return nil
		}
		if strange == nil {
			strange = &LayoutError{File: f.path, Detail: "no record in it or any other block verifies"}
		}
	}
	if strange != nil {
		return strange
	}
	return nil
}

// anyRecord tells whether one record of the block verifies.
func (f file) anyRecord(b block) bool {
	x := newHasher(f.store, f.number)
	if _, err := x.parse(b.bytes); err == nil {
		return true
	}
	return x.resync(b.bytes, 0) < len(b.bytes)
}
