package main

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestProgram finds what may be forgotten of a program in a list as the kernel
// writes it: code and constants, and nothing that can be written or belongs to
// another file.
func TestProgram(t *testing.T) {
	const maps = `00400000-00e00000 r-xp 00000000 fe:01 4711                               /usr/bin/supd (deleted)
00e00000-01800000 r--p 00a00000 fe:01 4711                               /usr/bin/supd (deleted)
01800000-01870000 rw-p 01400000 fe:01 4711                               /usr/bin/supd (deleted)
01870000-03900000 rw-p 00000000 00:00 0
7f0000000000-7f0000010000 r--p 00000000 fe:01 4712                       /usr/lib/locale/C.utf8
c000000000-c000400000 rw-p 00000000 00:00 0                              [anon: Go: heap]
7ffc00000000-7ffc00002000 r-xp 00000000 00:00 0                          [vdso]
`
	want := []mapping{{0x400000, 0xe00000}, {0xe00000, 0x1800000}}
	if d := cmp.Diff(want, program([]byte(maps), 0x401234), cmp.AllowUnexported(mapping{})); d != "" {
		t.Error(d)
	}
	for what, code := range map[string]uint64{"nowhere": 1, "in the kernel's page": 0x7ffc00000010} {
		if got := program([]byte(maps), code); len(got) != 0 {
			t.Errorf("code %s: %v would be forgotten", what, got)
		}
	}
	if got := program([]byte("garbage\n-\n1-2\n"), 1); len(got) != 0 {
		t.Errorf("garbage: %v would be forgotten", got)
	}
}

// TestGiveBack holds that this program goes on after its own pages were
// forgotten, and that they were there to be forgotten.
func TestGiveBack(t *testing.T) {
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	found := program(maps, uint64(reflect.ValueOf(giveBack).Pointer()))
	if len(found) < 2 {
		t.Fatalf("%v of this program would be forgotten, in\n%s", found, maps)
	}
	for range 3 {
		giveBack()
	}
	if strings.Repeat("x", 3) != "xxx" {
		t.Error("the program is not what it was")
	}
}
