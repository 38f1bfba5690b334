/* Logging inside the user's process. */
#include "log.h"

#include "sys.h"

void log_line(const char *const *texts)
{
    char line[1024];
    size_t n = 0;
    char digits[24];
    size_t d = sizeof digits;
    unsigned long pid = (unsigned long)sys_call(__NR_getpid, 0, 0, 0, 0);

    digits[--d] = '\0';
    do
        digits[--d] = (char)('0' + pid % 10);
    while (pid /= 10);
    const char *const head[] = {"dlcache: ", digits + d, ": ", NULL};
    for (int part = 0; part < 2; part++)
        for (const char *const *t = part ? texts : head; *t; t++)
            for (const char *p = *t; *p && n < 1000; p++)
                line[n++] = *p;
    line[n++] = '\n';
    sys_write(2, line, n);
}
