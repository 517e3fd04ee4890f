/*
 * The floor of the benchmark: what a container costs when nothing is left but the system calls.
 *
 *	floor [-n] [-b CAPABILITIES] ROOTFS GROUP... [-u GROUP]
 *
 * It makes one container with the calls that gcrun makes for the default bundle (gcrun spec), runs /bin/true in
 * it, waits, and removes the cgroups. Nothing is parsed, checked or reported: a call that fails ends the program
 * with its line number. -n leaves the network namespace out; -b is the bounding set of the caller, in hexadecimal, of which
 * all but three are dropped. Each GROUP is a directory to make in a cgroup v1
 * hierarchy; -u names one of cgroup v2.
 *
 * bench compares its calls with those of gcrun (strace), so that it stays the floor of the same thing.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/keyctl.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <net/if.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#define NEED(x) need((long)(x), __LINE__)
#define RDONLY MOUNT_ATTR_RDONLY
#define NOSUID MOUNT_ATTR_NOSUID
#define NODEV MOUNT_ATTR_NODEV
#define NOEXEC MOUNT_ATTR_NOEXEC
#define IN_ROOT (RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
#define MAX 32

static const char *tasks[MAX];
static int ntasks, sync_fd = 3;
static int task_fd[MAX];
static unsigned long long bounding = ~0ULL;

static long need(long r, int line)
{
	if (r < 0)
		_exit(line & 255 ? line & 255 : 1);
	return r;
}

static int in_root(int dir, const char *path, uint64_t flags, uint64_t resolve)
{
	struct open_how how = { .flags = O_PATH | O_CLOEXEC | flags, .resolve = resolve };
	return syscall(SYS_openat2, dir, path, &how, sizeof how);
}

static int open_tree_(int dir, const char *path, unsigned flags)
{
	return NEED(syscall(SYS_open_tree, dir, path, flags | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
}

static void move_to(int from, int to)
{
	NEED(syscall(SYS_move_mount, from, "", to, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH));
}

static void attr(int fd, unsigned at, uint64_t set, uint64_t clr)
{
	struct mount_attr a = { .attr_set = set, .attr_clr = clr };
	NEED(syscall(SYS_mount_setattr, fd, "", AT_EMPTY_PATH | at, &a, sizeof a));
}

static void config(int fs, unsigned cmd, const char *key, const char *value)
{
	NEED(syscall(SYS_fsconfig, fs, cmd, key, value, 0));
}

/* options are key, value pairs; a value of "" stands for a flag. */
static int filesystem(const char *type, unsigned attrs, const char *const *options)
{
	int fs = NEED(syscall(SYS_fsopen, type, FSOPEN_CLOEXEC));
	for (; *options; options += 2)
		if (*options[1])
			config(fs, FSCONFIG_SET_STRING, options[0], options[1]);
		else
			config(fs, FSCONFIG_SET_FLAG, options[0], NULL);
	config(fs, FSCONFIG_CMD_CREATE, NULL, NULL);
	int mnt = NEED(syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, attrs));
	close(fs);
	return mnt;
}

static int mount_on(int root, const char *dst, int strict, const char *type, unsigned attrs, const char *const *options)
{
	int mnt = filesystem(type, attrs, options);
	int at = in_root(root, dst, strict ? O_DIRECTORY : 0, IN_ROOT | (strict ? RESOLVE_NO_SYMLINKS : 0));
	if (at < 0) { /* the mounts below are made in this order, so only the last name is missing */
		NEED(errno == ENOENT ? 0 : -1);
		const char *slash = strrchr(dst, '/');
		char parent[64] = "";
		int dir = root;
		for (const char *s = dst; s < slash; s = strchr(s, '/') + 1) {
			const char *end = strchr(s, '/');
			memcpy(parent, dst, end - dst);
			parent[end - dst] = 0;
			mkdirat(dir, strrchr(parent, '/') ? strrchr(parent, '/') + 1 : parent, 0755);
			dir = NEED(in_root(root, parent, O_DIRECTORY, IN_ROOT));
		}
		mkdirat(dir, slash ? slash + 1 : dst, 0755);
		at = NEED(in_root(root, dst, strict ? O_DIRECTORY : 0, IN_ROOT));
	}
	move_to(mnt, at);
	close(at);
	return mnt;
}

#define OPTIONS(...) ((const char *const[]){ __VA_ARGS__, NULL })

static void cgroup_mount(int root, const char *unified)
{
	int at, top;
	uint64_t clr = MOUNT_ATTR__ATIME;
	if (!ntasks) {
		if (!unified)
			return;
		int tree = open_tree_(AT_FDCWD, unified, 0);
		attr(tree, 0, RDONLY | NOSUID | NODEV | NOEXEC, clr);
		at = NEED(in_root(root, "sys/fs/cgroup", 0, IN_ROOT));
		move_to(tree, at);
		close(at);
		close(tree);
		return;
	}
	top = filesystem("tmpfs", NOSUID | NODEV | NOEXEC, OPTIONS("mode", "755"));
	at = NEED(in_root(root, "sys/fs/cgroup", 0, IN_ROOT));
	move_to(top, at);
	for (int i = 0; i < ntasks; i++) {
		/* /sys/fs/cgroup/NAME/... */
		char name[64] = "";
		const char *s = tasks[i] + strlen("/sys/fs/cgroup/");
		memcpy(name, s, strcspn(s, "/"));
		int tree = open_tree_(AT_FDCWD, tasks[i], 0);
		attr(tree, 0, RDONLY | NOSUID | NODEV | NOEXEC, clr);
		NEED(mkdirat(top, name, 0755));
		int place = NEED(in_root(top, name, O_DIRECTORY, IN_ROOT));
		move_to(tree, place);
		close(place);
		close(tree);
	}
	attr(top, 0, RDONLY, 0);
	close(at);
	close(top);
}

static void devices(int root)
{
	static const struct { const char *name; int major, minor; } nodes[] = {
		{ "null", 1, 3 }, { "zero", 1, 5 }, { "full", 1, 7 }, { "random", 1, 8 }, { "urandom", 1, 9 }, { "tty", 5, 0 },
	};
	static const char *const links[][2] = {
		{ "/proc/self/fd", "fd" }, { "/proc/self/fd/0", "stdin" }, { "/proc/self/fd/1", "stdout" },
		{ "/proc/self/fd/2", "stderr" }, { "pts/ptmx", "ptmx" },
	};
	int dev = NEED(in_root(root, "dev", O_DIRECTORY, RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS));
	for (unsigned i = 0; i < sizeof nodes / sizeof *nodes; i++)
		NEED(mknodat(dev, nodes[i].name, S_IFCHR | 0666, makedev(nodes[i].major, nodes[i].minor)));
	for (unsigned i = 0; i < sizeof links / sizeof *links; i++)
		symlinkat(links[i][0], dev, links[i][1]);
}

static void readonly(int root, const char *path)
{
	int place = in_root(root, path, 0, IN_ROOT);
	if (place < 0)
		return;
	int tree = open_tree_(place, "", AT_EMPTY_PATH | AT_RECURSIVE);
	attr(tree, AT_RECURSIVE, RDONLY, 0);
	move_to(tree, place);
	close(tree);
	close(place);
}

/* The first directory gets the mount of the empty file system, the others copies of it. */
static void mask(int root, int null, int empty, int *attached, const char *path)
{
	int place = in_root(root, path, O_DIRECTORY, IN_ROOT), cover;
	if (place >= 0 && !*attached) {
		move_to(empty, place);
		*attached = 1;
		close(place);
		return;
	}
	if (place >= 0) {
		cover = open_tree_(empty, "", AT_EMPTY_PATH);
	} else if (errno == ENOTDIR) {
		place = NEED(in_root(root, path, 0, IN_ROOT));
		cover = open_tree_(null, "", AT_EMPTY_PATH);
	} else {
		return;
	}
	move_to(cover, place);
	close(cover);
	close(place);
}

static void container(const char *rootfs, const char *unified, int network)
{
	static const char *const ro[] = { "proc/bus", "proc/fs", "proc/irq", "proc/sys", "proc/sysrq-trigger" };
	static const char *const masked[] = { "proc/acpi", "proc/asound", "proc/kcore", "proc/keys", "proc/latency_stats",
		"proc/timer_list", "proc/timer_stats", "proc/sched_debug", "sys/firmware", "proc/scsi" };
	umask(0);
	syscall(SYS_close_range, (ntasks ? task_fd[ntasks - 1] : sync_fd) + 1, ~0U, 0);
	for (int i = 0; i < ntasks; i++) {
		NEED(write(task_fd[i], "0", 1));
		close(task_fd[i]);
	}
	setsid();
	syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL);
	if (network) {
		struct ifreq req = { .ifr_name = "lo" };
		int s = NEED(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
		req.ifr_flags = IFF_UP | IFF_RUNNING;
		NEED(ioctl(s, SIOCSIFFLAGS, &req));
		close(s);
	}
	struct mount_attr slave = { .propagation = 1 << 19 /* MS_SLAVE */ };
	NEED(syscall(SYS_mount_setattr, AT_FDCWD, "/", AT_RECURSIVE, &slave, sizeof slave));
	int root = open_tree_(AT_FDCWD, rootfs, AT_RECURSIVE);
	NEED(syscall(SYS_move_mount, root, "", AT_FDCWD, rootfs, MOVE_MOUNT_F_EMPTY_PATH));

	mount_on(root, "proc", 1, "proc", 0, OPTIONS("source", "proc"));
	close(mount_on(root, "dev", 1, "tmpfs", NOSUID | MOUNT_ATTR_STRICTATIME, OPTIONS("source", "tmpfs", "mode", "755", "size", "65536k")));
	close(mount_on(root, "dev/pts", 0, "devpts", NOSUID | NOEXEC,
		OPTIONS("source", "devpts", "newinstance", "", "ptmxmode", "0666", "mode", "0620", "gid", "5")));
	close(mount_on(root, "dev/shm", 0, "tmpfs", NOSUID | NODEV | NOEXEC, OPTIONS("source", "shm", "mode", "1777", "size", "65536k")));
	close(mount_on(root, "dev/mqueue", 0, "mqueue", NOSUID | NODEV | NOEXEC, OPTIONS("source", "mqueue")));
	close(mount_on(root, "sys", 1, "sysfs", RDONLY | NOSUID | NODEV | NOEXEC, OPTIONS("source", "sysfs")));
	cgroup_mount(root, unified);
	devices(root);
	NEED(sethostname("gcr", 3));
	for (unsigned i = 0; i < sizeof ro / sizeof *ro; i++)
		readonly(root, ro[i]);
	struct statx st;
	int null = NEED(open("/dev/null", O_PATH | O_NOFOLLOW | O_CLOEXEC));
	NEED(statx(null, "", AT_EMPTY_PATH, STATX_TYPE | STATX_MODE, &st));
	int attached = 0, empty = filesystem("tmpfs", RDONLY | NOSUID | NODEV | NOEXEC, OPTIONS("mode", "755"));
	for (unsigned i = 0; i < sizeof masked / sizeof *masked; i++)
		mask(root, null, empty, &attached, masked[i]);
	close(empty);
	close(null);
	attr(root, 0, RDONLY, 0);
	NEED(fchdir(root));
	NEED(syscall(SYS_pivot_root, ".", "."));
	NEED(syscall(SYS_umount2, ".", 2 /* MNT_DETACH */));
	NEED(chdir("/"));

	struct rlimit files = { 1024, 1024 };
	NEED(prlimit(0, RLIMIT_NOFILE, &files, NULL));
	umask(022);
	for (int c = 0; c <= CAP_LAST_CAP; c++)
		if (bounding >> c & 1 && c != CAP_KILL && c != CAP_NET_BIND_SERVICE && c != CAP_AUDIT_WRITE)
			NEED(prctl(PR_CAPBSET_DROP, c, 0, 0, 0));
	gid_t zero = 0;
	NEED(syscall(SYS_setgroups, 1, &zero));
	NEED(syscall(SYS_setresgid, 0, 0, 0));
	NEED(syscall(SYS_setresuid, 0, 0, 0));
	char cwd[4096];
	NEED(chdir("/"));
	NEED(syscall(SYS_getcwd, cwd, sizeof cwd));
	struct __user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct caps[2] = { { .effective = 0x20000420, .permitted = 0x20000420 } };
	NEED(syscall(SYS_capset, &head, caps));
	NEED(openat(AT_FDCWD, "/bin/true", O_PATH | O_DIRECTORY | O_CLOEXEC) < 0 ? 0 : -1);
	NEED(syscall(439 /* faccessat2 */, AT_FDCWD, "/bin/true", X_OK, AT_EACCESS));
	char ready[32] = { 4 };
	syscall(SYS_close_range, sync_fd + 1, ~0U, 0);
	NEED(sendto(sync_fd, ready, sizeof ready, MSG_NOSIGNAL, NULL, 0));
	NEED(read(sync_fd, ready, 1));
	syscall(SYS_close_range, sync_fd, ~0U, CLOSE_RANGE_CLOEXEC);
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	NEED(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	char *argv[] = { "/bin/true", NULL };
	char *envp[] = { "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm", NULL };
	NEED(execve(argv[0], argv, envp));
}

/* put writes a value into a file of a cgroup. */
static void put(const char *dir, const char *file, const char *value, int size)
{
	char path[4096];
	strcpy(stpcpy(stpcpy(path, dir), "/"), file);
	int fd = NEED(open(path, O_WRONLY | O_CLOEXEC));
	NEED(write(fd, value, size));
	close(fd);
}

/* A cpuset of cgroup v1 starts without CPUs and memory nodes: it gets those of the group above. */
static void inherit(const char *dir, const char *file)
{
	char path[4096], value[4096];
	strcpy(stpcpy(stpcpy(path, dir), "/../"), file);
	int fd = NEED(open(path, O_RDONLY | O_CLOEXEC));
	int n = NEED(read(fd, value, sizeof value));
	close(fd);
	put(dir, file, value, n);
}

static void make_group(const char *dir)
{
	static const char *const allow[] = { "c *:* m", "b *:* m", "c 1:3 rwm", "c 1:5 rwm", "c 1:7 rwm", "c 1:8 rwm",
		"c 1:9 rwm", "c 5:0 rwm", "c 5:2 rwm", "c 136:* rwm", "c 10:200 rwm" };
	NEED(mkdir(dir, 0755));
	if (strstr(dir, "/cpuset/")) {
		inherit(dir, "cpuset.cpus");
		inherit(dir, "cpuset.mems");
	}
	if (strstr(dir, "/devices/")) {
		put(dir, "devices.deny", "a *:* rwm", 9);
		for (unsigned i = 0; i < sizeof allow / sizeof *allow; i++)
			put(dir, "devices.allow", allow[i], strlen(allow[i]));
	}
}

int main(int argc, char **argv)
{
	const char *rootfs = NULL, *unified = NULL;
	int network = 1, pair[2], pidfd = -1, status;
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "-n"))
			network = 0;
		else if (!strcmp(argv[i], "-b") && i + 1 < argc)
			bounding = strtoull(argv[++i], NULL, 16);
		else if (!strcmp(argv[i], "-u") && i + 1 < argc)
			unified = argv[++i];
		else if (!rootfs)
			rootfs = argv[i];
		else if (ntasks < MAX)
			tasks[ntasks++] = argv[i];
	}
	if (!rootfs)
		_exit(2);
	NEED(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair));
	for (int i = 0; i < ntasks; i++) {
		char path[4096];
		make_group(tasks[i]);
		strcpy(stpcpy(path, tasks[i]), "/tasks");
		task_fd[i] = NEED(open(path, O_WRONLY | O_CLOEXEC));
	}
	struct clone_args args = {
		.flags = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWCGROUP | CLONE_PIDFD,
		.pidfd = (uintptr_t)&pidfd, .exit_signal = SIGCHLD,
	};
	if (ntasks) /* a new cgroup namespace is of use only to who is in the cgroup already */
		args.flags &= ~(uint64_t)CLONE_NEWCGROUP;
	if (network)
		args.flags |= CLONE_NEWNET;
	if (unified) {
		NEED(mkdir(unified, 0755));
		args.cgroup = NEED(open(unified, O_PATH | O_DIRECTORY | O_CLOEXEC));
		args.flags |= CLONE_INTO_CGROUP;
	}
	pid_t pid = NEED(syscall(SYS_clone3, &args, sizeof args));
	if (pid == 0) {
		sync_fd = pair[1];
		if (ntasks && task_fd[0] <= pair[1])
			_exit(3);
		container(rootfs, unified, network);
	}
	close(pair[1]);
	char message[33];
	while (NEED(recv(pair[0], message, sizeof message, 0)) > 0)
		NEED(write(pair[0], "", 1)); /* a runtime writes down what it has made, then lets the program go on */
	NEED(waitpid(pid, &status, 0));
	for (int i = 0; i < ntasks; i++)
		NEED(rmdir(tasks[i]));
	if (unified)
		NEED(rmdir(unified));
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
