#include "memory_rig.h"

#include <errno.h>

#include "fs/memory/quota.h"

static void the_whole_is_bounded(void **state)
{
    (void)state;
    struct memfs_quota quota;
    memfs_quota_init(&quota, 1000, 2, 0, 0);
    assert_int_equal(memfs_quota_take(&quota, 7, 600, 1), 0);
    assert_int_equal(memfs_quota_take(&quota, 8, 401, 0), -ENOSPC);
    assert_int_equal(memfs_quota_take(&quota, 8, UINT64_MAX, 0), -ENOSPC);
    assert_int_equal(memfs_quota_take(&quota, 8, 1, 2), -ENOSPC);
    assert_int_equal(quota.bytes, 600); /* the failed ones took nothing */
    assert_int_equal(memfs_quota_take_some(&quota, 8, 150, 10), 2);
    assert_int_equal(memfs_quota_take_some(&quota, 8, 150, 10), -ENOSPC);
    memfs_quota_give(&quota, 8, 300, 0);
    memfs_quota_give(&quota, 7, 600, 1);
    assert_int_equal(quota.bytes, 0);
    assert_int_equal(quota.inodes, 0);
    memfs_quota_destroy(&quota);
}

static void each_owner_is_bounded(void **state)
{
    (void)state;
    struct memfs_quota quota;
    memfs_quota_init(&quota, 1000, 100, 400, 3);
    assert_int_equal(memfs_quota_take(&quota, 7, 400, 3), 0);
    assert_int_equal(memfs_quota_take(&quota, 7, 1, 0), -EDQUOT);
    assert_int_equal(memfs_quota_take(&quota, 7, 0, 1), -EDQUOT);
    assert_int_equal(memfs_quota_take_some(&quota, 7, 1, 5), -EDQUOT);
    assert_int_equal(memfs_quota_take_some(&quota, 8, 100, 5), 4);
    assert_int_equal(quota.bytes, 800); /* a refused owner left the whole as it was */
    assert_int_equal(memfs_quota_move(&quota, 7, 8, 100, 1), -EDQUOT);
    assert_int_equal(memfs_quota_move(&quota, 7, 9, 400, 3), 0);
    assert_int_equal(memfs_quota_take(&quota, 7, 100, 1), 0);
    memfs_quota_give(&quota, 9, 400, 3);
    memfs_quota_give(&quota, 8, 400, 0);
    memfs_quota_give(&quota, 7, 100, 1);
    assert_int_equal(quota.users_count, 0);
    memfs_quota_destroy(&quota);
}

/* The table of owners forgets who uses nothing, and finds the others after that. */
static void owners_come_and_go(void **state)
{
    (void)state;
    struct memfs_quota quota;
    memfs_quota_init(&quota, UINT64_MAX, UINT64_MAX, 10, 10);
    for (uint32_t uid = 0; uid < 3000; uid++)
        assert_int_equal(memfs_quota_take(&quota, uid * 64, 10, 1), 0);
    for (uint32_t uid = 0; uid < 3000; uid += 2)
        memfs_quota_give(&quota, uid * 64, 10, 1);
    assert_int_equal(quota.users_count, 1500);
    for (uint32_t uid = 0; uid < 3000; uid++)
        assert_int_equal(memfs_quota_take(&quota, uid * 64, 1, 0), uid % 2 == 0 ? 0 : -EDQUOT);
    for (uint32_t uid = 0; uid < 3000; uid++)
        memfs_quota_give(&quota, uid * 64, uid % 2 == 0 ? 1 : 10, uid % 2 == 0 ? 0 : 1);
    assert_int_equal(quota.users_count, 0);
    memfs_quota_destroy(&quota);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_whole_is_bounded),
        cmocka_unit_test(each_owner_is_bounded),
        cmocka_unit_test(owners_come_and_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
