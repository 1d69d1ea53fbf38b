#include "unit/microvm/unit.h"

#include "microvm/initramfs.h"

/* One member of a newc archive (Linux Documentation/driver-api/early-userspace/buffer-format.rst). */
struct member {
    const char *name;
    unsigned mode, size, major, minor;
    const uint8_t *data;
    size_t next; /* where the next one begins */
};

static unsigned field(const uint8_t *header, unsigned index)
{
    char text[9] = {0}, *end;
    memcpy(text, header + 6 + 8 * index, 8);
    unsigned value = (unsigned)strtoul(text, &end, 16);
    assert_ptr_equal(end, text + 8);
    return value;
}

static struct member read_member(const struct initramfs *fs, size_t at)
{
    const uint8_t *header = fs->bytes + at;
    assert_true(at + 110 <= fs->len);
    assert_memory_equal(header, "070701", 6);
    unsigned name_len = field(header, 11);
    struct member m = {.name = (const char *)header + 110,
                       .mode = field(header, 1),
                       .size = field(header, 6),
                       .major = field(header, 9),
                       .minor = field(header, 10)};
    assert_int_equal(m.name[name_len - 1], '\0');
    size_t data = (at + 110 + name_len + 3) & ~(size_t)3;
    m.data = fs->bytes + data;
    m.next = (data + m.size + 3) & ~(size_t)3;
    assert_true(m.next <= fs->len);
    return m;
}

static void members_come_out_as_they_went_in(void **state)
{
    (void)state;
    struct initramfs fs;
    assert_int_equal(initramfs_create(&fs), 0);
    assert_int_equal(initramfs_add_folder(&fs, "dev", 0755), 0);
    assert_int_equal(initramfs_add_char_device(&fs, "dev/console", 0600, 5, 1), 0);
    assert_int_equal(initramfs_add_file(&fs, "init", 0755, "\0\xff program", 10), 0);
    assert_int_equal(initramfs_add_file(&fs, "empty", 0600, NULL, 0), 0);
    assert_int_equal(initramfs_add_link(&fs, "sbin", "bin"), 0);
    assert_int_equal(initramfs_finish(&fs), 0);

    struct member m = read_member(&fs, 0);
    assert_string_equal(m.name, "dev");
    assert_int_equal(m.mode, 0040755);
    m = read_member(&fs, m.next);
    assert_string_equal(m.name, "dev/console");
    assert_int_equal(m.mode, 0020600);
    assert_int_equal(m.major, 5);
    assert_int_equal(m.minor, 1);
    m = read_member(&fs, m.next);
    assert_string_equal(m.name, "init");
    assert_int_equal(m.mode, 0100755);
    assert_int_equal(m.size, 10);
    assert_memory_equal(m.data, "\0\xff program", 10);
    m = read_member(&fs, m.next);
    assert_string_equal(m.name, "empty");
    assert_int_equal(m.size, 0);
    m = read_member(&fs, m.next);
    assert_string_equal(m.name, "sbin");
    assert_int_equal(m.mode, 0120777);
    assert_memory_equal(m.data, "bin", 3);
    m = read_member(&fs, m.next);
    assert_string_equal(m.name, "TRAILER!!!");
    initramfs_destroy(&fs);
}

static void large_files_are_whole(void **state)
{
    (void)state;
    struct initramfs fs;
    size_t len = 3000001;
    uint8_t *data = malloc(len);
    for (size_t i = 0; i < len; i++)
        data[i] = (uint8_t)(i * 7 >> 3);
    assert_int_equal(initramfs_create(&fs), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(initramfs_add_file(&fs, "big", 0644, data, len), 0);
    assert_int_equal(initramfs_finish(&fs), 0);
    size_t at = 0;
    for (int i = 0; i < 3; i++) {
        struct member m = read_member(&fs, at);
        assert_int_equal(m.size, len);
        assert_memory_equal(m.data, data, len);
        at = m.next;
    }
    initramfs_destroy(&fs);
    free(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(members_come_out_as_they_went_in),
        cmocka_unit_test(large_files_are_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
