/* Threads and processes of differ.c that write and read at once. Included there, and nowhere else.
 *
 * Each round the writers of process 0 leave something; behind a barrier that all processes share, every thread of
 * every process must find exactly that. Between the barriers, while it is being written, what exists all the time is
 * never reported absent, and what is replaced by renaming is always one version or the other, never older than one
 * seen. */
#define PROCESSES 4
#define THREADS 4

static pthread_barrier_t *gate;
static unsigned *wrong;
static unsigned rounds;
static unsigned process;

static void trouble(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void trouble(const char *format, ...)
{
    char line[300];
    va_list ap;
    va_start(ap, format);
    const int n = vsnprintf(line, sizeof line, format, ap);
    va_end(ap);
    if (__atomic_fetch_add(wrong, 1, __ATOMIC_RELAXED) < 20)
        (void)!write(1, line, n < (int)sizeof line ? (size_t)n : sizeof line - 1);
}

/* "N N\n": the same number twice, or it is torn. */
static long read_version(const char *path)
{
    char buf[64] = "";
    unsigned a, b;
    const int fd = open(path, O_RDONLY);

    if (fd < 0)
        return -errno;
    const ssize_t n = read(fd, buf, sizeof buf - 1);
    close(fd);
    if (n > 0 && sscanf(buf, "%u %u", &a, &b) == 2 && a == b)
        return a;
    trouble("%s is torn: \"%s\"\n", path + tree_len, buf);
    return 0;
}

static void write_version(const char *path, unsigned version)
{
    char buf[64];
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    const int n = snprintf(buf, sizeof buf, "%u %u\n", version, version);

    if (fd < 0 || write(fd, buf, (size_t)n) != n)
        trouble("cannot write %s: %s\n", path + tree_len, strerror(errno));
    if (fd >= 0)
        close(fd);
}

/* A writer's round. Thread 0 replaces, 1 makes and removes, 2 renames to and fro, 3 remakes a directory. */
static void leave(unsigned thread, unsigned round)
{
    char *steady = text("%s/race/steady", tree), *next = text("%s/race/steady.new", tree);
    char *odd = text("%s/race/odd", tree), *one = text("%s/race/one", tree), *two = text("%s/race/two", tree);
    char *dir = text("%s/race/dir", tree), *inner = text("%s/race/dir/x", tree);

    switch (thread) {
    case 0:
        write_version(next, round);
        if (rename(next, steady) != 0)
            trouble("rename: %s\n", strerror(errno));
        break;
    case 1:
        if (round & 1)
            write_version(odd, round);
        else if (unlink(odd) != 0 && round > 1)
            trouble("unlink %u: %s\n", round, strerror(errno));
        break;
    case 2:
        if (rename(round & 1 ? one : two, round & 1 ? two : one) != 0)
            trouble("rename %u: %s\n", round, strerror(errno));
        break;
    default:
        if (round & 1) {
            unlink(inner);
            if (rmdir(dir) != 0)
                trouble("rmdir: %s\n", strerror(errno));
        } else {
            if (mkdir(dir, 0755) != 0)
                trouble("mkdir: %s\n", strerror(errno));
            write_version(inner, round);
        }
    }
    free(steady), free(next), free(odd), free(one), free(two), free(dir), free(inner);
}

/* While the writers work. */
static void watch(unsigned round)
{
    char *steady = text("%s/race/steady", tree), *still = text("%s/race/still", tree);
    char *one = text("%s/race/one", tree), *two = text("%s/race/two", tree);
    struct stat st;
    long last = 0;

    for (unsigned i = 0; i < 40; i++) {
        const long now = read_version(steady);
        if (now < last || now < (long)round - 1 || now > (long)round)
            trouble("round %u: steady is %ld after %ld\n", round, now, last);
        last = now > last ? now : last;
        if (stat(still, &st) != 0 || access(still, R_OK) != 0)
            trouble("round %u: still: %s\n", round, strerror(errno));
        /* It moves once a round: where it is not in its old place, it is in its new one, and never in both. */
        const char *from = round & 1 ? one : two, *to = round & 1 ? two : one;
        if (stat(from, &st) != 0 && stat(to, &st) != 0)
            trouble("round %u: in neither place\n", round);
        if (stat(to, &st) == 0 && stat(from, &st) == 0)
            trouble("round %u: in both places\n", round);
    }
    free(steady), free(still), free(one), free(two);
}

static bool listed(const char *dir, const char *name)
{
    DIR *d = opendir(dir);
    struct dirent *e;
    bool yes = false;

    while (d && (e = readdir(d)) != NULL)
        yes |= strcmp(e->d_name, name) == 0;
    if (d)
        closedir(d);
    return yes;
}

static void expect(bool is, bool should, const char *what, unsigned round)
{
    if (is != should)
        trouble("process %u, round %u: %s is %d\n", process, round, what, is);
}

/* Behind the barrier. */
static void check_round(unsigned round)
{
    char *race = text("%s/race", tree), *steady = text("%s/steady", race), *odd = text("%s/odd", race);
    char *one = text("%s/one", race), *two = text("%s/two", race), *inner = text("%s/dir/x", race);
    const bool is_odd = round & 1;

    expect(read_version(steady) == (long)round, true, "steady's version", round);
    expect(access(odd, F_OK) == 0, is_odd, "odd", round);
    expect(listed(race, "odd"), is_odd, "odd in the list", round);
    if (is_odd)
        expect(read_version(odd) == (long)round, true, "odd's version", round);
    expect(access(two, F_OK) == 0, is_odd, "two", round);
    expect(access(one, F_OK) == 0, !is_odd, "one", round);
    expect(access(inner, F_OK) == 0, !is_odd, "dir/x", round);
    expect(listed(race, "dir"), !is_odd, "dir in the list", round);
    if (!is_odd)
        expect(read_version(inner) == (long)round, true, "dir/x's version", round);
    free(race), free(steady), free(odd), free(one), free(two), free(inner);
}

static void *work(void *arg)
{
    const unsigned thread = (unsigned)(uintptr_t)arg;

    for (unsigned round = 1; round <= rounds; round++) {
        pthread_barrier_wait(gate);
        if (process == 0)
            leave(thread, round);
        else
            watch(round);
        pthread_barrier_wait(gate);
        check_round(round);
    }
    return NULL;
}

static void work_process(unsigned number)
{
    pthread_t threads[THREADS];

    process = number;
    for (unsigned i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, work, (void *)(uintptr_t)i))
            _exit(9);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    _exit(0);
}

/* What there is before the first round; made with the tree, so that it is staged. */
static void make_race(void)
{
    static const char *const files[] = {"steady", "still", "one", "dir/x"};
    char *dir = text("%s/race/dir", tree), *race = text("%s/race", tree);

    wrong = &(unsigned){0};
    must(mkdir(race, 0755), race);
    must(mkdir(dir, 0755), dir);
    for (unsigned i = 0; i < COUNT(files); i++) {
        char *path = text("%s/%s", race, files[i]);
        write_version(path, 0);
        free(path);
    }
    free(dir);
    free(race);
}

static int race(unsigned count)
{
    pthread_barrierattr_t shared;
    int bad = 0;

    rounds = count;
    gate = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    must(gate == MAP_FAILED ? -1 : 0, "mmap");
    wrong = (unsigned *)((char *)gate + 2048);
    pthread_barrierattr_init(&shared);
    pthread_barrierattr_setpshared(&shared, PTHREAD_PROCESS_SHARED);
    pthread_barrier_init(gate, &shared, PROCESSES * THREADS);
    for (unsigned i = 0; i < PROCESSES; i++)
        if (fork() == 0)
            work_process(i);
    for (int status; wait(&status) > 0;)
        bad |= status;
    printf("%u rounds, %u wrong\n", rounds, *wrong);
    return bad || *wrong;
}
