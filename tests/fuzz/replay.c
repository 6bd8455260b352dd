/* tests/fuzz/replay.c - run a fuzz target over its corpus, without a fuzzing engine.
 *
 * usage: fuzz_NAME DIR. Every file is shown as it is, cut short at 32 places, and with one byte
 * changed at 64 places. A target that finds a fault ends the process.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { CUTS = 32, CHANGES = 64, LARGEST = 1 << 20 };

/* In a block of exactly its size, so that a sanitizer sees reads beyond it. */
static int show(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size ? size : 1);
    if (!copy)
        return 0;
    memcpy(copy, data, size);
    int rc = LLVMFuzzerTestOneInput(copy, size);
    free(copy);
    return rc == 0;
}

static int show_all(uint8_t *data, size_t size)
{
    static const uint8_t with[] = {0x00, 0xff, 0x80, '"', '(', '9', '{', '\n'};
    int ok = show(data, size);
    for (size_t i = 0; i < CUTS && i < size; i++)
        ok &= show(data, size * i / (size < CUTS ? size : CUTS));
    for (size_t i = 0; i < CHANGES && i < size; i++) {
        uint8_t *at = &data[size * i / (size < CHANGES ? size : CHANGES)], old = *at;
        *at = with[i % sizeof with];
        ok &= show(data, size);
        *at = old;
    }
    return ok;
}

/* 1: shown, 0: cannot be read or was rejected, -1: not a plain file. */
static int replay(const char *dir, const char *name, uint8_t *buffer)
{
    char path[4096];
    if (name[0] == '.' || snprintf(path, sizeof path, "%s/%s", dir, name) >= (int)sizeof path)
        return -1;
    FILE *f = fopen(path, "rb");
    if (!f)
        return 0;
    size_t size = fread(buffer, 1, LARGEST, f);
    int bad = ferror(f);
    fclose(f);
    return !bad && show_all(buffer, size);
}

int main(int argc, char **argv)
{
    const char *name = strrchr(argv[0], '/') ? strrchr(argv[0], '/') + 1 : argv[0];
    struct dirent **list = NULL;
    int count = argc == 2 ? scandir(argv[1], &list, NULL, alphasort) : -1;
    uint8_t *buffer = malloc(LARGEST);
    if (count < 0 || !buffer) {
        fprintf(stderr, "usage: %s CORPUS_DIRECTORY\n", name);
        return 2;
    }
    int passed = 0, failed = !show(buffer, 0);
    for (int i = 0; i < count; i++) {
        int rc = replay(argv[1], list[i]->d_name, buffer);
        passed += rc == 1;
        failed += rc == 0;
        free(list[i]);
    }
    free(list);
    free(buffer);
    failed += passed == 0; /* an empty corpus tests nothing */
    printf("%s: %d passed, %d failed\n", name, passed, failed);
    return failed ? 1 : 0;
}
