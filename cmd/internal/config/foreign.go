package config

import "strings"

// foreign are the keys of other supervisors, by what is said here instead: who
// moves a configuration reads the name of our key, not only that theirs is
// unknown. The words are in lower case. A text with a space is a sentence.
var foreign = map[string]string{
	// The command and where it runs.
	"exec": "command", "cmd": "command", "execstart": "command", "start_command": "command", "script": "command", "program": "command",
	"run": "command", "entrypoint": "command", "bin": "command", "executable": "command",
	"args":         "arguments belong into `command`, as in [\"app\", \"--flag\"]",
	"command_args": "arguments belong into `command`, as in [\"app\", \"--flag\"]",
	"dir":          "directory", "cwd": "directory", "chdir": "directory", "workdir": "directory", "work_dir": "directory", "working_dir": "directory",
	"working_directory": "directory", "workingdirectory": "directory",
	"uid": "user", "user_id": "user", "userid": "user", "username": "user", "run_as": "user", "runas": "user",
	"gid": "group", "group_id": "group", "groupid": "group", "supplementary_groups": "groups", "supplementarygroups": "groups",

	// The environment.
	"env": "environment", "envs": "environment", "environments": "environment", "env_vars": "environment", "variables": "environment",
	"env_file": "environment_file", "envfile": "environment_file", "environmentfile": "environment_file", "dotenv": "environment_file",
	"clear_env": "inherit_environment", "passenvironment": "inherit_environment", "copy_env": "inherit_environment",

	// Start and restart.
	"numprocs": "count", "replicas": "count", "instances": "count", "scale": "count", "processes": "count", "num_processes": "count",
	"autorestart": "restart", "restart_policy": "restart", "restartpolicy": "restart", "respawn": "restart", "keepalive": "restart", "keep_alive": "restart",
	"enabled": "autostart", "startup": "autostart", "auto_start": "autostart", "disabled": "autostart",
	"exitcodes": "success_exit_codes", "exit_codes": "success_exit_codes", "successexitstatus": "success_exit_codes", "stop_exit_codes": "success_exit_codes",
	"startretries": "max_retries", "max_restarts": "max_retries", "retries": "max_retries", "maxretries": "max_retries", "startlimitburst": "max_retries",
	"restart_limit": "max_retries", "restart_limit_count": "max_retries",
	"restartsec": "backoff.initial", "restart_delay": "backoff.initial", "backoff_delay": "backoff.initial", "backoff_seconds": "backoff.initial",
	"backoff_factor": "backoff.factor", "backoff_limit": "backoff.max", "max_backoff": "backoff.max", "restartmaxdelaysec": "backoff.max",
	"startsecs": "backoff.reset_after", "min_uptime": "backoff.reset_after",
	"timeoutstartsec": "start_timeout", "starttimeoutsec": "start_timeout", "start_timeout_sec": "start_timeout",

	// The end.
	"stopsignal": "stop.signal", "stop_signal": "stop.signal", "killsignal": "stop.signal", "kill_signal": "stop.signal", "down_signal": "stop.signal",
	"stopwaitsecs": "stop.timeout", "stop_timeout": "stop.timeout", "kill_timeout": "stop.timeout", "kill_delay": "stop.timeout",
	"timeoutstopsec": "stop.timeout", "shutdown_timeout": "stop.timeout", "stop_grace_period": "stop.timeout", "timeout_kill": "stop.timeout",
	"killmode": "stop.mode", "kill_mode": "stop.mode", "stopasgroup": "stop.mode", "killasgroup": "stop.mode", "stop_mode": "stop.mode",
	"execreload": "reload.signal", "reload_signal": "reload.signal", "reloadsignal": "reload.signal",

	// Output.
	"redirect_stderr": "output.merge_stderr", "merge_stderr": "output.merge_stderr",
	"stdout_logfile": ownOutput, "stderr_logfile": ownOutput, "stdout_log": ownOutput, "logfile": ownOutput, "log_file": ownOutput,
	"log_location": ownOutput, "standardoutput": ownOutput, "standarderror": ownOutput, "stdout": ownOutput, "stderr": ownOutput, "out_file": ownOutput,
	"error_file": ownOutput, "stdout_logfile_maxbytes": "output.max_size", "stderr_logfile_maxbytes": "output.max_size", "stdout_logfile_backups": "output.max_files",
	"stderr_logfile_backups": "output.max_files", "log_max_size": "output.max_size",

	// Order, readiness, limits.
	"depends_on": "requires", "dependson": "requires", "depends": "requires", "dependencies": "requires", "waits_for": "wants", "bindsto": "requires",
	"before":          "write `after` at the other service",
	"readiness_probe": "ready", "readiness": "ready", "notification_fd": "ready", "liveness_probe": "health", "healthcheck": "health", "health_check": "health",
	"watchdogsec": "watchdog", "execstartpre": "hooks.pre_start", "execstartpost": "hooks.post_start", "execstoppost": "hooks.post_stop", "execstop": "hooks.pre_stop",
	"limitnofile": "limits.nofile", "limitcore": "limits.core", "limitnproc": "limits.nproc", "rlimits": "limits", "ulimits": "limits", "ulimit": "limits",
	"memorymax": "limits.memory", "memorylimit": "limits.memory", "memory_limit": "limits.memory", "mem_limit": "limits.memory", "max_memory_restart": "limits.memory",
	"cpuquota": "limits.cpu_quota", "cpus": "limits.cpu_quota", "tasksmax": "limits.pids", "pids_limit": "limits.pids", "oomscoreadjust": "oom_score_adj",
	"oom_score": "oom_score_adj", "remainafterexit": "remain",
}

const ownOutput = "supd keeps output itself, see `output.directory`: supctl logs shows it"

// foreignTypes are the kinds of services that systemd has and we have under
// another name, or not.
var foreignTypes = map[string]string{
	"forking":       "run the program in the foreground, most have an option for that, and remove `type`",
	"notify":        "remove `type` and write ready = { notify = true }",
	"notify-reload": "remove `type` and write ready = { notify = true } and reload.signal = \"HUP\"",
	"exec":          "remove `type`: a service counts as started when its program executes",
	"idle":          "remove `type`; `after` and `priority` order the starts",
	"dbus":          "remove `type`; with `ready` supd asks the service itself whether it is ready",
}

// foreignTables are tables of other supervisors' files.
var foreignTables = map[string]string{
	"program": "service", "programs": "service", "services": "service", "process": "service", "processes": "service", "unit": "service", "apps": "service",
	"watcher": "service", "eventlistener": "service", "supervisord": "supd", "supervisor": "supd", "daemon": "supd", "unix_http_server": "control",
	"inet_http_server": "listen", "supervisorctl": "control", "install": "`autostart` of a service starts it with supd", "log": "output", "logs": "output", "logging": "output",
	"default": "defaults",
}

// foreignHint is what to write instead of another supervisor's key; empty if
// it is not known as one. known tells whether we have a key.
func foreignHint(words map[string]string, name string, known func(string) bool) string {
	name = strings.ToLower(strings.ReplaceAll(name, "-", "_"))
	// [program:web] of supervisord.
	name, _, _ = strings.Cut(name, ":")
	ours := words[name]
	switch {
	case ours == "":
		return ""
	case strings.Contains(ours, " "):
		return ours
	case known(ours):
		return "did you mean `" + ours + "`?"
	}
	return ""
}
