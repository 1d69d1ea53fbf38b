/* Both loaders on kernels made here, and on files that are none. */
#include "unit/microvm/unit.h"

#include <asm/bootparam.h>
#include <elf.h>

#include "microvm/kernel_image.h"
#include "microvm/layout.h"

#define SETUP_SECTORS 3
#define BODY_AT       ((SETUP_SECTORS + 1) * 512)
#define BODY_LEN      5000
#define PREF_ADDRESS  (16 * LAYOUT_MIB)

static const char initramfs[] = "initial file system";
static const struct boot_payload payload = {
    .cmdline = "console=ttyS0", .initramfs = initramfs, .initramfs_len = sizeof(initramfs)};

struct fixture {
    struct ram ram;
    struct vm_error error;
    uint8_t file[BODY_AT + BODY_LEN];
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    if (f == NULL || ram_create(LAYOUT_RAM_MIN, &f->ram, &f->error) != 0)
        return -1;
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    ram_destroy(&f->ram);
    free(f);
    return 0;
}

static struct setup_header *make_bzimage(struct fixture *f)
{
    memset(f->file, 0x5a, sizeof(f->file));
    memset(f->file, 0, BODY_AT);
    struct setup_header *header = (void *)(f->file + 0x1f1);
    header->setup_sects = SETUP_SECTORS;
    header->boot_flag = 0xaa55;
    header->header = 0x53726448;
    header->version = 0x020f;
    header->xloadflags = XLF_KERNEL_64;
    header->relocatable_kernel = 1;
    header->pref_address = PREF_ADDRESS;
    header->init_size = 2 * LAYOUT_MIB;
    header->initrd_addr_max = 0x7fffffff;
    header->kernel_version = 0x300;
    strcpy((char *)f->file + 0x500, "6.1.0-9-amd64 (someone@somewhere) #1 SMP");
    return header;
}

/* Opens and loads f->file; *entry is set when that works. */
static int boot(struct fixture *f, size_t len, struct kernel_image *image, struct boot_entry *entry)
{
    char *path = temp_file(f->file, len);
    int err = kernel_image_open(path, image, &f->error);
    if (err == 0) {
        err = kernel_image_load(image, &f->ram, &payload, entry, &f->error);
        kernel_image_close(image);
    }
    drop_file(path);
    return err;
}

static void check_initramfs(const struct fixture *f, uint64_t gpa, uint64_t len)
{
    assert_int_equal(len, sizeof(initramfs));
    assert_int_equal(gpa % 4096, 0);
    assert_true(gpa > PREF_ADDRESS + 2 * LAYOUT_MIB);
    assert_memory_equal(ram_at(&f->ram, gpa, len), initramfs, len);
}

static void bzimage_is_placed_and_described(void **state)
{
    struct fixture *f = *state;
    struct kernel_image image;
    struct boot_entry entry;
    make_bzimage(f);
    assert_int_equal(boot(f, sizeof(f->file), &image, &entry), 0);
    assert_int_equal(image.kind, KERNEL_BZIMAGE);
    assert_string_equal(image.version, "6.1.0-9-amd64");
    assert_int_equal(entry.rip, PREF_ADDRESS + 0x200);
    assert_int_equal(entry.info, LAYOUT_BOOT_PARAMS);
    assert_memory_equal(ram_at(&f->ram, PREF_ADDRESS, BODY_LEN), f->file + BODY_AT, BODY_LEN);

    const struct boot_params *params = ram_at(&f->ram, LAYOUT_BOOT_PARAMS, sizeof(*params));
    assert_int_equal(params->hdr.type_of_loader, 0xff);
    assert_true(params->hdr.loadflags & LOADED_HIGH);
    assert_int_equal(params->hdr.cmd_line_ptr, LAYOUT_CMDLINE);
    assert_string_equal(ram_at(&f->ram, LAYOUT_CMDLINE, 64), "console=ttyS0");
    check_initramfs(f, params->hdr.ramdisk_image, params->hdr.ramdisk_size);
    assert_int_equal(params->e820_entries, 4);
    assert_int_equal(params->e820_table[0].addr, 0);
    assert_int_equal(params->e820_table[0].type, 1);
    assert_int_equal(params->e820_table[3].addr, LAYOUT_HIGH_MEMORY);
    assert_int_equal(params->e820_table[3].size, LAYOUT_RAM_MIN - LAYOUT_HIGH_MEMORY);
}

static void bad_bzimages_are_refused(void **state)
{
    struct fixture *f = *state;
    struct kernel_image image;
    struct boot_entry entry;
    make_bzimage(f)->header++;
    assert_int_equal(boot(f, sizeof(f->file), &image, &entry), -EINVAL);
    assert_non_null(strstr(f->error.text, "neither"));
    make_bzimage(f)->boot_flag = 0;
    assert_int_equal(boot(f, sizeof(f->file), &image, &entry), -EINVAL);
    make_bzimage(f)->version = 0x020b;
    assert_int_equal(boot(f, sizeof(f->file), &image, &entry), -EINVAL);
    make_bzimage(f)->xloadflags = 0;
    assert_int_equal(boot(f, sizeof(f->file), &image, &entry), -EINVAL);
    make_bzimage(f);
    assert_int_equal(boot(f, 0x200, &image, &entry), -EINVAL);   /* ends in its header */
    assert_int_equal(boot(f, BODY_AT, &image, &entry), -EINVAL); /* nothing behind it */
    assert_int_equal(boot(f, 0, &image, &entry), -EINVAL);
}

static void bzimage_that_does_not_fit_says_so(void **state)
{
    struct fixture *f = *state;
    struct kernel_image image;
    struct boot_entry entry;
    make_bzimage(f)->init_size = UINT32_MAX;
    assert_int_equal(boot(f, sizeof(f->file), &image, &entry), -ENOSPC);
    assert_non_null(strstr(f->error.text, "--mem"));
    make_bzimage(f)->pref_address = UINT64_MAX - 4096;
    assert_int_equal(boot(f, sizeof(f->file), &image, &entry), -ENOSPC);
    make_bzimage(f)->pref_address = 0; /* would lie over the boot structures */
    assert_int_equal(boot(f, sizeof(f->file), &image, &entry), -ENOSPC);
    make_bzimage(f)->initrd_addr_max = (uint32_t)PREF_ADDRESS; /* no room below the kernel's limit */
    assert_int_equal(boot(f, sizeof(f->file), &image, &entry), -ENOSPC);
}

static void a_version_out_of_the_file_is_no_version(void **state)
{
    struct fixture *f = *state;
    struct kernel_image image;
    struct boot_entry entry;
    make_bzimage(f)->kernel_version = 0xffff;
    assert_int_equal(boot(f, sizeof(f->file), &image, &entry), 0);
    assert_string_equal(image.version, "");
}

/* ---- PVH ---- */

struct elf_kernel {
    Elf64_Ehdr elf;
    Elf64_Phdr headers[3];
    struct {
        Elf64_Nhdr head;
        char name[4];
        uint32_t desc;
    } other_note, entry_note;
    uint8_t text[100];
};

#define ENTRY 0x1000100

static struct elf_kernel *make_elf(struct fixture *f)
{
    struct elf_kernel *k = memset(f->file, 0, sizeof(f->file));
    memcpy(k->elf.e_ident, ELFMAG, SELFMAG);
    k->elf.e_ident[EI_CLASS] = ELFCLASS64;
    k->elf.e_machine = EM_X86_64;
    k->elf.e_phoff = offsetof(struct elf_kernel, headers);
    k->elf.e_phentsize = sizeof(Elf64_Phdr);
    k->elf.e_phnum = 3;
    k->headers[0] = (Elf64_Phdr){.p_type = PT_LOAD,
                                 .p_offset = offsetof(struct elf_kernel, text),
                                 .p_paddr = PREF_ADDRESS,
                                 .p_filesz = sizeof(k->text),
                                 .p_memsz = LAYOUT_MIB};
    k->headers[1] = (Elf64_Phdr){.p_type = PT_NOTE,
                                 .p_offset = offsetof(struct elf_kernel, other_note),
                                 .p_filesz = sizeof(k->other_note) + sizeof(k->entry_note)};
    k->headers[2] = (Elf64_Phdr){.p_type = PT_LOAD}; /* empty */
    k->other_note.head = (Elf64_Nhdr){.n_namesz = 4, .n_descsz = 4, .n_type = 6};
    memcpy(k->other_note.name, "Xen", 4);
    k->entry_note.head = (Elf64_Nhdr){.n_namesz = 4, .n_descsz = 4, .n_type = 18};
    memcpy(k->entry_note.name, "Xen", 4);
    k->entry_note.desc = ENTRY;
    memset(k->text, 0xcc, sizeof(k->text));
    return k;
}

static void elf_kernel_is_entered_by_its_note(void **state)
{
    struct fixture *f = *state;
    struct kernel_image image;
    struct boot_entry entry;
    make_elf(f);
    assert_int_equal(boot(f, sizeof(struct elf_kernel), &image, &entry), 0);
    assert_int_equal(entry.kind, KERNEL_PVH);
    assert_int_equal(entry.rip, ENTRY);
    const uint8_t *text = ram_at(&f->ram, PREF_ADDRESS, 101);
    assert_int_equal(text[0], 0xcc);
    assert_int_equal(text[99], 0xcc);
    assert_int_equal(text[100], 0);

    const uint32_t *info = ram_at(&f->ram, entry.info, 64);
    assert_int_equal(info[0], 0x336ec578);
    assert_int_equal(info[1], 1); /* version */
    assert_int_equal(info[3], 1); /* modules */
    const uint64_t *info64 = ram_at(&f->ram, entry.info + 16, 32);
    const uint64_t *module = ram_at(&f->ram, info64[0], 32);
    check_initramfs(f, module[0], module[1]);
    assert_int_equal(info64[1], LAYOUT_CMDLINE);
    assert_int_equal(info[12], 4); /* memory map */
    const uint64_t *map = ram_at(&f->ram, info64[3], 24);
    assert_int_equal(map[0], 0);
    assert_int_equal(map[1], LAYOUT_EBDA);
}

static void bad_elf_kernels_are_refused(void **state)
{
    struct fixture *f = *state;
    struct kernel_image image;
    struct boot_entry entry;
    size_t len = sizeof(struct elf_kernel);
    make_elf(f)->entry_note.head.n_type = 17;
    assert_int_equal(boot(f, len, &image, &entry), -EINVAL);
    assert_non_null(strstr(f->error.text, "PVH"));
    make_elf(f)->other_note.head.n_descsz = UINT32_MAX; /* runs out of the notes */
    assert_int_equal(boot(f, len, &image, &entry), -EINVAL);
    make_elf(f)->elf.e_machine = EM_AARCH64;
    assert_int_equal(boot(f, len, &image, &entry), -EINVAL);
    make_elf(f)->elf.e_phoff = UINT64_MAX - 8;
    assert_int_equal(boot(f, len, &image, &entry), -EINVAL);
    make_elf(f)->elf.e_phnum = UINT16_MAX;
    assert_int_equal(boot(f, len, &image, &entry), -EINVAL);
    make_elf(f)->headers[0].p_filesz = 2 * LAYOUT_MIB; /* longer than in memory */
    assert_int_equal(boot(f, len, &image, &entry), -EINVAL);
    make_elf(f)->headers[0].p_offset = UINT64_MAX;
    assert_int_equal(boot(f, len, &image, &entry), -EINVAL);
    make_elf(f)->headers[0].p_paddr = 0x7000; /* over the boot structures */
    assert_int_equal(boot(f, len, &image, &entry), -EINVAL);
    make_elf(f)->headers[0].p_memsz = UINT64_MAX;
    assert_int_equal(boot(f, len, &image, &entry), -ENOSPC);
    make_elf(f);
    assert_int_equal(boot(f, sizeof(Elf64_Ehdr) - 1, &image, &entry), -EINVAL);
}

static void the_name_tells_the_version_of_an_elf_kernel(void **state)
{
    struct fixture *f = *state;
    struct kernel_image image;
    make_elf(f);
    char folder[] = "/tmp/oriel-unit-XXXXXX", path[64];
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/vmlinux-6.12.9-x", folder);
    char *file = temp_file(f->file, sizeof(struct elf_kernel));
    assert_int_equal(rename(file, path), 0);
    assert_int_equal(kernel_image_open(path, &image, &f->error), 0);
    assert_string_equal(image.version, "6.12.9-x");
    kernel_image_close(&image);
    unlink(path);
    rmdir(folder);
    free(file);
}

static void what_is_no_file_is_refused(void **state)
{
    struct fixture *f = *state;
    struct kernel_image image;
    assert_int_equal(kernel_image_open("/nonexistent/vmlinuz", &image, &f->error), -ENOENT);
    assert_non_null(strstr(f->error.text, "/nonexistent/vmlinuz"));
    assert_non_null(strstr(f->error.text, "--kernel"));
    assert_int_equal(kernel_image_open("/tmp", &image, &f->error), -EINVAL);
    assert_int_equal(kernel_image_open("/dev/zero", &image, &f->error), -EINVAL);
}

static void a_command_line_that_is_too_long_is_refused(void **state)
{
    struct fixture *f = *state;
    char text[LAYOUT_CMDLINE_SIZE + 1];
    memset(text, 'x', sizeof(text));
    text[LAYOUT_CMDLINE_SIZE] = '\0';
    assert_int_equal(place_cmdline(&f->ram, text, &f->error), -EINVAL);
    text[LAYOUT_CMDLINE_SIZE - 1] = '\0';
    assert_int_equal(place_cmdline(&f->ram, text, &f->error), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(bzimage_is_placed_and_described, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bad_bzimages_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bzimage_that_does_not_fit_says_so, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_version_out_of_the_file_is_no_version, set_up, tear_down),
        cmocka_unit_test_setup_teardown(elf_kernel_is_entered_by_its_note, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bad_elf_kernels_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_name_tells_the_version_of_an_elf_kernel, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_no_file_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_command_line_that_is_too_long_is_refused, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
