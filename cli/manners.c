#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cli/cli.h"

void cli_error(const char *format, ...)
{
    va_list ap;

    fputs("dlcache: ", stderr);
    va_start(ap, format);
    vfprintf(stderr, format, ap);
    va_end(ap);
    fputc('\n', stderr);
}

int cli_wrong(const char *verb, const char *format, ...)
{
    va_list ap;

    fprintf(stderr, "dlcache: %s: ", verb);
    va_start(ap, format);
    vfprintf(stderr, format, ap);
    va_end(ap);
    fprintf(stderr, " (see dlcache %s --help)\n", verb);
    return 2;
}

bool cli_colours(void)
{
    const char *no = getenv("NO_COLOR");

    return !(no && *no) && isatty(STDOUT_FILENO);
}

const char *cli_size(uint64_t bytes, char buf[16])
{
    static const char units[] = "kMGTPE";
    double n = (double)bytes;
    int unit = -1;

    for (; n >= 999.5 && unit < 5; unit++)
        n /= 1000;
    if (unit < 0)
        snprintf(buf, 16, "%" PRIu64 " B", bytes);
    else
        snprintf(buf, 16, "%.*f %cB", n < 99.95 ? 1 : 0, n, units[unit]);
    return buf;
}
