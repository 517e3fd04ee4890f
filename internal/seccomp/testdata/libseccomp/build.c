/*
 * build: make filters with libseccomp, for the differential test of package seccomp.
 *
 * Reads commands, one a line, from standard input and answers on standard output:
 *
 *   new DEFAULT_ACTION            start a filter (action: 32-bit number as in linux/seccomp.h)
 *   arch SCMP_NAME                add an architecture, by libseccomp's short name
 *   rule ACTION NAME [ARG OP A B]...   add a rule
 *   end                           write "ok N" and N lines "code jt jf k", or "error …"
 *   resolve ARCH NAME             write the number, or -1 if libseccomp does not know the name
 *
 * It is compiled by the test, never by GCR's own build.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/filter.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static enum scmp_compare operator(const char *s)
{
	static const struct { const char *name; enum scmp_compare op; } ops[] = {
		{"NE", SCMP_CMP_NE}, {"LT", SCMP_CMP_LT}, {"LE", SCMP_CMP_LE}, {"EQ", SCMP_CMP_EQ},
		{"GE", SCMP_CMP_GE}, {"GT", SCMP_CMP_GT}, {"MASKED_EQ", SCMP_CMP_MASKED_EQ},
	};
	for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++)
		if (!strcmp(s, ops[i].name))
			return ops[i].op;
	fprintf(stderr, "unknown operator %s\n", s);
	exit(2);
}

static void export(scmp_filter_ctx ctx)
{
	struct sock_filter f;
	int fd = memfd_create("filter", 0);
	int rc = seccomp_export_bpf(ctx, fd);
	if (rc < 0) {
		printf("error export %d\n", rc);
	} else {
		off_t size = lseek(fd, 0, SEEK_END);
		lseek(fd, 0, SEEK_SET);
		printf("ok %ld\n", (long)(size / sizeof(f)));
		while (read(fd, &f, sizeof(f)) == sizeof(f))
			printf("%u %u %u %u\n", f.code, f.jt, f.jf, f.k);
	}
	close(fd);
}

int main(void)
{
	static char line[1 << 16];
	scmp_filter_ctx ctx = NULL;
	char failed[256] = "";
	while (fgets(line, sizeof(line), stdin)) {
		char *cmd = strtok(line, " \n");
		if (!cmd)
			continue;
		if (!strcmp(cmd, "new")) {
			ctx = seccomp_init(strtoul(strtok(NULL, " \n"), NULL, 0));
			failed[0] = 0;
			if (!ctx)
				snprintf(failed, sizeof(failed), "init");
		} else if (!strcmp(cmd, "arch")) {
			int rc = seccomp_arch_add(ctx, seccomp_arch_resolve_name(strtok(NULL, " \n")));
			if (rc < 0 && rc != -EEXIST && !failed[0])
				snprintf(failed, sizeof(failed), "arch %d", rc);
		} else if (!strcmp(cmd, "rule")) {
			unsigned int n = 0;
			struct scmp_arg_cmp args[6];
			unsigned long action = strtoul(strtok(NULL, " \n"), NULL, 0);
			char *name = strtok(NULL, " \n"), *word;
			int nr = seccomp_syscall_resolve_name(name), rc;
			while ((word = strtok(NULL, " \n"))) {
				args[n].arg = atoi(word);
				args[n].op = operator(strtok(NULL, " \n"));
				args[n].datum_a = strtoull(strtok(NULL, " \n"), NULL, 0);
				args[n].datum_b = strtoull(strtok(NULL, " \n"), NULL, 0);
				n++;
			}
			if (nr == __NR_SCMP_ERROR)
				continue;
			rc = seccomp_rule_add_array(ctx, action, nr, n, args);
			if (rc < 0 && !failed[0])
				snprintf(failed, sizeof(failed), "rule %s %d", name, rc);
		} else if (!strcmp(cmd, "end")) {
			if (failed[0])
				printf("error %s\n", failed);
			else
				export(ctx);
			seccomp_release(ctx);
			ctx = NULL;
			fflush(stdout);
		} else if (!strcmp(cmd, "resolve")) {
			char *arch = strtok(NULL, " \n"), *name = strtok(NULL, " \n");
			printf("%d\n", seccomp_syscall_resolve_name_arch(seccomp_arch_resolve_name(arch), name));
			fflush(stdout);
		}
	}
	return 0;
}
