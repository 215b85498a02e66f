// Mutate proves the simulation's checkers, and the journal's: it puts deliberate
// bugs into the product, one at a time, and each must be found. No file is
// touched: the go command builds with an overlay. scripts/sim mutations runs it.
//
// It exits with 1 if a bug survives, does not build, or no longer fits the
// source.
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

func main() {
	seeds := flag.Int("seeds", 3000, "seeds that a bug may survive at most")
	only := flag.String("only", "", "run the bugs whose name contains this")
	from := flag.Int("from", 1, "begin with this bug of the list")
	flag.Parse()
	if err := run(*seeds, *from, *only); err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(1)
	}
}

func run(seeds, from int, only string) error {
	dir, err := os.MkdirTemp("", "supd-mutate-")
	if err != nil {
		return fmt.Errorf("cannot make a folder: %w", err)
	}
	defer os.RemoveAll(dir)
	survived := 0
	fmt.Printf("%-34s %-4s %-8s %s\n", "bug", "", "seed", "caught by")
	for _, b := range bugs[min(max(from, 1), len(bugs)+1)-1:] {
		if !strings.Contains(b.name, only) {
			continue
		}
		v, err := b.try(dir, seeds)
		if err != nil {
			return fmt.Errorf("%s: %w", b.name, err)
		}
		if v.seed == "" {
			survived++
			v.seed, v.what = "-", "SURVIVED "+b.tests
			if b.tests == "" {
				v.what = fmt.Sprintf("SURVIVED %d seeds", seeds)
			}
		}
		fmt.Printf("%-34s %-4s %-8s %s (%s)\n", b.name, b.promise, v.seed, v.what, v.took.Round(100*time.Millisecond))
	}
	if survived > 0 {
		return fmt.Errorf("%d bugs were not found", survived)
	}
	return nil
}

// verdict is what the simulation says; seed is empty if it found nothing.
type verdict struct {
	seed, what string
	took       time.Duration
}

var failure = regexp.MustCompile(`(?m)^--- FAIL: (\S+)|^(panic: .*)`)

var violation = regexp.MustCompile(`seed (\d+): (.*)`)

// try builds what is to find the bug with the bug in it, and runs it.
func (b bug) try(dir string, seeds int) (verdict, error) {
	overlay, err := b.overlay(dir)
	if err != nil {
		return verdict{}, err
	}
	pkg, tests := "./executor", "TestSimulation$"
	if b.tests != "" {
		pkg, tests, _ = strings.Cut(b.tests, " ")
	}
	binary := filepath.Join(dir, "bug.test")
	build := exec.Command("go", "test", "-c", "-vet=off", "-ldflags=-s -w", "-overlay", overlay, "-o", binary, pkg)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return verdict{}, fmt.Errorf("it does not build, which proves nothing: %w\n%s", err, out)
	}
	began := time.Now()
	run := exec.Command(binary, "-test.run", "^"+tests, "-test.timeout", "5m")
	if run.Dir = pkg; b.tests == "" {
		run.Args = append(run.Args, "-sim.seeds", fmt.Sprint(seeds))
	}
	out, err := run.CombinedOutput()
	took := time.Since(began)
	if err == nil {
		return verdict{took: took}, nil
	}
	if b.tests != "" {
		m := failure.FindSubmatch(out)
		if m == nil {
			return verdict{}, fmt.Errorf("%s fails and names no test: %w\n%.2000s", tests, err, out)
		}
		return verdict{"-", clip(string(m[1])), took}, nil
	}
	m := violation.FindSubmatch(out)
	if m == nil {
		return verdict{}, fmt.Errorf("the simulation fails and names no seed: %w\n%.2000s", err, out)
	}
	return verdict{string(m[1]), clip(string(m[2])), took}, nil
}

func clip(s string) string {
	if len(s) > 100 {
		return s[:100] + "…"
	}
	return s
}

// overlay writes the changed file and what the go command needs to see it in
// place of the real one.
func (b bug) overlay(dir string) (string, error) {
	text, err := os.ReadFile(b.file)
	if err != nil {
		return "", err
	}
	if n := bytes.Count(text, []byte(b.before)); n != 1 {
		return "", fmt.Errorf("its text is %d times in %s and must be there once: bring the list up to date", n, b.file)
	}
	changed := filepath.Join(dir, "changed.go")
	if err := os.WriteFile(changed, bytes.Replace(text, []byte(b.before), []byte(b.after), 1), 0o600); err != nil {
		return "", err
	}
	file, err := filepath.Abs(b.file)
	if err != nil {
		return "", err
	}
	list, err := json.Marshal(map[string]map[string]string{"Replace": {file: changed}})
	if err != nil {
		return "", err
	}
	overlay := filepath.Join(dir, "overlay.json")
	return overlay, os.WriteFile(overlay, list, 0o600)
}
