/* Byte strings in JSON, which has only Unicode: what is not valid UTF-8 (or holds control characters that a line-based
 * tool would trip over) is written escaped, under another key, so that nothing is lost and nothing is mistaken.
 *
 *   a member   "path": "…"             or   "path_escaped": "/a/\\xff\\\\b"
 *   an element "…"                     or   {"escaped": "…"}
 *
 * In an escaped text \xHH is that byte, and \\ a backslash; every other character stands for its UTF-8 bytes. */
#ifndef DLCACHE_TEXT_H
#define DLCACHE_TEXT_H

#include <jansson.h>

/* Puts the member `key` or `key_escaped` into the object. */
void text_set(json_t *object, const char *key, const char *bytes);
/* A string, or an object with "escaped"; a new reference. */
json_t *text_element(const char *bytes);

/* The bytes: heap; NULL with *why (static) where the member is there and wrong, or holds a NUL; NULL and *why NULL where
 * there is none. */
char *text_get(const json_t *object, const char *key, const char **why);
char *text_of_element(const json_t *element, const char **why);

#endif
