/* What goes into the guest's initial file system. Needs the host's static busybox. */
#include "unit/microvm/unit.h"

#include <archive.h>
#include <archive_entry.h>

#include "microvm/boot_config.h"
#include "microvm/guest_files.h"

#define BUSYBOX "/bin/busybox"

static char *no_words[] = {NULL};

/* The bytes of a member, or NULL; the caller frees them. */
static char *member(const struct initramfs *fs, const char *name, size_t *len)
{
    struct archive *archive = archive_read_new();
    struct archive_entry *entry;
    char *bytes = NULL;
    archive_read_support_format_cpio(archive);
    assert_int_equal(archive_read_open_memory(archive, fs->bytes, fs->len), ARCHIVE_OK);
    while (bytes == NULL && archive_read_next_header(archive, &entry) == ARCHIVE_OK) {
        if (strcmp(archive_entry_pathname(entry), name) != 0)
            continue;
        *len = (size_t)archive_entry_size(entry);
        bytes = calloc(1, *len + 1);
        if (archive_entry_filetype(entry) == AE_IFREG)
            assert_int_equal(archive_read_data(archive, bytes, *len), (la_ssize_t)*len);
    }
    archive_read_free(archive);
    return bytes;
}

static void build(const struct guest_plan *plan, struct initramfs *fs)
{
    struct vm_error error;
    if (access(BUSYBOX, X_OK) != 0) {
        printf("# there is no " BUSYBOX "\n");
        skip();
    }
    if (guest_files_build(plan, fs, &error) != 0)
        fail_msg("%s", error.text);
}

static void everything_the_guest_starts_with_is_there(void **state)
{
    (void)state;
    static const char *const names[] = {"init", "bin/busybox", "dev/console", "bin/sh",
                                        "sbin", "usr/bin",     "etc/passwd"};
    struct guest_plan plan = {.argv = no_words, .stdin_kind = BOOT_STDIN_NULL};
    struct initramfs fs;
    size_t len;
    build(&plan, &fs);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char *bytes = member(&fs, names[i], &len);
        if (bytes == NULL)
            fail_msg("%s is missing", names[i]);
        free(bytes);
    }
    char *init = member(&fs, "init", &len);
    assert_int_equal(len, guest_init_end - guest_init_start);
    assert_memory_equal(init, "\177ELF", 4);
    free(init);
    initramfs_destroy(&fs);
}

/* Moves *at behind a key and its value, which must be these. */
static void expect(const char **at, const char *key, const char *value)
{
    assert_string_equal(*at, key);
    *at += strlen(*at) + 1;
    if (value != NULL)
        assert_string_equal(*at, value);
    *at += strlen(*at) + 1;
}

static void the_plan_is_told_without_quoting(void **state)
{
    (void)state;
    static const struct guest_mount mounts[] = {{.tag = "a b", .path = "/mnt/a b", .dax = true},
                                                {.tag = "c=d", .path = "/mnt/c=d", .read_only = true}};
    char first[] = "printf", second[] = "$HOME\n\t'\"", third[] = "";
    char *argv[] = {first, second, third, NULL};
    struct guest_plan plan = {.mounts = mounts,
                              .mount_count = 2,
                              .directory = "/mnt/a b",
                              .argv = argv,
                              .stdin_kind = BOOT_STDIN_STREAM,
                              .term = "vt100",
                              .rows = 24,
                              .columns = 80};
    struct initramfs fs;
    size_t len;
    build(&plan, &fs);
    char *config = member(&fs, &BOOT_CONFIG_PATH[1], &len);
    assert_non_null(config);
    const char *at = config;
    expect(&at, BOOT_KEY_TAG, "a b");
    expect(&at, BOOT_KEY_OPTIONS, "dax");
    expect(&at, BOOT_KEY_MOUNT, "/mnt/a b");
    expect(&at, BOOT_KEY_TAG, "c=d");
    expect(&at, BOOT_KEY_READ_ONLY, "1");
    expect(&at, BOOT_KEY_MOUNT, "/mnt/c=d");
    expect(&at, BOOT_KEY_DIRECTORY, "/mnt/a b");
    while (strcmp(at, BOOT_KEY_ENV) == 0)
        expect(&at, BOOT_KEY_ENV, NULL);
    expect(&at, BOOT_KEY_STDIN, BOOT_STDIN_STREAM);
    expect(&at, BOOT_KEY_ROWS, "24");
    expect(&at, BOOT_KEY_COLUMNS, "80");
    expect(&at, BOOT_KEY_ARG, first);
    expect(&at, BOOT_KEY_ARG, second);
    expect(&at, BOOT_KEY_ARG, third);
    assert_ptr_equal(at, config + len);
    free(config);
    initramfs_destroy(&fs);
}

static void modules_that_are_missing_are_named(void **state)
{
    (void)state;
    struct guest_plan plan = {.modules_dir = "/nonexistent", .argv = no_words, .stdin_kind = BOOT_STDIN_NULL};
    struct initramfs fs;
    struct vm_error error;
    assert_int_equal(guest_files_build(&plan, &fs, &error), -ENOENT);
    assert_non_null(strstr(error.text, "/nonexistent"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_the_guest_starts_with_is_there),
        cmocka_unit_test(the_plan_is_told_without_quoting),
        cmocka_unit_test(modules_that_are_missing_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
