/* Runs a fuzz target over a folder of kept inputs, one test point each: libFuzzer is not needed for that. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int is_input(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static int run_file(const char *folder, const char *name)
{
    char path[4096];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *f = fopen(path, "rb");
    if (f == NULL)
        return -1;
    fseek(f, 0, SEEK_END);
    long size = ftell(f);
    rewind(f);
    uint8_t *data = malloc(size > 0 ? (size_t)size : 1);
    int r = data != NULL && size >= 0 && fread(data, 1, (size_t)size, f) == (size_t)size ? 0 : -1;
    fclose(f);
    if (r == 0)
        LLVMFuzzerTestOneInput(data, (size_t)size);
    free(data);
    return r;
}

int main(int argc, char **argv)
{
    struct dirent **entries = NULL;
    int count = argc == 2 ? scandir(argv[1], &entries, is_input, alphasort) : -1, bad = 0;
    if (count <= 0) {
        printf("Bail out! no inputs\n");
        return 1;
    }
    printf("1..%d\n", count);
    for (int i = 0; i < count; i++) {
        int r = run_file(argv[1], entries[i]->d_name);
        printf("%s %d - %s\n", r == 0 ? "ok" : "not ok", i + 1, entries[i]->d_name);
        fflush(stdout);
        bad |= r;
        free(entries[i]);
    }
    free(entries);
    return bad != 0;
}
