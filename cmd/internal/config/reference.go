package config

import "slices"

// Entry is one key of the configuration reference.
type Entry struct {
	Key     string // its full name; service.NAME.… for a key of a service
	Type    string
	Default string
	Change  Change
	Text    string // one or a few sentences
}

// Change says what happens when a key's value is changed and applied.
type Change string

// What a change does.
const (
	RestartsService Change = "R" // restarts the service
	Live            Change = "L" // takes effect live
	RestartsSupd    Change = "S" // takes effect when supd is started again
)

// Reference is every key in the order of the manual.
func Reference() []Entry { return slices.Clone(reference) }

// ofService begins the keys that each service has.
const ofService = "service.NAME."

var reference = []Entry{
	{Key: "include", Type: "list of globs", Default: "[]", Change: Live, Text: "More files to read, in the order of their names. Paths are relative to the file. An included file includes no others."},

	{Key: "supd.node", Type: "string", Default: "the host's name, . as _", Change: RestartsSupd, Text: "The name of this supd in the subjects of its journal: letters, digits, - and _."},
	{Key: "supd.log_level", Type: "debug, info, warn or error", Default: `"info"`, Change: Live, Text: "What supd itself logs to stderr."},
	{Key: "supd.log_format", Type: "auto, text or json", Default: `"auto"`, Change: Live, Text: "How it does so; auto is text on a terminal, else JSON."},
	{Key: "supd.console", Type: "auto, on or off", Default: `"auto"`, Change: Live, Text: "Copies the output of services to supd's stdout, each line behind its service's name; auto does so on a terminal and as PID 1. It never blocks; lines that a slow reader misses are counted."},

	{Key: "control.mode", Type: "octal string", Default: `"0660"`, Change: Live, Text: "The mode of the control socket."},
	{Key: "control.admin_group", Type: "group", Default: "none", Change: Live, Text: "Whose members may command. Root and the socket's owner always may."},
	{Key: "control.read_group", Type: "group", Default: "none", Change: Live, Text: "Whose members may look, and not command."},

	{Key: "listen.address", Type: "string", Default: "none", Change: Live, Text: "Where to listen on TCP, as 127.0.0.1:4222, [::1]:4222 or, on all addresses, :4222; without it supd does not. It needs listen.nkeys."},
	{Key: "listen.tls", Type: "{cert, key, ca}", Default: "none", Change: Live, Text: "PEM files for TLS 1.2 and newer, which every address but loopback requires. They are read when they are applied; the key must be for supd's user alone. With ca clients must show a certificate that it has signed."},
	{Key: "listen.nkeys", Type: "list of {key, role}", Default: "[]", Change: Live, Text: "Who may connect: public nkeys of users, and whether each may read or command. Such an actor is called nkey-KEY. An apply closes the connections of keys that are gone."},

	{Key: "journal.sync", Type: "always or interval", Default: `"always"`, Change: RestartsSupd, Text: "interval syncs every 200 ms instead of each time, and gives up what a loss of power takes."},
	{Key: "journal.max_records", Type: "integer", Default: "1000000", Change: RestartsSupd, Text: "How many records are kept. The oldest leave when a later record holds the whole state."},
	{Key: "journal.max_size", Type: "size", Default: `"1GiB"`, Change: RestartsSupd, Text: "How much disk they take."},
	{Key: "journal.run_log", Type: "size", Default: "16MiB, more for 1500 services and up", Change: RestartsSupd, Text: "The size of the log in memory that holds what is not yet on disk. It must hold the records of a whole configuration."},
	{Key: "journal.inbox", Type: "integer", Default: "1024", Change: RestartsSupd, Text: "How many commands may wait. Beyond it supd answers busy, and supctl ends with exit code 75."},

	{Key: "output.directory", Type: "path", Default: "STATE/output", Change: RestartsSupd, Text: "Where the output of services is kept."},
	{Key: "output.max_total", Type: "size", Default: `"4GiB"`, Change: Live, Text: "How much disk the output of all services takes, and at most half of the file system. The oldest closed files go first, and are counted."},

	{Key: "start.concurrency", Type: "integer", Default: "the processors, at least 2", Change: Live, Text: "How many services are started at the same time."},
	{Key: "start.rate", Type: "number per second", Default: "0 (off)", Change: Live, Text: "How many automatic restarts there are, over all services."},
	{Key: "start.burst", Type: "integer", Default: "100", Change: Live, Text: "How many of them may come at once."},

	{Key: "defaults", Type: "table", Default: "none", Change: Live, Text: "Keys of a service, for all services that do not set them; all but command and count. environment is merged, everything else replaced."},

	{Key: ofService + "command", Type: "string or list", Default: "required", Change: RestartsService, Text: "What to run. A string is split into words like a shell's, then ${NAME} and ${NAME:-text} are replaced from the service's environment; nothing else of a shell is understood. A list is taken as it is. The program is searched in the service's PATH."},
	{Key: ofService + "count", Type: "integer", Default: "unset", Change: Live, Text: "Replicas: N of them are NAME-0 to NAME-(N-1), also if N is 1; 0 is none. Unset is one that is called NAME. supctl scale sets it until it is set to what the file says."},
	{Key: ofService + "directory", Type: "path", Default: "where supd was started", Change: RestartsService, Text: "The working directory, which must exist."},
	{Key: ofService + "user", Type: "name or id", Default: "supd's own", Change: RestartsService, Text: "Whom to run as; without root only oneself. It sets HOME, USER, LOGNAME and SHELL."},
	{Key: ofService + "group", Type: "name or id", Default: "the user's", Change: RestartsService, Text: "The primary group."},
	{Key: ofService + "groups", Type: "list", Default: "the user's", Change: RestartsService, Text: "The supplementary groups."},
	{Key: ofService + "umask", Type: "octal string", Default: `"0022"`, Change: RestartsService, Text: "The mode bits that new files do not have."},
	{Key: ofService + "environment", Type: "table of strings", Default: "{}", Change: RestartsService, Text: "Variables; they win over files. ${NAME} is replaced by what is inherited. SUPD_SERVICE, SUPD_INSTANCE, SUPD_RUN, SUPD_REPLICA and SUPD_NODE_ID are always set."},
	{Key: ofService + "environment_file", Type: "path or list", Default: "none", Change: RestartsService, Text: "Files of KEY=VALUE lines with quotes and # comments, read when they are applied. One behind a - may be absent."},
	{Key: ofService + "inherit_environment", Type: "bool", Default: "true", Change: RestartsService, Text: "Passes supd's own environment on, less what is meant for supd alone."},
	{Key: ofService + "autostart", Type: "bool", Default: "true", Change: Live, Text: "Whether it is wanted up when it is first seen. Later start and stop decide, and are remembered."},

	{Key: ofService + "restart", Type: "always, on-failure or never", Default: `"always"`, Change: Live, Text: "When to start it again after it has ended by itself. A oneshot that succeeded is never repeated; its default is never, and both others try again after a failure."},
	{Key: ofService + "success_exit_codes", Type: "list of codes and signals", Default: "[0]", Change: Live, Text: "What on-failure takes for success. A stop that was asked for always is."},
	{Key: ofService + "backoff.initial", Type: "duration", Default: `"500ms"`, Change: Live, Text: "How long to wait before the second restart in a row; the first one is immediate. With 0s all are."},
	{Key: ofService + "backoff.factor", Type: "number", Default: "2", Change: Live, Text: "By how much each wait is longer than the one before."},
	{Key: ofService + "backoff.max", Type: "duration", Default: `"30s"`, Change: Live, Text: "The longest wait."},
	{Key: ofService + "backoff.reset_after", Type: "duration", Default: `"10s"`, Change: Live, Text: "After so long up it is stable, and the counting begins anew."},
	{Key: ofService + "backoff.jitter", Type: "0 to 1", Default: "0.1", Change: Live, Text: "By how much of itself a wait is made longer, by chance: it is multiplied by 1 to 1 + jitter."},
	{Key: ofService + "max_retries", Type: "integer", Default: "-1", Change: Live, Text: "How many unstable exits in a row make it fatal, which ends the restarts; -1 never does, 0 allows no restart. A program that is not there or may not be executed is fatal at once."},
	{Key: ofService + "start_timeout", Type: "duration", Default: `"90s"`, Change: RestartsService, Text: "How long a start may take."},

	{Key: ofService + "stop.signal", Type: "signal", Default: `"TERM"`, Change: Live, Text: "What asks it to end."},
	{Key: ofService + "stop.timeout", Type: "duration", Default: `"10s"`, Change: Live, Text: "How long it may take before its whole tree is killed; 0 kills at once."},
	{Key: ofService + "stop.mode", Type: "tree, group or main", Default: `"tree"`, Change: Live, Text: "Who gets the signal: tree is the main process, and when it has ended what is left of its tree; group is its process group; main is the main process alone, and what is left is counted and lives on."},
	{Key: ofService + "reload.signal", Type: "signal", Default: "none", Change: Live, Text: "What supctl reload sends."},

	{Key: ofService + "output.capture", Type: "bool", Default: "true", Change: RestartsService, Text: "Keeps stdout and stderr; false leads them to /dev/null."},
	{Key: ofService + "output.console", Type: "bool", Default: "true", Change: Live, Text: "Shows them on the console, if there is one."},
	{Key: ofService + "output.merge_stderr", Type: "bool", Default: "false", Change: RestartsService, Text: "One pipe for both, which keeps their order."},
	{Key: ofService + "output.max_size", Type: "size", Default: `"16MiB"`, Change: Live, Text: "Of one file of a stream; then it is closed and the next begun."},
	{Key: ofService + "output.max_files", Type: "integer", Default: "8", Change: Live, Text: "How many closed files of a stream are kept."},
	{Key: ofService + "output.max_age", Type: "duration", Default: "0 (off)", Change: Live, Text: "How long they are."},
	{Key: ofService + "output.on_full", Type: "block or drop", Default: `"block"`, Change: Live, Text: "What to do when the disk takes nothing: have the service wait, or lose lines and count them."},
	{Key: ofService + "output.compress", Type: "none or gzip", Default: `"none"`, Change: Live, Text: "How closed files are kept."},

	{Key: ofService + "limits.nofile", Type: limitType, Default: limitDefault, Change: RestartsService, Text: "Open files."},
	{Key: ofService + "limits.core", Type: limitType, Default: limitDefault, Change: RestartsService, Text: "Size of a core dump, bytes."},
	{Key: ofService + "limits.nproc", Type: limitType, Default: limitDefault, Change: RestartsService, Text: "Processes of the user."},
	{Key: ofService + "limits.as", Type: limitType, Default: limitDefault, Change: RestartsService, Text: "Address space, bytes."},
	{Key: ofService + "limits.cpu", Type: limitType, Default: limitDefault, Change: RestartsService, Text: "Processor time, seconds."},
	{Key: ofService + "limits.data", Type: limitType, Default: limitDefault, Change: RestartsService, Text: "Data segment, bytes."},
	{Key: ofService + "limits.fsize", Type: limitType, Default: limitDefault, Change: RestartsService, Text: "Size of a file, bytes."},
	{Key: ofService + "limits.memlock", Type: limitType, Default: limitDefault, Change: RestartsService, Text: "Locked memory, bytes."},
	{Key: ofService + "limits.msgqueue", Type: limitType, Default: limitDefault, Change: RestartsService, Text: "POSIX message queues, bytes."},
	{Key: ofService + "limits.nice", Type: limitType, Default: limitDefault, Change: RestartsService, Text: "Ceiling of nice: 20 less the nice value."},
	{Key: ofService + "limits.rtprio", Type: limitType, Default: limitDefault, Change: RestartsService, Text: "Real-time priority."},
	{Key: ofService + "limits.rttime", Type: limitType, Default: limitDefault, Change: RestartsService, Text: "Real-time processor time without a pause, microseconds."},
	{Key: ofService + "limits.rss", Type: limitType, Default: limitDefault, Change: RestartsService, Text: "Resident set; Linux ignores it."},
	{Key: ofService + "limits.sigpending", Type: limitType, Default: limitDefault, Change: RestartsService, Text: "Pending signals."},
	{Key: ofService + "limits.stack", Type: limitType, Default: limitDefault, Change: RestartsService, Text: "Stack, bytes."},
	{Key: ofService + "limits.locks", Type: limitType, Default: limitDefault, Change: RestartsService, Text: "File locks; Linux ignores it."},
	{Key: ofService + "limits.memory", Type: "size", Default: "none", Change: RestartsService, Text: "Memory of the tree; needs the cgroup's controller, and is refused without."},
	{Key: ofService + "limits.cpu_quota", Type: "processors", Default: "none", Change: RestartsService, Text: "Processors of the tree, such as 1.5; the same."},
	{Key: ofService + "limits.pids", Type: "integer", Default: "none", Change: RestartsService, Text: "Processes and threads of the tree; the same."},
	{Key: ofService + "nice", Type: "integer", Default: "0", Change: RestartsService, Text: "-20 to 19."},
	{Key: ofService + "oom_score_adj", Type: "integer", Default: "0", Change: RestartsService, Text: "-1000 to 1000: how soon the kernel kills it when memory is short."},

	{Key: ofService + "type", Type: "simple or oneshot", Default: `"simple"`, Change: RestartsService, Text: "oneshot runs to its end and is then completed."},
	{Key: ofService + "remain", Type: "bool", Default: "false", Change: RestartsService, Text: "Whether a oneshot counts as up after it has completed."},
	{Key: ofService + "after", Type: "list", Default: "[]", Change: Live, Text: "Services, or {name, condition}, that come first if they start at the same time; the name of replicas without a number is all of them. Conditions are started, ready and completed; completed is the default for a oneshot, ready for a service that has ready. A circle is refused."},
	{Key: ofService + "requires", Type: "list", Default: "[]", Change: Live, Text: "The same, and they are started with it."},
	{Key: ofService + "wants", Type: "list", Default: "[]", Change: Live, Text: "The same, but it does without those that fail."},
	{Key: ofService + "conflicts", Type: "list", Default: "[]", Change: Live, Text: "Services that stop when it starts."},
	{Key: ofService + "groups_of", Type: "list", Default: "[]", Change: Live, Text: "Names of groups that it can be commanded by."},
	{Key: ofService + "priority", Type: "integer", Default: "0", Change: Live, Text: "Its class in the queue of starts."},
	{Key: ofService + "ready", Type: "table", Default: "none", Change: RestartsService, Text: "How it tells that it is ready, one of notify = true (READY=1 on NOTIFY_SOCKET; MAINPID there is followed), fd = 3 (a newline on that descriptor), tcp = \"HOST:PORT\", http = \"URL\" (2xx or 3xx), exec (a command that exits with 0) and log (a regular expression for a line of its output); and timeout (60s)."},
	{Key: ofService + "health", Type: "table", Default: "none", Change: Live, Text: "A probe, one of tcp, http and exec as in ready; interval (10s), timeout (3s), failures (3), successes (1) and action (restart or none)."},
	{Key: ofService + "watchdog", Type: "duration", Default: "0 (off)", Change: RestartsService, Text: "How long it may be silent before it is restarted."},
	{Key: ofService + "hooks", Type: "table", Default: "none", Change: RestartsService, Text: "The commands pre_start, post_start, pre_stop and post_stop, each of which may take 30 s."},
}

const (
	limitType    = `integer, "unlimited" or {soft, hard}`
	limitDefault = "as supd was started"
)
