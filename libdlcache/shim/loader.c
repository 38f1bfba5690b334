/* What the dynamic loader says of an object that it has from the mirror. Its name in the link map the audit library
 * put right; its $ORIGIN and the directories made with it are the loader's own, and put right here. Rules: shim.h. */
#include <dlfcn.h>

#include "shim.h"

/* Less the mirror's prefix, of a path that may be written to. */
static void strip(char *path)
{
    const size_t len = strlen(path);
    const size_t below = lookup_prefix(&shim.stage.view, path, len);

    if (below == len && len)
        __builtin_memcpy(path, "/", 2);
    else if (below)
        __builtin_memmove(path, path + below, len - below + 1);
}

int dlinfo(void *handle, int request, void *arg)
{
    const int rc = REAL(dlinfo)(handle, request, arg);

    if (rc != 0 || !shim.serving)
        return rc;
    if (request == RTLD_DI_ORIGIN) {
        strip(arg);
    } else if (request == RTLD_DI_SERINFO) {
        Dl_serinfo *info = arg;
        for (unsigned i = 0; i < info->dls_cnt; i++)
            strip(info->dls_serpath[i].dls_name);
    }
    return rc;
}
