/* What the verbs about manifests share: their options from a table, loading what they are given, printing JSON. */
#ifndef DLCACHE_OPTIONS_H
#define DLCACHE_OPTIONS_H

#include <jansson.h>
#include <stdbool.h>

#include "manifests/manifest.h"

struct cli_option {
    const char *name;  /* NULL ends the table */
    char letter;       /* or 0 */
    enum { CLI_NOTHING, CLI_TEXT, CLI_NUMBER, CLI_WHEN } takes;
    void *value;       /* bool, const char *, unsigned; bool of "auto" (a terminal), "always", "never" */
};

/* Where the operands begin; or -1, when all is said, with the exit status. Knows --help. */
int cli_options(int argc, char **argv, const struct cli_option *options, const char *usage, int *status);

/* The manifest in that file; NULL where it could not be loaded, and then that is said. */
struct manifest *cli_manifest(const char *file);

/* Prints it on standard output, and gives it up; the other one all on one line, at once, as many ranks may. */
void cli_json(json_t *root);
void cli_json_line(json_t *root);

#endif
