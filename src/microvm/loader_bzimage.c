/* bzImage by the 64-bit boot protocol (Linux Documentation/arch/x86/boot.rst, "64-bit boot protocol"). */
#include <asm/bootparam.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "base/checked.h"
#include "microvm/kernel_image.h"
#include "microvm/layout.h"
#include "microvm/memory_map.h"

#define SECTOR          512
#define HEADER_AT       offsetof(struct boot_params, hdr)
#define HEADER_MAGIC    UINT32_C(0x53726448) /* "HdrS" */
#define BOOT_FLAG       0xaa55
#define PROTOCOL_MIN    0x020c /* 2.12: xloadflags */
#define ENTRY_64        0x200
#define LOADER_UNLISTED 0xff

_Static_assert(sizeof(struct boot_params) == 4096, "boot_params is one page");
_Static_assert(HEADER_AT == 0x1f1, "the setup header is where the protocol says");

static int read_header(const struct kernel_image *image, struct setup_header *header, struct vm_error *error)
{
    int err = kernel_image_read(image, HEADER_AT, header, sizeof(*header), error);
    if (err != 0)
        return err;
    if (header->boot_flag != BOOT_FLAG || header->header != HEADER_MAGIC)
        return vm_fail(error, -EINVAL, "'%s' is neither a bzImage nor an ELF vmlinux", image->path);
    if (header->version < PROTOCOL_MIN || (header->xloadflags & XLF_KERNEL_64) == 0 ||
        !header->relocatable_kernel)
        return vm_fail(error, -EINVAL, "'%s' is no relocatable 64-bit x86 kernel", image->path);
    return 0;
}

/* "6.1.0-50-amd64 (user@host) #1 SMP …" lies in the setup part; the release is its first word. */
static void read_version(struct kernel_image *image, const struct setup_header *header)
{
    char text[sizeof(image->version)] = "";
    struct vm_error ignored;
    uint64_t at = (uint64_t)header->kernel_version + SECTOR;
    if (header->kernel_version == 0 || at >= image->len)
        return;
    uint64_t len = min_u64(sizeof(text) - 1, image->len - at);
    if (kernel_image_read(image, at, text, len, &ignored) != 0)
        return;
    text[strcspn(text, " ")] = '\0';
    memcpy(image->version, text, sizeof(text));
}

int bzimage_recognize(struct kernel_image *image, struct vm_error *error)
{
    struct setup_header header;
    int err = read_header(image, &header, error);
    if (err != 0)
        return err;
    image->kind = KERNEL_BZIMAGE;
    read_version(image, &header);
    return 0;
}

static int load_kernel(const struct kernel_image *image, const struct ram *ram,
                       const struct setup_header *header, struct vm_error *error)
{
    unsigned setup_sectors = header->setup_sects == 0 ? 4 : header->setup_sects;
    uint64_t start = (uint64_t)(setup_sectors + 1) * SECTOR;
    if (start >= image->len)
        return vm_fail(error, -EINVAL, "the kernel '%s' is cut short", image->path);
    uint64_t len = image->len - start;
    /* At its preferred address the kernel unpacks itself in place; init_size is the room it
     * needs for that. */
    void *to = ram_at(ram, header->pref_address, max_u64(header->init_size, len));
    if (to == NULL || header->pref_address < LAYOUT_HIGH_MEMORY)
        return vm_fail(error, -ENOSPC, "the kernel '%s' does not fit into %llu MiB; give more with --mem",
                       image->path, (unsigned long long)(ram->size / LAYOUT_MIB));
    return kernel_image_read(image, start, to, len, error);
}

static void fill_memory_map(const struct ram *ram, struct boot_params *params)
{
    struct memory_map_entry entries[MEMORY_MAP_MAX];
    size_t n = memory_map_build(ram, entries);
    for (size_t i = 0; i < n; i++)
        params->e820_table[i] = (struct boot_e820_entry){
            .addr = entries[i].addr, .size = entries[i].len, .type = entries[i].type};
    params->e820_entries = (__u8)n;
}

static int write_boot_params(const struct ram *ram, const struct setup_header *header, uint64_t initramfs,
                             uint64_t initramfs_len)
{
    struct boot_params params = {.hdr = *header};
    params.hdr.type_of_loader = LOADER_UNLISTED;
    params.hdr.loadflags |= LOADED_HIGH;
    params.hdr.ramdisk_image = (uint32_t)initramfs;
    params.hdr.ramdisk_size = (uint32_t)initramfs_len;
    params.hdr.cmd_line_ptr = (uint32_t)LAYOUT_CMDLINE;
    params.hdr.setup_data = 0;
    fill_memory_map(ram, &params);
    return ram_write(ram, LAYOUT_BOOT_PARAMS, &params, sizeof(params));
}

int bzimage_load(const struct kernel_image *image, const struct ram *ram, const struct boot_payload *payload,
                 struct boot_entry *entry, struct vm_error *error)
{
    struct setup_header header;
    uint64_t initramfs = 0;
    int err = read_header(image, &header, error);
    if (err == 0)
        err = load_kernel(image, ram, &header, error);
    if (err == 0)
        err = place_initramfs(ram, payload, header.pref_address + header.init_size,
                              (uint64_t)header.initrd_addr_max + 1, &initramfs, error);
    if (err == 0)
        err = place_cmdline(ram, payload->cmdline, error);
    if (err == 0)
        err = write_boot_params(ram, &header, initramfs, payload->initramfs_len);
    *entry = (struct boot_entry){
        .kind = KERNEL_BZIMAGE, .rip = header.pref_address + ENTRY_64, .info = LAYOUT_BOOT_PARAMS};
    return err;
}
