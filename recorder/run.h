/* Running a command under the recorder. */
#ifndef DLCACHE_RUN_H
#define DLCACHE_RUN_H

#include <stddef.h>

struct run_options {
    char *const *argv;   /* NULL-terminated, at least one */
    const char *spool;   /* directory, absolute */
    const char *preload; /* path of libdlcache.so */
    const char *audit;   /* path of libdlcache-audit.so; NULL leaves LD_AUDIT alone */
};

/* Makes a private directory (0700) for the spool files below `base`, and tries that there is room in it. Its absolute
 * path (heap), or NULL and *error (heap). */
char *run_make_spool(const char *base, char **error);

/* Removes the directory and the files in it. 0 or -errno. */
int run_remove_spool(const char *dir);

/* Runs the command and waits for it. Until run_restore_signals, this process ignores SIGINT and SIGQUIT (the terminal
 * sends them to the command as well), and hands SIGTERM and SIGHUP on to the command. The status is the command's as
 * a shell says it: its exit status, 128 + n where signal n ended it, 127 where it was not found, 126 where it could
 * not be executed; in the last two cases *refused is the errno, otherwise 0. 0, or -errno when there is no process to
 * be had or to be waited for. run_restore_signals may be called in any case. */
int run_command(const struct run_options *options, int *status, int *refused);
void run_restore_signals(void);

/* The file that execvp(3) would execute for `name`, as an absolute path (heap), or NULL. */
char *run_find_program(const char *name);

/* How many processes still note into the spool: children that outlive the command. Those of other users are not seen. */
unsigned run_still_noting(const char *dir);

/* `list`, which may be NULL, with `item` first in it, and no other element of
 * the same file name: two of our libraries in one program would both note. Its elements are separated by any of the
 * `separators`; the first of them is put behind the item. Heap. */
char *run_list_prepend(const char *list, const char *item, const char *separators);

#endif
