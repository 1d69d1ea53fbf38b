#include <oriel/mapper.h>

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <oriel/dax.h>

#define MIB (UINT64_C(1) << 20)
#define R   ORIEL_DAX_READ
#define RW  (ORIEL_DAX_READ | ORIEL_DAX_WRITE)

static struct oriel_arena *make(uint64_t gpa, uint64_t len)
{
    struct oriel_arena *arena = NULL;
    const struct oriel_arena_options options = {
        .size = sizeof(options), .window_gpa = gpa, .window_len = len};
    assert_int_equal(oriel_arena_create(&options, &arena), 0);
    return arena;
}

static int file_with(char first, uint64_t len)
{
    int fd = memfd_create("arena", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)len), 0);
    for (uint64_t at = 0; at < len; at += MIB) {
        char c = (char)(first + (char)(at / MIB));
        assert_int_equal(pwrite(fd, &c, 1, (off_t)at), 1);
    }
    return fd;
}

static int map(struct oriel_arena *arena, uint64_t at, int fd, uint64_t from, uint64_t len, uint32_t prot)
{
    enum oriel_range_left left = ORIEL_RANGE_LOST;
    const struct oriel_dax_mapper *m = oriel_arena_mapper(arena);
    return m->map(m->opaque, at, fd, from, len, prot, &left);
}

static int unmap(struct oriel_arena *arena, uint64_t at, uint64_t len)
{
    enum oriel_range_left left = ORIEL_RANGE_LOST;
    const struct oriel_dax_mapper *m = oriel_arena_mapper(arena);
    return m->unmap(m->opaque, at, len, &left);
}

/* Whether the kernel may read, or write, one byte of ours: asked with a system call, so that no signal comes.
 */
static int can_read(const void *p)
{
    int pipes[2];
    assert_int_equal(pipe(pipes), 0);
    ssize_t n = write(pipes[1], p, 1);
    close(pipes[0]);
    close(pipes[1]);
    return n == 1;
}

static int can_write(void *p)
{
    int pipes[2];
    char c = 0;
    assert_int_equal(pipe(pipes), 0);
    assert_int_equal(write(pipes[1], &c, 1), 1);
    ssize_t n = read(pipes[0], p, 1);
    close(pipes[0]);
    close(pipes[1]);
    return n == 1;
}

static void options_are_checked(void **state)
{
    (void)state;
    struct oriel_arena *arena = NULL;
    struct oriel_arena_options o = {.size = sizeof(o), .window_len = 2 * MIB};
    o.window_gpa = 1;
    assert_int_equal(oriel_arena_create(&o, &arena), -EINVAL);
    o.window_gpa = 0;
    o.window_len = 0;
    assert_int_equal(oriel_arena_create(&o, &arena), -EINVAL);
    o.window_len = UINT64_MAX - 4095;
    assert_int_equal(oriel_arena_create(&o, &arena), -ENOMEM);
    o.window_gpa = 8192;
    assert_int_equal(oriel_arena_create(&o, &arena), -EINVAL);
    o = (struct oriel_arena_options){.size = 8, .window_len = 2 * MIB};
    assert_int_equal(oriel_arena_create(&o, &arena), -EINVAL);
    oriel_arena_destroy(NULL);
}

static void base_is_congruent_with_the_guest_address(void **state)
{
    (void)state;
    const uint64_t gpas[] = {0, UINT64_C(1) << 32, (UINT64_C(1) << 32) + 4096, 2 * MIB - 4096, 0x12345000};
    for (size_t i = 0; i < sizeof(gpas) / sizeof(gpas[0]); i++) {
        struct oriel_arena *arena = make(gpas[i], 6 * MIB + 4096);
        uintptr_t base = (uintptr_t)oriel_arena_base(arena);
        assert_int_equal((base - gpas[i]) % (2 * MIB), 0);
        assert_ptr_equal(oriel_arena_mapper(arena)->host_base, (void *)base);
        oriel_arena_destroy(arena);
    }
}

static void map_replace_and_unmap(void **state)
{
    (void)state;
    struct oriel_arena *arena = make(0, 16 * MIB);
    char *base = oriel_arena_base(arena);
    int a = file_with('a', 8 * MIB), x = file_with('p', 8 * MIB);
    assert_false(can_read(base));
    assert_int_equal(map(arena, 0, a, 2 * MIB, 4 * MIB, R), 0);
    assert_int_equal(base[0], 'c');
    assert_int_equal(base[3 * MIB], 'f');
    assert_false(can_write(base));
    assert_false(can_read(base + 4 * MIB));
    assert_int_equal(map(arena, MIB, x, 0, 2 * MIB, RW), 0);
    assert_int_equal(base[0], 'c');
    assert_int_equal(base[MIB], 'p');
    assert_int_equal(base[2 * MIB], 'q');
    assert_int_equal(base[3 * MIB], 'f');
    base[MIB] = '!';
    char seen;
    assert_int_equal(pread(x, &seen, 1, 0), 1);
    assert_int_equal(seen, '!');
    assert_int_equal(unmap(arena, 2 * MIB, 8 * MIB), 0);
    assert_false(can_read(base + 2 * MIB));
    assert_false(can_read(base + 3 * MIB));
    assert_true(can_read(base + MIB));
    close(a);
    close(x);
    oriel_arena_destroy(arena);
}

static void the_whole_length_is_mapped_past_the_end_and_shows_when_the_file_grows(void **state)
{
    (void)state;
    struct oriel_arena *arena = make(0, 4 * MIB);
    char *base = oriel_arena_base(arena);
    int fd = file_with('a', 0);
    assert_int_equal(map(arena, 0, fd, 0, 2 * MIB, RW), 0);
    assert_false(can_read(base));
    assert_int_equal(ftruncate(fd, 2 * (off_t)MIB), 0);
    assert_true(can_read(base + 2 * MIB - 1));
    close(fd);
    oriel_arena_destroy(arena);
}

static void a_failed_map_keeps_what_was_there(void **state)
{
    (void)state;
    struct oriel_arena *arena = make(0, 4 * MIB);
    const struct oriel_dax_mapper *m = oriel_arena_mapper(arena);
    char *base = oriel_arena_base(arena), path[] = "/tmp/oriel-arena-XXXXXX";
    int a = file_with('a', 2 * MIB), dir = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC), rw = mkstemp(path);
    assert_true(rw >= 0);
    int ro = open(path, O_RDONLY | O_CLOEXEC);
    unlink(path);
    assert_int_equal(map(arena, 0, a, 0, 2 * MIB, R), 0);
    enum oriel_range_left left = ORIEL_RANGE_LOST;
    assert_int_equal(m->map(m->opaque, 0, ro, 0, 2 * MIB, RW, &left), -EACCES);
    assert_int_equal(left, ORIEL_RANGE_KEPT);
    left = ORIEL_RANGE_LOST;
    assert_int_equal(m->map(m->opaque, 0, dir, 0, 2 * MIB, R, &left), -ENODEV);
    assert_int_equal(left, ORIEL_RANGE_KEPT);
    assert_int_equal(m->map(m->opaque, 0, -1, 0, 2 * MIB, R, &left), -EIO);
    assert_int_equal(base[0], 'a');
    close(a);
    close(dir);
    close(rw);
    close(ro);
    oriel_arena_destroy(arena);
}

/* The bound on mappings keeps the process away from the kernel's: there even an unmap would fail. */
static void too_many_mappings_are_enospc_and_unmapping_helps(void **state)
{
    (void)state;
    struct oriel_arena *arena = NULL;
    const struct oriel_arena_options options = {
        .size = sizeof(options), .window_len = 16 * MIB, .cap_mappings = 100};
    assert_int_equal(oriel_arena_create(&options, &arena), 0);
    int fd = file_with('a', 2 * MIB), err = 0;
    uint64_t i = 0;
    for (; err == 0 && i < 1000; i++)
        err = map(arena, i * 8192, fd, 0, 4096, R);
    assert_int_equal(err, -ENOSPC);
    assert_in_range(i, 48, 51); /* two for each, with its gap */
    assert_int_equal(unmap(arena, 0, 4096), 0);
    assert_int_equal(unmap(arena, 8192, 4096), 0);
    assert_int_equal(map(arena, 0, fd, 0, 4096, R), 0);
    assert_int_equal(unmap(arena, 0, 16 * MIB), 0);
    for (int round = 0; round < 1000; round++) { /* nothing is left over in the count */
        uint64_t at = (uint64_t)(round * 37 % 500) * 8192;
        assert_int_equal(map(arena, at, fd, 0, 8192, R), 0);
        assert_int_equal(unmap(arena, at + 4096, 4096), 0);
        assert_int_equal(unmap(arena, at, 4096), 0);
    }
    for (i = 0; i < 45; i++)
        assert_int_equal(map(arena, i * 8192, fd, 0, 4096, R), 0);
    close(fd);
    oriel_arena_destroy(arena);
}

/* In a child, whose mappings may be used up: the default bound is safe. */
static int use_up_mappings(void)
{
    struct oriel_arena *arena = make(0, UINT64_C(1) << 30);
    int fd = file_with('a', 2 * MIB), err = 0;
    uint64_t i = 0;
    for (; err == 0 && i < 131072; i++)
        err = map(arena, i * 8192, fd, 0, 4096, R);
    if (err != -ENOSPC)
        return i == 131072 ? 77 : 1; /* 77: this kernel allows so many that the test shows nothing */
    for (uint64_t k = 0; k < 100; k++) {
        if (unmap(arena, k * 8192, 4096) != 0)
            return 2;
    }
    return map(arena, 0, fd, 4096, 4096, RW) == 0 ? 0 : 3;
}

static void the_process_never_meets_the_limit_of_the_kernel(void **state)
{
    (void)state;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(use_up_mappings());
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77) {
        print_message("# vm.max_map_count is too high to reach\n");
        skip();
    }
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_are_checked),
        cmocka_unit_test(base_is_congruent_with_the_guest_address),
        cmocka_unit_test(map_replace_and_unmap),
        cmocka_unit_test(the_whole_length_is_mapped_past_the_end_and_shows_when_the_file_grows),
        cmocka_unit_test(a_failed_map_keeps_what_was_there),
        cmocka_unit_test(too_many_mappings_are_enospc_and_unmapping_helps),
        cmocka_unit_test(the_process_never_meets_the_limit_of_the_kernel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
