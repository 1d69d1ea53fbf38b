#include "unit/microvm/unit.h"

#include <fcntl.h>
#include <linux/kvm.h>

#include "microvm/vcpu_watch.h"

#define NAME_SIZE 16

struct entry {
    struct kvm_stats_desc desc;
    char name[NAME_SIZE];
};

struct stats {
    struct kvm_stats_header header;
    struct entry entries[2];
    uint64_t data[2];
};

static struct stats make_stats(void)
{
    return (struct stats){
        .header = {.name_size = NAME_SIZE,
                   .num_desc = 2,
                   .desc_offset = offsetof(struct stats, entries),
                   .data_offset = offsetof(struct stats, data)},
        .entries = {{.desc = {.offset = 0, .size = 1}, .name = "pf_taken_not"},
                    {.desc = {.offset = 8, .size = 1}, .name = "pf_taken"}},
        .data = {1000, 0},
    };
}

static int stats_file(const struct stats *stats, size_t len)
{
    char *path = temp_file(stats, len);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    drop_file(path);
    return fd;
}

static bool find(const struct stats *stats, size_t len, uint64_t *offset)
{
    int fd = stats_file(stats, len);
    bool found = vcpu_watch_find_counter(fd, "pf_taken", offset);
    close(fd);
    return found;
}

static void the_counter_is_found_by_its_name(void **state)
{
    (void)state;
    struct stats stats = make_stats();
    uint64_t offset;
    assert_true(find(&stats, sizeof(stats), &offset));
    assert_int_equal(offset, offsetof(struct stats, data) + 8);
}

static void malformed_statistics_have_no_counter(void **state)
{
    (void)state;
    uint64_t offset;
    struct stats stats = make_stats();
    assert_false(find(&stats, 10, &offset));
    assert_false(find(&stats, offsetof(struct stats, entries[1]), &offset));
    stats.header.name_size = UINT32_MAX;
    assert_false(find(&stats, sizeof(stats), &offset));
    stats = make_stats();
    stats.header.num_desc = UINT32_MAX;
    assert_false(find(&stats, sizeof(stats), &offset));
    stats = make_stats();
    stats.entries[1].name[0] = 'x';
    assert_false(find(&stats, sizeof(stats), &offset));
}

static void many_faults_make_a_suspect(void **state)
{
    (void)state;
    struct stats stats = make_stats();
    struct vcpu_watch watch = {.fd = stats_file(&stats, sizeof(stats))};
    assert_true(vcpu_watch_find_counter(watch.fd, "pf_taken", &watch.offset));
    assert_false(vcpu_watch_is_suspect(&watch));
    uint64_t faults = 7;
    assert_int_equal(pwrite(watch.fd, &faults, 8, (off_t)watch.offset), 8);
    assert_false(vcpu_watch_is_suspect(&watch));
    faults += 100;
    assert_int_equal(pwrite(watch.fd, &faults, 8, (off_t)watch.offset), 8);
    assert_true(vcpu_watch_is_suspect(&watch));
    assert_false(vcpu_watch_is_suspect(&watch));
    vcpu_watch_destroy(&watch);
    assert_true(vcpu_watch_is_suspect(&watch)); /* not known: better to look */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_counter_is_found_by_its_name),
        cmocka_unit_test(malformed_statistics_have_no_counter),
        cmocka_unit_test(many_faults_make_a_suspect),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
