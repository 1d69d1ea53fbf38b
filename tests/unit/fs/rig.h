/* What the tests of the passthrough back-end share: a folder of their own with a back-end over it. */
#ifndef TESTS_UNIT_FS_RIG_H
#define TESTS_UNIT_FS_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include <oriel/fs.h>
#include <oriel/passthrough.h>

struct rig {
    char base[200];  /* a folder that is removed at the end */
    char share[256]; /* base/share: the shared folder */
    struct oriel_passthrough_options options;
    struct oriel_fs fs;
    void *root;
    struct oriel_fs_entry root_entry;
};

extern const oriel_fs_caller as_root;

/* A back-end over a new folder below dir (NULL: TMPDIR or /tmp). options NULL: all defaults. */
struct rig *rig_new_in(const char *dir, const struct oriel_passthrough_options *options);
struct rig *rig_new(void);
/* The back-end again, with other options, over the same folder. */
void rig_reopen(struct rig *rig, const struct oriel_passthrough_options *options);
void rig_free(struct rig *rig);

/* For cmocka's setup and teardown: all defaults, and the same over a folder of a tmpfs. */
int rig_setup(void **state);
int rig_setup_shm(void **state);
int rig_teardown(void **state);

/* "base/share/NAME": four results stay valid. */
const char *on_host(const struct rig *rig, const char *name);
void host_file(const struct rig *rig, const char *name, const char *content);
void host_content(const struct rig *rig, const char *name, char *text, size_t size);

/* Looks a name up and opens its inode; fails the test if there is none. */
void *rig_lookup(struct rig *rig, void *parent, const char *name);
void *rig_try_lookup(struct rig *rig, void *parent, const char *name, int *err);
void *rig_entry_inode(struct rig *rig, void *parent, const char *name, struct oriel_fs_entry *entry);
void rig_close(struct rig *rig, void *inode);

void *rig_open(struct rig *rig, void *inode, uint32_t flags);
int rig_try_open(struct rig *rig, void *inode, uint32_t flags, void **handle);
void rig_release(struct rig *rig, void *inode, void *handle);
ssize_t rig_read(struct rig *rig, void *inode, void *handle, void *data, size_t size, uint64_t offset);
ssize_t rig_write(struct rig *rig, void *inode, void *handle, const void *data, size_t size, uint64_t offset,
                  uint32_t kill);

/* Runs body in a child process with a fresh back-end's rig handed on; fails when the child fails. The body
 * uses CHILD_CHECK. */
typedef void (*child_fn)(void *arg);
void in_child(child_fn body, void *arg);
#define CHILD_CHECK(condition)                                                                               \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            fprintf(stderr, "%s:%d: %s is false\n", __FILE__, __LINE__, #condition);                         \
            _exit(1);                                                                                        \
        }                                                                                                    \
    } while (0)

/* Descriptors that the process has open. */
unsigned open_descriptors(void);

#define SKIP_UNLESS_ROOT()                                                                                   \
    do {                                                                                                     \
        if (geteuid() != 0) {                                                                                \
            print_message("needs root\n");                                                                   \
            skip();                                                                                          \
        }                                                                                                    \
    } while (0)

#endif
