/* Whose files the guest's users make, and with whose rights. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "rig.h"

#define RIG(state) ((struct rig *)*(state))

static const oriel_fs_caller user = {.uid = 4321, .gid = 8765, .pid = 2};

static int teardown(void **state)
{
    if (*state != NULL)
        rig_free(*state);
    oriel_passthrough_restore_thread();
    return 0;
}

static struct rig *rig_with(struct oriel_passthrough_options options)
{
    return rig_new_in(NULL, &options);
}

static int setup_switching(void **state)
{
    *state = NULL;
    if (geteuid() == 0) {
        *state = rig_with((struct oriel_passthrough_options){.switch_credentials = true, .xattr = true});
        assert_int_equal(chmod(RIG(state)->share, 0777), 0);
    }
    return 0;
}

static int setup_keeping(void **state)
{
    *state = NULL;
    if (geteuid() == 0) {
        *state = rig_with(
            (struct oriel_passthrough_options){.switch_credentials = true, .keep_credentials = true});
        assert_int_equal(chmod(RIG(state)->share, 0777), 0);
    }
    return 0;
}

static int setup_enforcing(void **state)
{
    *state = NULL;
    if (geteuid() == 0) {
        *state = rig_with(
            (struct oriel_passthrough_options){.switch_credentials = true, .enforce_credentials = true});
        assert_int_equal(chmod(RIG(state)->share, 0777), 0);
    }
    return 0;
}

static void *create_as(struct rig *rig, const oriel_fs_caller *caller, void *parent, const char *name,
                       uint32_t mode, uint32_t umask_bits, struct oriel_fs_entry *entry)
{
    struct oriel_fs_opened opened;
    assert_int_equal(rig->fs.ops->create(rig->fs.fs, caller, parent, name, mode, O_RDWR | O_EXCL, umask_bits,
                                         0, entry, &opened),
                     0);
    void *inode = rig_entry_inode(rig, parent, name, entry);
    rig_release(rig, inode, opened.handle);
    return inode;
}

static void assert_own_rights(void)
{
    assert_int_equal(geteuid(), 0);
    assert_int_equal(getegid(), 0);
    assert_int_equal(getgroups(0, NULL), 0);
}

static void new_files_belong_to_the_caller(void **state)
{
    SKIP_UNLESS_ROOT();
    struct rig *rig = RIG(state);
    const struct oriel_fs_ops *ops = rig->fs.ops;
    struct oriel_fs_entry entry;
    mode_t mask = umask(027);
    rig_close(rig, create_as(rig, &user, rig->root, "file", 0666, 002, &entry));
    assert_true(entry.attr.uid == 4321 && entry.attr.gid == 8765);
    assert_int_equal(entry.attr.mode, S_IFREG | 0664);
    assert_int_equal(ops->mkdir(rig->fs.fs, &user, rig->root, "folder", 0777, 0, &entry), 0);
    assert_true(entry.attr.uid == 4321 && entry.attr.gid == 8765);
    assert_int_equal(entry.attr.mode, S_IFDIR | 0777);
    assert_int_equal(ops->symlink(rig->fs.fs, &user, rig->root, "link", "x", &entry), 0);
    assert_true(entry.attr.uid == 4321 && entry.attr.gid == 8765);
    assert_int_equal(ops->mknod(rig->fs.fs, &user, rig->root, "fifo", S_IFIFO | 0666, 0, 077, &entry), 0);
    assert_true(entry.attr.uid == 4321 && entry.attr.gid == 8765);
    assert_int_equal(entry.attr.mode, S_IFIFO | 0600);
    rig_close(rig, create_as(rig, &as_root, rig->root, "roots", 0666, 0, &entry));
    assert_true(entry.attr.uid == 0 && entry.attr.gid == 0);
    assert_own_rights();
    assert_int_equal(umask(mask), 027);
}

static void a_caller_that_is_not_told_is_the_process(void **state)
{
    SKIP_UNLESS_ROOT();
    struct rig *rig = RIG(state);
    const oriel_fs_caller nobody_told = {.uid = UINT32_MAX, .gid = UINT32_MAX};
    struct oriel_fs_entry entry;
    host_file(rig, "file", "x");
    assert_int_equal(rig->fs.ops->unlink(rig->fs.fs, &nobody_told, rig->root, "file"), 0);
    assert_int_equal(rig->fs.ops->mkdir(rig->fs.fs, &nobody_told, rig->root, "d", 0755, 0, &entry), -EPERM);
}

static void a_setgid_folder_hands_its_group_on(void **state)
{
    SKIP_UNLESS_ROOT();
    struct rig *rig = RIG(state);
    struct oriel_fs_entry entry;
    assert_int_equal(mkdir(on_host(rig, "team"), 0777), 0);
    assert_int_equal(chown(on_host(rig, "team"), 0, 555), 0);
    assert_int_equal(chmod(on_host(rig, "team"), 02777), 0);
    void *team = rig_lookup(rig, rig->root, "team");
    rig_close(rig, create_as(rig, &user, team, "file", 0644, 022, &entry));
    assert_int_equal(entry.attr.gid, 555);
    assert_int_equal(rig->fs.ops->mkdir(rig->fs.fs, &user, team, "sub", 0755, 022, &entry), 0);
    assert_int_equal(entry.attr.gid, 555);
    assert_int_equal(entry.attr.mode, S_IFDIR | 02755);
    /* A program that runs with a group its maker is not in: the kernel takes the bit away (CVE-2018-13405)… */
    rig_close(rig, create_as(rig, &user, team, "program", 02775, 0, &entry));
    assert_int_equal(entry.attr.mode & 07777, 0775);
    /* …and leaves it when the guest says that the caller is in that group. */
    const uint32_t groups[] = {555};
    const oriel_fs_caller member = {.uid = 4321, .gid = 8765, .groups = groups, .group_count = 1};
    rig_close(rig, create_as(rig, &member, team, "member", 02775, 0, &entry));
    assert_int_equal(entry.attr.mode & 07777, 02775);
    rig_close(rig, create_as(rig, &user, team, "again", 02775, 0, &entry));
    assert_int_equal(entry.attr.mode & 07777, 0775);
    rig_close(rig, team);
    assert_own_rights();
}

/* The guest's kernel has checked it with groups that it does not tell. */
static void creating_where_only_a_group_may_works(void **state)
{
    SKIP_UNLESS_ROOT();
    struct rig *rig = RIG(state);
    struct oriel_fs_entry entry;
    assert_int_equal(mkdir(on_host(rig, "team"), 0777), 0);
    assert_int_equal(chown(on_host(rig, "team"), 0, 555), 0);
    assert_int_equal(chmod(on_host(rig, "team"), 0770), 0);
    void *team = rig_lookup(rig, rig->root, "team");
    rig_close(rig, create_as(rig, &user, team, "file", 0644, 022, &entry));
    assert_true(entry.attr.uid == 4321 && entry.attr.gid == 8765);
    rig_close(rig, team);
}

static void a_default_acl_replaces_the_umask(void **state)
{
    SKIP_UNLESS_ROOT();
    struct rig *rig = RIG(state);
    struct oriel_fs_entry entry;
    assert_int_equal(mkdir(on_host(rig, "acl"), 0777), 0);
    /* u::rwx g::rwx o::--- */
    const unsigned char acl[] = {2, 0, 0,   0,   1,   0,   7,  0, 255, 255, 255, 255, 4,   0,
                                 7, 0, 255, 255, 255, 255, 32, 0, 0,   0,   255, 255, 255, 255};
    if (setxattr(on_host(rig, "acl"), "system.posix_acl_default", acl, sizeof(acl), 0) != 0) {
        print_message("no ACLs on this file system\n");
        skip();
    }
    void *folder = rig_lookup(rig, rig->root, "acl");
    rig_close(rig, create_as(rig, &user, folder, "file", 0666, 077, &entry));
    assert_int_equal(entry.attr.mode & 0777, 0660);
    rig_close(rig, folder);
}

static void a_write_that_kills_takes_suid_and_sgid_away(void **state)
{
    SKIP_UNLESS_ROOT();
    struct rig *rig = RIG(state);
    struct oriel_fs_attr attr = {.size = 2}, out;
    host_file(rig, "file", "content");
    void *file = rig_lookup(rig, rig->root, "file"), *handle = rig_open(rig, file, O_RDWR);
    assert_int_equal(chmod(on_host(rig, "file"), 06755), 0);
    assert_int_equal(rig_write(rig, file, handle, "x", 1, 0, 0), 1);
    assert_int_equal(rig->fs.ops->getattr(rig->fs.fs, &as_root, file, handle, &out), 0);
    assert_int_equal(out.mode & 07777, 06755);
    assert_int_equal(rig_write(rig, file, handle, "x", 1, 0, ORIEL_FS_KILL_SUIDGID), 1);
    assert_int_equal(rig->fs.ops->getattr(rig->fs.fs, &as_root, file, handle, &out), 0);
    assert_int_equal(out.mode & 07777, 0755);
    assert_int_equal(chmod(on_host(rig, "file"), 06755), 0);
    assert_int_equal(rig->fs.ops->setattr(rig->fs.fs, &user, file, handle, &attr, ORIEL_FS_SET_SIZE, &out),
                     0);
    assert_int_equal(out.mode & 07777, 06755);
    assert_int_equal(rig->fs.ops->setattr(rig->fs.fs, &user, file, handle, &attr,
                                          ORIEL_FS_SET_SIZE | ORIEL_FS_SET_KILL_SUIDGID, &out),
                     0);
    assert_int_equal(out.mode & 07777, 0755);
    assert_int_equal(chmod(on_host(rig, "file"), 06755), 0);
    struct oriel_fs_opened opened;
    assert_int_equal(
        rig->fs.ops->open(rig->fs.fs, &user, file, O_WRONLY | O_TRUNC, ORIEL_FS_KILL_SUIDGID, &opened), 0);
    assert_int_equal(rig->fs.ops->getattr(rig->fs.fs, &as_root, file, handle, &out), 0);
    assert_int_equal(out.mode & 07777, 0755);
    rig_release(rig, file, opened.handle);
    assert_int_equal(chmod(on_host(rig, "file"), 06755), 0);
    attr.uid = 77;
    assert_int_equal(rig->fs.ops->setattr(rig->fs.fs, &as_root, file, NULL, &attr, ORIEL_FS_SET_UID, &out),
                     0);
    assert_true(out.uid == 77 && (out.mode & 07777) == 0755);
    rig_release(rig, file, handle);
    rig_close(rig, file);
}

/* That a local file system leaves them to root is not known of the caller. */
static void fallocate_and_copy_take_suid_and_sgid_away(void **state)
{
    SKIP_UNLESS_ROOT();
    struct rig *rig = RIG(state);
    const struct oriel_fs_ops *ops = rig->fs.ops;
    struct oriel_fs_attr out;
    host_file(rig, "file", "content");
    void *file = rig_lookup(rig, rig->root, "file"), *handle = rig_open(rig, file, O_RDWR);
    assert_int_equal(chmod(on_host(rig, "file"), 06755), 0);
    assert_int_equal(ops->fallocate(rig->fs.fs, file, handle, 0, 100, 0), 0);
    assert_int_equal(ops->getattr(rig->fs.fs, &as_root, file, handle, &out), 0);
    assert_int_equal(out.mode & 07777, 0755);
    assert_int_equal(chmod(on_host(rig, "file"), 06755), 0);
    assert_int_equal(ops->copy_file_range(rig->fs.fs, file, handle, 0, file, handle, 50, 5, 0), 5);
    assert_int_equal(ops->getattr(rig->fs.fs, &as_root, file, handle, &out), 0);
    assert_int_equal(out.mode & 07777, 0755);
    rig_release(rig, file, handle);
    rig_close(rig, file);
}

static void kept_credentials_serve_one_caller_after_the_other(void **state)
{
    SKIP_UNLESS_ROOT();
    struct rig *rig = RIG(state);
    struct oriel_fs_entry entry;
    struct oriel_fs_attr out;
    char name[32];
    mode_t mask = umask(022);
    for (uint32_t i = 0; i < 30; i++) {
        const oriel_fs_caller caller = {.uid = i % 3 * 1000, .gid = i % 2 * 500};
        snprintf(name, sizeof(name), "file-%u", i);
        void *file = create_as(rig, &caller, rig->root, name, 0660, i % 4, &entry);
        assert_true(entry.attr.uid == caller.uid && entry.attr.gid == caller.gid);
        assert_int_equal(entry.attr.mode & 07777, 0660 & ~(i % 4));
        assert_int_equal(rig->fs.ops->getattr(rig->fs.fs, &caller, file, NULL, &out), 0);
        void *handle = rig_open(rig, file, O_RDWR);
        assert_int_equal(rig_write(rig, file, handle, "x", 1, 0, i % 2), 1);
        rig_release(rig, file, handle);
        rig_close(rig, file);
    }
    const oriel_fs_caller last = {.uid = 1000, .gid = 500};
    rig_close(rig, create_as(rig, &last, rig->root, "last", 0666, 0, &entry));
    assert_int_equal(geteuid(), 1000);
    oriel_passthrough_restore_thread();
    assert_own_rights();
    assert_int_equal(umask(mask), 022);
}

static void *give_away(void *opaque)
{
    struct rig *rig = opaque;
    struct oriel_fs_attr attr = {.uid = 77}, out;
    void *file = rig_lookup(rig, rig->root, "owned");
    int rc = rig->fs.ops->setattr(rig->fs.fs, &as_root, file, NULL, &attr, ORIEL_FS_SET_UID, &out);
    rig_close(rig, file);
    oriel_passthrough_restore_thread();
    return rc == 0 && geteuid() == 0 ? rig : NULL;
}

/* Linux gives a new thread the credentials of its maker, here a caller of the guest. */
static void a_thread_started_by_a_switched_one_has_the_rights_of_the_process(void **state)
{
    SKIP_UNLESS_ROOT();
    struct rig *rig = RIG(state);
    struct oriel_fs_entry entry;
    pthread_t thread;
    void *done = NULL;
    host_file(rig, "owned", "x");
    rig_close(rig, create_as(rig, &user, rig->root, "file", 0600, 0, &entry));
    assert_int_equal(geteuid(), 4321);
    assert_int_equal(pthread_create(&thread, NULL, give_away, rig), 0);
    pthread_join(thread, &done);
    assert_ptr_equal(done, rig);
}

/* What it may see then depends on its ids: those of the guest's user who was there before are not its own. */
static void a_process_without_rights_over_all_files_looks_up_as_itself(void **state)
{
    SKIP_UNLESS_ROOT();
    struct rig *rig = RIG(state);
    assert_int_equal(mkdir(on_host(rig, "closed"), 0700), 0);
    host_file(rig, "closed/file", "x");
    fflush(NULL);
    if (fork() == 0) {
        struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
        const uint32_t kept = 1u << CAP_SETUID | 1u << CAP_SETGID;
        struct __user_cap_data_struct data[2] = {{.effective = kept, .permitted = kept}};
        oriel_passthrough_restore_thread();
        CHILD_CHECK(syscall(SYS_capset, &header, data) == 0);
        rig_reopen(rig,
                   &(struct oriel_passthrough_options){.switch_credentials = true, .keep_credentials = true});
        struct oriel_fs_entry entry;
        struct oriel_fs_opened opened;
        const struct oriel_fs_ops *ops = rig->fs.ops;
        void *closed = rig_lookup(rig, rig->root, "closed");
        CHILD_CHECK(ops->create(rig->fs.fs, &user, rig->root, "new", 0600, O_RDWR, 0, 0, &entry, &opened) ==
                    0);
        CHILD_CHECK(ops->lookup(rig->fs.fs, &user, closed, "file", &entry) == 0);
        _exit(0);
    }
    int status = 0;
    assert_true(wait(&status) > 0);
    assert_int_equal(status, 0);
}

static void enforced_credentials_ask_the_host_again(void **state)
{
    SKIP_UNLESS_ROOT();
    struct rig *rig = RIG(state);
    const struct oriel_fs_ops *ops = rig->fs.ops;
    struct oriel_fs_opened opened;
    struct oriel_fs_attr attr = {.mode = 0777}, out;
    struct oriel_fs_entry entry;
    host_file(rig, "secret", "x");
    assert_int_equal(chmod(on_host(rig, "secret"), 0640), 0);
    assert_int_equal(mkdir(on_host(rig, "closed"), 0700), 0);
    void *secret = rig_lookup(rig, rig->root, "secret"), *closed = rig_lookup(rig, rig->root, "closed");
    assert_int_equal(ops->open(rig->fs.fs, &user, secret, O_RDONLY, 0, &opened), -EACCES);
    assert_int_equal(ops->setattr(rig->fs.fs, &user, secret, NULL, &attr, ORIEL_FS_SET_MODE, &out), -EPERM);
    assert_int_equal(ops->lookup(rig->fs.fs, &user, closed, "x", &entry), -EACCES);
    assert_int_equal(ops->opendir(rig->fs.fs, &user, closed, 0, &opened), -EACCES);
    assert_int_equal(ops->mkdir(rig->fs.fs, &user, closed, "x", 0755, 0, &entry), -EACCES);
    assert_int_equal(chown(on_host(rig, "secret"), 0, 99), 0);
    const uint32_t groups[] = {99};
    const oriel_fs_caller member = {.uid = 4321, .gid = 8765, .groups = groups, .group_count = 1};
    assert_int_equal(ops->open(rig->fs.fs, &member, secret, O_RDONLY, 0, &opened), 0);
    rig_release(rig, secret, opened.handle);
    assert_int_equal(ops->open(rig->fs.fs, &member, secret, O_RDWR, 0, &opened), -EACCES);
    assert_int_equal(ops->access(rig->fs.fs, &user, secret, R_OK), -EACCES);
    assert_int_equal(ops->access(rig->fs.fs, &member, secret, R_OK), 0);
    assert_int_equal(ops->open(rig->fs.fs, &as_root, secret, O_RDWR, 0, &opened), 0);
    rig_release(rig, secret, opened.handle);
    assert_own_rights();
    rig_close(rig, closed);
    rig_close(rig, secret);
}

static void a_used_up_budget_opens_no_closed_folder(void **state)
{
    SKIP_UNLESS_ROOT();
    struct rig *rig = RIG(state);
    struct oriel_fs_opened opened;
    void *handles[16];
    unsigned count = 0;
    host_file(rig, "file", "x");
    assert_int_equal(mkdir(on_host(rig, "closed"), 0700), 0);
    struct oriel_passthrough_options options = rig->options;
    options.fd_budget = 16;
    rig_reopen(rig, &options);
    void *file = rig_lookup(rig, rig->root, "file"), *closed = rig_lookup(rig, rig->root, "closed");
    while (count < 16 && rig_try_open(rig, file, O_RDONLY, &handles[count]) == 0)
        count++;
    assert_true(count < 16);
    assert_int_equal(rig->fs.ops->opendir(rig->fs.fs, &user, closed, 0, &opened), -EACCES);
    assert_int_equal(rig->fs.ops->opendir(rig->fs.fs, &as_root, closed, 0, &opened), 0);
    rig->fs.ops->releasedir(rig->fs.fs, closed, opened.handle);
    while (count > 0)
        rig_release(rig, file, handles[--count]);
    rig_close(rig, closed);
    rig_close(rig, file);
}

/* A map may move labels to user.*, which takes the right to write. */
static void a_file_that_nobody_may_write_gets_its_label(void **state)
{
    SKIP_UNLESS_ROOT();
    struct rig *rig = RIG(state);
    struct oriel_fs_entry entry;
    struct oriel_fs_opened opened;
    char value[16];
    oriel_fs_caller labelled = user;
    labelled.security_name = "user.virtiofs.security.selinux";
    labelled.security_value = "label";
    labelled.security_len = 5;
    struct oriel_passthrough_options options = rig->options;
    options.xattr = true;
    rig_reopen(rig, &options);
    const struct oriel_fs_ops *ops = rig->fs.ops;
    assert_int_equal(
        ops->create(rig->fs.fs, &labelled, rig->root, "file", 0444, O_RDWR, 0, 0, &entry, &opened), 0);
    assert_int_equal(entry.attr.mode, S_IFREG | 0444);
    ops->release(rig->fs.fs, NULL, opened.handle, 0, false);
    assert_int_equal(ops->mkdir(rig->fs.fs, &labelled, rig->root, "folder", 0555, 0, &entry), 0);
    assert_int_equal(entry.attr.mode, S_IFDIR | 0555);
    assert_int_equal(getxattr(on_host(rig, "file"), labelled.security_name, value, sizeof(value)), 5);
    assert_int_equal(getxattr(on_host(rig, "folder"), labelled.security_name, value, sizeof(value)), 5);
}

/* Searching it is another right. */
static void a_folder_that_may_only_be_listed_can_be_opened(void **state)
{
    SKIP_UNLESS_ROOT();
    struct rig *rig = RIG(state);
    struct oriel_fs_opened opened;
    assert_int_equal(mkdir(on_host(rig, "listed"), 0704), 0);
    void *listed = rig_lookup(rig, rig->root, "listed");
    assert_int_equal(rig->fs.ops->opendir(rig->fs.fs, &user, listed, 0, &opened), 0);
    rig->fs.ops->releasedir(rig->fs.fs, listed, opened.handle);
    rig_close(rig, listed);
}

/* CVE-2022-0358: a daemon that was started with groups must not lend them. */
static void supplementary_groups_of_the_process_are_not_lent(void **state)
{
    SKIP_UNLESS_ROOT();
    struct rig *rig = RIG(state);
    struct oriel_fs_entry entry;
    const gid_t own[] = {777};
    assert_int_equal(mkdir(on_host(rig, "team"), 0777), 0);
    assert_int_equal(chown(on_host(rig, "team"), 0, 777), 0);
    assert_int_equal(chmod(on_host(rig, "team"), 02777), 0);
    if (fork() == 0) {
        CHILD_CHECK(setgroups(1, own) == 0);
        void *team = NULL;
        struct oriel_fs_opened opened;
        CHILD_CHECK(rig->fs.ops->lookup(rig->fs.fs, &as_root, rig->root, "team", &entry) == 0);
        CHILD_CHECK(rig->fs.ops->inode_open(rig->fs.fs, rig->root, "team", &entry, &team) == 0);
        CHILD_CHECK(rig->fs.ops->create(rig->fs.fs, &user, team, "program", 02775, O_RDWR, 0, 0, &entry,
                                        &opened) == 0);
        CHILD_CHECK((entry.attr.mode & 07777) == 0775);
        gid_t now[8];
        CHILD_CHECK(getgroups(8, now) == 1 && now[0] == 777);
        _exit(0);
    }
    int status = 0;
    assert_true(wait(&status) > 0);
    assert_int_equal(status, 0);
}

static void ids_are_translated_both_ways(void **state)
{
    SKIP_UNLESS_ROOT();
    const struct oriel_id_rule uids[] = {
        {ORIEL_ID_FORBID_GUEST, 66, 0, 1},
        {ORIEL_ID_MAP, 0, 100000, 1000},
        {ORIEL_ID_SQUASH_GUEST, 5000, 65534, 10},
        {ORIEL_ID_SQUASH_HOST, 9999, 0, 1},
    };
    const struct oriel_id_rule gids[] = {{ORIEL_ID_MAP, 0, 200000, 1000}};
    struct rig *rig = rig_with((struct oriel_passthrough_options){
        .switch_credentials = true,
        .xattr = true,
        .posix_acl = true,
        .uid_rules = uids,
        .gid_rules = gids,
        .uid_rule_count = 4,
        .gid_rule_count = 1,
    });
    *state = rig;
    const struct oriel_fs_ops *ops = rig->fs.ops;
    struct oriel_fs_entry entry;
    struct oriel_fs_opened opened;
    struct oriel_fs_attr attr = {.uid = 5, .gid = 6}, out;
    struct stat st;
    assert_int_equal(rig->root_entry.attr.uid, 9999);
    void *file = create_as(rig, &as_root, rig->root, "file", 0644, 0, &entry);
    assert_true(entry.attr.uid == 0 && entry.attr.gid == 0);
    assert_int_equal(stat(on_host(rig, "file"), &st), 0);
    assert_true(st.st_uid == 100000 && st.st_gid == 200000);
    assert_int_equal(
        ops->setattr(rig->fs.fs, &as_root, file, NULL, &attr, ORIEL_FS_SET_UID | ORIEL_FS_SET_GID, &out), 0);
    assert_true(out.uid == 5 && out.gid == 6);
    assert_int_equal(stat(on_host(rig, "file"), &st), 0);
    assert_true(st.st_uid == 100005 && st.st_gid == 200006);
    attr.uid = 66;
    assert_int_equal(ops->setattr(rig->fs.fs, &as_root, file, NULL, &attr, ORIEL_FS_SET_UID, &out), -EPERM);
    const oriel_fs_caller forbidden = {.uid = 66}, squashed = {.uid = 5003};
    assert_int_equal(
        ops->create(rig->fs.fs, &forbidden, rig->root, "no", 0644, O_RDWR, 0, 0, &entry, &opened), -EPERM);
    rig_close(rig, create_as(rig, &squashed, rig->root, "squashed", 0644, 0, &entry));
    assert_int_equal(entry.attr.uid, 65534);
    /* u::rw- u:7:r-- g::r-- m::r-- o::--- */
    unsigned char acl[] = {2, 0, 0,   0,   1,   0,   6,  0, 255, 255, 255, 255, 2,   0,  4,
                           0, 7, 0,   0,   0,   4,   0,  4, 0,   255, 255, 255, 255, 16, 0,
                           4, 0, 255, 255, 255, 255, 32, 0, 0,   0,   255, 255, 255, 255};
    unsigned char back[sizeof(acl)];
    if (ops->setxattr(rig->fs.fs, &as_root, file, "system.posix_acl_access", acl, sizeof(acl), 0, false) ==
        0) {
        assert_int_equal(getxattr(on_host(rig, "file"), "system.posix_acl_access", back, sizeof(back)),
                         sizeof(back));
        assert_int_equal(back[16] | back[17] << 8 | back[18] << 16, 100007);
        assert_int_equal(
            ops->getxattr(rig->fs.fs, &as_root, file, "system.posix_acl_access", back, sizeof(back)),
            sizeof(back));
        assert_memory_equal(acl, back, sizeof(acl));
        assert_int_equal(ops->setxattr(rig->fs.fs, &as_root, file, "system.posix_acl_access", acl,
                                       sizeof(acl) - 1, 0, false),
                         -EINVAL);
    }
    rig_close(rig, file);
}

static void bad_id_rules_are_refused(void **state)
{
    struct rig *rig = rig_new();
    *state = rig;
    struct oriel_fs fs;
    struct oriel_id_rule rule = {ORIEL_ID_MAP, 0, 0, 0};
    struct oriel_passthrough_options options = {
        .size = sizeof(options), .dir = rig->share, .uid_rules = &rule, .uid_rule_count = 1};
    assert_int_equal(oriel_passthrough_create(&options, &fs), -EINVAL);
    rule = (struct oriel_id_rule){ORIEL_ID_MAP, 10, 0, UINT32_MAX};
    assert_int_equal(oriel_passthrough_create(&options, &fs), -EINVAL);
    rule = (struct oriel_id_rule){ORIEL_ID_MAP, 0, UINT32_MAX, 1};
    assert_int_equal(oriel_passthrough_create(&options, &fs), -EINVAL);
    rule = (struct oriel_id_rule){(enum oriel_id_rule_kind)17, 0, 0, 1};
    assert_int_equal(oriel_passthrough_create(&options, &fs), -EINVAL);
    options.uid_rules = NULL;
    assert_int_equal(oriel_passthrough_create(&options, &fs), -EINVAL);
}

/* All that an ordinary user needs: no capability. */
static void an_ordinary_user_can_share_its_folder(void **state)
{
    SKIP_UNLESS_ROOT();
    struct rig *rig = rig_new();
    *state = rig;
    assert_int_equal(chown(rig->share, 1000, 1000), 0);
    /* By descriptor: what lies above may be closed to that user. */
    int share_fd = open(rig->share, O_PATH | O_DIRECTORY);
    assert_true(share_fd >= 0);
    fflush(NULL);
    if (fork() == 0) {
        CHILD_CHECK(setgroups(0, NULL) == 0 && setresgid(1000, 1000, 1000) == 0 &&
                    setresuid(1000, 1000, 1000) == 0);
        struct oriel_fs fs;
        const struct oriel_id_rule rules[] = {{ORIEL_ID_HOST, 0, 1000, 1},
                                              {ORIEL_ID_SQUASH_GUEST, 0, 1000, UINT32_MAX}};
        struct oriel_passthrough_options options = {
            .size = sizeof(options), .dir_fd = share_fd, .uid_rules = rules, .uid_rule_count = 2};
        CHILD_CHECK(!oriel_passthrough_can_switch_credentials());
        options.switch_credentials = true;
        CHILD_CHECK(oriel_passthrough_create(&options, &fs) == -EPERM);
        options.switch_credentials = false;
        options.file_handles = ORIEL_FILE_HANDLES_MANDATORY;
        CHILD_CHECK(oriel_passthrough_create(&options, &fs) == -EOPNOTSUPP);
        options.file_handles = ORIEL_FILE_HANDLES_PREFER;
        CHILD_CHECK(oriel_passthrough_create(&options, &fs) == 0);
        struct oriel_fs_entry entry;
        struct oriel_fs_opened opened;
        struct oriel_fs_attr out;
        void *root, *file;
        CHILD_CHECK(fs.ops->root(fs.fs, &entry, &root) == 0 && entry.attr.uid == 0);
        CHILD_CHECK(fs.ops->create(fs.fs, &as_root, root, "file", 0640, O_RDWR, 0, 0, &entry, &opened) == 0);
        CHILD_CHECK(entry.attr.uid == 0 && (entry.attr.mode & 07777) == 0640);
        CHILD_CHECK(fs.ops->inode_open(fs.fs, root, "file", &entry, &file) == 0);
        struct iovec iov = {&entry, 10};
        CHILD_CHECK(fs.ops->write(fs.fs, &as_root, file, opened.handle, &iov, 1, 0, 0) == 10);
        fs.ops->release(fs.fs, file, opened.handle, 0, false);
        struct oriel_fs_attr attr = {.mode = 0600, .uid = 0};
        CHILD_CHECK(fs.ops->setattr(fs.fs, &as_root, file, NULL, &attr, ORIEL_FS_SET_MODE | ORIEL_FS_SET_UID,
                                    &out) == 0);
        CHILD_CHECK((out.mode & 07777) == 0600 && out.uid == 0 && out.size == 10);
        CHILD_CHECK(fs.ops->open(fs.fs, &as_root, file, O_RDWR, 0, &opened) == 0);
        fs.ops->release(fs.fs, file, opened.handle, 0, false);
        CHILD_CHECK(fs.ops->mkdir(fs.fs, &as_root, root, "sub", 0755, 0, &entry) == 0);
        fs.ops->entry_drop(fs.fs, &entry);
        CHILD_CHECK(fs.ops->rename(fs.fs, &as_root, root, "file", root, "other", 0) == 0);
        CHILD_CHECK(fs.ops->unlink(fs.fs, &as_root, root, "other") == 0);
        fs.ops->inode_close(fs.fs, file);
        fs.ops->destroy(fs.fs);
        _exit(0);
    }
    int status = 0;
    assert_true(wait(&status) > 0);
    assert_int_equal(status, 0);
    close(share_fd);
}

#define WITH(setup_fn, f) cmocka_unit_test_setup_teardown(f, setup_fn, teardown)

static int setup_nothing(void **state)
{
    *state = NULL;
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH(setup_switching, new_files_belong_to_the_caller),
        WITH(setup_switching, a_caller_that_is_not_told_is_the_process),
        WITH(setup_switching, a_setgid_folder_hands_its_group_on),
        WITH(setup_switching, creating_where_only_a_group_may_works),
        WITH(setup_switching, a_default_acl_replaces_the_umask),
        WITH(setup_switching, a_write_that_kills_takes_suid_and_sgid_away),
        WITH(setup_switching, fallocate_and_copy_take_suid_and_sgid_away),
        WITH(setup_switching, supplementary_groups_of_the_process_are_not_lent),
        WITH(setup_keeping, kept_credentials_serve_one_caller_after_the_other),
        WITH(setup_keeping, a_thread_started_by_a_switched_one_has_the_rights_of_the_process),
        WITH(setup_enforcing, enforced_credentials_ask_the_host_again),
        WITH(setup_keeping, a_process_without_rights_over_all_files_looks_up_as_itself),
        WITH(setup_enforcing, a_file_that_nobody_may_write_gets_its_label),
        WITH(setup_enforcing, a_used_up_budget_opens_no_closed_folder),
        WITH(setup_enforcing, a_folder_that_may_only_be_listed_can_be_opened),
        WITH(setup_nothing, ids_are_translated_both_ways),
        WITH(setup_nothing, bad_id_rules_are_refused),
        WITH(setup_nothing, an_ordinary_user_can_share_its_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
