#include "microvm/kernel_modules.h"

#include <archive.h>
#include <archive_entry.h>
#include <elf.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "microvm/host_file.h"

#define MODULE_SIZE_MAX (UINT64_C(64) << 20)
#define READ_BLOCK      65536
#define DEPTH_MAX       16

struct search {
    const char *dir;
    char *builtin, *order; /* texts of the two lists */
    struct kernel_modules *modules;
    struct vm_error *error;
};

/* ---- .modinfo ---- */

static bool read_section(const uint8_t *bytes, size_t len, const Elf64_Ehdr *elf, unsigned index,
                         Elf64_Shdr *section)
{
    uint64_t at;
    if (!checked_add_u64(elf->e_shoff, (uint64_t)index * sizeof(*section), &at) ||
        !range_within(at, sizeof(*section), len))
        return false;
    memcpy(section, bytes + at, sizeof(*section));
    return section->sh_type == SHT_NOBITS || range_within(section->sh_offset, section->sh_size, len);
}

static bool find_section(const uint8_t *bytes, size_t len, const char *name, Elf64_Shdr *found)
{
    Elf64_Ehdr elf;
    Elf64_Shdr names;
    if (len < sizeof(elf))
        return false;
    memcpy(&elf, bytes, sizeof(elf));
    if (memcmp(elf.e_ident, ELFMAG, SELFMAG) != 0 || elf.e_ident[EI_CLASS] != ELFCLASS64 ||
        elf.e_shentsize != sizeof(Elf64_Shdr) || !read_section(bytes, len, &elf, elf.e_shstrndx, &names) ||
        names.sh_type != SHT_STRTAB)
        return false;
    size_t size = strlen(name) + 1;
    for (unsigned i = 0; i < elf.e_shnum; i++) {
        if (read_section(bytes, len, &elf, i, found) && found->sh_type == SHT_PROGBITS &&
            range_within(found->sh_name, size, names.sh_size) &&
            memcmp(bytes + names.sh_offset + found->sh_name, name, size) == 0)
            return true;
    }
    return false;
}

const char *kernel_module_info(const uint8_t *bytes, size_t len, const char *key)
{
    Elf64_Shdr section;
    size_t key_len = strlen(key);
    if (!find_section(bytes, len, ".modinfo", &section))
        return NULL;
    const char *text = (const char *)bytes + section.sh_offset;
    const char *end = text + section.sh_size;
    while (text < end) {
        size_t n = strnlen(text, (size_t)(end - text));
        if (text + n == end)
            return NULL; /* not terminated */
        if (n > key_len && text[key_len] == '=' && memcmp(text, key, key_len) == 0)
            return text + key_len + 1;
        text += n + 1;
    }
    return NULL;
}

/* ---- the lists ---- */

/* Whether a line "kernel/fs/fuse/virtio-fs.ko.xz" names the module "virtio_fs". */
static bool line_names(const char *line, size_t len, const char *name)
{
    const char *base = line;
    for (size_t i = 0; i < len; i++) {
        if (line[i] == '/')
            base = line + i + 1;
    }
    const char *end = line + len;
    for (; *name != '\0' && base < end; name++, base++) {
        if (*base != *name && !(*base == '-' && *name == '_'))
            return false;
    }
    return *name == '\0' && end - base >= 3 && memcmp(base, ".ko", 3) == 0;
}

static const char *find_line(const char *text, const char *name, size_t *len)
{
    while (*text != '\0') {
        *len = strcspn(text, "\n");
        if (line_names(text, *len, name))
            return text;
        text += *len + (text[*len] == '\n');
    }
    return NULL;
}

/* ---- the files ---- */

static int grow_by_block(struct kernel_module *module, size_t *capacity)
{
    if (*capacity - module->len >= READ_BLOCK)
        return 0;
    if (*capacity >= MODULE_SIZE_MAX)
        return -EFBIG;
    size_t bigger = *capacity * 2 > READ_BLOCK ? *capacity * 2 : READ_BLOCK;
    uint8_t *bytes = realloc(module->bytes, bigger);
    if (bytes == NULL)
        return -ENOMEM;
    module->bytes = bytes;
    *capacity = bigger;
    return 0;
}

/* Whatever compression it has, or none. */
static int read_unpacked(struct archive *archive, const char *path, struct kernel_module *module)
{
    struct archive_entry *entry;
    size_t capacity = 0;
    archive_read_support_filter_all(archive);
    archive_read_support_format_raw(archive);
    if (archive_read_open_filename(archive, path, READ_BLOCK) != ARCHIVE_OK ||
        archive_read_next_header(archive, &entry) != ARCHIVE_OK)
        return -EIO;
    for (;;) {
        int err = grow_by_block(module, &capacity);
        if (err != 0)
            return err;
        la_ssize_t n = archive_read_data(archive, module->bytes + module->len, READ_BLOCK);
        if (n < 0)
            return -EIO;
        if (n == 0)
            return 0;
        module->len += (size_t)n;
    }
}

static int read_module(const struct search *search, const char *line, size_t line_len, const char *name,
                       struct kernel_module *module)
{
    cleanup_free char *path = NULL;
    int err;
    *module = (struct kernel_module){0};
    snprintf(module->name, sizeof(module->name), "%s", name);
    if (asprintf(&path, "%s/%.*s", search->dir, (int)line_len, line) < 0)
        return vm_fail(search->error, -ENOMEM, "out of memory");
    err = host_file_with_suffix(&path);
    if (err == 0) {
        struct archive *archive = archive_read_new();
        err = archive == NULL ? -ENOMEM : read_unpacked(archive, path, module);
        archive_read_free(archive);
    }
    if (err != 0) {
        free(module->bytes);
        module->bytes = NULL;
        return vm_fail(search->error, err, "cannot read the module '%s': %s", path, strerror(-err));
    }
    return 0;
}

/* ---- collecting ---- */

static bool is_collected(const struct kernel_modules *modules, const char *name)
{
    for (size_t i = 0; i < modules->count; i++) {
        if (strcmp(modules->loaded[i].name, name) == 0)
            return true;
    }
    return false;
}

static int collect(const struct search *search, const char *name, unsigned depth);

static int collect_dependencies(const struct search *search, const struct kernel_module *module,
                                unsigned depth)
{
    const char *depends = kernel_module_info(module->bytes, module->len, "depends");
    while (depends != NULL && *depends != '\0') {
        char name[sizeof(module->name)];
        size_t len = strcspn(depends, ",");
        if (len >= sizeof(name))
            return vm_fail(search->error, -EINVAL, "the module '%s' is damaged", module->name);
        for (size_t i = 0; i < len; i++)
            name[i] = depends[i] == '-' ? '_' : depends[i];
        name[len] = '\0';
        int err = len > 0 ? collect(search, name, depth + 1) : 0;
        if (err != 0)
            return err;
        depends += len + (depends[len] == ',');
    }
    return 0;
}

static int collect(const struct search *search, const char *name, unsigned depth)
{
    size_t len;
    struct kernel_modules *modules = search->modules;
    if (is_collected(modules, name) || find_line(search->builtin, name, &len) != NULL)
        return 0;
    const char *line = find_line(search->order, name, &len);
    if (line == NULL)
        return vm_fail(search->error, -ENOENT,
                       "the kernel has no module '%s' (looked in '%s'); take another kernel", name,
                       search->dir);
    struct kernel_module module;
    int err = read_module(search, line, len, name, &module);
    if (err != 0)
        return err;
    err = depth > DEPTH_MAX
              ? vm_fail(search->error, -ELOOP, "the modules in '%s' depend on each other", search->dir)
              : collect_dependencies(search, &module, depth);
    if (err == 0 && modules->count == KERNEL_MODULES_MAX)
        err = vm_fail(search->error, -E2BIG, "too many modules are needed");
    if (err == 0)
        modules->loaded[modules->count++] = module;
    else
        free(module.bytes);
    return err;
}

static int read_list(const struct search *search, const char *name, char **text)
{
    cleanup_free char *path = NULL;
    if (asprintf(&path, "%s/%s", search->dir, name) < 0)
        return vm_fail(search->error, -ENOMEM, "out of memory");
    int err = host_file_read(path, text, NULL);
    if (err != 0)
        return vm_fail(search->error, err, "cannot read '%s': %s; name the kernel's modules with --modules",
                       path, strerror(-err));
    return 0;
}

int kernel_modules_collect(const char *dir, const char *const *wanted, size_t count,
                           struct kernel_modules *modules, struct vm_error *error)
{
    struct search search = {.dir = dir, .modules = modules, .error = error};
    *modules = (struct kernel_modules){0};
    int err = read_list(&search, "modules.builtin", &search.builtin);
    if (err == 0)
        err = read_list(&search, "modules.order", &search.order);
    for (size_t i = 0; err == 0 && i < count; i++)
        err = collect(&search, wanted[i], 0);
    free(search.builtin);
    free(search.order);
    if (err != 0)
        kernel_modules_destroy(modules);
    return err;
}

void kernel_modules_destroy(struct kernel_modules *modules)
{
    for (size_t i = 0; i < modules->count; i++)
        free(modules->loaded[i].bytes);
    modules->count = 0;
}
