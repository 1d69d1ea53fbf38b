/*
 * Uncompressed ELF kernel by its PVH entry (Xen public/arch-x86/hvm/start_info.h and docs/misc/pvh; Linux
 * arch/x86/platform/pvh/head.S): 32-bit protected mode without paging, RBX points to the start info.
 */
#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "base/le.h"
#include "microvm/kernel_image.h"
#include "microvm/layout.h"
#include "microvm/memory_map.h"

#define PROGRAM_HEADERS_MAX 64
#define NOTES_MAX           (64 * LAYOUT_KIB)
#define NOTE_PHYS32_ENTRY   18 /* XEN_ELFNOTE_PHYS32_ENTRY */
#define START_INFO_MAGIC    UINT32_C(0x336ec578)
#define INITRAMFS_LIMIT     UINT64_C(0x80000000)

struct start_info {
    uint32_t magic, version, flags, module_count;
    uint64_t modules, cmdline, rsdp, memory_map;
    uint32_t memory_map_count, reserved;
};

struct start_info_module {
    uint64_t addr, len, cmdline, reserved;
};

struct start_info_memory {
    uint64_t addr, len;
    uint32_t type, reserved;
};

struct start_info_page {
    struct start_info info;
    struct start_info_module module;
    struct start_info_memory memory[MEMORY_MAP_MAX];
};

_Static_assert(sizeof(struct start_info) == 56, "layout of hvm_start_info version 1");
_Static_assert(LAYOUT_PVH_START_INFO + sizeof(struct start_info_page) <= LAYOUT_BOOT_PARAMS, "fits its page");

struct program_headers {
    Elf64_Phdr header[PROGRAM_HEADERS_MAX];
    size_t count;
};

static int read_program_headers(const struct kernel_image *image, struct program_headers *headers,
                                struct vm_error *error)
{
    Elf64_Ehdr elf;
    int err = kernel_image_read(image, 0, &elf, sizeof(elf), error);
    if (err != 0)
        return err;
    if (elf.e_ident[EI_CLASS] != ELFCLASS64 || elf.e_machine != EM_X86_64 ||
        elf.e_phentsize != sizeof(Elf64_Phdr) || elf.e_phnum == 0 || elf.e_phnum > PROGRAM_HEADERS_MAX)
        return vm_fail(error, -EINVAL, "'%s' is no 64-bit x86 ELF kernel", image->path);
    headers->count = elf.e_phnum;
    return kernel_image_read(image, elf.e_phoff, headers->header, headers->count * sizeof(Elf64_Phdr), error);
}

/* Walks the notes in [notes, notes + len); true when the PVH entry is among them. */
static bool find_entry_note(const uint8_t *notes, uint64_t len, uint64_t *entry)
{
    uint64_t at = 0;
    while (range_within(at, sizeof(Elf64_Nhdr), len)) {
        Elf64_Nhdr note;
        memcpy(&note, notes + at, sizeof(note));
        uint64_t name = at + sizeof(note);
        uint64_t desc = name + align_up(note.n_namesz, 4);
        if (!range_within(desc, note.n_descsz, len))
            return false;
        if (note.n_type == NOTE_PHYS32_ENTRY && note.n_namesz == 4 && memcmp(notes + name, "Xen", 4) == 0 &&
            (note.n_descsz == 4 || note.n_descsz == 8)) {
            *entry = note.n_descsz == 4 ? le32_load(notes + desc) : le64_load(notes + desc);
            return true;
        }
        at = desc + align_up(note.n_descsz, 4);
    }
    return false;
}

static int find_entry(const struct kernel_image *image, const struct program_headers *headers,
                      uint64_t *entry, struct vm_error *error)
{
    for (size_t i = 0; i < headers->count; i++) {
        const Elf64_Phdr *header = &headers->header[i];
        if (header->p_type != PT_NOTE || header->p_filesz > NOTES_MAX)
            continue;
        cleanup_free uint8_t *notes = malloc(header->p_filesz + 1);
        if (notes == NULL)
            return vm_fail(error, -ENOMEM, "out of memory");
        int err = kernel_image_read(image, header->p_offset, notes, header->p_filesz, error);
        if (err != 0)
            return err;
        if (find_entry_note(notes, header->p_filesz, entry))
            return 0;
    }
    return vm_fail(error, -EINVAL, "the ELF kernel '%s' has no PVH entry (it needs CONFIG_PVH)", image->path);
}

/* The file itself tells its release only deep inside; the name that distributions give it tells
 * it at once. */
static void version_from_name(struct kernel_image *image)
{
    const char *slash = strrchr(image->path, '/');
    const char *name = slash != NULL ? slash + 1 : image->path;
    const char *prefix = "vmlinux-";
    size_t len = strlen(name);
    if (strncmp(name, prefix, strlen(prefix)) != 0 || len - strlen(prefix) >= sizeof(image->version))
        return;
    memcpy(image->version, name + strlen(prefix), len - strlen(prefix) + 1);
}

int pvh_recognize(struct kernel_image *image, struct vm_error *error)
{
    struct program_headers headers;
    uint64_t entry;
    int err = read_program_headers(image, &headers, error);
    if (err == 0)
        err = find_entry(image, &headers, &entry, error);
    if (err != 0)
        return err;
    image->kind = KERNEL_PVH;
    version_from_name(image);
    return 0;
}

static int load_segments(const struct kernel_image *image, const struct ram *ram,
                         const struct program_headers *headers, uint64_t *end, struct vm_error *error)
{
    *end = 0;
    for (size_t i = 0; i < headers->count; i++) {
        const Elf64_Phdr *header = &headers->header[i];
        if (header->p_type != PT_LOAD || header->p_memsz == 0)
            continue;
        void *to = ram_at(ram, header->p_paddr, header->p_memsz);
        if (header->p_filesz > header->p_memsz || header->p_paddr < LAYOUT_HIGH_MEMORY)
            return vm_fail(error, -EINVAL, "the ELF kernel '%s' has a malformed segment", image->path);
        if (to == NULL)
            return vm_fail(error, -ENOSPC, "the kernel '%s' does not fit into %llu MiB; give more with --mem",
                           image->path, (unsigned long long)(ram->size / LAYOUT_MIB));
        int err = kernel_image_read(image, header->p_offset, to, header->p_filesz, error);
        if (err != 0)
            return err;
        *end = max_u64(*end, header->p_paddr + header->p_memsz);
    }
    return 0;
}

static int write_start_info(const struct ram *ram, uint64_t initramfs, uint64_t initramfs_len)
{
    struct start_info_page page = {
        .info = {.magic = START_INFO_MAGIC,
                 .version = 1,
                 .module_count = initramfs_len != 0,
                 .modules = LAYOUT_PVH_START_INFO + offsetof(struct start_info_page, module),
                 .cmdline = LAYOUT_CMDLINE,
                 .memory_map = LAYOUT_PVH_START_INFO + offsetof(struct start_info_page, memory)},
        .module = {.addr = initramfs, .len = initramfs_len},
    };
    struct memory_map_entry entries[MEMORY_MAP_MAX];
    size_t n = memory_map_build(ram, entries);
    for (size_t i = 0; i < n; i++)
        page.memory[i] = (struct start_info_memory){
            .addr = entries[i].addr, .len = entries[i].len, .type = entries[i].type};
    page.info.memory_map_count = (uint32_t)n;
    return ram_write(ram, LAYOUT_PVH_START_INFO, &page, sizeof(page));
}

int pvh_load(const struct kernel_image *image, const struct ram *ram, const struct boot_payload *payload,
             struct boot_entry *entry, struct vm_error *error)
{
    struct program_headers headers;
    uint64_t kernel_end, initramfs = 0;
    *entry = (struct boot_entry){.kind = KERNEL_PVH, .info = LAYOUT_PVH_START_INFO};
    int err = read_program_headers(image, &headers, error);
    if (err == 0)
        err = find_entry(image, &headers, &entry->rip, error);
    if (err == 0)
        err = load_segments(image, ram, &headers, &kernel_end, error);
    if (err == 0)
        err = place_initramfs(ram, payload, kernel_end, INITRAMFS_LIMIT, &initramfs, error);
    if (err == 0)
        err = place_cmdline(ram, payload->cmdline, error);
    if (err == 0)
        err = write_start_info(ram, initramfs, payload->initramfs_len);
    return err;
}
