/* Prints what a program can see of how it was executed. */
#include <elf.h>
#include <link.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <unistd.h>

extern char **environ;

int main(int argc, char **argv)
{
    char buf[4096], comm[17] = "";

    for (int i = 0; i < argc; i++)
        printf("argv[%d] %s\n", i, argv[i]);
    ssize_t n = readlink("/proc/self/exe", buf, sizeof buf);
    printf("exe %.*s\n", (int)(n < 0 ? 0 : n), buf);
    prctl(PR_GET_NAME, comm, 0, 0, 0);
    printf("comm %s\n", comm);
    printf("execfn %s\n", (char *)getauxval(AT_EXECFN));
    for (char **var = environ; *var; var++)
        if (strncmp(*var, "LD_", 3) != 0 && strncmp(*var, "DLCACHE_STAGE", 13) != 0 && strncmp(*var, "GLIBC_", 6) != 0)
            puts(*var);
    return 0;
}
