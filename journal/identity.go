package journal

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"
)

// Identity is the content of STATE/node.json (0600): which node this is, and
// what shows that the folder is the original one (R5).
type Identity struct {
	NodeID    string    `json:"node_id"`        // UUIDv4, for ever
	MachineID string    `json:"machine_id"`     // empty where the machine has none
	Device    uint64    `json:"device"`         // of the state folder, in the boot below
	Inode     uint64    `json:"inode"`          // of the state folder
	Boot      string    `json:"boot"`           // the last boot that had a run log
	Copy      bool      `json:"copy,omitempty"` // of another node's folder: what that one left running is not ours
	Created   time.Time `json:"created"`
	Key       []byte    `json:"key"` // 32 bytes, for keyed digests of secret values (R11)
}

// Boot names this boot: boot id and pid namespace, in which pids and the boot
// clock mean something (R13).
func Boot() (string, error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("cannot read boot id: %w", err)
	}
	ns, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return "", fmt.Errorf("cannot read pid namespace: %w", err)
	}
	return strings.TrimSpace(string(id)) + "+" + ns, nil
}

// boot names this boot as this node sees it. A copy begins with the records of
// its original, whose processes live on and are not the copy's to adopt or to
// end: to it they are of another boot, and so is every pid in those records.
func (id Identity) boot(here string) string {
	if id.Copy {
		return here + "+" + id.NodeID
	}
	return here
}

// loadIdentity reads or creates node.json. The state lock must be held.
func loadIdentity(cfg *Config, boot string) (Identity, error) {
	path := filepath.Join(cfg.StateDir, "node.json")
	here, err := locate(cfg.StateDir)
	if err != nil {
		return Identity{}, err
	}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(b) == 0 && unused(cfg.StateDir) {
		return createIdentity(path, here, false)
	}
	if err != nil {
		return Identity{}, fmt.Errorf("cannot read node identity: %w", err)
	}
	var id Identity
	if err := json.Unmarshal(b, &id); err != nil {
		return Identity{}, fmt.Errorf("cannot read node identity %s: %w", path, err)
	}
	if _, err := uuid.Parse(id.NodeID); err != nil || len(id.Key) != 32 {
		return Identity{}, fmt.Errorf("cannot read node identity %s: node_id or key is missing or malformed; restore the file from a copy", path)
	}
	why := here.differs(id, id.boot(boot))
	if why == "" {
		return id, nil
	}
	switch {
	case cfg.NewIdentity:
		return createIdentity(path, here, true)
	case cfg.Moved:
		id.MachineID, id.Device, id.Inode, id.Boot = here.machine, here.device, here.inode, ""
		return id, storeIdentity(path, id)
	}
	return Identity{}, fmt.Errorf("cannot open %s: %w (%s): if the original is gone for good, start once with --moved; if this is a copy that shall live beside it, with --new-identity", cfg.StateDir, ErrMoved, why)
}

// place is what a copy of a folder cannot have in common with its original.
type place struct {
	machine       string
	device, inode uint64
}

func locate(dir string) (place, error) {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return place{}, fmt.Errorf("cannot read state folder %s: %w", dir, err)
	}
	// A machine without an id (many containers) is no reason to refuse.
	machine, _ := os.ReadFile("/etc/machine-id")
	return place{machine: strings.TrimSpace(string(machine)), device: st.Dev, inode: st.Ino}, nil
}

// differs returns why the folder is not the one that id describes, or "".
// Device numbers are handed out anew at each boot, in an order that may
// change, so they are compared within a boot only: a reboot must never end in
// a refusal.
func (p place) differs(id Identity, boot string) string {
	switch {
	case id.MachineID != "" && p.machine != "" && id.MachineID != p.machine:
		return "the machine id is another"
	case id.Inode != p.inode:
		return "the folder is another one"
	case id.Boot == boot && id.Device != p.device:
		return "the file system is another one"
	}
	return ""
}

func createIdentity(path string, here place, isCopy bool) (Identity, error) {
	id := Identity{NodeID: uuid.NewString(), Copy: isCopy, MachineID: here.machine, Device: here.device, Inode: here.inode, Created: time.Now().UTC().Truncate(time.Second), Key: make([]byte, 32)}
	if _, err := rand.Read(id.Key); err != nil {
		return Identity{}, fmt.Errorf("cannot create node identity: %w", err)
	}
	store := storeIdentity
	if !isCopy {
		// Nothing depends on a new one yet. The engine stores it once more, to
		// last, before anything becomes durable (Journal.note): a power cut until
		// then leaves a new one, an empty file or none.
		store = func(path string, id Identity) error { return replaceIdentity(path, id, writePlain) }
	}
	return id, store(path, id)
}

// unused tells that nothing was ever durable in a state folder.
func unused(dir string) bool {
	_, err := os.Lstat(filepath.Join(dir, "journal"))
	return errors.Is(err, fs.ErrNotExist)
}

// storeIdentity replaces node.json so that a power cut leaves the old or the
// new one.
func storeIdentity(path string, id Identity) error {
	if err := replaceIdentity(path, id, writeSynced); err != nil {
		return err
	}
	return syncPath(filepath.Dir(path))
}

func replaceIdentity(path string, id Identity, write func(string, []byte) error) error {
	b, err := json.MarshalIndent(id, "", "  ")
	if err != nil {
		return fmt.Errorf("cannot encode node identity: %w", err)
	}
	if err := write(path+".new", append(b, '\n')); err != nil {
		return fmt.Errorf("cannot store node identity: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("cannot store node identity: %w", err)
	}
	return nil
}

func writeSynced(path string, b []byte) error {
	return writeNew(path, b, (*os.File).Sync)
}

func writePlain(path string, b []byte) error {
	return writeNew(path, b, func(*os.File) error { return nil })
}

func writeNew(path string, b []byte, sync func(*os.File) error) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, sync(f), f.Close())
}

// syncPath syncs one file or folder.
func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
