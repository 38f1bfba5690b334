/* The environment with which a program is attached to a stage. No heap, no libc; any context. */
#ifndef DLCACHE_ENVIRONMENT_H
#define DLCACHE_ENVIRONMENT_H

#include "stage.h"

/* The variables of an attached program, each "NAME=value" in `text` and listed in `vars`: DLCACHE_STAGE, LD_PRELOAD,
 * LD_AUDIT (unless the stage's node or DLCACHE_AUDIT=off forbids it), GLIBC_TUNABLES (static TLS), ASAN_OPTIONS (a program
 * of AddressSanitizer takes it that a library stands before its runtime). */
struct environment {
    const char *vars[5];
    unsigned count;
    size_t used;
    char text[32768];
};

/* Fills `env` for the stage, from the variables in envp: ours come first in a list, what is there is kept, nothing is
 * put in twice. 0, or -E2BIG where it does not fit. */
int environment_attach(struct environment *env, const struct stage *s, char *const *envp);

/* True when `var` ("NAME=…") is one of those that environment_attach wrote. */
int environment_has(const struct environment *env, const char *var);

#endif
