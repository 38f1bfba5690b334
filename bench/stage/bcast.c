/* MPI alone. bcast BYTES: MPI_Bcast of so many, in chunks as large as the stager's, from and into one buffer.
 * bcast FILE TO: python-mpi-bcast's way: rank 0 reads an archive, every rank writes it to its node's memory as TO.tar,
 * and tar unpacks it to TO. One rank a node. */
#include <mpi.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHUNK ((size_t)4 << 20)

static void die(const char *what)
{
    perror(what);
    MPI_Abort(MPI_COMM_WORLD, 1);
}

static void unpack(const char *archive, const char *to)
{
    int status;
    const pid_t pid = fork();

    if (pid == 0) {
        execlp("tar", "tar", "-C", to, "-xf", archive, (char *)NULL);
        _exit(127);
    }
    if (waitpid(pid, &status, 0) != pid || status != 0)
        die("tar");
}

int main(int argc, char **argv)
{
    char *buffer = malloc(CHUNK), archive[4096];
    const int with_file = argc == 3;
    int rank, in = -1, out = -1;
    unsigned long long bytes = 0;
    struct stat st;

    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    if (!buffer || argc < 2)
        die("bcast");
    memset(buffer, 1, CHUNK);
    if (!with_file) {
        bytes = strtoull(argv[1], NULL, 10);
    } else if (rank == 0) {
        in = open(argv[1], O_RDONLY | O_CLOEXEC);
        if (in < 0 || fstat(in, &st) != 0)
            die(argv[1]);
        bytes = (unsigned long long)st.st_size;
    }
    if (with_file) {
        MPI_Bcast(&bytes, 1, MPI_UNSIGNED_LONG_LONG, 0, MPI_COMM_WORLD);
        snprintf(archive, sizeof archive, "%s.tar", argv[2]);
        out = open(archive, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (out < 0 || mkdir(argv[2], 0700) != 0)
            die(archive);
    }
    for (unsigned long long at = 0; at < bytes; at += CHUNK) {
        const size_t n = bytes - at < CHUNK ? (size_t)(bytes - at) : CHUNK;
        if (in >= 0 && read(in, buffer, n) != (ssize_t)n)
            die(argv[1]);
        MPI_Bcast(buffer, (int)n, MPI_BYTE, 0, MPI_COMM_WORLD);
        if (out >= 0 && write(out, buffer, n) != (ssize_t)n)
            die(archive);
    }
    if (with_file) {
        close(out);
        unpack(archive, argv[2]);
        unlink(archive);
    }
    MPI_Barrier(MPI_COMM_WORLD);
    MPI_Finalize();
    return 0;
}
