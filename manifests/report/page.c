/* The page: page.html with the style, the scripts, the data and the nonce filled in. Nothing of the manifest is HTML in
 * it: it is JSON in which no '<' is left, so that no "</script>" and no "<!--" can end it, and the script makes text of
 * it. The page's own policy lets only what carries the nonce run, and nothing be fetched. The nonce is a hash of the
 * data: nobody can write it into a path beforehand. */
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "facts/memory.h"
#include "facts/output.h"
#include "manifests/report/report.h"

/* The bytes of a file of the source. */
#define EMBED(name, file)                                                                                             \
    __asm__(".pushsection .rodata\n" #name ":\n.incbin \"" file "\"\n" #name "_end:\n.byte 0\n.popsection");         \
    extern const char name[], name##_end[]

EMBED(page_html, "manifests/report/page.html");
EMBED(page_css, "manifests/report/page.css");
EMBED(common_js, "manifests/report/common.js");
EMBED(treemap_js, "manifests/report/treemap.js");
EMBED(timeline_js, "manifests/report/timeline.js");
EMBED(page_js, "manifests/report/page.js");

/* What stands for the place in page.html. */
struct filling {
    const char *mark;
    const char *text;
    size_t len;
};

/* As JSON that means the same, and nothing to HTML. */
static char *harmless(const json_t *figures)
{
    char *text = memory_check(json_dumps(figures, JSON_COMPACT | JSON_ENSURE_ASCII | JSON_PRESERVE_ORDER));
    size_t n = 1;

    for (const char *p = text; *p; p++)
        n += strchr("<>&", *p) ? 6 : 1;
    char *result = memory_new(n, 1), *out = result;
    for (const char *p = text; *p; p++) {
        if (strchr("<>&", *p))
            out += sprintf(out, "\\u%04x", (unsigned)*p);
        else
            *out++ = *p;
    }
    free(text);
    return result;
}

static void put_page(FILE *f, const struct filling *fillings, size_t count)
{
    for (const char *p = page_html; p < page_html_end;) {
        size_t i = 0;
        while (i < count && strncmp(p, fillings[i].mark, strlen(fillings[i].mark)) != 0)
            i++;
        if (i < count) {
            fwrite(fillings[i].text, 1, fillings[i].len, f);
            p += strlen(fillings[i].mark);
        } else {
            putc(*p++, f);
        }
    }
}

static int put_report(const void *what, FILE *f)
{
    json_t *figures = report_figures(what);
    char *data = harmless(figures), nonce[33];

    json_decref(figures);
    const XXH128_hash_t hash = XXH3_128bits(data, strlen(data));
    snprintf(nonce, sizeof nonce, "%016llx%016llx", (unsigned long long)hash.high64, (unsigned long long)hash.low64);
    const struct filling fillings[] = {
        {"@style@", page_css, (size_t)(page_css_end - page_css)},
        {"@common@", common_js, (size_t)(common_js_end - common_js)},
        {"@treemap@", treemap_js, (size_t)(treemap_js_end - treemap_js)},
        {"@timeline@", timeline_js, (size_t)(timeline_js_end - timeline_js)},
        {"@page@", page_js, (size_t)(page_js_end - page_js)},
        {"@data@", data, strlen(data)},
        {"@nonce@", nonce, strlen(nonce)},
    };
    put_page(f, fillings, sizeof fillings / sizeof *fillings);
    free(data);
    return fflush(f) == 0 && !ferror(f) ? 0 : -1;
}

int report_write(const struct manifest *m, const char *file, char **error)
{
    return output_write(file, put_report, m, error);
}
