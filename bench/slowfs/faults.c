#include "faults.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "service.h"

#define MOST_RULES 32

struct rule {
    int error, kind; /* -1: all kinds */
    double probability;
    char path[1024]; /* or "" */
};

static struct {
    pthread_mutex_t lock;
    struct rule rules[MOST_RULES];
    size_t count;
    unsigned hanging; /* requests */
    bool down, paths;
    struct timespec hang_until;
    unsigned seed;
} faults = {.lock = PTHREAD_MUTEX_INITIALIZER, .seed = 1};

static const struct {
    const char *name;
    int error;
} errors[] = {
#define E(name) {#name, name}
    E(EIO),    E(ESTALE), E(ENOENT),    E(EACCES), E(EPERM),  E(ENOTCONN), E(ETIMEDOUT), E(ENOSPC), E(EDQUOT), E(EROFS),
    E(ENOMEM), E(EINTR),  E(EREMOTEIO), E(EAGAIN), E(EBUSY), E(ENODEV),   E(ESHUTDOWN), E(EMFILE), E(ENFILE), E(ELOOP),
#undef E
};
#define COUNT(a) (sizeof(a) / sizeof *(a))

const char *faults_error_name(int error)
{
    for (size_t i = 0; i < COUNT(errors); i++)
        if (errors[i].error == error)
            return errors[i].name;
    return NULL;
}

static int error_of(const char *name)
{
    for (size_t i = 0; i < COUNT(errors); i++)
        if (strcmp(errors[i].name, name) == 0)
            return errors[i].error;
    return 0;
}

static bool hangs(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    pthread_mutex_lock(&faults.lock);
    const struct timespec end = faults.hang_until;
    pthread_mutex_unlock(&faults.lock);
    return t.tv_sec < end.tv_sec || (t.tv_sec == end.tv_sec && t.tv_nsec < end.tv_nsec);
}

/* Whether the caller is still there at the end. */
static bool wait_while_it_hangs(fuse_req_t req)
{
    static const struct timespec slice = {0, 20 * 1000 * 1000};

    pthread_mutex_lock(&faults.lock);
    faults.hanging++;
    pthread_mutex_unlock(&faults.lock);
    while (hangs() && !fuse_req_interrupted(req))
        nanosleep(&slice, NULL);
    pthread_mutex_lock(&faults.lock);
    faults.hanging--;
    pthread_mutex_unlock(&faults.lock);
    return !fuse_req_interrupted(req);
}

static bool fits(const struct rule *rule, enum kind kind, const char *path)
{
    return (rule->kind < 0 || rule->kind == (int)kind) && (!rule->path[0] || strcmp(rule->path, path) == 0) &&
           (rule->probability >= 1 || rand_r(&faults.seed) < rule->probability * ((double)RAND_MAX + 1));
}

int faults_decide(fuse_req_t req, enum kind kind, const char *path)
{
    int error = 0;

    if (hangs() && !wait_while_it_hangs(req))
        return EINTR;
    pthread_mutex_lock(&faults.lock);
    if (faults.down)
        error = ENOTCONN;
    for (size_t i = 0; i < faults.count && !error; i++)
        if (fits(&faults.rules[i], kind, path))
            error = faults.rules[i].error;
    pthread_mutex_unlock(&faults.lock);
    return error;
}

bool faults_need_paths(void)
{
    pthread_mutex_lock(&faults.lock);
    const bool paths = faults.paths;
    pthread_mutex_unlock(&faults.lock);
    return paths;
}

static int add_rule(char *line)
{
    struct rule rule = {.kind = -1, .probability = 1};
    char *rest = NULL, *word = strtok_r(line, " ", &rest), *end;

    rule.error = error_of(word);
    if (!rule.error || faults.count == MOST_RULES)
        return -EINVAL;
    while ((word = strtok_r(NULL, " ", &rest))) {
        if (word[0] == '/') {
            if (snprintf(rule.path, sizeof rule.path, "%s", word) >= (int)sizeof rule.path)
                return -EINVAL;
        } else if ((rule.kind = service_kind(word)) < 0) {
            rule.probability = strtod(word, &end);
            if (end == word || *end || !(rule.probability >= 0 && rule.probability <= 1))
                return -EINVAL;
        }
    }
    faults.rules[faults.count++] = rule;
    faults.paths |= rule.path[0] != '\0';
    return 0;
}

static int hang(const char *seconds)
{
    char *end;
    const double s = strtod(seconds, &end);

    if (end == seconds || *end || !(s >= 0 && s < 1e6))
        return -EINVAL;
    clock_gettime(CLOCK_MONOTONIC, &faults.hang_until);
    const long ns = faults.hang_until.tv_nsec + (long)((s - (double)(time_t)s) * 1e9);
    faults.hang_until.tv_sec += (time_t)s + ns / 1000000000;
    faults.hang_until.tv_nsec = ns % 1000000000;
    return 0;
}

static int set_one(char *line)
{
    if (strncmp(line, "hang ", 5) == 0)
        return hang(line + 5);
    if (strcmp(line, "down") == 0) {
        faults.down = true;
    } else if (strcmp(line, "up") == 0 || strcmp(line, "clear") == 0) {
        faults.down = false;
        faults.hang_until = (struct timespec){0, 0};
        if (line[0] == 'c') {
            faults.count = 0;
            faults.paths = false;
        }
    } else {
        return add_rule(line);
    }
    return 0;
}

int faults_set(const char *text)
{
    char copy[4096], *rest = NULL;
    int error = 0;

    if (strlen(text) >= sizeof copy)
        return -EINVAL;
    strcpy(copy, text);
    pthread_mutex_lock(&faults.lock);
    for (char *line = strtok_r(copy, "\n", &rest); line && !error; line = strtok_r(NULL, "\n", &rest))
        error = strspn(line, " ") == strlen(line) ? 0 : set_one(line);
    pthread_mutex_unlock(&faults.lock);
    return error;
}

void faults_seed(unsigned seed)
{
    faults.seed = seed;
}

void faults_print(FILE *out)
{
    const bool hanging = hangs();

    pthread_mutex_lock(&faults.lock);
    if (hanging)
        fprintf(out, "hanging, and %u requests with it\n", faults.hanging);
    fputs(faults.down ? "down\n" : "", out);
    for (size_t i = 0; i < faults.count; i++) {
        const struct rule *const rule = &faults.rules[i];
        fprintf(out, "%s %g%s%s%s%s\n", faults_error_name(rule->error), rule->probability, rule->kind < 0 ? "" : " ",
                rule->kind < 0 ? "" : service_kind_name(rule->kind), rule->path[0] ? " " : "", rule->path);
    }
    pthread_mutex_unlock(&faults.lock);
}
