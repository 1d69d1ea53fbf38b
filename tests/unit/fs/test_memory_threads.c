/* Threads over one tree: what they do together must leave a sound tree, and nothing may hang. */
#include "memory_rig.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <linux/fs.h>

/*
 * Folders are locked downwards, and a move turns what is up and down: for ThreadSanitizer, which knows no
 * trees, that is a lock order inversion. src/fs/memory/rename.c says why it is none.
 */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
    return "detect_deadlocks=0";
}

#define THREADS 4
#define FOLDERS 6

struct shared {
    struct mem *mem;
    void *folders[FOLDERS];
};

struct worker {
    pthread_t thread;
    struct shared *shared;
    unsigned seed;
};

/* Moves, exchanges, links and removes a few names between a few folders, which move among themselves too. */
static void *shuffle(void *arg)
{
    struct worker *w = arg;
    struct mem *mem = w->shared->mem;
    char name[8], other[8], data[5000];
    memset(data, 'x', sizeof(data));
    for (int i = 0; i < 6000; i++) {
        void *from = w->shared->folders[rand_r(&w->seed) % FOLDERS];
        void *to = w->shared->folders[rand_r(&w->seed) % FOLDERS];
        snprintf(name, sizeof(name), "n%d", rand_r(&w->seed) % 8);
        snprintf(other, sizeof(other), "n%d", rand_r(&w->seed) % 8);
        struct oriel_fs_entry entry;
        int error;
        void *inode = NULL;
        switch (rand_r(&w->seed) % 9) {
        case 0:
            inode = mem_file(mem, from, name, 0644, &error);
            break;
        case 1:
            inode = mem_folder(mem, from, name, 0755, &error);
            break;
        case 2:
            (void)mem_unlink(mem, from, name);
            break;
        case 3:
            (void)mem->ops->rmdir(mem->p, &mem->caller, from, name);
            break;
        case 4:
            (void)mem_rename(mem, from, name, to, other, 0);
            break;
        case 5:
            (void)mem_rename(mem, from, name, to, other, RENAME_EXCHANGE);
            break;
        case 6:
            inode = mem_find(mem, from, name, &error);
            if (inode != NULL && mem->ops->link(mem->p, &mem->caller, inode, to, other, &entry) == 0)
                mem->ops->entry_drop(mem->p, &entry);
            break;
        case 7:
            inode = mem_find(mem, from, name, &error);
            if (inode != NULL) {
                (void)mem_write(mem, inode, data, sizeof(data), (uint64_t)rand_r(&w->seed) % 300000);
                (void)mem_read(mem, inode, data, sizeof(data), 0);
                (void)mem_set_size(mem, inode, 100);
                (void)mem->ops->copy_file_range(mem->p, inode, NULL, 0, inode, NULL, 1000, 50, 0);
            }
            break;
        default:
            (void)mem->ops->lookup_parent(mem->p, &mem->caller, from, &entry);
            mem->ops->entry_drop(mem->p, &entry);
        }
        if (inode != NULL)
            mem_close(mem, inode);
    }
    return NULL;
}

struct census {
    uint64_t inodes[4096]; /* by inode number: names seen */
    unsigned folders;
};

static bool count_entry(void *arg, const struct oriel_fs_dirent *entry)
{
    struct census *census = arg;
    if (strcmp(entry->name, ".") != 0 && strcmp(entry->name, "..") != 0) {
        census->inodes[entry->ino % 4096]++;
        census->folders += entry->type == 4;
    }
    return true;
}

static void threads_leave_a_sound_tree(void **state)
{
    (void)state;
    struct shared shared = {.mem = mem_new(NULL)};
    struct mem *mem = shared.mem;
    char name[16];
    for (int i = 0; i < FOLDERS; i++) { /* half of them nested: n1 in n0 and so on, and they can be moved */
        snprintf(name, sizeof(name), "n%d", i);
        shared.folders[i] = mem_folder(mem, i % 2 == 0 ? mem->root : shared.folders[i - 1], name, 0755, NULL);
    }
    struct worker workers[THREADS];
    for (unsigned i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.shared = &shared, .seed = i + 1};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, shuffle, &workers[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(workers[i].thread, NULL);
    /* In each folder that still has a name: as many links as subfolders and 2. */
    for (int i = 0; i < FOLDERS; i++) {
        static struct census census;
        census = (struct census){.folders = 0};
        assert_int_equal(mem->ops->readdir(mem->p, shared.folders[i], NULL, 0, count_entry, &census), 0);
        struct oriel_fs_attr attr = mem_attr(mem, shared.folders[i]);
        assert_true(attr.nlink == 0 || attr.nlink == census.folders + 2);
        mem_close(mem, shared.folders[i]);
    }
    /* Whatever is left is freed with the file system: the leak checker looks. */
    mem_free(mem);
}

static void *append(void *arg)
{
    struct worker *w = arg;
    struct mem *mem = w->shared->mem;
    char record[100];
    memset(record, 'a' + (int)w->seed, sizeof(record));
    struct iovec iov = {record, sizeof(record)};
    for (int i = 0; i < 2000; i++)
        if (mem->ops->write(mem->p, &mem->caller, w->shared->folders[0], NULL, &iov, 1, 0, ORIEL_FS_APPEND) !=
            100)
            return w;
    return NULL;
}

static void appended_records_stay_whole(void **state)
{
    (void)state;
    struct shared shared = {.mem = mem_new(NULL)};
    shared.folders[0] = mem_file(shared.mem, shared.mem->root, "log", 0644, NULL);
    struct worker workers[THREADS];
    for (unsigned i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.shared = &shared, .seed = i};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, append, &workers[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        void *failed;
        pthread_join(workers[i].thread, &failed);
        assert_null(failed);
    }
    char record[100];
    for (uint64_t i = 0; i < THREADS * 2000; i++) {
        assert_int_equal(mem_read(shared.mem, shared.folders[0], record, 100, i * 100), 100);
        for (size_t j = 1; j < 100; j++)
            assert_int_equal(record[j], record[0]);
    }
    assert_int_equal(mem_attr(shared.mem, shared.folders[0]).size, THREADS * 2000 * 100);
    mem_close(shared.mem, shared.folders[0]);
    mem_free(shared.mem);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_leave_a_sound_tree),
        cmocka_unit_test(appended_records_stay_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
