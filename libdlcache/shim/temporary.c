/* The mkstemp family: the name that came to be is in the template. Rules: shim.h. */
#include "shim.h"

static int made(int fd, const char *template)
{
    shim_changed(AT_FDCWD, template, LOOKUP_NOFOLLOW | CHANGED_NAME, fd < 0);
    return fd;
}

int mkstemp(char *template)
{
    return made(REAL(mkstemp)(template), template);
}

int mkstemp64(char *template)
{
    return made(REAL(mkstemp64)(template), template);
}

int mkostemp(char *template, int flags)
{
    return made(REAL(mkostemp)(template, flags), template);
}

int mkostemp64(char *template, int flags)
{
    return made(REAL(mkostemp64)(template, flags), template);
}

int mkstemps(char *template, int suffix)
{
    return made(REAL(mkstemps)(template, suffix), template);
}

int mkstemps64(char *template, int suffix)
{
    return made(REAL(mkstemps64)(template, suffix), template);
}

int mkostemps(char *template, int suffix, int flags)
{
    return made(REAL(mkostemps)(template, suffix, flags), template);
}

int mkostemps64(char *template, int suffix, int flags)
{
    return made(REAL(mkostemps64)(template, suffix, flags), template);
}

char *mkdtemp(char *template)
{
    char *path = REAL(mkdtemp)(template);
    shim_changed(AT_FDCWD, template, LOOKUP_NOFOLLOW | CHANGED_NAME, !path);
    return path;
}
