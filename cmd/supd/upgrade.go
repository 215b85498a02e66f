package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"supd/executor"
	"supd/executor/policy"
	"supd/journal/event"
	"supd/projector"
)

// preflightLimit bounds how long another program may take to say whether it can
// take over.
const preflightLimit = 20 * time.Second

// upgrader holds the program of an upgrade under way.
type upgrader struct {
	mu      sync.Mutex
	command string   // whose it is; empty if there is none
	program *os.File // checked, and open since
}

// begin takes the place of the one upgrade there can be.
func (u *upgrader) begin(command string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.command != "" {
		return false
	}
	u.command = command
	return true
}

func (u *upgrader) end() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.command = ""
	if u.program != nil {
		u.program.Close()
		u.program = nil
	}
}

// upgrade looks at the program that is to take over, then has the command
// decided. What is wrong with the program is the command's result.
func (e *engine) upgrade(cmd policy.Command, reply func(event.CommandReply)) {
	id := cmd.Request.ID
	if !e.upgrades.begin(id) {
		reply(event.CommandReply{
			Status: event.ReplyBusy, Command: id, Reason: event.RejectBusy, Detail: "another upgrade is under way",
		})
		return
	}
	go func() {
		ctx := context.Background() // the loop's end ends it
		var known bool
		var state preflightState
		err := e.loop.View(ctx, func(s *projector.State, _ event.Seq) {
			known = s.Commands[id] != nil || s.EndedCommand(id) != nil
			state = preflightState{Formats: formats(), Seq: s.Seq(), Hash: s.Hash(), State: s.Canonical(), Config: s.Config.Digest}
		})
		if err == nil && !known {
			state.Args = e.args
			cmd.Upgrade = e.examine(ctx, cmd.Request.Args[event.ArgBinary], state)
		}
		if err == nil {
			err = e.loop.Do(ctx, func(c *executor.Core) error {
				c.Await(id, reply)
				return c.Step(cmd)
			})
		}
		if err != nil {
			notTaken(id, err, reply)
		}
		if err != nil || cmd.Upgrade == nil || cmd.Upgrade.Refused != "" {
			e.upgrades.end()
		}
	}()
}

// replace hands the program to the keeper. It runs on the loop's goroutine, when
// the upgrade is recorded.
func (e *engine) replace(command string) {
	e.upgrades.mu.Lock()
	program := e.upgrades.program
	if e.upgrades.command != command {
		program = nil
	}
	e.upgrades.mu.Unlock()
	if program == nil {
		return // recorded by an engine that is dead: the next one settles it
	}
	if err := e.client.Upgrade(command, int(program.Fd())); err != nil {
		e.log.Error("cannot ask the keeper to be replaced", "error", err)
	}
}

// upgradeOver notices that the upgrade under way has failed.
func (e *engine) upgradeOver(s *projector.State) {
	e.upgrades.mu.Lock()
	over := e.upgrades.program != nil && s.EndedCommand(e.upgrades.command) != nil
	e.upgrades.mu.Unlock()
	if over {
		e.upgrades.end()
	}
}

// examine opens a program and asks it whether it can go on from here.
func (e *engine) examine(ctx context.Context, path string, state preflightState) *policy.Upgrading {
	up := &policy.Upgrading{From: versionText}
	f, err := openProgram(path)
	if err == nil {
		up.To, err = preflight(ctx, f, state)
	}
	if err != nil {
		if f != nil {
			f.Close()
		}
		up.Refused = err.Error()
		return up
	}
	e.upgrades.mu.Lock()
	e.upgrades.program = f
	e.upgrades.mu.Unlock()
	return up
}

// openProgram opens a program that nobody but root and this user can change.
// From here on only the open file counts, not what its name leads to.
func openProgram(path string) (*os.File, error) {
	if path == "" {
		own, err := os.Readlink("/proc/self/exe")
		if err != nil {
			return nil, fmt.Errorf("cannot find this program's file: %w; name one", err)
		}
		path = strings.TrimSuffix(own, " (deleted)") // replaced, which is the point
	}
	if !filepath.IsAbs(path) {
		return nil, fmt.Errorf("cannot use %s: the path must be absolute", path)
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot use the program: %w", err)
	}
	if err := checkProgram(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("cannot use %s: %w", path, err)
	}
	return f, nil
}

func checkProgram(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !info.Mode().IsRegular():
		return errors.New("it is no regular file")
	case info.Mode()&0o111 == 0:
		return errors.New("it is not executable")
	case !ok || st.Uid != 0 && int(st.Uid) != os.Geteuid():
		return fmt.Errorf("it belongs to user %d; it must belong to root or to the user of supd", st.Uid)
	case info.Mode()&0o022 != 0:
		return fmt.Errorf("others may write to it (mode %v); remove that with chmod go-w", info.Mode().Perm())
	}
	// All of it once, on this goroutine: a disk that hangs must hang nobody who
	// executes it (P5).
	_, err = io.Copy(io.Discard, io.NewSectionReader(f, 0, info.Size()))
	return err
}

// preflight executes a program as `check-state` and returns its version.
func preflight(ctx context.Context, f *os.File, state preflightState) (version string, err error) {
	in, err := json.Marshal(state)
	if err != nil {
		return "", fmt.Errorf("cannot ask the program: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, preflightLimit)
	defer cancel()
	var out, errOut bytes.Buffer
	cmd := exec.CommandContext(ctx, fmt.Sprintf("/proc/self/fd/%d", f.Fd()), checkStateVerb)
	cmd.Args[0] = "supd"
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(in), &out, &errOut
	cmd.WaitDelay = time.Second
	runErr := cmd.Run()
	var answer preflightAnswer
	if err := json.Unmarshal(out.Bytes(), &answer); err != nil || answer.Version == "" {
		return "", fmt.Errorf("it does not answer like a supd that can be upgraded to: %s", cmp.Or(firstLine(errOut.String()), fmt.Sprint(cmp.Or(runErr, errors.New("it wrote no version")))))
	}
	if answer.Refused != "" {
		return "", fmt.Errorf("version %s cannot go on from here: %s", answer.Version, answer.Refused)
	}
	return answer.Version, nil
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line[:min(len(line), 200)]
}
