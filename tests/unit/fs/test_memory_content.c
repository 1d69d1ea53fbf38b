/* File data: places, holes, quota, and a random program against a plain file. */
#include "memory_rig.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define KIB UINT64_C(1024)
#define MIB (KIB * 1024)
#define GIB (MIB * 1024)

static unsigned open_descriptors(void)
{
    unsigned count = 0;
    for (int fd = 0; fd < 4096; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

static void many_files_need_no_descriptors(void **state)
{
    (void)state;
    struct mem *mem = mem_new(&(struct oriel_memory_fs_options){.max_bytes = 256 * MIB});
    unsigned before = open_descriptors();
    for (int i = 0; i < 5000; i++) {
        char name[16];
        snprintf(name, sizeof(name), "%d", i);
        void *file = mem_file(mem, mem->root, name, 0644, NULL);
        assert_int_equal(mem_write(mem, file, name, 4, i % 100 == 0 ? 300 * KIB : 0), 4);
        mem_close(mem, file);
    }
    assert_int_equal(open_descriptors(), before);
    void *file = mem_find(mem, mem->root, "4321", NULL);
    char text[8];
    assert_int_equal(mem_read(mem, file, text, sizeof(text), 0), 4);
    assert_memory_equal(text, "4321", 4);
    mem_close(mem, file);
    mem_free(mem);
}

static void holes_read_as_zeroes_and_cost_nothing(void **state)
{
    (void)state;
    struct mem *mem = mem_new(NULL);
    void *file = mem_file(mem, mem->root, "f", 0644, NULL);
    assert_int_equal(mem_set_size(mem, file, 512 * GIB), 0);
    assert_int_equal(mem_attr(mem, file).blocks, 0);
    char data[16] = "x";
    assert_int_equal(mem_read(mem, file, data, 16, 500 * GIB), 16);
    assert_int_equal(data[0], 0);
    assert_int_equal(mem_write(mem, file, "end", 3, 512 * GIB), 3);
    assert_int_equal(mem_attr(mem, file).size, 512 * GIB + 3);
    assert_int_equal(mem_used_bytes(mem), 4096);
    assert_int_equal(mem->ops->lseek(mem->p, file, NULL, 0, SEEK_DATA), 512 * GIB);
    assert_int_equal(mem->ops->lseek(mem->p, file, NULL, 512 * GIB + 1, SEEK_HOLE), 512 * GIB + 3);
    assert_int_equal(mem->ops->lseek(mem->p, file, NULL, 512 * GIB + 3, SEEK_HOLE), -ENXIO);
    assert_int_equal(mem_set_size(mem, file, 1), 0);
    assert_int_equal(mem_used_bytes(mem), 0);
    assert_int_equal(mem_set_size(mem, file, 1024 * GIB + 1), -EFBIG);
    assert_int_equal(mem_write(mem, file, "x", 1, 1024 * GIB), -EFBIG);
    mem_close(mem, file);
    mem_free(mem);
}

/* What was cut off must not come back when the file grows again. */
static void cut_off_data_is_gone(void **state)
{
    (void)state;
    struct mem *mem = mem_new(NULL);
    void *file = mem_file(mem, mem->root, "f", 0644, NULL);
    char data[10000];
    memset(data, 'a', sizeof(data));
    assert_int_equal(mem_write(mem, file, data, sizeof(data), 0), sizeof(data));
    assert_int_equal(mem_set_size(mem, file, 5000), 0);
    assert_int_equal(mem_set_size(mem, file, sizeof(data)), 0);
    assert_int_equal(mem_read(mem, file, data, sizeof(data), 0), sizeof(data));
    assert_int_equal(data[4999], 'a');
    for (size_t i = 5000; i < sizeof(data); i++)
        assert_int_equal(data[i], 0);
    mem_close(mem, file);
    mem_free(mem);
}

static void a_growing_file_moves_with_its_data(void **state)
{
    (void)state;
    struct mem *mem = mem_new(NULL);
    void *file = mem_file(mem, mem->root, "f", 0644, NULL);
    assert_int_equal(mem_write(mem, file, "begin", 5, 3), 5);
    assert_int_equal(mem_write(mem, file, "hole before", 11, 100 * KIB), 11);
    assert_int_equal(mem_write(mem, file, "beyond", 6, 300 * KIB), 6);
    char text[16] = {0};
    assert_int_equal(mem_read(mem, file, text, 11, 100 * KIB), 11);
    assert_string_equal(text, "hole before");
    assert_int_equal(mem_read(mem, file, text, 5, 3), 5);
    assert_memory_equal(text, "begin", 5);
    assert_int_equal(mem_used_bytes(mem), 3 * 4096);
    assert_int_equal(mem->ops->lseek(mem->p, file, NULL, 8 * KIB, SEEK_DATA), 100 * KIB);
    mem_close(mem, file);
    mem_free(mem);
}

static void a_full_file_system_takes_what_fits(void **state)
{
    (void)state;
    struct mem *mem = mem_new(&(struct oriel_memory_fs_options){.max_bytes = 10 * 4096});
    void *file = mem_file(mem, mem->root, "f", 0644, NULL);
    char data[16 * 4096];
    memset(data, 'b', sizeof(data));
    assert_int_equal(mem_write(mem, file, data, sizeof(data), 100), 10 * 4096 - 100);
    assert_int_equal(mem_write(mem, file, data, 10, 10 * 4096), -ENOSPC);
    assert_int_equal(mem_write(mem, file, data, 5000, 9 * 4096), 4096); /* over what is there already */
    assert_int_equal(mem_attr(mem, file).size, 10 * 4096);
    assert_int_equal(mem->ops->fallocate(mem->p, file, NULL, 0, 11 * 4096, 0), -ENOSPC);
    assert_int_equal(
        mem->ops->fallocate(mem->p, file, NULL, 4096, 8192, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE), 0);
    assert_int_equal(mem_used_bytes(mem), 8 * 4096);
    assert_int_equal(mem_write(mem, file, data, 8192, 4096), 8192);
    assert_int_equal(mem_unlink(mem, mem->root, "f"), 0);
    assert_int_equal(mem_used_bytes(mem), 10 * 4096); /* still open */
    mem_close(mem, file);
    assert_int_equal(mem_used_bytes(mem), 0);
    mem_free(mem);
}

static void an_owner_over_its_quota_gets_edquot(void **state)
{
    (void)state;
    struct mem *mem = mem_new(&(struct oriel_memory_fs_options){.user_bytes = 8192, .user_inodes = 2});
    mem->caller.uid = 500;
    void *file = mem_file(mem, mem->root, "f", 0644, NULL);
    char data[3 * 4096] = {0};
    assert_int_equal(mem_write(mem, file, data, sizeof(data), 0), 8192);
    assert_int_equal(mem_write(mem, file, data, 1, 8192), -EDQUOT);
    int error;
    mem_close(mem, mem_file(mem, mem->root, "g", 0644, NULL));
    assert_null(mem_file(mem, mem->root, "h", 0644, &error));
    assert_int_equal(error, -EDQUOT);
    /* A new owner pays for what the file has. */
    assert_int_equal(mem_set(mem, file, ORIEL_FS_SET_UID, &(struct oriel_fs_attr){.uid = 501}), 0);
    assert_int_equal(mem_write(mem, file, data, 1, 8192), -EDQUOT);
    mem_close(mem, mem_file(mem, mem->root, "h", 0644, NULL));
    mem_close(mem, file);
    mem_free(mem);
}

static void a_mapping_and_calls_see_one_file(void **state)
{
    (void)state;
    struct mem *mem = mem_new(NULL);
    void *file = mem_file(mem, mem->root, "f", 0644, NULL);
    assert_int_equal(mem_write(mem, file, "before", 6, 5000), 6);
    bool writable = false;
    int fd = mem->ops->map_open(mem->p, file, true, &writable);
    assert_true(fd >= 0 && writable);
    assert_true((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_size, 5006);
    char *map = mmap(NULL, 2 * MIB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_ptr_not_equal(map, MAP_FAILED);
    close(fd);
    assert_string_equal(map + 5000, "before");
    memcpy(map + 10, "stored", 6);
    char text[8] = {0};
    assert_int_equal(mem_read(mem, file, text, 6, 10), 6);
    assert_string_equal(text, "stored");
    assert_int_equal(mem_write(mem, file, "after", 5, 20000), 5); /* the mapping follows */
    assert_string_equal(map + 20000, "after");
    assert_int_equal(mem_set_size(mem, file, 20002), 0);
    assert_string_equal(map + 20000, "af");
    munmap(map, 2 * MIB);
    mem_close(mem, file);
    mem_free(mem);
}

/* Stores to a mapping ask nobody, so a mapped file has paid for its holes. */
static void a_mapped_file_is_paid_to_its_end(void **state)
{
    (void)state;
    struct mem *mem = mem_new(&(struct oriel_memory_fs_options){.max_bytes = 16 * 4096});
    void *file = mem_file(mem, mem->root, "f", 0644, NULL);
    bool writable;
    assert_int_equal(mem_set_size(mem, file, 17 * 4096), 0);
    assert_int_equal(mem->ops->map_open(mem->p, file, false, &writable), -ENOSPC);
    assert_int_equal(mem_used_bytes(mem), 0);
    assert_int_equal(mem_set_size(mem, file, 10 * 4096), 0);
    int fd = mem->ops->map_open(mem->p, file, false, &writable);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(mem_used_bytes(mem), 10 * 4096);
    assert_int_equal(mem_set_size(mem, file, 17 * 4096), -ENOSPC);
    char data[8 * 4096] = {0};
    assert_int_equal(mem_write(mem, file, data, sizeof(data), 12 * 4096), 4 * 4096);
    assert_int_equal(mem_write(mem, file, data, 1, 16 * 4096), -ENOSPC);
    assert_int_equal(mem_set_size(mem, file, 4096), 0);
    assert_int_equal(mem_used_bytes(mem), 4096);
    mem_close(mem, file);
    mem_free(mem);
}

static void mapped_files_are_bounded(void **state)
{
    (void)state;
    struct mem *mem = mem_new(&(struct oriel_memory_fs_options){.max_mapped_files = 2});
    void *files[3];
    bool writable;
    for (int i = 0; i < 3; i++) {
        char name[2] = {(char)('a' + i), 0};
        files[i] = mem_file(mem, mem->root, name, 0644, NULL);
        int fd = mem->ops->map_open(mem->p, files[i], false, &writable);
        if (i == 2)
            assert_int_equal(fd, -ENFILE);
        else
            close(fd);
    }
    assert_int_equal(mem_unlink(mem, mem->root, "a"), 0);
    mem_close(mem, files[0]);
    int fd = mem->ops->map_open(mem->p, files[2], false, &writable);
    assert_true(fd >= 0);
    close(fd);
    mem_close(mem, files[1]);
    mem_close(mem, files[2]);
    mem_free(mem);
}

/* Guest memory that faults is an error of the request, nothing worse. */
static void a_bad_vector_is_efault(void **state)
{
    (void)state;
    struct mem *mem = mem_new(NULL);
    void *file = mem_file(mem, mem->root, "f", 0644, NULL);
    char *pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(pages, MAP_FAILED);
    assert_int_equal(mprotect(pages + 4096, 4096, PROT_NONE), 0);
    assert_int_equal(mem_write(mem, file, pages + 4096, 4096, 0), -EFAULT);
    assert_int_equal(mem_used_bytes(mem), 0);
    assert_int_equal(mem_attr(mem, file).size, 0);
    assert_int_equal(mem_write(mem, file, pages, 8192, 0), 4096);
    assert_int_equal(mem_used_bytes(mem), 4096);
    assert_int_equal(mem_read(mem, file, pages + 4096, 4096, 0), -EFAULT);
    munmap(pages, 8192);
    mem_close(mem, file);
    mem_free(mem);
}

static void copies_within_and_between_files(void **state)
{
    (void)state;
    struct mem *mem = mem_new(NULL);
    void *a = mem_file(mem, mem->root, "a", 0644, NULL);
    void *b = mem_file(mem, mem->root, "b", 0644, NULL);
    static char data[600000], back[600000];
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (char)(i * 7 + i / 4096);
    assert_int_equal(mem_write(mem, a, data, sizeof(data), 0), sizeof(data));
    assert_int_equal(mem->ops->copy_file_range(mem->p, a, NULL, 5, b, NULL, 17, 1 << 30, 0),
                     sizeof(data) - 5);
    assert_int_equal(mem_read(mem, b, back, sizeof(data) - 5, 17), sizeof(data) - 5);
    assert_memory_equal(back, data + 5, sizeof(data) - 5);
    assert_int_equal(mem->ops->copy_file_range(mem->p, a, NULL, 0, a, NULL, 600000, 600000, 0), 600000);
    assert_int_equal(mem_read(mem, a, back, 600000, 600000), 600000);
    assert_memory_equal(back, data, 600000);
    assert_int_equal(mem->ops->copy_file_range(mem->p, a, NULL, 0, a, NULL, 10, 100, 0), -EINVAL);
    assert_int_equal(mem->ops->copy_file_range(mem->p, a, NULL, 5000000, b, NULL, 0, 100, 0), 0);
    mem_close(mem, a);
    mem_close(mem, b);
    mem_free(mem);
}

static void a_file_size_limit_is_refused(void **state)
{
    (void)state;
    struct rlimit old, limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    limit = old;
    limit.rlim_cur = 1 << 20;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    struct oriel_memory_fs_options options = {.size = sizeof(options)};
    struct oriel_fs fs;
    int error = oriel_memory_fs_create(&options, &fs);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(error, -EFBIG);
}

/* ---- a random program on the back-end and on a file of the host's tmpfs ---- */

#define SPAN (700 * KIB) /* crosses the border of small and large regions */

struct twin {
    struct mem *mem;
    void *file;
    int fd;
    unsigned seed;
};

static uint64_t pick(struct twin *t, uint64_t below)
{
    uint64_t value = ((uint64_t)rand_r(&t->seed) << 16 ^ (uint64_t)rand_r(&t->seed)) % below;
    return rand_r(&t->seed) % 4 == 0 ? value & ~UINT64_C(4095) : value;
}

static void compare(struct twin *t)
{
    static char a[SPAN * 2], b[SPAN * 2];
    struct stat st;
    assert_int_equal(fstat(t->fd, &st), 0);
    struct oriel_fs_attr attr = mem_attr(t->mem, t->file);
    assert_int_equal(attr.size, st.st_size);
    assert_int_equal(attr.blocks, st.st_blocks);
    assert_int_equal(mem_read(t->mem, t->file, a, sizeof(a), 0), st.st_size);
    assert_int_equal(pread(t->fd, b, sizeof(b), 0), st.st_size);
    assert_memory_equal(a, b, (size_t)st.st_size);
    for (off_t at = 0; at < st.st_size;) {
        off_t data = lseek(t->fd, at, SEEK_DATA);
        assert_int_equal(t->mem->ops->lseek(t->mem->p, t->file, NULL, (uint64_t)at, SEEK_DATA),
                         data < 0 ? -ENXIO : data);
        if (data < 0)
            break;
        off_t hole = lseek(t->fd, data, SEEK_HOLE);
        assert_int_equal(t->mem->ops->lseek(t->mem->p, t->file, NULL, (uint64_t)data, SEEK_HOLE), hole);
        at = hole;
    }
}

static void step(struct twin *t)
{
    static char data[100000];
    uint64_t at = pick(t, SPAN);
    uint64_t len = pick(t, rand_r(&t->seed) % 3 == 0 ? sizeof(data) : 5000) + 1;
    int mode;
    switch (rand_r(&t->seed) % 6) {
    case 0:
    case 1:
        memset(data, rand_r(&t->seed), len);
        assert_int_equal(mem_write(t->mem, t->file, data, len, at), len);
        assert_int_equal(pwrite(t->fd, data, len, (off_t)at), len);
        break;
    case 2:
        assert_int_equal(mem_set_size(t->mem, t->file, at), 0);
        assert_int_equal(ftruncate(t->fd, (off_t)at), 0);
        break;
    case 3:
        mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
        assert_int_equal(t->mem->ops->fallocate(t->mem->p, t->file, NULL, at, len, (uint32_t)mode), 0);
        assert_int_equal(fallocate(t->fd, mode, (off_t)at, (off_t)len), 0);
        break;
    case 4:
        mode = rand_r(&t->seed) % 2 == 0 ? FALLOC_FL_KEEP_SIZE : 0;
        assert_int_equal(t->mem->ops->fallocate(t->mem->p, t->file, NULL, at, len, (uint32_t)mode), 0);
        assert_int_equal(fallocate(t->fd, mode, (off_t)at, (off_t)len), 0);
        break;
    default:
        at = rand_r(&t->seed) % 8 == 0 ? 0 : at; /* now and then back to nothing */
        if (at == 0) {
            assert_int_equal(mem_set_size(t->mem, t->file, 0), 0);
            assert_int_equal(ftruncate(t->fd, 0), 0);
        }
    }
}

static void random_program(bool mapped)
{
    const char *given = getenv("ORIEL_TEST_SEED");
    struct twin t = {.mem = mem_new(NULL), .seed = given != NULL ? (unsigned)strtoul(given, NULL, 0) : 4711};
    print_message("ORIEL_TEST_SEED=%u\n", t.seed);
    t.fd = memfd_create("twin", MFD_CLOEXEC);
    assert_true(t.fd >= 0);
    t.file = mem_file(t.mem, t.mem->root, "f", 0644, NULL);
    if (mapped) {
        bool writable;
        int fd = t.mem->ops->map_open(t.mem->p, t.file, true, &writable);
        assert_true(fd >= 0);
        close(fd);
    }
    for (int i = 0; i < 4000; i++) {
        step(&t);
        if (i % 8 == 0)
            compare(&t);
    }
    assert_int_equal(mem_set_size(t.mem, t.file, 0), 0);
    assert_int_equal(mem_used_bytes(t.mem), 0);
    close(t.fd);
    mem_close(t.mem, t.file);
    mem_free(t.mem);
}

static void random_program_in_the_pool(void **state)
{
    (void)state;
    random_program(false);
}

static void random_program_on_a_mapped_file(void **state)
{
    (void)state;
    random_program(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_files_need_no_descriptors),
        cmocka_unit_test(holes_read_as_zeroes_and_cost_nothing),
        cmocka_unit_test(cut_off_data_is_gone),
        cmocka_unit_test(a_growing_file_moves_with_its_data),
        cmocka_unit_test(a_full_file_system_takes_what_fits),
        cmocka_unit_test(an_owner_over_its_quota_gets_edquot),
        cmocka_unit_test(a_mapping_and_calls_see_one_file),
        cmocka_unit_test(a_mapped_file_is_paid_to_its_end),
        cmocka_unit_test(mapped_files_are_bounded),
        cmocka_unit_test(a_bad_vector_is_efault),
        cmocka_unit_test(copies_within_and_between_files),
        cmocka_unit_test(a_file_size_limit_is_refused),
        cmocka_unit_test(random_program_in_the_pool),
        cmocka_unit_test(random_program_on_a_mapped_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
