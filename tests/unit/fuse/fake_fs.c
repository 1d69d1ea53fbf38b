/* The fake back-end as a whole: its account of calls, making and freeing, and what a test sets and asks. */
#include "fake_fs_private.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* ---- its account of calls ---- */

int fake_called(struct fake_fs *fake, enum fake_op op)
{
    atomic_fetch_add(&fake->calls[op], 1);
    int left = atomic_load(&fake->fail_count[op]);
    if (left == 0)
        return 0;
    if (left > 0)
        atomic_fetch_sub(&fake->fail_count[op], 1);
    return atomic_load(&fake->fail_error[op]);
}

void fake_lock(struct fake_fs *fake)
{
    pthread_mutex_lock(&fake->lock);
}

int fake_unlock(struct fake_fs *fake, int rc)
{
    pthread_mutex_unlock(&fake->lock);
    return rc;
}

struct fake_seen *fake_seen_by(struct fake_fs *fake)
{
    static _Thread_local struct fake_seen unseen;
    return fake->quiet ? &unseen : &fake->seen;
}

struct fake_seen *fake_see_caller(struct fake_fs *fake, const oriel_fs_caller *caller)
{
    struct fake_seen *seen = fake_seen_by(fake);
    *seen = (struct fake_seen){.uid = caller->uid, .gid = caller->gid, .pid = caller->pid};
    seen->group_count = caller->group_count;
    for (size_t i = 0; i < caller->group_count; i++)
        seen->groups[i] = caller->groups[i];
    if (caller->security_name != NULL) {
        snprintf(seen->security_name, sizeof(seen->security_name), "%s", caller->security_name);
        seen->security_len = caller->security_len;
        if (caller->security_len <= sizeof(seen->security_value))
            memcpy(seen->security_value, caller->security_value, caller->security_len);
    }
    return seen;
}

/* ---- making and freeing ---- */

void fake_fs_free(struct fake_fs *fake)
{
    while (fake->all != NULL) {
        struct fake_inode *inode = fake->all;
        fake->all = inode->all;
        fake_free_inode(inode);
    }
    pthread_mutex_destroy(&fake->lock);
    free(fake);
}

static void fake_destroy(void *fs)
{
    struct fake_fs *fake = fs;
    if (fake->account != NULL)
        *fake->account = (struct fake_account){
            .inodes = fake->inodes, .handles = fake->handles, .holds = fake->holds, .destroyed = true};
    fake_fs_free(fake);
}

struct fake_fs *fake_fs_new(void)
{
    struct fake_fs *fake = calloc(1, sizeof(*fake));
    assert(fake != NULL);
    fake->ops = (struct oriel_fs_ops){.size = sizeof(fake->ops), .destroy = fake_destroy};
    fake_set_tree_ops(&fake->ops);
    fake_set_file_ops(&fake->ops);
    fake_set_xattr_ops(&fake->ops);
    fake->next_cookie = 2;
    pthread_mutex_init(&fake->lock, NULL);
    fake->root = fake_new_inode(fake, S_IFDIR | 0755);
    fake->root->parent = fake->root;
    return fake;
}

/* ---- what a test sets and asks ---- */

struct oriel_fs fake_fs_backend(struct fake_fs *fake)
{
    return (struct oriel_fs){.ops = &fake->ops, .fs = fake};
}

struct oriel_fs_ops *fake_fs_ops(struct fake_fs *fake)
{
    return &fake->ops;
}

void fake_fs_fail(struct fake_fs *fake, enum fake_op op, int error, int count)
{
    atomic_store(&fake->fail_error[op], error);
    atomic_store(&fake->fail_count[op], count);
}

unsigned fake_fs_calls(struct fake_fs *fake, enum fake_op op)
{
    return atomic_load(&fake->calls[op]);
}

const struct fake_seen *fake_fs_seen(struct fake_fs *fake)
{
    return &fake->seen;
}

void fake_fs_on_read(struct fake_fs *fake, void (*hook)(void *arg), void *arg)
{
    fake->read_hook = hook;
    fake->read_hook_arg = arg;
}

void fake_fs_claim_reads(struct fake_fs *fake)
{
    fake->claims_reads = true;
}

void fake_fs_quiet(struct fake_fs *fake)
{
    fake->quiet = true;
}

int fake_fs_inodes(struct fake_fs *fake)
{
    return atomic_load(&fake->inodes);
}

int fake_fs_handles(struct fake_fs *fake)
{
    return atomic_load(&fake->handles);
}

int fake_fs_holds(struct fake_fs *fake)
{
    return atomic_load(&fake->holds);
}

void fake_fs_report_to(struct fake_fs *fake, struct fake_account *account)
{
    fake->account = account;
}
