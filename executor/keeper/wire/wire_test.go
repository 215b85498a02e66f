package wire

import (
	"bytes"
	"errors"
	"io"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// samples are one message of each kind with every field set.
func samples() []Message {
	const i, o = "0192f0c1-2b3c-7d4e-8f50-112233445566", "op-1"
	death := Death{PID: 3, Code: 4, Signal: 5, At: 6}
	return []Message{
		&Park{"svc", i, true, true, true, []byte("s"), true, Limits{1, 2, 3}, TaskProbe, i, 4}, &Grant{1000}, &Open{i}, &Drop{i}, &Forget{i},
		&Signal{i, o, 15, ScopeTree}, &Sweep{i, o, "/cg/" + i}, &Adopt{i, "svc", 77, 88, "/cg", true, true, []byte("s")},
		&Settings{"svc", []byte("s")}, &HostSignalDone{9}, &Quit{7, true},
		&Info{1, 2, "v", "/cg", "why", 63, true, 8, death, Logger{9, 10, death}, "u", CameUpgraded}, &TableEnd{5},
		&Slot{
			"svc", i, StateExited, 7, 8, "/cg",
			Failure{StepExec, unix.ENOENT, 3},
			true, AdoptionOK, true, 1, 2, 3,
			Exit{true, 0x100, 4, 5},
			true, true, true, true, true, true, true,
			true, true, TaskHook, i, 11, true, []byte("last words"), 12, RefusalUser,
		},
		&Operation{i, o, true, true, 9, ScopeGroup, MethodScan, unix.EPERM, 2, []Process{{5, "a"}, {6, "b"}}, 1, 99, []Process{{7, "c"}}},
		&Logger{1, 2, death}, &LoggerEvent{[]byte("e"), 3}, &HostSignal{1, 15},
		&Attach{i, "svc", Stderr, true, []byte("s")}, &Finish{}, &Drained{i, Stdout},
		&Hold{i, HeldStderr, true, []byte("s")}, &Released{i}, &Upgrade{i}, &UpgradeFailed{i, "e"}, &Follow{i, 7, 8, 9},
	}
}

func TestRoundTrip(t *testing.T) {
	seen := map[Kind]bool{}
	for _, m := range samples() {
		seen[m.Kind()] = true
		if v := reflect.ValueOf(m).Elem(); !full(v) {
			t.Errorf("%s: a field of the sample is not set", m.Kind())
		}
		b, err := Encode(nil, m)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(m, got); d != "" {
			t.Errorf("%s: %s", m.Kind(), d)
		}
		for n := range b {
			if _, err := Decode(b[:n]); !errors.Is(err, ErrMalformed) {
				t.Errorf("%s cut at %d: %v", m.Kind(), n, err)
			}
		}
		if _, err := Decode(append(b, 0)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s with a byte too many: %v", m.Kind(), err)
		}
	}
	for k := range kinds {
		if kinds[k].blank != nil && !seen[Kind(k)] {
			t.Errorf("no sample of %s", Kind(k))
		}
	}
}

// full tells whether every field is set, so that a field that walk forgets shows.
func full(v reflect.Value) bool {
	if v.Kind() == reflect.Struct {
		for i := range v.NumField() {
			if !full(v.Field(i)) {
				return false
			}
		}
		return true
	}
	return !v.IsZero()
}

func TestBounds(t *testing.T) {
	long := strings.Repeat("x", MaxPath+1)
	for _, m := range []Message{
		&Open{}, &Open{"a/b"}, &Open{".."}, &Open{"a b"}, &Open{long}, &Signal{"a", "", 1, ScopeMain}, &Signal{"a", "b", 65, ScopeMain},
		&Signal{"a", "b", 1, 0}, &Signal{"a", "b", 1, 4}, &Signal{"a", "b", -1, ScopeMain}, &Adopt{Instance: "a", PID: 1},
		&Sweep{"a", "b", long}, &Slot{Instance: "a"}, &LoggerEvent{Data: make([]byte, MaxEvent+1)},
		&Operation{Instance: "a", ID: "b", Processes: make([]Process, MaxPIDs+1)}, &Attach{Instance: "a", Stream: 3},
	} {
		if b, err := Encode(nil, m); err == nil {
			t.Errorf("%+v was encoded as %x", m, b)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, m := range samples() {
		b, err := Encode(nil, m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Decode(b)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Errorf("%v", err)
			}
			return
		}
		again, err := Encode(nil, m)
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("%+v: %x became %x, %v", m, b, again, err)
		}
	})
}

func TestStringsOfEnums(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Uint8().Draw(t, "n")
		for _, s := range []string{
			State(n).String(), Step(n).String(), Scope(n).String(), Stream(n).String(), Method(n).String(), Kind(n).String(),
			Adoption(n).String(), Came(n).String(), Refusal(n).String(),
		} {
			if s == "" {
				t.Fatal("a value without a name")
			}
		}
	})
}

func pair(t *testing.T) (int, *Conn) {
	t.Helper()
	p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	c, err := NewConn(p[1])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return p[0], c
}

func TestConn(t *testing.T) {
	fd, c := pair(t)
	scratch := make([]byte, MaxPacket+1)
	if _, _, err := RecvFD(fd, scratch); err != unix.EAGAIN {
		t.Errorf("an empty socket: %v", err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := c.Send(&Park{Instance: "a"}); err == nil {
		t.Error("a park without a descriptor was sent")
	}
	if err := c.Send(&Park{Instance: "a"}, int(w.Fd())); err != nil {
		t.Fatal(err)
	}
	w.Close()
	m, fds, err := RecvFD(fd, scratch)
	if err != nil || m.Kind() != KindPark || len(fds) != 1 {
		t.Fatalf("%v, %v, %v", m, fds, err)
	}
	if flags, _ := unix.FcntlInt(uintptr(fds[0]), unix.F_GETFD, 0); flags&unix.FD_CLOEXEC == 0 {
		t.Error("a received descriptor is inherited")
	}
	unix.Close(fds[0])
	if b, err := io.ReadAll(r); err != nil || len(b) != 0 {
		t.Error("the descriptor was another one")
	}

	// Nonsense with a descriptor: the descriptor must not leak.
	if err := unix.Sendmsg(fd, []byte{250}, unix.UnixRights(0), nil, 0); err != nil {
		t.Fatal(err)
	}
	before := descriptors(t)
	if _, _, err := c.Recv(); !errors.Is(err, ErrMalformed) {
		t.Errorf("%v", err)
	}
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors became %d", before, after)
	}

	sent := 0
	for err = nil; err == nil; sent++ {
		err = SendFD(fd, nil, &LoggerEvent{Data: make([]byte, 1000)})
	}
	if err != unix.EAGAIN || sent < 10 {
		t.Errorf("after %d: %v", sent, err)
	}
	unix.Close(fd)
	for err = nil; err == nil; sent-- {
		_, _, err = c.Recv()
	}
	if err != io.EOF || sent != 0 {
		t.Errorf("%d left: %v", sent, err)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	d, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(d)
}

func TestOversized(t *testing.T) {
	fd, c := pair(t)
	defer unix.Close(fd)
	if err := unix.Sendmsg(fd, make([]byte, MaxPacket+2), nil, nil, 0); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.Recv(); !errors.Is(err, ErrMalformed) {
		t.Errorf("%v", err)
	}
}
