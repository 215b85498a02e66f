package output

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	tallySlot  = 1 << 10
	tallySlots = 256
	// tallyReason bounds the reason in a slot, so that what matters fits.
	tallyReason = 200
)

// tally holds the gaps that are counted and not told yet in a file, so that a
// SIGKILL of the logger does not take the count with it (P4). Its space is
// allocated at the start, since it is needed when there is none left. It is
// best on a tmpfs: a disk that hangs would hang the logger here too.
//
// One write follows each read that drops; a kill that comes between the two
// leaves that read, at most 64 KiB, uncounted. A kill between telling a gap
// and clearing its slot tells it twice.
type tally struct {
	f    *os.File // nil: counts live in memory alone
	mu   sync.Mutex
	free []int // guarded by mu
}

type tallied struct {
	Service string `json:"service"`
	Gap     Gap    `json:"gap"`
}

// openTally opens or makes the file and returns the gaps that a killed logger
// left in it. They stay in it until clearAll.
func openTally(path string) (t *tally, left []tallied, err error) {
	t = &tally{}
	for i := range tallySlots {
		t.free = append(t.free, tallySlots-1-i)
	}
	if path == "" {
		return t, nil, nil
	}
	f, err := openFile(path, os.O_RDWR|os.O_CREATE)
	if err == nil {
		if err = unix.Fallocate(int(f.Fd()), 0, 0, tallySlots*tallySlot); err != nil {
			f.Close()
		}
	}
	if err != nil {
		return t, nil, fmt.Errorf("cannot keep count of dropped output in %s, a killed logger would lose up to %v of it: %w", path, gapEvery, err)
	}
	t.f = f
	b := make([]byte, tallySlot)
	for i := range tallySlots {
		if _, err := f.ReadAt(b, int64(i)*tallySlot); err == nil {
			if c, ok := decodeTally(b); ok {
				left = append(left, c)
			}
		}
	}
	return t, left, nil
}

// decodeTally reads one slot; false if it is empty or damaged.
func decodeTally(b []byte) (c tallied, ok bool) {
	n := binary.LittleEndian.Uint32(b)
	if n == 0 || n > tallySlot-8 || crc32.Checksum(b[8:8+n], castagnoli) != binary.LittleEndian.Uint32(b[4:]) {
		return c, false
	}
	err := json.Unmarshal(b[8:8+n], &c)
	return c, err == nil && c.Gap.Bytes > 0
}

// clearAll empties every slot.
func (t *tally) clearAll() {
	if t.f != nil {
		_, _ = t.f.WriteAt(make([]byte, tallySlots*tallySlot), 0)
	}
}

// put writes a gap of a service to its slot, giving it one if it has none.
func (t *tally) put(service string, gap *Gap, slot *int) {
	if t.f == nil {
		return
	}
	t.mu.Lock()
	if *slot < 0 && len(t.free) > 0 {
		*slot = t.free[len(t.free)-1]
		t.free = t.free[:len(t.free)-1]
	}
	t.mu.Unlock()
	if *slot < 0 {
		return // counted in memory like without a file
	}
	c := tallied{service, *gap}
	c.Gap.Reason = c.Gap.Reason[:min(len(c.Gap.Reason), tallyReason)]
	body, err := json.Marshal(c)
	if err != nil || len(body) > tallySlot-8 {
		return
	}
	b := binary.LittleEndian.AppendUint32(make([]byte, 0, tallySlot), uint32(len(body)))
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(body, castagnoli))
	_, _ = t.f.WriteAt(append(b, body...), int64(*slot)*tallySlot)
}

// clear gives a slot back, once its gap was told.
func (t *tally) clear(slot *int) {
	if *slot < 0 {
		return
	}
	_, _ = t.f.WriteAt(make([]byte, 8), int64(*slot)*tallySlot)
	t.mu.Lock()
	t.free = append(t.free, *slot)
	t.mu.Unlock()
	*slot = -1
}

func (t *tally) close() {
	if t.f != nil {
		t.f.Close()
	}
}
