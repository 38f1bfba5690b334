#include "replayer/stage/reading.h"

#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "facts/memory.h"
#include "manifests/manifest.h"
#include "replayer/image/bundle.h"
#include "replayer/image/drift.h"
#include "replayer/image/file.h"

static void say_drifted(const char *path, const char *what)
{
    fprintf(stderr, "dlcache: warning: %s %s; it is left to the file system\n", path, what);
}

/* A packed image, less what is not as it was. 0 or -1. */
static int open_packed(const struct options *o, struct reading *r)
{
    const long drifted = image_file_open(&r->built, o->source, &r->error) != 0 ? -1
                         : o->check ? image_drop_drifted(r->built.index, say_drifted)
                                       : 0;

    if (drifted < 0) {
        if (!r->error)
            r->error = memory_text("its index cannot be opened");
        return -1;
    }
    r->built.report.drifted = (uint64_t)drifted;
    return 0;
}

bool reading_is_own(const char *path)
{
    struct stat st;

    return lstat(path, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid();
}

/* 2 is the exit status for what cannot be read. */
void reading_do(const struct options *o, struct reading *r)
{
    const struct bundle_place bundle = {o->source, o->at, o->strip, o->strict};
    struct manifest *m = NULL;

    r->packed = !o->at && image_file_is(o->source);
    if (o->copy && !reading_is_own(o->source)) {
        if (asprintf(&r->error, "%s: it is not your own file", o->source) < 0)
            memory_check(NULL);
        r->status = 1;
    } else if (o->at) {
        r->status = bundle_build(&bundle, &r->built, &r->error) ? 2 : 0;
    } else if (r->packed) {
        r->status = open_packed(o, r) ? 2 : 0;
    } else if (!(m = manifest_load(o->source, &r->error))) {
        r->status = 2;
    } else if (build_image(m, o->strict, &r->built, &r->error) != 0) {
        r->status = 1;
    }
    manifest_free(m);
}

/* A thread that does it meanwhile. */
struct ahead {
    pthread_t thread;
    const struct options *o;
    struct reading reading;
};

static void *read_ahead(void *arg)
{
    struct ahead *a = arg;

    reading_do(a->o, &a->reading);
    return NULL;
}

struct ahead *reading_begin(const struct options *o)
{
    struct ahead *a = memory_new(1, sizeof *a);

    a->o = o;
    if (pthread_create(&a->thread, NULL, read_ahead, a) == 0)
        return a;
    free(a);
    return NULL;
}

void reading_end(struct ahead *a, struct reading *r)
{
    pthread_join(a->thread, NULL);
    *r = a->reading;
    free(a);
}
