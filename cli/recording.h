/* What the verbs that make manifests share: their options, and telling a person what it came to. */
#ifndef DLCACHE_RECORDING_H
#define DLCACHE_RECORDING_H

#include "recorder/collect.h"

/* Says what is wrong with a call of the verb. Returns 2. */
int recording_wrong(const char *verb, const char *what, const char *why);

/* --include, --exclude: 0, or 2 when it was said what is wrong. */
int recording_ask(const char *verb, struct policy_list *list, const char *option, const char *path, bool must_exist);

/* The output's name of this process: %r, %h, %p and %% replaced; heap. 0, or 2 when it was said what is wrong: an
 * unknown %, or a name that all ranks of a job would write to, one after the other. */
int recording_name(const char *verb, const char *output, char **name);

/* A request's left_out, for --verbose: names it. */
void recording_left_out(const char *path, const char *why);

/* Collects, writes the manifest, and says in a few lines on standard error what was kept, what was left out, and why.
 * 0, or 2 when it could not be written. */
int recording_write(const char *output, const struct collect_request *request);

#endif
