/* Reading a manifest: its head. */
#include <inttypes.h>
#include <string.h>

#include "facts/memory.h"
#include "manifests/loader.h"

static bool load_format(struct loader *l, const json_t *root)
{
    const char *format = json_string_value(json_object_get(root, "format"));
    int64_t version = 0;

    loader_enter(l, "format", 0);
    if (!format || strcmp(format, MANIFEST_FORMAT) != 0)
        return loader_wrong(l, "this is not a manifest: \"format\" is not \"" MANIFEST_FORMAT "\"");
    loader_leave(l);
    if (!loader_integer(l, root, "version", LOADER_REQUIRED, 1, INT64_MAX, &version))
        return false;
    loader_enter(l, "version", 0);
    if (version > MANIFEST_VERSION)
        return loader_wrong(l, "the manifest has version %" PRId64 "; this dlcache reads up to version %d", version,
                     MANIFEST_VERSION);
    loader_leave(l);
    return true;
}

/* The next element of the array `key`, of objects. */
static bool enter_object(struct loader *l, const char *key, size_t i, const json_t *value)
{
    loader_enter(l, key, 0);
    loader_enter(l, NULL, i);
    return json_is_object(value) || loader_wrong(l, "element %zu of \"%s\" is not an object", i + 1, key);
}

static bool load_search(struct loader *l, const json_t *root)
{
    const json_t *array = json_object_get(root, "search"), *value;
    size_t i;

    if (!array)
        return true;
    if (!json_is_array(array))
        return loader_wrong_member(l, "search", "is not an array");
    l->m->search = memory_new(json_array_size(array), sizeof *l->m->search);
    json_array_foreach(array, i, value) {
        struct manifest_variable *v = &l->m->search[l->m->search_count++];
        if (!enter_object(l, "search", i, value) || !loader_text(l, value, "name", LOADER_REQUIRED, &v->name) ||
            !loader_text(l, value, "value", LOADER_REQUIRED, &v->value))
            return false;
        l->depth -= 2;
    }
    return true;
}

static bool load_mounts(struct loader *l, const json_t *root)
{
    const json_t *array = json_object_get(root, "mounts"), *value;
    size_t i;

    if (!array)
        return true;
    if (!json_is_array(array))
        return loader_wrong_member(l, "mounts", "is not an array");
    l->m->mounts = memory_new(json_array_size(array), sizeof *l->m->mounts);
    json_array_foreach(array, i, value) {
        struct manifest_mount *mount = &l->m->mounts[l->m->mount_count++];
        if (!enter_object(l, "mounts", i, value) || !loader_text(l, value, "point", LOADER_REQUIRED, &mount->point) ||
            !loader_text(l, value, "type", LOADER_REQUIRED, &mount->type) ||
            !loader_text(l, value, "source", LOADER_REQUIRED, &mount->source) ||
            !loader_text(l, value, "root", LOADER_REQUIRED, &mount->root))
            return false;
        l->depth -= 2;
    }
    return true;
}

static bool is_digest(const char *text)
{
    return strlen(text) == 32 && strspn(text, "0123456789abcdef") == 32;
}

static bool load_pilots(struct loader *l, const json_t *root)
{
    const json_t *array = json_object_get(root, "pilots"), *value;
    size_t i;

    if (!array)
        return true;
    if (!json_is_array(array))
        return loader_wrong_member(l, "pilots", "is not an array");
    l->m->pilots = memory_new(json_array_size(array), sizeof *l->m->pilots);
    json_array_foreach(array, i, value) {
        struct manifest_pilot *p = &l->m->pilots[l->m->pilot_count++];
        int64_t processes = 0, ranks = 0, status = 0;
        if (!enter_object(l, "pilots", i, value) || !loader_text(l, value, "id", LOADER_REQUIRED, &p->id) ||
            !loader_list(l, value, "command", LOADER_OPTIONAL, &p->command, &p->command_count) ||
            !loader_text(l, value, "host", LOADER_OPTIONAL, &p->host) ||
            !loader_text(l, value, "recorded", LOADER_OPTIONAL, &p->recorded) ||
            !loader_integer(l, value, "processes", LOADER_OPTIONAL, 0, UINT32_MAX, &processes) ||
            !loader_integer(l, value, "ranks", LOADER_OPTIONAL, 0, UINT32_MAX, &ranks) ||
            !loader_integer(l, value, "exit_status", LOADER_OPTIONAL, 0, 255, &status))
            return false;
        if (!is_digest(p->id))
            return loader_wrong_member(l, "id", "is not 32 lower-case hexadecimal digits");
        p->processes = (uint32_t)processes;
        p->ranks = (uint32_t)ranks;
        p->exit_status = (int)status;
        l->depth -= 2;
    }
    return true;
}

static bool load_policy(struct loader *l, const json_t *root)
{
    const json_t *policy = json_object_get(root, "policy");
    struct manifest *m = l->m;

    if (!policy)
        return loader_wrong_member(l, "policy", "is missing");
    if (!json_is_object(policy))
        return loader_wrong_member(l, "policy", "is not an object");
    loader_enter(l, "policy", 0);
    if (!loader_bool(l, policy, "all", &m->policy.all) ||
        !loader_list(l, policy, "include", LOADER_OPTIONAL, &m->policy.include, &m->policy.include_count) ||
        !loader_list(l, policy, "exclude", LOADER_OPTIONAL, &m->policy.exclude, &m->policy.exclude_count) ||
        !loader_list(l, policy, "prefixes", LOADER_REQUIRED, &m->policy.prefixes, &m->policy.prefix_count))
        return false;
    loader_enter(l, "prefixes", 0);
    for (size_t i = 0; i < m->policy.prefix_count; i++) {
        loader_enter(l, NULL, i);
        if (m->policy.prefixes[i][0] != '/')
            return loader_wrong(l, "the prefix \"%.200s\" is not absolute", m->policy.prefixes[i]);
        loader_leave(l);
    }
    l->depth = 0;
    return true;
}

bool loader_head(struct loader *l, const json_t *root)
{
    struct manifest *m = l->m;
    int64_t processes = 0, ranks = 0, status = 0;

    if (!json_is_object(root))
        return loader_wrong(l, "this is not a manifest: not an object");
    if (!load_format(l, root) || !loader_list(l, root, "command", LOADER_REQUIRED, &m->command, &m->command_count) ||
        !loader_text(l, root, "cwd", LOADER_OPTIONAL, &m->cwd) ||
        !loader_text(l, root, "host", LOADER_OPTIONAL, &m->host) ||
        !loader_text(l, root, "recorded", LOADER_OPTIONAL, &m->recorded) ||
        !loader_text(l, root, "interpreter", LOADER_OPTIONAL, &m->interpreter) ||
        !loader_integer(l, root, "processes", LOADER_OPTIONAL, 0, UINT32_MAX, &processes) ||
        !loader_integer(l, root, "ranks", LOADER_OPTIONAL, 0, UINT32_MAX, &ranks) ||
        !loader_list(l, root, "hosts", LOADER_OPTIONAL, &m->hosts, &m->host_count) ||
        !loader_integer(l, root, "exit_status", LOADER_OPTIONAL, 0, 255, &status) || !load_search(l, root) ||
        !load_mounts(l, root) || !load_policy(l, root) || !load_pilots(l, root))
        return false;
    m->processes = (uint32_t)processes;
    m->ranks = (uint32_t)ranks;
    m->exit_status = (int)status;
    return true;
}
