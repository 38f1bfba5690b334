/* Files that the C library, or the kernel, opens itself to write into them: the tables of mounts, logins and
 * accounts. What may be written to is the kernel's from now on. Rules: shim.h. */
#include "shim.h"

static FILE *opened(FILE *f, const char *path, const char *mode)
{
    bool writes = false;

    for (const char *c = f ? mode : ""; *c; c++)
        writes |= *c == 'w' || *c == 'a' || *c == '+';
    if (writes)
        shim_changed(AT_FDCWD, path, CHANGED_NAME, false);
    return f;
}

FILE *setmntent(const char *path, const char *mode)
{
    return opened(REAL(setmntent)(shim_original(path), mode), path, mode);
}

FILE *__setmntent(const char *path, const char *mode)
{
    return opened(REAL(__setmntent)(shim_original(path), mode), path, mode);
}

/* They only name the file; the entries are written later, by calls without a path. */
int utmpname(const char *path)
{
    const int rc = REAL(utmpname)(shim_original(path));
    shim_changed(AT_FDCWD, path, 0, rc != 0);
    return rc;
}

int utmpxname(const char *path)
{
    const int rc = REAL(utmpxname)(shim_original(path));
    shim_changed(AT_FDCWD, path, 0, rc != 0);
    return rc;
}

void updwtmp(const char *path, const void *entry)
{
    REAL(updwtmp)(shim_original(path), entry);
    shim_changed(AT_FDCWD, path, 0, false);
}

void updwtmpx(const char *path, const void *entry)
{
    REAL(updwtmpx)(shim_original(path), entry);
    shim_changed(AT_FDCWD, path, 0, false);
}

/* The kernel writes, at the end of every process. */
int acct(const char *path)
{
    const int rc = REAL(acct)(shim_original(path));
    if (path)
        shim_changed(AT_FDCWD, path, 0, rc != 0);
    return rc;
}

/* The name of fopen in programs that were built with the C library's oldest headers. */
FILE *_IO_fopen(const char *path, const char *mode)
{
    return fopen(path, mode);
}
