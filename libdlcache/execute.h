/* Executing from the stage: which file to give to execve in the stead of a program's or a script's own. No heap, no libc;
 * any context. For our libraries and the launcher. */
#ifndef DLCACHE_EXECUTE_H
#define DLCACHE_EXECUTE_H

#include "stage.h"

/* A variable that a process takes out of its environment before it begins, which says what the kernel would have told it
 * of a script, and has told it of the interpreter: a digit, the argument that is the script's path (it is AT_EXECFN), and
 * the name of the process. Of a program that was asked for by a relative path: 0, and how many bytes stand before that in
 * AT_EXECFN. Where /proc/PID/environ shows it, it says nothing any more: whoever takes an environment from there may
 * start another program with it. */
#define EXECUTE_COMM "DLCACHE_COMM="

#define EXECUTE_PATH (4096 + 512)
#define EXECUTE_ARGUMENTS 2 /* that a script's interpreter is given more than the script */

struct execution {
    char *file;              /* to execute: in the mirror, or an interpreter that only the node has */
    int script;              /* the arguments are: interpreter, argument (if it is not NULL), path as asked, argv[1]… */
    int told;                /* the variable is one of the environment's */
    const char *interpreter; /* as written in the script; in `line` */
    const char *argument;
    char line[256];
    char comm[sizeof EXECUTE_COMM + 17]; /* the variable */
};

/* What to execute for `path`, of `len` bytes, as the program asked; a relative one begins at this process's working
 * directory. 0, or -1: natively. x->file is put into the `size` bytes at `file`: EXECUTE_PATH is always enough; of an
 * absolute path execute_room(). */
int execute_plan(const struct stage *s, const char *path, size_t len, struct execution *x, char *file, size_t size);
static inline size_t execute_room(const struct stage *s, size_t len)
{
    const size_t longest = sizeof((struct execution *)0)->line; /* an interpreter's path */
    return s->view.prefix_len + (len > longest ? len : longest) + 2;
}

/* The arguments and variables to execute it with, from those that the program gave (argv[0] is there) for `path`. `args`
 * has room for argv's, the NULL, and EXECUTE_ARGUMENTS more; `vars` for envp's, the NULL, and one more. */
void execute_vectors(const struct execution *x, const char *path, char *const *argv, char *const *envp,
                     const char **args, const char **vars);

/* The first line of the script at `path` into x: interpreter and argument. 0, or -1: it is none that the kernel would
 * execute without looking at more of it. */
int execute_line(struct execution *x, const char *path);

/* This process was executed by `path`: how many arguments the kernel has put in front of those that it was given: 0 for a
 * program, 1 or 2 for a script; -1 where something else runs (an emulator, an interpreter of binfmt_misc, a script of a
 * script), or the file is gone. Uses x's line. */
int execute_in_front(const char *path, int argc, char **argv, struct execution *x);

/* The list (of LD_PRELOAD, of LD_AUDIT) has an element below the stage's directory; NULL has none. */
int execute_names(const struct stage *s, const char *list);

/* What a child with this environment would be: attached to this stage. Otherwise it must be executed natively. Of each
 * variable it looks at EXECUTE_NAME bytes, if it is none of those that it looks for. */
#define EXECUTE_NAME sizeof "DLCACHE_DISABLE="
int execute_attaches(const struct stage *s, char *const *envp);

#endif
