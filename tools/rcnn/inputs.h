/* From operands to the list of image files: files as they are, directories by their image names, patterns. */
#ifndef RCNN_TOOLS_INPUTS_H
#define RCNN_TOOLS_INPUTS_H

#include <stdbool.h>
#include <stddef.h>

typedef struct path_list {
    char **paths;
    size_t count, capacity;
} path_list;

/* Appends the images that the operands name, in order; each operand that names none is reported on standard error.
 * Returns the number of those. Files that are named directly are taken whatever their suffix, and need not exist:
 * the reader will say so. */
size_t inputs_collect(const char *const *operands, int count, bool recursive, path_list *out);

/* Whether the name ends as those of images do (.jpg, .png, ...). */
bool inputs_is_image_name(const char *name);

/* Picture names for the inputs: "<directory>/<stem>.png", with -2, -3, ... when taken by an earlier input of the list
 * or when the name is one of the inputs themselves (links included). False when out of memory. */
bool inputs_name_pictures(const path_list *inputs, const char *directory, path_list *out);

/* Whether two names lead to one existing file, links included. */
bool same_file(const char *a, const char *b);
/* Whether the path is one of the inputs, whatever its spelling. */
bool inputs_include(const path_list *inputs, const char *path);

/* Appends a copy. False when out of memory. */
bool path_list_add(path_list *list, const char *path);
void path_list_free(path_list *list);

#endif
