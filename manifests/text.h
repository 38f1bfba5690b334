/* Byte strings in JSON, which has only Unicode: what is not valid UTF-8 is written escaped, under another key, so
 * that nothing is lost and nothing is mistaken. And byte strings on a terminal.
 *
 *   a member   "path": "…"             or   "path_escaped": "/a/\\xff\\\\b"
 *   an element "…"                     or   {"escaped": "…"}
 *
 * In an escaped text \xHH is that byte, and \\ a backslash; every other character stands for its UTF-8 bytes. */
#ifndef DLCACHE_TEXT_H
#define DLCACHE_TEXT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* Puts the member `key` or `key_escaped` into the object. */
void text_set(json_t *object, const char *key, const char *bytes);
/* A string, or an object with "escaped"; a new reference. */
json_t *text_element(const char *bytes);

/* The bytes: heap; NULL with *why (static) where the member is there and wrong, or holds a NUL; NULL and *why NULL
 * where there is none. */
char *text_get(const json_t *object, const char *key, const char **why);
char *text_of_element(const json_t *element, const char **why);

/* Whether it stands in JSON as it is: UTF-8, with nothing to be escaped. */
bool text_is_plain(const char *bytes);

/* The value of a hexadecimal digit, or -1. */
int text_digit(char c);

/* As it can be shown: what is not valid UTF-8, and control characters (they would do things to the terminal), as
 * \xHH. Heap. */
char *text_plain(const char *bytes);

enum text_cut { TEXT_CUT_BEGIN, TEXT_CUT_END };
/* Puts text_plain(bytes) in at most `width` columns, cut with an ellipsis where it is longer. The columns used. */
size_t text_put(FILE *f, const char *bytes, size_t width, enum text_cut cut);

/* A word of a shell, to be copied from a terminal: quoted where it must be. What cannot be shown stands as $'\xHH'. */
void text_put_word(FILE *f, const char *bytes);

#endif
