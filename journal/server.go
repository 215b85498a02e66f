package journal

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"golang.org/x/sys/unix"
)

// maxPayload is the message limit of the server in bytes: twice the largest record.
const maxPayload = 8 << 20

// natsServer is the embedded server. It starts without touching a disk;
// JetStream is enabled later, behind the guard, because that can hang (R2).
type natsServer struct {
	srv   *server.Server
	opts  *server.Options
	nc    *nats.Conn
	guard guard
	log   *slog.Logger
	// before, if not nil, is called before JetStream opens its store, behind the
	// guard; with an error the store stays closed.
	before func() error

	refused   bool      // the disk refused the last opening; guarded by guard
	restarted time.Time // the last restart; guarded by guard
}

// startServer starts the server and connects to it in-process.
func startServer(cfg *Config) (*natsServer, error) {
	token := rand.Text()
	opts := &server.Options{
		ServerName: "supd-" + cfg.Node, DontListen: true, NoSigs: true, NoLog: false,
		StoreDir:           filepath.Join(cfg.StateDir, "journal"),
		JetStreamMaxMemory: 16 << 20,
		// Explicit, or the server takes what happens to be free at boot. Twice
		// the stream's own limit leaves room for the staging of batches.
		JetStreamMaxStore:          2*cfg.MaxBytes + 256<<20,
		SyncAlways:                 cfg.SyncInterval == 0,
		SyncInterval:               cfg.SyncInterval,
		DisableJetStreamBanner:     true,
		MaxPayload:                 maxPayload,
		JetStreamLimits:            server.JSLimitOpts{MaxBatchSize: maxBatchRecords},
		CustomClientAuthentication: &authenticator{token: token, others: cfg.Authentication},
	}
	if cfg.Options != nil {
		own := opts.CustomClientAuthentication
		cfg.Options(opts)
		opts.CustomClientAuthentication = own
	}
	srv, err := server.NewServer(opts)
	if err != nil {
		return nil, fmt.Errorf("cannot make journal server: %w", err)
	}
	srv.SetLoggerV2(natsLogger{cfg.Log}, false, false, false)
	srv.Start()
	// Start would open the store at once and end in a fatal message if it
	// cannot. Set afterwards, this only makes the health check look at streams.
	opts.JetStream = true
	if !srv.ReadyForConnections(5 * time.Second) {
		srv.Shutdown()
		return nil, errors.New("cannot start journal server: it takes no connections")
	}
	nc, err := nats.Connect("", nats.InProcessServer(srv), nats.Token(token), nats.Name("supd"),
		// Unguessable, so that nobody else hears our replies.
		nats.CustomInboxPrefix("_SUPD."+rand.Text()), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
	if err != nil {
		srv.Shutdown()
		return nil, fmt.Errorf("cannot connect to journal server: %w", err)
	}
	return &natsServer{srv: srv, opts: opts, nc: nc, guard: newGuard(), log: cfg.Log}, nil
}

// enable opens JetStream's store, which reads and may write the disk. Calling
// it again after a deadline is right: a late success is found, a call that
// still hangs is not repeated.
func (s *natsServer) enable(ctx context.Context) error {
	return s.guard.do(ctx, s.enableNow)
}

func (s *natsServer) enableNow() error {
	if s.srv.JetStreamEnabled() {
		return nil
	}
	if err := os.MkdirAll(s.opts.StoreDir, 0o700); err != nil {
		return fmt.Errorf("cannot open journal: %w", err)
	}
	if s.refused {
		// An opening that fails half way costs more than a look at the disk.
		if err := probeDisk(s.opts.StoreDir); err != nil {
			return fmt.Errorf("cannot open journal: %w", err)
		}
	}
	if s.before != nil {
		if err := s.before(); err != nil {
			return err
		}
	}
	err := s.srv.EnableJetStream(&server.JetStreamConfig{
		StoreDir: s.opts.StoreDir, MaxMemory: s.opts.JetStreamMaxMemory, MaxStore: s.opts.JetStreamMaxStore,
		SyncAlways: s.opts.SyncAlways, SyncInterval: s.opts.SyncInterval, Strict: true,
	})
	if s.refused = err != nil; s.refused {
		return fmt.Errorf("cannot open journal: %w", err)
	}
	return nil
}

// restartEvery is the least time between two restarts of JetStream. Each leaves
// goroutines of the failed store behind, and where somebody takes every byte
// that comes free a restart is in vain again and again (P9).
const restartEvery = 400 * time.Millisecond

// heal restarts JetStream in-process if its store has failed: a write error
// there is sticky and stays after the disk is well again. It returns what was
// wrong, or "" if the store is healthy. While the disk still refuses there is
// no restart, since each one leaves goroutines of the failed store behind (P9).
func (s *natsServer) heal(ctx context.Context) (why string, err error) {
	found := make(chan string, 1)
	err = s.guard.do(ctx, func() error {
		if !s.srv.JetStreamEnabled() {
			found <- "JetStream is off"
			return s.enableNow()
		}
		sick := s.sickness()
		found <- sick
		if sick == "" {
			return nil
		}
		if err := probeDisk(s.opts.StoreDir); err != nil {
			return fmt.Errorf("%s: %w", sick, err)
		}
		if time.Since(s.restarted) < restartEvery {
			return fmt.Errorf("%s: JetStream was restarted less than %v ago", sick, restartEvery)
		}
		s.restarted = time.Now()
		if err := s.srv.ShutdownJetStream(); err != nil {
			return fmt.Errorf("cannot restart JetStream: %w", err)
		}
		return s.enableNow()
	})
	select {
	case why = <-found:
	default:
	}
	return why, err
}

// sickness is what the server's health check finds wrong, or "". The check
// takes the locks of the stores and hangs with them.
func (s *natsServer) sickness() string {
	status := s.srv.Healthz(&server.HealthzOptions{Details: true})
	var all []string
	for _, e := range status.Errors {
		all = append(all, e.Error)
	}
	if status.Error != "" {
		all = append(all, status.Error)
	}
	return strings.Join(all, "; ")
}

// probeSize is what must fit on the disk before a restart is worth it.
const probeSize = 1 << 20

// probeDisk tells whether the disk takes and syncs a small file again. It asks
// for the space first: on a disk that is plainly full that is all it does. A
// quota (EDQUOT) shows only when it is written to.
func probeDisk(dir string) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err == nil && fs.Blocks > 0 && fs.Bfree*uint64(fs.Bsize) < probeSize {
		return fmt.Errorf("disk does not take writes yet: %w", unix.ENOSPC)
	}
	f, err := os.OpenFile(filepath.Join(dir, "probe"), os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return fmt.Errorf("disk does not take writes yet: %w", err)
	}
	_, err = f.Write(make([]byte, probeSize))
	if err = errors.Join(err, f.Sync(), f.Close(), os.Remove(f.Name())); err != nil {
		return fmt.Errorf("disk does not take writes yet: %w", err)
	}
	return nil
}

// syncTree syncs the store's descriptions and folders. JetStream never does,
// and without them a power cut takes a whole stream of synced blocks.
func (s *natsServer) syncTree(ctx context.Context) error {
	return s.guard.do(ctx, func() error {
		err := filepath.WalkDir(s.opts.StoreDir, func(path string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil // staging folders come and go
			}
			if err != nil || !d.IsDir() && !strings.HasPrefix(d.Name(), "meta.") {
				return err
			}
			if err := syncPath(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			return nil
		})
		if err == nil {
			err = syncPath(filepath.Dir(s.opts.StoreDir))
		}
		if err != nil {
			return fmt.Errorf("cannot sync journal folder: %w", err)
		}
		return nil
	})
}

// shutdown ends connection and server; a store that hangs is left behind when
// ctx ends.
func (s *natsServer) shutdown(ctx context.Context) error {
	defer s.nc.Close()
	err := s.guard.doAfter(ctx, func() error {
		s.nc.Close() // not before: what the guard still does may wait for an answer
		clean := s.srv.JetStreamEnabled() && s.sickness() == ""
		s.srv.Shutdown()
		s.srv.WaitForShutdown()
		if clean {
			if err := noteClean(s.opts.StoreDir); err != nil {
				s.log.Debug("the next start will check the journal", "error", err)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("cannot close journal in time: %w", err)
	}
	return nil
}

// authenticator lets our own connection in by its token and leaves all others
// to whoever knows their actors. Without that, nobody else gets in (P10).
type authenticator struct {
	token  string
	others server.Authentication
}

// Check implements server.Authentication.
func (a *authenticator) Check(c server.ClientAuthentication) bool {
	if subtle.ConstantTimeCompare([]byte(c.GetOpts().Token), []byte(a.token)) == 1 {
		c.RegisterUser(&server.User{Username: "supd"})
		return true
	}
	return a.others != nil && a.others.Check(c)
}

// inProcessConn opens a connection to the server that passes authentication
// like any other.
func (s *natsServer) inProcessConn() (net.Conn, error) { return s.srv.InProcessConn() }

// natsLogger brings the server's messages into ours. Its notices are chatter
// about starting and stopping, so they are debug messages here, and so is that
// it reads the blocks because its index is older: that is so after each kill,
// and what is wrong with blocks is found and recorded by us.
type natsLogger struct{ log *slog.Logger }

// Noticef implements server.Logger, as do the others.
func (l natsLogger) Noticef(format string, v ...any) { l.put(slog.LevelDebug, format, v) }

func (l natsLogger) Warnf(format string, v ...any) {
	if strings.Contains(format, "Recovering stream state from index errored") {
		l.put(slog.LevelDebug, format, v)
		return
	}
	l.put(slog.LevelWarn, format, v)
}

func (l natsLogger) Fatalf(format string, v ...any) { l.put(slog.LevelError, format, v) }
func (l natsLogger) Errorf(format string, v ...any) { l.put(slog.LevelError, format, v) }
func (l natsLogger) Debugf(format string, v ...any) { l.put(slog.LevelDebug, format, v) }
func (l natsLogger) Tracef(format string, v ...any) { l.put(slog.LevelDebug, format, v) }

func (l natsLogger) put(level slog.Level, format string, v []any) {
	if l.log.Enabled(context.Background(), level) {
		l.log.Log(context.Background(), level, fmt.Sprintf(format, v...), "from", "nats-server")
	}
}
