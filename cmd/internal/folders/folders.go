// Package folders knows where supd's files are when nobody says otherwise.
// Precedence, as everywhere: flag, environment, default. Root has the system's
// folders, everybody else those of the XDG base directory specification.
package folders

import (
	"os"
	"os/user"
	"path/filepath"
)

// Environment variables that name files and folders.
const (
	EnvConfig     = "SUPD_CONFIG"
	EnvStateDir   = "SUPD_STATE_DIR"
	EnvRuntimeDir = "SUPD_RUNTIME_DIR"
	EnvSocket     = "SUPD_SOCKET"
)

// SocketName is the control socket's name in the runtime folder.
const SocketName = "supd.sock"

// Config is where the configuration is: a file, or a folder with supd.toml
// and conf.d.
func Config() string {
	return first(os.Getenv(EnvConfig), system("/etc/supd"), xdg("XDG_CONFIG_HOME", ".config", "supd"))
}

// State is the state folder.
func State() string {
	return first(os.Getenv(EnvStateDir), system("/var/lib/supd"), xdg("XDG_STATE_HOME", ".local/state", "supd"))
}

// Runtime is the runtime folder. Without XDG_RUNTIME_DIR a user's is below
// the state folder.
func Runtime() string {
	if dir := first(os.Getenv(EnvRuntimeDir), system("/run/supd")); dir != "" {
		return dir
	}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		return filepath.Join(dir, "supd")
	}
	return xdg("XDG_STATE_HOME", ".local/state", "supd/run")
}

// Socket is the control socket.
func Socket() string {
	return first(os.Getenv(EnvSocket), filepath.Join(Runtime(), SocketName))
}

func system(path string) string {
	if os.Geteuid() == 0 {
		return path
	}
	return ""
}

func xdg(variable, fallback, name string) string {
	base := os.Getenv(variable)
	if base == "" {
		base = filepath.Join(home(), fallback)
	}
	return filepath.Join(base, name)
}

// home is never empty: a path that depends on the working directory would have
// supd begin a journal wherever it is started.
func home() string {
	if h := os.Getenv("HOME"); h != "" {
		return h
	}
	if u, err := user.Current(); err == nil && u.HomeDir != "" {
		return u.HomeDir
	}
	return "/"
}

func first(candidates ...string) string {
	for _, c := range candidates {
		if c != "" {
			return c
		}
	}
	return ""
}
