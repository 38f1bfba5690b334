/* What a replay measured, for people and for programs. */
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "manifests/text.h"
#include "replayer/replay/replay.h"

static const double shares[] = {0.5, 0.9, 0.99};
static const char *const share_names[] = {"p50_ns", "p90_ns", "p99_ns"};
#define SHARES (sizeof shares / sizeof *shares)

/* "850 ns", "12.3 us", "1.25 s" */
static const char *span(double ns, char buf[16])
{
    static const char *const units[] = {"ns", "us", "ms", "s"};
    unsigned unit = 0;

    for (; ns >= 999.5 && unit < 3; unit++)
        ns /= 1000;
    snprintf(buf, 16, "%.*f %s", unit == 0 || ns >= 99.95 ? 0 : ns >= 9.995 ? 1 : 2, ns, units[unit]);
    return buf;
}

static uint64_t all_errors(const struct replayed *r)
{
    return r->errors[REPLAY_MISSING] + r->errors[REPLAY_APPEARED] + r->errors[REPLAY_FAILED];
}

static double seconds(const struct replayed *r)
{
    return r->ended - r->began;
}

static double rate(const struct replayed *r)
{
    return seconds(r) > 0 ? (double)r->all.count / seconds(r) : 0;
}

static const char *host(char name[256])
{
    if (gethostname(name, 256) != 0)
        name[0] = '\0';
    name[255] = '\0';
    return name;
}

static void put_row(FILE *f, const char *name, const struct histogram *h)
{
    char buf[16];

    fprintf(f, "  %-8s %12" PRIu64, name, h->count);
    for (size_t i = 0; i < SHARES; i++)
        fprintf(f, " %10s", span((double)histogram_percentile(h, shares[i]), buf));
    fprintf(f, " %10s", span((double)h->most, buf));
    fprintf(f, " %10s\n", span(h->count ? (double)h->sum / (double)h->count : 0, buf));
}

/* One of many: they print at once. */
static void tell_rank(const struct replayed *r, FILE *f)
{
    char name[256], time[16], p50[16], p99[16], most[16];

    fprintf(f,
            "rank %ld on %s: %" PRIu64 " operations in %s, %.0f a second; p50 %s, p99 %s, max %s; %" PRIu64 " errors\n",
            r->rank, host(name), r->all.count, span(seconds(r) * 1e9, time), rate(r),
            span((double)histogram_percentile(&r->all, 0.5), p50),
            span((double)histogram_percentile(&r->all, 0.99), p99), span((double)r->all.most, most), all_errors(r));
}

void replay_tell(const struct replayed *r, FILE *f)
{
    char buf[16];

    if (r->rank >= 0) {
        tell_rank(r, f);
        return;
    }
    fprintf(f, "%u process%s, %u round%s%s%s: %" PRIu64 " operations in %s, %.0f a second\n\n", r->processes,
            r->processes == 1 ? "" : "es", r->rounds, r->rounds == 1 ? "" : "s", r->stage ? ", attached to " : "",
            r->stage ? r->stage : "", r->all.count, span(seconds(r) * 1e9, buf), rate(r));
    fprintf(f, "  %-8s %12s %10s %10s %10s %10s %10s\n", "", "operations", "p50", "p90", "p99", "max", "mean");
    for (unsigned k = 0; k < REPLAY_KINDS; k++)
        if (r->times[k].count)
            put_row(f, replay_kind_names[k], &r->times[k]);
    put_row(f, "all", &r->all);
    if (all_errors(r))
        fprintf(f, "\nnot as the manifest says: %" PRIu64 " missing, %" PRIu64 " there that were not, %" PRIu64
                   " failed\n  the first: %s\n",
                r->errors[REPLAY_MISSING], r->errors[REPLAY_APPEARED], r->errors[REPLAY_FAILED], r->first);
}

/* [least time of a bucket, operations in it]: what sums of several need. */
static json_t *buckets(const struct histogram *h)
{
    json_t *list = json_array();

    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
        if (h->buckets[i])
            json_array_append_new(list, json_pack("[I, I]", (json_int_t)histogram_least(i), (json_int_t)h->buckets[i]));
    return list;
}

static json_t *times(const struct histogram *h)
{
    json_t *o = json_pack("{s:I}", "operations", (json_int_t)h->count);

    for (size_t i = 0; i < SHARES; i++)
        json_object_set_new(o, share_names[i], json_integer((json_int_t)histogram_percentile(h, shares[i])));
    json_object_set_new(o, "max_ns", json_integer((json_int_t)h->most));
    json_object_set_new(o, "sum_ns", json_integer((json_int_t)h->sum));
    json_object_set_new(o, "buckets", buckets(h));
    return o;
}

json_t *replay_json(const struct replayed *r)
{
    json_t *root = json_object(), *kinds = json_object();
    char name[256];

    if (r->rank >= 0)
        json_object_set_new(root, "rank", json_integer(r->rank));
    text_set(root, "host", host(name));
    if (r->stage)
        text_set(root, "stage", r->stage);
    json_object_set_new(root, "processes", json_integer(r->processes));
    json_object_set_new(root, "rounds", json_integer(r->rounds));
    json_object_set_new(root, "operations", json_integer((json_int_t)r->all.count));
    json_object_set_new(root, "began", json_real(r->began));
    json_object_set_new(root, "ended", json_real(r->ended));
    json_object_set_new(root, "seconds", json_real(seconds(r)));
    json_object_set_new(root, "per_second", json_real(rate(r)));
    json_object_set_new(root, "missing", json_integer((json_int_t)r->errors[REPLAY_MISSING]));
    json_object_set_new(root, "appeared", json_integer((json_int_t)r->errors[REPLAY_APPEARED]));
    json_object_set_new(root, "failed", json_integer((json_int_t)r->errors[REPLAY_FAILED]));
    if (r->first)
        json_object_set_new(root, "first_error", json_string(r->first));
    for (unsigned k = 0; k < REPLAY_KINDS; k++)
        if (r->times[k].count)
            json_object_set_new(kinds, replay_kind_names[k], times(&r->times[k]));
    json_object_set_new(root, "kinds", kinds);
    json_object_set_new(root, "all", times(&r->all));
    return root;
}
