/* Server, fake back-end and client together, as most tests of this folder want them. */
#ifndef TEST_FUSE_RIG_H
#define TEST_FUSE_RIG_H

#include "client.h"
#include "fake_fs.h"

struct rig {
    struct fake_fs *fake;
    struct oriel_fuse_server *server;
    struct client client;
    struct fake_account account;
    uint64_t file, folder; /* nodeids of "file" (5 bytes "hello") and "folder", one lookup each */
};

/* Options as a test wants them to start from. */
struct oriel_fuse_server_options rig_options(void);

/* For cmocka's setup and teardown: the default options, after INIT. Teardown fails when the server destroyed
 * the back-end with something still open. */
int rig_setup(void **state);
int rig_teardown(void **state);

/* With other options; init = false leaves the session unstarted and the tree unknown. */
struct rig *rig_new(const struct oriel_fuse_server_options *options, bool init);
void rig_free(struct rig *rig);

#endif
