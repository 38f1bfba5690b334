/* Reads every file that a list names, and writes it into a directory: what staging does on a node, without a network,
 * an index or digests. The list: one path a line, the directories first, relative to FROM.
 * usage: copy FROM TO LIST */
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BUFFER ((size_t)4 << 20)

static void die(const char *what)
{
    perror(what);
    exit(1);
}

int main(int argc, char **argv)
{
    char line[PATH_MAX], from[2 * PATH_MAX], to[2 * PATH_MAX];
    char *buffer = malloc(BUFFER);
    FILE *list = argc == 4 ? fopen(argv[3], "re") : NULL;

    if (!list || !buffer || (mkdir(argv[2], 0700) != 0))
        die("copy");
    while (fgets(line, sizeof line, list)) {
        const size_t n = strcspn(line, "\n");
        const int directory = n && line[n - 1] == '/';
        ssize_t got;
        line[n - (size_t)directory] = '\0';
        snprintf(from, sizeof from, "%s/%s", argv[1], line);
        snprintf(to, sizeof to, "%s/%s", argv[2], line);
        if (directory) {
            if (mkdir(to, 0700) != 0)
                die(to);
            continue;
        }
        const int in = open(from, O_RDONLY | O_CLOEXEC), out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (in < 0 || out < 0)
            die(line);
        while ((got = read(in, buffer, BUFFER)) > 0)
            if (write(out, buffer, (size_t)got) != got)
                die(to);
        if (got < 0 || close(in) != 0 || close(out) != 0)
            die(from);
    }
    return 0;
}
