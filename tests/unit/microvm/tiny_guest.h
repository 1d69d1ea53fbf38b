/*
 * The whole machine with a guest of a few instructions, on the host's KVM. Where there is none the test is
 * skipped.
 *
 * A guest is code at the PVH entry: 32-bit protected mode, flat segments, no paging, no interrupt table.
 */
#ifndef ORIEL_TESTS_UNIT_MICROVM_TINY_GUEST_H
#define ORIEL_TESTS_UNIT_MICROVM_TINY_GUEST_H

#include "unit/microvm/unit.h"

#include <elf.h>
#include <poll.h>

#include "microvm/boot_config.h"
#include "microvm/vm.h"

#define CODE_AT  UINT64_C(0x1000000)
#define CODE_MAX 256
#define SECONDS  20

struct guest {
    Elf64_Ehdr elf;
    Elf64_Phdr headers[2];
    struct {
        Elf64_Nhdr head;
        char name[4];
        uint32_t desc;
    } note;
    uint8_t code[CODE_MAX];
};

struct fixture {
    struct vm vm;
    struct vm_error error;
    char out[1024];
    size_t out_len;
    char warning[400];
    unsigned faults;
};

static inline void take_output(void *opaque, const uint8_t *data, size_t len)
{
    struct fixture *f = opaque;
    assert_true(f->out_len + len < sizeof(f->out));
    memcpy(f->out + f->out_len, data, len);
    f->out_len += len;
}

static inline void take_ready(void *opaque)
{
    (void)opaque;
}

static inline void take_warning(void *opaque, const char *line)
{
    struct fixture *f = opaque;
    snprintf(f->warning, sizeof(f->warning), "%s", line);
}

static inline int set_up_cpus(void **state, unsigned cpus)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct vm_options options = {.ram_size = 128 * LAYOUT_MIB,
                                 .cpus = cpus,
                                 .console_output = take_output,
                                 .console_ready = take_ready,
                                 .warn = take_warning,
                                 .opaque = f};
    *state = f;
    if (vm_create(&options, &f->vm, &f->error) == 0)
        return 0;
    printf("# %s\n", f->error.text);
    free(f);
    *state = NULL;
    return 0;
}

static inline int tear_down(void **state)
{
    struct fixture *f = *state;
    if (f != NULL)
        vm_destroy(&f->vm);
    free(f);
    return 0;
}

static inline struct fixture *fixture_or_skip(void **state)
{
    if (*state == NULL) {
        printf("# no virtual machine can be made here\n");
        skip();
    }
    return *state;
}

static inline void load(struct fixture *f, const void *code, size_t len)
{
    static const struct boot_payload payload = {.cmdline = ""};
    struct guest guest = {.elf = {.e_machine = EM_X86_64,
                                  .e_phoff = offsetof(struct guest, headers),
                                  .e_phentsize = sizeof(Elf64_Phdr),
                                  .e_phnum = 2},
                          .headers = {{.p_type = PT_LOAD,
                                       .p_offset = offsetof(struct guest, code),
                                       .p_paddr = CODE_AT,
                                       .p_filesz = CODE_MAX,
                                       .p_memsz = CODE_MAX},
                                      {.p_type = PT_NOTE,
                                       .p_offset = offsetof(struct guest, note),
                                       .p_filesz = sizeof(guest.note)}},
                          .note = {.head = {4, 4, 18}, .name = "Xen", .desc = (uint32_t)CODE_AT}};
    struct kernel_image image;
    memcpy(guest.elf.e_ident, ELFMAG, SELFMAG);
    guest.elf.e_ident[EI_CLASS] = ELFCLASS64;
    assert_true(len <= CODE_MAX);
    memcpy(guest.code, code, len);
    char *path = temp_file(&guest, sizeof(guest));
    assert_int_equal(kernel_image_open(path, &image, &f->error), 0);
    assert_int_equal(vm_load(&f->vm, &image, &payload, &f->error), 0);
    kernel_image_close(&image);
    drop_file(path);
}

/* Runs until the machine stops, or stops it after SECONDS. */
static inline const struct vm_result *run(struct fixture *f, const void *code, size_t len)
{
    load(f, code, len);
    assert_int_equal(vm_start(&f->vm, &f->error), 0);
    for (int left = SECONDS * 1000; left > 0 && !vm_stopping(&f->vm); left -= VCPU_WATCH_INTERVAL_MS) {
        struct pollfd stop = {.fd = f->vm.stop_fd, .events = POLLIN};
        poll(&stop, 1, VCPU_WATCH_INTERVAL_MS);
        vm_watch(&f->vm);
    }
    vm_stop(&f->vm, VM_INTERRUPTED, 0, NULL);
    return vm_join(&f->vm);
}

#define RUN(f, code) run(f, code, sizeof(code) - 1)

#endif
