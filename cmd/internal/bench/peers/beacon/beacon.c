//go:build ignore

// The service of the comparison: it says when its main began, by the kernel's
// clock, and then sleeps. It is C, static and small, so that the figures are the
// supervisors' and not its own. With a count it writes so many lines of 100
// bytes first, and says when the last of them was taken. With a FIFO it begins to
// write when somebody has opened that for writing: so many begin at once.
//
//   beacon FILE NAME [LINES [FIFO]]
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static void report(const char *file, const char *name) {
	struct timespec t;
	char line[256];
	clock_gettime(CLOCK_BOOTTIME, &t);
	int n = snprintf(line, sizeof line, "%s %d %lld\n", name, (int)getpid(), (long long)t.tv_sec * 1000000000 + t.tv_nsec);
	int fd = open(file, O_WRONLY | O_APPEND | O_CREAT, 0600);
	if (fd < 0 || write(fd, line, n) != n) {
		perror("cannot report");
		exit(1);
	}
	close(fd);
}

static void lines(long count) {
	enum { size = 100, many = 640 };
	static char block[size * many];
	memset(block, 'x', sizeof block);
	for (int i = 1; i <= many; i++) block[i * size - 1] = '\n';
	for (long left = count; left > 0; left -= many) {
		size_t want = (left < many ? left : many) * size;
		for (size_t done = 0; done < want;) {
			ssize_t n = write(1, block + done, want - done);
			if (n <= 0) {
				perror("cannot write");
				exit(1);
			}
			done += n;
		}
	}
}

int main(int argc, char **argv) {
	if (argc < 3) return 2;
	report(argv[1], argv[2]);
	if (argc > 4) {
		int gate = open(argv[4], O_RDONLY);
		if (gate < 0) {
			perror("cannot open the FIFO");
			return 1;
		}
		close(gate);
	}
	if (argc > 3) {
		lines(atol(argv[3]));
		report(argv[1], "written");
	}
	for (;;) pause();
}
