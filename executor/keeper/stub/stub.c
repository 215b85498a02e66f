//go:build ignore

// The stub: what the keeper executes in place of a service's program.
//
// The keeper executes it once or twice, as a template. A template forks itself for
// each process that is asked of it on its socket (descriptor 3); the new one is the
// keeper's child, not the template's. So the keeper, with thousands of descriptors
// and a large address space, is not copied for each start, and nothing is executed
// but the service's program. The template ends when the socket does.
//
// The new process sets itself up, says so, waits at its gate and then executes the
// program. It is one static page without libc because a thousand of them must
// start in well under a second, and because anything that hangs in here (a
// directory on a dead file system) must hang in a process of its own and never
// in the keeper.
//
// Descriptors: 0 /dev/null, 1 and 2 output, 3 gate (read end), 4 status (write
// end), 5 launch block. 3 to 5 close on exec, so the end of file on the status
// pipe after 'X' tells the keeper that the program runs. An engine or a logger
// gets more, from 6, which the program finds from 3; a service that says on a
// descriptor that it is ready gets one at 6, which it finds where it wants it.
//
// A request is a struct request, with descriptors in this order: status, launch
// block, those that are passed on, gate, stdout, stderr, the cgroup's folder; the
// last three as flagged, else /dev/null and the template's own cgroup. They arrive
// at 4 and onwards, for the template has no other from there. The answer is the
// new pid, or a negative errno.
//
// Status bytes: 'R' at the gate; 'X' about to execute; 'E' and a struct failure,
// after which the stub exits with 127. The end of file at the gate means: exit
// with 0, the program must not run (R3).
//
// The launch block's layout is in launch.go.

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long u64;

#if defined(__x86_64__)
enum {
	sys_read = 0, sys_write = 1, sys_close = 3, sys_recvmsg = 47, sys_clone = 56, sys_fstat = 5, sys_mmap = 9, sys_rt_sigaction = 13, sys_rt_sigprocmask = 14,
	sys_execve = 59, sys_fcntl = 72, sys_chdir = 80, sys_umask = 95, sys_setsid = 112, sys_setgroups = 116,
	sys_setresuid = 117, sys_setresgid = 119, sys_setpriority = 141, sys_sched_setscheduler = 144,
	sys_sched_getscheduler = 145, sys_prctl = 157,
	sys_exit_group = 231, sys_openat = 257, sys_dup3 = 292, sys_prlimit64 = 302,
};

static long sys6(long n, u64 a, u64 b, u64 c, u64 d, u64 e, u64 f) {
	long r;
	register u64 r10 __asm__("r10") = d;
	register u64 r8 __asm__("r8") = e;
	register u64 r9 __asm__("r9") = f;
	__asm__ volatile("syscall" : "=a"(r) : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
	                 : "rcx", "r11", "memory");
	return r;
}

__asm__(".globl _start\n_start:\n\txor %ebp, %ebp\n\tmov %rsp, %rdi\n\tand $-16, %rsp\n\tcall run\n");

// struct stat: st_size is the 64-bit word at byte 48.
enum { stat_words = 18, stat_size = 6 };
#elif defined(__aarch64__)
enum {
	sys_clone = 220, sys_recvmsg = 212, sys_close = 57, sys_fcntl = 25, sys_dup3 = 24, sys_chdir = 49, sys_openat = 56, sys_read = 63, sys_write = 64, sys_fstat = 80,
	sys_exit_group = 94, sys_sched_setscheduler = 119, sys_sched_getscheduler = 120, sys_rt_sigaction = 134, sys_rt_sigprocmask = 135,
	sys_setpriority = 140, sys_setresuid = 147, sys_setresgid = 149, sys_setsid = 157, sys_setgroups = 159,
	sys_umask = 166, sys_prctl = 167, sys_execve = 221, sys_mmap = 222, sys_prlimit64 = 261,
};

static long sys6(long n, u64 a, u64 b, u64 c, u64 d, u64 e, u64 f) {
	register u64 x8 __asm__("x8") = n;
	register u64 x0 __asm__("x0") = a;
	register u64 x1 __asm__("x1") = b;
	register u64 x2 __asm__("x2") = c;
	register u64 x3 __asm__("x3") = d;
	register u64 x4 __asm__("x4") = e;
	register u64 x5 __asm__("x5") = f;
	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
	return x0;
}

__asm__(".globl _start\n_start:\n\tmov x29, #0\n\tmov x30, #0\n\tmov x0, sp\n\tbl run\n");

enum { stat_words = 16, stat_size = 6 };
#else
#error "the stub knows x86_64 and aarch64"
#endif

#define call(n, a, b, c, d) sys6((n), (u64)(a), (u64)(b), (u64)(c), (u64)(d), 0, 0)

enum { sys_clone3 = 435 }; // everywhere

enum { eintr = 4, enoent = 2, e2big = 7, eacces = 13, enotdir = 20, einval = 22, emfile = 24 };
enum { fd_socket = 3, fd_first = 4 }; // the template's, and where a request's descriptors arrive
enum { fd_gate = 3, fd_status = 4, fd_launch = 5, fd_passed = 6, fd_spare = 16 };

// The steps, as numbered by wire.Step.
enum { step_launch = 4, step_session, step_limits, step_output, step_user, step_chdir, step_exec };

// The block's header, as in launch.go.
struct launch {
	u32 magic, size, flags, umask, uid, gid;
	int nice, oom;
	u32 groups, limits, paths, args, env, dir, limits_off, strings;
	u32 group[];
};
enum { magic = 0x31447553, flag_user = 1, flag_nice = 2, flag_oom = 4, flag_output = 8, shift_passed = 16, shift_base = 24 };

// A request to a template, as in template.go.
enum { max_name = 64, max_fds = 32 };
struct request {
	u32 flags, passed, count; // count: of all descriptors
	char name[max_name];
};
enum { with_stdout = 1, with_stderr = 2, with_cgroup = 4 };

// What the kernel lays in front of received descriptors.
struct rights {
	u64 size; // itself included
	int level, type;
	int fd[max_fds];
};

// Where gate and status are: at fd_gate and fd_status until pass_on moves them.
struct ends {
	int gate, status;
};

struct limit {
	u64 resource, soft, hard;
};

static void __attribute__((noreturn)) quit(int code) {
	for (;;)
		call(sys_exit_group, code, 0, 0, 0);
}

// The status pipe is written at one of two numbers; the stub has no variables
// outside the stack, so the caller says which.
static void say(int status, const void *what, u64 size) {
	while (call(sys_write, status, what, size, 0) == -eintr)
		;
}

// on_pipe sets what happens when nobody reads the status pipe any more. To the
// stub nothing may: with its gate open it runs the program, whoever is dead (R3,
// P8), and an end by SIGPIPE would look like the program's own.
static void on_pipe(u64 handler) {
	u64 action[4] = {handler, 0, 0, 0}; // no flags, no mask
	call(sys_rt_sigaction, 13, action, 0, 8);
}

static void __attribute__((noreturn)) fail_on(int status, int step, long negative_errno, u32 index) {
	on_pipe(1); // SIG_IGN
	u32 e = (u32)-negative_errno;
	u8 m[10] = {'E', step, e, e >> 8, e >> 16, e >> 24, index, index >> 8, index >> 16, index >> 24};
	say(status, m, sizeof m);
	quit(127);
}

static void __attribute__((noreturn)) fail(int step, long negative_errno, u32 index) {
	fail_on(fd_status, step, negative_errno, index);
}

static long open_(const char *path, long flags) { return call(sys_openat, -100, path, flags, 0); }

static struct launch *load(void) {
	u64 st[stat_words];
	long e = call(sys_fstat, fd_launch, st, 0, 0);
	if (e < 0)
		fail(step_launch, e, 0);
	u64 size = st[stat_size];
	// PROT_READ, MAP_PRIVATE
	struct launch *l = (void *)sys6(sys_mmap, 0, size, 1, 2, fd_launch, 0);
	if ((long)l < 0 && (long)l > -4096)
		fail(step_launch, (long)l, 0);
	if (size < sizeof *l || l->magic != magic || l->size != size || l->groups > 256 || l->limits > 32 ||
	    l->paths < 1 || l->paths > 64 || l->args > 65536 || l->env > 65536 || l->dir > 1 || (l->limits_off & 7) ||
	    l->limits_off > size || l->strings > size || l->limits_off < sizeof *l + 4 * (u64)l->groups ||
	    l->strings != l->limits_off + (u64)l->limits * sizeof(struct limit) || ((u8 *)l)[size - 1] != 0)
		fail(step_launch, -einval, 0);
	return l;
}

// point fills n pointers to strings and a null; it returns the place after them.
static const char *point(const char **to, u32 n, const char *s, const char *end) {
	for (u32 i = 0; i < n; i++) {
		if (s >= end)
			fail(step_launch, -einval, 1);
		to[i] = s;
		while (*s++) // ends: the last byte of the block is zero
			;
	}
	to[n] = 0;
	return s;
}

static void signals(void) {
	u64 action[4] = {0, 0, 0, 0}; // SIG_DFL, no flags, no mask
	for (int s = 1; s <= 64; s++)
		call(sys_rt_sigaction, s, action, 0, 8);
	on_pipe(1); // SIG_IGN, until the program is executed
	u64 none = 0;
	call(sys_rt_sigprocmask, 2, &none, 0, 8); // SIG_SETMASK
}

static void oom_score(int v) {
	char text[8];
	int at = sizeof text, negative = v < 0;
	u32 n = negative ? -v : v;
	do
		text[--at] = '0' + n % 10;
	while (n /= 10);
	if (negative)
		text[--at] = '-';
	long fd = open_("/proc/self/oom_score_adj", 1 | 02000000); // O_WRONLY, O_CLOEXEC
	if (fd >= 0)
		call(sys_write, fd, text + at, sizeof text - at, 0);
}

// reopen makes an output readable too: while the service itself holds a read
// end, the loss of every reader of ours costs it neither SIGPIPE nor a byte (P8).
static void reopen(int fd, const char *path) {
	long n = open_(path, 2 | 02000000); // O_RDWR, O_CLOEXEC
	if (n >= 0)
		n = call(sys_dup3, n, fd, 0, 0);
	if (n < 0)
		fail(step_output, n, fd);
}

static void user(struct launch *l) {
	long e = call(sys_setgroups, l->groups, l->group, 0, 0);
	if (e < 0)
		fail(step_user, e, 0);
	if ((e = call(sys_setresgid, l->gid, l->gid, l->gid, 0)) < 0)
		fail(step_user, e, 1);
	if ((e = call(sys_setresuid, l->uid, l->uid, l->uid, 0)) < 0)
		fail(step_user, e, 2);
}

// pass_on moves the stub's own descriptors out of the way and the passed ones
// down to where the program looks for them.
static struct ends pass_on(int passed, int base) {
	struct ends e = {fd_gate, fd_status};
	if (!passed)
		return e;
	int spare = base + passed > fd_spare ? base + passed : fd_spare;
	e.gate = call(sys_fcntl, fd_gate, 1030, spare, 0); // F_DUPFD_CLOEXEC
	e.status = call(sys_fcntl, fd_status, 1030, spare, 0);
	if (e.gate < 0 || e.status < 0)
		fail(step_launch, e.gate < 0 ? e.gate : e.status, 3);
	for (int i = 0; i < passed; i++) {
		if (base == fd_passed) { // it is there already
			call(sys_fcntl, fd_passed + i, 2, 0, 0);
			continue;
		}
		long n = call(sys_dup3, fd_passed + i, base + i, 0, 0);
		if (n < 0)
			fail_on(e.status, step_launch, n, 4);
		call(sys_fcntl, fd_passed + i, 2, 1, 0); // F_SETFD, FD_CLOEXEC; a later round may clear it
	}
	return e;
}

// normal ends the stub's precedence over busy programs, which it has if the keeper
// has it: what it executes must never have it. It comes before the gate, so that
// the stub is woken there like any other program: one that ceases to be real-time
// while it runs goes to the end of the queue.
static void normal(int status) {
	int priority = 0;
	long e = call(sys_sched_setscheduler, 0, 0, &priority, 0); // SCHED_OTHER
	if (e < 0) {
		long policy = call(sys_sched_getscheduler, 0, 0, 0, 0) & 0xff;
		if (policy == 1 || policy == 2) // SCHED_FIFO, SCHED_RR
			fail_on(status, step_session, e, 1);
	}
}

static void gate(struct ends e) {
	u8 b;
	long n;
	say(e.status, "R", 1);
	normal(e.status);
	while ((n = call(sys_read, e.gate, &b, 1, 0)) == -eintr)
		;
	if (n != 1)
		quit(0);
	say(e.status, "X", 1);
}

// execute tries the candidates as execvp(3) does: a missing one is passed over,
// a forbidden one is remembered, anything else ends the search.
static void __attribute__((noreturn)) execute(int status, const char **path, u32 n, const char **argv, const char **envp) {
	long forbidden = 0, e = -enoent;
	u32 which = 0, i;
	on_pipe(0); // SIG_DFL, for the program
	for (i = 0; i < n; i++) {
		e = call(sys_execve, path[i], argv, envp, 0);
		if (e == -eacces && !forbidden) {
			forbidden = e;
			which = i;
		}
		if (e != -enoent && e != -enotdir && e != -eacces)
			fail_on(status, step_exec, e, i);
	}
	if (forbidden)
		fail_on(status, step_exec, forbidden, which);
	fail_on(status, step_exec, e, n - 1);
}

static void __attribute__((noreturn)) start(void) {
	struct launch *l = load();
	const char *end = (char *)l + l->size, *s = (char *)l + l->strings;

	u64 pointers = l->paths + l->args + l->env + l->dir + 4;
	// PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS
	const char **path = (void *)sys6(sys_mmap, 0, 8 * pointers, 3, 0x22, -1, 0);
	if ((long)path < 0 && (long)path > -4096)
		fail(step_launch, (long)path, 2);
	const char **argv = path + l->paths + 1, **envp = argv + l->args + 1, **dir = envp + l->env + 1;
	s = point(path, l->paths, s, end);
	s = point(argv, l->args, s, end);
	s = point(envp, l->env, s, end);
	point(dir, l->dir, s, end);

	long e = call(sys_setsid, 0, 0, 0, 0);
	if (e < 0)
		fail(step_session, e, 0);
	signals();
	if (l->flags & flag_nice)
		call(sys_setpriority, 0, 0, l->nice, 0);
	if (l->flags & flag_oom)
		oom_score(l->oom);
	struct limit *r = (void *)((u8 *)l + l->limits_off);
	for (u32 i = 0; i < l->limits; i++)
		if ((e = call(sys_prlimit64, 0, r[i].resource, &r[i].soft, 0)) < 0)
			fail(step_limits, e, i);
	call(sys_umask, l->umask, 0, 0, 0);
	// Before the user changes: the pipes belong to the keeper's.
	if (l->flags & flag_output) {
		reopen(1, "/proc/self/fd/1");
		reopen(2, "/proc/self/fd/2");
		if (l->flags >> shift_base)
			reopen(fd_passed, "/proc/self/fd/6");
	}
	if (l->flags & flag_user)
		user(l);
	if ((e = call(sys_chdir, l->dir ? dir[0] : "/", 0, 0, 0)) < 0)
		fail(step_chdir, e, 0);
	int base = l->flags >> shift_base;
	struct ends ends = pass_on(l->flags >> shift_passed & 255, base ? base : fd_gate);
	gate(ends);
	execute(ends.status, path, l->paths, argv, envp);
}

// take puts what a request brought to where the stub has it. name is what ps shows.
static void take(struct request *r, char *name) {
	int next = fd_passed + r->passed;
	long e = call(sys_dup3, next++, fd_gate, 02000000, 0); // O_CLOEXEC; in the socket's place
	if (e >= 0 && r->flags & with_stdout)
		e = call(sys_dup3, next++, 1, 0, 0);
	if (e >= 0 && r->flags & with_stderr)
		e = call(sys_dup3, next++, 2, 0, 0);
	if (e < 0)
		fail(step_launch, e, 5);
	for (int i = 0; i < max_name - 1; i++) // the last one is zero and stays so
		name[i] = r->name[i];
}

// forked makes a process that is the keeper's child; 0 in it.
static long forked(u32 flags, int cgroup) {
	enum { clone_parent = 0x8000, sigchld = 17 };
	if (!(flags & with_cgroup))
		return call(sys_clone, clone_parent | sigchld, 0, 0, 0);
	u64 args[11] = {0x200000000 | clone_parent, 0, 0, 0, 0, 0, 0, 0, 0, 0, cgroup}; // CLONE_INTO_CGROUP
	return call(sys_clone3, args, sizeof args, 0, 0);
}

// run is the template. Its argv[1] has max_name bytes for the names of others.
void __attribute__((noreturn, used)) run(u64 *stack) {
	char *name = (char *)stack[2];
	u64 all = ~0ul;
	call(sys_prctl, 15, "supd-stub", 0, 0);   // PR_SET_NAME
	call(sys_rt_sigprocmask, 2, &all, 0, 8); // SIG_SETMASK: the keeper ends it, and no terminal
	for (;;) {
		struct request r;
		struct rights got;
		u64 part[2] = {(u64)&r, sizeof r};
		u64 message[7] = {0, 0, (u64)part, 1, (u64)&got, sizeof got, 0};
		got.size = 0;
		long n = call(sys_recvmsg, fd_socket, message, 0x40000000, 0); // MSG_CMSG_CLOEXEC
		if (n == -eintr)
			continue;
		u32 count = got.size < 16 ? 0 : (got.size - 16) / 4;
		if (n != sizeof r || (count && got.fd[0] != fd_first))
			quit(0); // the keeper is dead
		int pid = -emfile; // fewer arrive if our limit of descriptors is too low
		if (count == r.count)
			pid = forked(r.flags, fd_first + count - 1);
		if (!pid) {
			take(&r, name);
			start();
		}
		for (u32 i = 0; i < count; i++)
			call(sys_close, fd_first + i, 0, 0, 0);
		say(fd_socket, &pid, sizeof pid);
	}
}
