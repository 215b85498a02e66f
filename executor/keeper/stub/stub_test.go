package stub

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestRebuild compares the committed binaries with what their compiler makes of
// the source.
func TestRebuild(t *testing.T) {
	for arch, cc := range map[string]string{"amd64": "x86_64-linux-gnu-gcc", "arm64": "aarch64-linux-gnu-gcc"} {
		t.Run(arch, func(t *testing.T) {
			want, err := os.ReadFile("stub_" + arch + ".compiler")
			if err != nil {
				t.Fatal(err)
			}
			out, err := exec.Command(cc, "--version").Output()
			have, _, _ := strings.Cut(string(out), "\n")
			if err != nil || have != strings.TrimSpace(string(want)) {
				t.Skipf("NOT RUN: needs %s, have %q", strings.TrimSpace(string(want)), have)
			}
			dir := t.TempDir()
			build := exec.Command("./build", arch)
			build.Env = append(os.Environ(), "OUT="+dir)
			if out, err := build.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			fresh, err := os.ReadFile(filepath.Join(dir, "stub_"+arch))
			if err != nil {
				t.Fatal(err)
			}
			committed, err := os.ReadFile("stub_" + arch)
			if err != nil {
				t.Fatal(err)
			}
			if string(fresh) != string(committed) {
				t.Error("stub.c and the binary differ; run stub/build and commit both")
			}
		})
	}
}

// TestShape checks that the stubs are what makes them fast: static, one page.
func TestShape(t *testing.T) {
	for arch, machine := range map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64} {
		f, err := elf.Open("stub_" + arch)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if f.Machine != machine || f.Type != elf.ET_EXEC {
			t.Errorf("%s: %s %s", arch, f.Machine, f.Type)
		}
		var size uint64
		for _, p := range f.Progs {
			switch p.Type {
			case elf.PT_LOAD:
				size += p.Memsz
				if p.Flags&elf.PF_W != 0 {
					t.Errorf("%s has writable data", arch)
				}
			case elf.PT_INTERP, elf.PT_DYNAMIC:
				t.Errorf("%s is not static", arch)
			case elf.PT_GNU_STACK:
				if p.Flags&elf.PF_X != 0 {
					t.Errorf("%s has an executable stack", arch)
				}
			}
		}
		if size == 0 || size > 4096 {
			t.Errorf("%s takes %d bytes", arch, size)
		}
	}
	if !strings.HasPrefix(Binary, elf.ELFMAG) {
		t.Error("nothing is embedded")
	}
}
