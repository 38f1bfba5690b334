/* The options of a verb, from a table. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/options.h"
#include "facts/memory.h"

#define MOST 16

/* A letter of getopt's own for each row: those without one get what no letter is. */
static int code(const struct cli_option *o, size_t i)
{
    return o->letter ? o->letter : (int)(256 + i);
}

static const struct cli_option *row(const struct cli_option *options, int c)
{
    for (size_t i = 0; options[i].name; i++)
        if (code(&options[i], i) == c)
            return &options[i];
    return NULL;
}

static bool number(const char *text, unsigned *out)
{
    char *end;

    errno = 0;
    const unsigned long n = strtoul(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end || errno || n > INT32_MAX)
        return false;
    *out = (unsigned)n;
    return true;
}

static bool when(const char *text, bool *out)
{
    if (strcmp(text, "auto") == 0)
        *out = cli_colours();
    else if (strcmp(text, "always") == 0 || strcmp(text, "never") == 0)
        *out = text[0] == 'a';
    else
        return false;
    return true;
}

static bool set(const struct cli_option *o, const char *text)
{
    switch (o->takes) {
    case CLI_NOTHING: *(bool *)o->value = true; return true;
    case CLI_TEXT: *(const char **)o->value = text; return true;
    case CLI_NUMBER: return number(text, o->value);
    case CLI_WHEN: return when(text, o->value);
    }
    return false;
}

int cli_options(int argc, char **argv, const struct cli_option *options, const char *usage, int *status)
{
    struct option longs[MOST + 2] = {{"help", no_argument, NULL, 'h'}};
    char letters[3 * MOST + 3] = ":h";
    int c;

    for (size_t i = 0; options[i].name && i < MOST; i++) {
        const bool takes = options[i].takes != CLI_NOTHING;
        longs[i + 1] = (struct option){options[i].name, takes, NULL, code(&options[i], i)};
        if (options[i].letter)
            snprintf(letters + strlen(letters), 3, "%c%s", options[i].letter, takes ? ":" : "");
    }
    optind = 1;
    opterr = 0;
    while ((c = getopt_long(argc, argv, letters, longs, NULL)) != -1) {
        const struct cli_option *o = row(options, c);
        if (c == 'h') {
            fputs(usage, stdout);
            *status = 0;
            return -1;
        }
        if (!o || !set(o, optarg)) {
            *status = o          ? cli_wrong(argv[0], "'%s' is no value of --%s", optarg, o->name)
                      : c == ':' ? cli_wrong(argv[0], "'%s' lacks its value", argv[optind - 1])
                                 : cli_wrong(argv[0], "'%s' is no option", argv[optind - 1]);
            return -1;
        }
    }
    return optind;
}

struct manifest *cli_manifest(const char *file)
{
    char *error = NULL;
    struct manifest *m = manifest_load(file, &error);

    if (!m)
        cli_error("%s", error);
    free(error);
    return m;
}

void cli_json(json_t *root)
{
    json_dumpf(root, stdout, JSON_INDENT(1) | JSON_PRESERVE_ORDER);
    putchar('\n');
    json_decref(root);
}

void cli_json_line(json_t *root)
{
    char *text = memory_check(json_dumps(root, JSON_COMPACT | JSON_PRESERVE_ORDER));
    const size_t len = strlen(text);

    text[len] = '\n'; /* and no NUL: it is written by its length */
    fflush(stdout);
    setvbuf(stdout, NULL, _IONBF, 0);
    fwrite(text, 1, len + 1, stdout);
    free(text);
    json_decref(root);
}
