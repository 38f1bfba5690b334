/* The `dlcache` command: its verbs, and the manners that they share. */
#ifndef DLCACHE_CLI_H
#define DLCACHE_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Each verb owns its options and its usage text. argv[0] is the verb; the exit status is returned: 0, 1 for a failure,
 * 2 for wrong usage, or as the verb says. */
int verb_record(int argc, char **argv);
int verb_collect(int argc, char **argv);
int verb_show(int argc, char **argv);
int verb_report(int argc, char **argv);
int verb_diff(int argc, char **argv);
int verb_merge(int argc, char **argv);
int verb_verify(int argc, char **argv);
int verb_pack(int argc, char **argv);
int verb_stage(int argc, char **argv);
int verb_run(int argc, char **argv);
int verb_env(int argc, char **argv);
int verb_replay(int argc, char **argv);
int verb_stats(int argc, char **argv);
int verb_unstage(int argc, char **argv);
int verb_doctor(int argc, char **argv);

/* "dlcache: …" and a newline, on standard error. */
__attribute__((format(printf, 1, 2))) void cli_error(const char *format, ...);

/* For a wrong call of a verb: says what is wrong and where the usage is to be had. Returns 2. */
__attribute__((format(printf, 2, 3))) int cli_wrong(const char *verb, const char *format, ...);

/* Colours on a terminal only, and not where NO_COLOR is set. */
bool cli_colours(void);

/* A size for people, as "12.3 MB"; the buffer is the caller's. */
const char *cli_size(uint64_t bytes, char buf[16]);

#endif
