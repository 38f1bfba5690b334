/* Where a program's software lies: the prefixes that recorder/policy.h decides by. */
#ifndef DLCACHE_PREFIXES_H
#define DLCACHE_PREFIXES_H

#include "policy.h"

/* From the variables that say so: VIRTUAL_ENV, CONDA_PREFIX and PYTHONHOME; the elements of PYTHONPATH and
 * LD_LIBRARY_PATH; those of PATH, with the prefix that a bin directory belongs to. Looks at the file system. */
void prefixes_from_environment(struct policy *p, char *const *envp);

/* From a program that was run, by its path: the prefix of its bin directory. Looks at the file system. */
void prefixes_from_program(struct policy *p, const char *program);

/* From an object that was loaded, by its canonical path: its directory. */
void prefixes_from_object(struct policy *p, const char *object);

/* From a path at which the loader found no object: its directory, for code. The program searches there, whoever told it
 * to (LD_LIBRARY_PATH that a script has set, an RPATH). */
void prefixes_from_search(struct policy *p, const char *path);

/* From a Python module or its bytecode that was opened, by its canonical path: its directory, for code; and where
 * that lies in PREFIX/lib/pythonX.Y/site-packages (or dist-packages, or lib64), PREFIX; in another site-packages,
 * that. */
void prefixes_from_module(struct policy *p, const char *module);

#endif
