#include "rig.h"

#include <stdio.h>
#include <stdlib.h>

static void must(bool ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "rig: %s\n", what);
        abort();
    }
}

struct oriel_fuse_server_options rig_options(void)
{
    return (struct oriel_fuse_server_options){
        .size = sizeof(struct oriel_fuse_server_options),
        .xattr = true,
        .posix_acl = true,
        .security_label = true,
        .posix_locks = true,
        .flock_locks = true,
        .announce_submounts = true,
    };
}

struct rig *rig_new(const struct oriel_fuse_server_options *options, bool init)
{
    struct rig *rig = calloc(1, sizeof(*rig));
    must(rig != NULL, "memory");
    rig->fake = fake_fs_new();
    fake_fs_report_to(rig->fake, &rig->account);
    fake_fs_add_file(rig->fake, "file", "hello", 5);
    fake_fs_add_folder(rig->fake, "folder");
    struct oriel_fuse_server_options own = *options;
    own.fs = fake_fs_backend(rig->fake);
    must(oriel_fuse_server_create(&own, &rig->server) == 0, "create");
    client_start(&rig->client, rig->server);
    if (init) {
        client_init(&rig->client);
        rig->file = client_find(&rig->client, "file");
        rig->folder = client_find(&rig->client, "folder");
    }
    return rig;
}

void rig_free(struct rig *rig)
{
    oriel_fuse_server_destroy(rig->server);
    must(rig->account.destroyed, "the server destroys its back-end");
    must(rig->account.inodes == 0, "inodes left open");
    must(rig->account.handles == 0, "handles left open");
    must(rig->account.holds == 0, "entries left");
    client_stop(&rig->client);
    free(rig);
}

int rig_setup(void **state)
{
    struct oriel_fuse_server_options options = rig_options();
    *state = rig_new(&options, true);
    return 0;
}

int rig_teardown(void **state)
{
    rig_free(*state);
    return 0;
}
