package journal

import (
	"encoding/json"
	"os"
	"path/filepath"

	"supd/journal/blocks"
)

// cleanBlock is what shows that a block file was not touched since.
type cleanBlock struct {
	Name  string `json:"name"`
	Size  int64  `json:"size"`
	MTime int64  `json:"mtime"` // nanoseconds since 1970
}

// cleanStop is the note that a server leaves behind which ended in good
// order. It holds as long as no file has changed, so nobody has to remove it
// and no sync is needed: after a power cut it does not fit any more.
type cleanStop struct {
	Blocks []cleanBlock `json:"blocks"`
}

// noteClean writes down how the store is after a clean stop. Without the
// note the next start checks all of it.
func noteClean(store string) error {
	b, err := json.Marshal(cleanStop{listStore(store)})
	if err != nil {
		return err
	}
	path := filepath.Join(store, cleanFile)
	if err := os.WriteFile(path+".new", b, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// isClean tells whether the store is as a clean stop left it.
func isClean(store string) bool {
	b, err := os.ReadFile(filepath.Join(store, cleanFile))
	var then cleanStop
	if err != nil || json.Unmarshal(b, &then) != nil {
		return false
	}
	now := listStore(store)
	if len(now) != len(then.Blocks) || len(now) == 0 {
		return false
	}
	for i := range now {
		if now[i] != then.Blocks[i] {
			return false
		}
	}
	return true
}

// listStore lists the stream's files: its blocks, the server's summary and the
// description. Without that summary an end that is cut off would not show.
func listStore(store string) []cleanBlock {
	var all []cleanBlock
	stream := blocks.StreamDir(store)
	for _, dir := range []string{stream, filepath.Join(stream, "msgs")} {
		names, err := os.ReadDir(dir)
		if err != nil {
			return nil
		}
		for _, n := range names {
			if info, err := n.Info(); err == nil && !info.IsDir() {
				all = append(all, cleanBlock{n.Name(), info.Size(), info.ModTime().UnixNano()})
			}
		}
	}
	return all
}
