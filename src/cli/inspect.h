/* `oriel inspect`: what a saved section says, as a table and as a picture of the window. */
#ifndef ORIEL_CLI_INSPECT_H
#define ORIEL_CLI_INSPECT_H

#include <stddef.h>
#include <stdio.h>

/* 0, or why the section cannot be read, as oriel_daxs_open(). */
int inspect_section(FILE *out, const void *blob, size_t size);

#endif
