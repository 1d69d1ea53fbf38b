#include "unit/microvm/unit.h"

#include <archive.h>
#include <archive_entry.h>
#include <elf.h>
#include <sys/stat.h>

#include "microvm/kernel_modules.h"

/* ---- a module: an ELF file with one .modinfo section ---- */

struct module {
    Elf64_Ehdr elf;
    Elf64_Shdr sections[3];
    char names[32];
    char info[128];
};

static const char section_names[] = "\0.shstrtab\0.modinfo";

static struct module make_module(const char *depends)
{
    struct module m = {.elf = {.e_shoff = offsetof(struct module, sections),
                               .e_shentsize = sizeof(Elf64_Shdr),
                               .e_shnum = 3,
                               .e_shstrndx = 1}};
    memcpy(m.elf.e_ident, ELFMAG, SELFMAG);
    m.elf.e_ident[EI_CLASS] = ELFCLASS64;
    memcpy(m.names, section_names, sizeof(section_names));
    int len = snprintf(m.info, sizeof(m.info), "license=MIT%cdepends=%s%cname=x", 0, depends, 0) + 1;
    m.sections[1] = (Elf64_Shdr){.sh_name = 1,
                                 .sh_type = SHT_STRTAB,
                                 .sh_offset = offsetof(struct module, names),
                                 .sh_size = sizeof(section_names)};
    m.sections[2] = (Elf64_Shdr){.sh_name = 11,
                                 .sh_type = SHT_PROGBITS,
                                 .sh_offset = offsetof(struct module, info),
                                 .sh_size = (Elf64_Xword)len};
    return m;
}

static const char *info(const struct module *m, size_t len, const char *key)
{
    return kernel_module_info((const uint8_t *)m, len, key);
}

static void modinfo_is_found(void **state)
{
    (void)state;
    struct module m = make_module("fuse,virtio_ring");
    assert_string_equal(info(&m, sizeof(m), "depends"), "fuse,virtio_ring");
    assert_string_equal(info(&m, sizeof(m), "license"), "MIT");
    assert_string_equal(info(&m, sizeof(m), "name"), "x");
    assert_null(info(&m, sizeof(m), "depend"));
    assert_null(info(&m, sizeof(m), "author"));
}

static void damaged_modules_have_no_modinfo(void **state)
{
    (void)state;
    struct module m = make_module("fuse");
    for (size_t len = 0; len < offsetof(struct module, info); len += 16)
        assert_null(info(&m, len, "depends"));
    m.sections[2].sh_size = UINT64_MAX;
    assert_null(info(&m, sizeof(m), "depends"));
    m = make_module("fuse");
    m.sections[2].sh_name = UINT32_MAX;
    assert_null(info(&m, sizeof(m), "depends"));
    m = make_module("fuse");
    m.elf.e_shoff = UINT64_MAX - 8;
    assert_null(info(&m, sizeof(m), "depends"));
    m = make_module("fuse");
    m.elf.e_shstrndx = UINT16_MAX;
    assert_null(info(&m, sizeof(m), "depends"));
    m = make_module("fuse");
    m.sections[2].sh_size = 18; /* cut inside a value */
    assert_null(info(&m, sizeof(m), "depends"));
    m.elf.e_ident[0] = 'x';
    assert_null(info(&m, sizeof(m), "license"));
}

/* ---- a modules folder ---- */

static char folder[] = "/tmp/oriel-unit-XXXXXX";

static void write_file(const char *name, const void *data, size_t len)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, len, f), len);
    fclose(f);
}

static void write_text(const char *name, const char *text)
{
    write_file(name, text, strlen(text));
}

static void write_module(const char *name, const char *depends)
{
    struct module m = make_module(depends);
    write_file(name, &m, sizeof(m));
}

static void write_packed_module(const char *name, const char *depends)
{
    char path[128];
    struct module m = make_module(depends);
    struct archive *archive = archive_write_new();
    struct archive_entry *entry = archive_entry_new();
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    archive_write_set_format_raw(archive);
    assert_int_equal(archive_write_add_filter_xz(archive), ARCHIVE_OK);
    assert_int_equal(archive_write_open_filename(archive, path), ARCHIVE_OK);
    archive_entry_set_filetype(entry, AE_IFREG);
    archive_entry_set_pathname(entry, "data");
    assert_int_equal(archive_write_header(archive, entry), ARCHIVE_OK);
    assert_int_equal(archive_write_data(archive, &m, sizeof(m)), sizeof(m));
    archive_entry_free(entry);
    archive_write_free(archive);
}

static int set_up(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/oriel-unit-XXXXXX");
    if (mkdtemp(folder) == NULL)
        return -1;
    write_text("modules.builtin", "kernel/fs/dax.ko\nkernel/drivers/core.ko\n");
    write_text("modules.order",
               "virtio-fs.ko\nfuse.ko\nvirtio.ko\nvirtio_ring.ko\nloop-a.ko\nloop-b.ko\nlost.ko\n");
    write_module("virtio-fs.ko", "virtio_ring,fuse,dax");
    write_packed_module("fuse.ko.xz", "");
    write_module("virtio.ko", "");
    write_module("virtio_ring.ko", "virtio");
    write_module("loop-a.ko", "loop-b");
    write_module("loop-b.ko", "loop_a");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    static const char *const names[] = {"modules.builtin", "modules.order",  "virtio-fs.ko", "fuse.ko.xz",
                                        "virtio.ko",       "virtio_ring.ko", "loop-a.ko",    "loop-b.ko"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char path[128];
        snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
        unlink(path);
    }
    return rmdir(folder);
}

static void dependencies_come_first_and_once(void **state)
{
    (void)state;
    static const char *const wanted[] = {"virtio", "virtio_fs", "core"};
    static const char *const expected[] = {"virtio", "virtio_ring", "fuse", "virtio_fs"};
    struct kernel_modules modules;
    struct vm_error error;
    assert_int_equal(kernel_modules_collect(folder, wanted, 3, &modules, &error), 0);
    assert_int_equal(modules.count, 4);
    for (size_t i = 0; i < 4; i++) {
        assert_string_equal(modules.loaded[i].name, expected[i]);
        assert_int_equal(modules.loaded[i].len, sizeof(struct module)); /* unpacked */
    }
    kernel_modules_destroy(&modules);
}

static void what_is_missing_is_named(void **state)
{
    (void)state;
    static const char *const nowhere[] = {"nowhere"}, *const lost[] = {"lost"}, *const loop[] = {"loop_a"};
    struct kernel_modules modules;
    struct vm_error error;
    assert_int_equal(kernel_modules_collect(folder, nowhere, 1, &modules, &error), -ENOENT);
    assert_non_null(strstr(error.text, "nowhere"));
    assert_int_equal(kernel_modules_collect(folder, lost, 1, &modules, &error), -ENOENT);
    assert_non_null(strstr(error.text, "lost.ko"));
    assert_int_equal(kernel_modules_collect(folder, loop, 1, &modules, &error), -ELOOP);
    assert_int_equal(kernel_modules_collect("/nonexistent", lost, 1, &modules, &error), -ENOENT);
    assert_non_null(strstr(error.text, "--modules"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(modinfo_is_found),
        cmocka_unit_test(damaged_modules_have_no_modinfo),
        cmocka_unit_test_setup_teardown(dependencies_come_first_and_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_missing_is_named, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
