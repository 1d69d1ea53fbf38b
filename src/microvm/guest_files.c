#include "microvm/guest_files.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "microvm/boot_config.h"
#include "microvm/host_file.h"
#include "microvm/kernel_modules.h"

#define BUSYBOX       "/bin/busybox"
#define MODULE_FOLDER "oriel/modules"
#define PATH_ENV      "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

static const char *const wanted_modules[] = {"virtio_pci", "virtiofs"};

/* ---- the plan as text ---- */

struct config {
    FILE *stream;
    char *text;
    size_t len;
};

static void put(struct config *config, const char *key, const char *value)
{
    fwrite(key, 1, strlen(key) + 1, config->stream);
    fwrite(value, 1, strlen(value) + 1, config->stream);
}

static void put_number(struct config *config, const char *key, unsigned value)
{
    char text[16];
    snprintf(text, sizeof(text), "%u", value);
    put(config, key, text);
}

static void put_mount(struct config *config, const struct guest_mount *mount)
{
    put(config, BOOT_KEY_TAG, mount->tag);
    if (mount->dax)
        put(config, BOOT_KEY_OPTIONS, "dax");
    if (mount->read_only)
        put(config, BOOT_KEY_READ_ONLY, "1");
    put(config, BOOT_KEY_MOUNT, mount->path);
}

static void put_environment(struct config *config, const struct guest_plan *plan)
{
    put(config, BOOT_KEY_ENV, PATH_ENV);
    put(config, BOOT_KEY_ENV, "HOME=/root");
    put(config, BOOT_KEY_ENV, "USER=root");
    put(config, BOOT_KEY_ENV, "PS1=\\w \\$ ");
    if (plan->term != NULL) {
        cleanup_free char *term = NULL;
        if (asprintf(&term, "TERM=%s", plan->term) > 0)
            put(config, BOOT_KEY_ENV, term);
    }
}

static void put_plan(struct config *config, const struct guest_plan *plan,
                     const struct kernel_modules *modules)
{
    for (size_t i = 0; i < modules->count; i++) {
        char path[128];
        snprintf(path, sizeof(path), "/" MODULE_FOLDER "/%s.ko", modules->loaded[i].name);
        put(config, BOOT_KEY_MODULE, path);
    }
    for (size_t i = 0; i < plan->mount_count; i++)
        put_mount(config, &plan->mounts[i]);
    if (plan->directory != NULL)
        put(config, BOOT_KEY_DIRECTORY, plan->directory);
    put_environment(config, plan);
    put(config, BOOT_KEY_STDIN, plan->stdin_kind);
    put_number(config, BOOT_KEY_ROWS, plan->rows);
    put_number(config, BOOT_KEY_COLUMNS, plan->columns);
    for (char *const *arg = plan->argv; *arg != NULL; arg++)
        put(config, BOOT_KEY_ARG, *arg);
}

static int add_config(struct initramfs *fs, const struct guest_plan *plan,
                      const struct kernel_modules *modules)
{
    struct config config = {0};
    config.stream = open_memstream(&config.text, &config.len);
    if (config.stream == NULL)
        return -ENOMEM;
    put_plan(&config, plan, modules);
    int err = fclose(config.stream) != 0 ? -ENOMEM : 0;
    if (err == 0)
        err = initramfs_add_file(fs, &BOOT_CONFIG_PATH[1], 0600, config.text, config.len);
    free(config.text);
    return err;
}

/* ---- busybox ---- */

/* A dynamically linked program would find no loader in the guest. */
static bool is_static_elf(const char *bytes, size_t len)
{
    Elf64_Ehdr elf;
    Elf64_Phdr header;
    if (len < sizeof(elf))
        return false;
    memcpy(&elf, bytes, sizeof(elf));
    if (memcmp(elf.e_ident, ELFMAG, SELFMAG) != 0 || elf.e_phentsize != sizeof(header))
        return false;
    for (uint64_t i = 0; i < elf.e_phnum; i++) {
        uint64_t at;
        if (!checked_add_u64(elf.e_phoff, i * sizeof(header), &at) || !range_within(at, sizeof(header), len))
            return false;
        memcpy(&header, bytes + at, sizeof(header));
        if (header.p_type == PT_INTERP)
            return false;
    }
    return true;
}

/* Asks busybox which names it answers to; the caller closes the stream and waits for the process. */
static FILE *list_applets(pid_t *pid)
{
    static char name[] = "busybox", option[] = "--list";
    static char *const argv[] = {name, option, NULL};
    posix_spawn_file_actions_t actions;
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) != 0)
        return NULL;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, fds[1], STDOUT_FILENO);
    int err = posix_spawn(pid, BUSYBOX, &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(fds[1]);
    FILE *stream = err == 0 ? fdopen(fds[0], "r") : NULL;
    if (stream == NULL)
        close(fds[0]);
    return stream;
}

static int add_applets(struct initramfs *fs)
{
    char name[64], path[80];
    pid_t pid;
    int err = 0;
    FILE *stream = list_applets(&pid);
    if (stream == NULL)
        return -EIO;
    while (err == 0 && fscanf(stream, "%63s", name) == 1) {
        snprintf(path, sizeof(path), "bin/%s", name);
        if (strchr(name, '/') == NULL && strcmp(name, "busybox") != 0)
            err = initramfs_add_link(fs, path, "busybox");
    }
    fclose(stream);
    waitpid(pid, NULL, 0);
    return err;
}

static int add_busybox(struct initramfs *fs, struct vm_error *error)
{
    cleanup_free char *bytes = NULL;
    size_t len = 0;
    int err = host_file_read(BUSYBOX, &bytes, &len);
    if (err != 0)
        return vm_fail(error, err,
                       "cannot read " BUSYBOX ", the guest's programs: %s; install busybox-static",
                       strerror(-err));
    if (!is_static_elf(bytes, len))
        return vm_fail(error, -EINVAL,
                       BUSYBOX " is not static and cannot run in the guest; install busybox-static");
    err = initramfs_add_file(fs, "bin/busybox", 0755, bytes, len);
    if (err == 0)
        err = add_applets(fs);
    return err != 0 ? vm_fail(error, err, "cannot add " BUSYBOX " to the guest: %s", strerror(-err)) : 0;
}

/* ---- all of it ---- */

static int add_skeleton(struct initramfs *fs)
{
    static const char *const folders[] = {"bin",  "dev",  "etc", "mnt", "oriel", MODULE_FOLDER,
                                          "proc", "root", "run", "sys", "tmp",   "usr"};
    static const struct {
        const char *path, *target;
    } links[] = {{"sbin", "bin"}, {"usr/bin", "../bin"}, {"usr/sbin", "../bin"}};
    static const struct {
        const char *path, *text;
    } files[] = {{"etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"},
                 {"etc/group", "root:x:0:\nnogroup:x:65534:\n"}};
    int err = 0;
    for (size_t i = 0; err == 0 && i < ARRAY_LEN(folders); i++)
        err = initramfs_add_folder(fs, folders[i], 0755);
    for (size_t i = 0; err == 0 && i < ARRAY_LEN(links); i++)
        err = initramfs_add_link(fs, links[i].path, links[i].target);
    for (size_t i = 0; err == 0 && i < ARRAY_LEN(files); i++)
        err = initramfs_add_file(fs, files[i].path, 0644, files[i].text, strlen(files[i].text));
    if (err == 0)
        err = initramfs_add_char_device(fs, "dev/console", 0600, 5, 1);
    if (err == 0)
        err = initramfs_add_file(fs, "init", 0755, guest_init_start,
                                 (size_t)(guest_init_end - guest_init_start));
    return err;
}

static int add_modules(struct initramfs *fs, const struct kernel_modules *modules)
{
    int err = 0;
    for (size_t i = 0; err == 0 && i < modules->count; i++) {
        char path[128];
        snprintf(path, sizeof(path), MODULE_FOLDER "/%s.ko", modules->loaded[i].name);
        err = initramfs_add_file(fs, path, 0600, modules->loaded[i].bytes, modules->loaded[i].len);
    }
    return err;
}

static int fill(const struct guest_plan *plan, const struct kernel_modules *modules, struct initramfs *fs,
                struct vm_error *error)
{
    int err = add_skeleton(fs);
    if (err == 0)
        err = add_modules(fs, modules);
    if (err == 0)
        err = add_config(fs, plan, modules);
    if (err != 0)
        return vm_fail(error, err, "cannot build the guest's initial file system: %s", strerror(-err));
    err = add_busybox(fs, error);
    if (err != 0)
        return err;
    err = initramfs_finish(fs);
    return err != 0 ? vm_fail(error, err, "cannot finish the guest's initial file system: %s", strerror(-err))
                    : 0;
}

int guest_files_build(const struct guest_plan *plan, struct initramfs *fs, struct vm_error *error)
{
    struct kernel_modules modules = {0};
    int err = 0;
    if (plan->modules_dir != NULL)
        err = kernel_modules_collect(plan->modules_dir, wanted_modules, ARRAY_LEN(wanted_modules), &modules,
                                     error);
    if (err != 0)
        return err;
    err = initramfs_create(fs);
    if (err == 0) {
        err = fill(plan, &modules, fs, error);
        if (err != 0)
            initramfs_destroy(fs);
    } else {
        vm_fail(error, err, "cannot build the guest's initial file system: %s", strerror(-err));
    }
    kernel_modules_destroy(&modules);
    return err;
}
