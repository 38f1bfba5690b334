#include "facts/error.h"

#include <stdarg.h>
#include <stdio.h>

#include "facts/memory.h"

int error_put(char **error, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    if (!*error && vasprintf(error, format, args) < 0)
        memory_check(NULL);
    va_end(args);
    return -1;
}
