/*
 * Requests of any content against the server over each back-end, as sequences, so that nodes and handles of one
 * are there for the next. Replies must be well-formed; sanitizers and the fake back-end's assertions do the rest.
 *
 * Input: u8 back-end (modulo 3: fake, memory, passthrough) | u8 options | requests:
 *   u8 opcode | u8 node | u8 how | u8 length | length bytes
 * node picks one of the nodeids learned (below 128) or is part of a forged one. how: bit 0: the first 8 bytes of the
 * arguments become a handle learned; bit 1: 8 bytes at 16 become a nodeid learned; bit 2: guarded memory; bit 3: the
 * bytes are the whole message, header and all; bit 4: little room for the reply; bit 5: split into small vectors;
 * bit 6: an extension block is announced.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <oriel/fuse_server.h>
#include <oriel/memory_fs.h>
#include <oriel/passthrough.h>

#include "../unit/fuse/fake_fs.h"
#include "fuse/wire.h"

#define KNOWN        16
#define MESSAGE_MAX  512
#define ROOM         8192
#define MAX_REQUESTS 40
#define FILE_LIMIT   (1 << 20) /* bytes a file may grow to, so that nothing fills the disk */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct session {
    struct oriel_fuse_server *server;
    uint64_t nodeids[KNOWN], handles[KNOWN];
    unsigned next_node, next_handle;
    uint64_t unique;
    char folder[64]; /* of the passthrough back-end, or "" */
    struct fake_account account;
};

static void must(int ok)
{
    if (!ok)
        abort();
}

/* ---- back-ends ---- */

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

/* An input may have made a file or folder immutable (FS_IOC_SETFLAGS), which remove() cannot do anything about. */
static int clear_flags(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    int none = 0;
    (void)type;
    (void)ftw;
    if (!S_ISREG(st->st_mode) && !S_ISDIR(st->st_mode))
        return 0;
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0) {
        ioctl(fd, FS_IOC_SETFLAGS, &none);
        close(fd);
    }
    return 0;
}

static void make_file(const char *folder, const char *name)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0644);
    must(fd >= 0 && write(fd, "data", 4) == 4);
    close(fd);
}

static int open_passthrough(struct session *s, struct oriel_fs *fs)
{
    const char *tmp = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    snprintf(s->folder, sizeof(s->folder), "%s/oriel-fuzz-XXXXXX", tmp);
    must(mkdtemp(s->folder) != NULL);
    make_file(s->folder, "f");
    struct oriel_passthrough_options options = {.size = sizeof(options),
                                                .dir = s->folder,
                                                .dir_fd = -1,
                                                .xattr = true,
                                                .posix_acl = true,
                                                .fd_budget = 64};
    return oriel_passthrough_create(&options, fs);
}

static int open_backend(struct session *s, unsigned which, struct oriel_fs *fs)
{
    if (which == 2)
        return open_passthrough(s, fs);
    if (which == 1) {
        struct oriel_memory_fs_options options = {
            .size = sizeof(options), .max_bytes = FILE_LIMIT, .max_inodes = 64};
        return oriel_memory_fs_create(&options, fs);
    }
    struct fake_fs *fake = fake_fs_new();
    fake_fs_report_to(fake, &s->account);
    fake_fs_add_file(fake, "f", "data", 4);
    fake_fs_add_folder(fake, "d");
    *fs = fake_fs_backend(fake);
    return 0;
}

/* One of two that stay for all inputs; the second one does not go with ACLs. */
static const struct oriel_xattr_map *attribute_map(uint8_t bits)
{
    static struct oriel_xattr_map *maps[2];
    static const char *const rules[2] = {"/map/security./user.virtiofs./", ":map::user.virtiofs.:"};
    unsigned which = (bits & 128) != 0 && (bits & 16) == 0;
    if ((bits & 64) == 0)
        return NULL;
    if (maps[which] == NULL)
        must(oriel_xattr_map_create(rules[which], &maps[which], NULL, 0) == 0);
    return maps[which];
}

static void open_session(struct session *s, unsigned which, uint8_t bits)
{
    struct oriel_fuse_server_options options = {
        .size = sizeof(options),
        .cache = bits & 3,
        .read_only = (bits & 4) != 0,
        .writeback = (bits & 8) != 0,
        .posix_locks = true,
        .flock_locks = true,
        .xattr = true,
        .posix_acl = (bits & 16) != 0,
        .security_label = (bits & 32) != 0,
        .announce_submounts = true,
        .no_open = true, /* takes effect with read-only and cached always */
        .max_nodes = 24,
        .max_handles = 12,
        .xattr_map = attribute_map(bits),
    };
    must(open_backend(s, which, &options.fs) == 0);
    must(oriel_fuse_server_create(&options, &s->server) == 0);
}

static void close_session(struct session *s, unsigned which)
{
    oriel_fuse_server_destroy(s->server);
    if (s->folder[0] != '\0') {
        nftw(s->folder, clear_flags, 8, FTW_PHYS);
        must(nftw(s->folder, remove_one, 8, FTW_DEPTH | FTW_PHYS) == 0);
    }
    if (which == 0)
        must(s->account.destroyed && s->account.inodes == 0 && s->account.handles == 0 &&
             s->account.holds == 0);
}

/* ---- requests ---- */

static void learn(struct session *s, uint32_t opcode, const uint8_t *payload, size_t len)
{
    struct wire_entry_out entry;
    struct wire_open_out open;
    bool creates = opcode == FUSE_CREATE || opcode == FUSE_TMPFILE;
    bool names = opcode == FUSE_LOOKUP || opcode == FUSE_MKDIR || opcode == FUSE_MKNOD ||
                 opcode == FUSE_SYMLINK || opcode == FUSE_LINK || creates;
    if (names && len >= sizeof(entry)) {
        memcpy(&entry, payload, sizeof(entry));
        s->nodeids[s->next_node++ % KNOWN] = entry.nodeid;
        payload += sizeof(entry);
        len -= sizeof(entry);
    }
    if ((creates || opcode == FUSE_OPEN || opcode == FUSE_OPENDIR) && len >= sizeof(open)) {
        memcpy(&open, payload, sizeof(open));
        s->handles[s->next_handle++ % KNOWN] = open.fh;
    }
}

static size_t vectors(struct iovec *iov, uint8_t *bytes, size_t len, size_t piece)
{
    size_t count = 0;
    for (size_t at = 0; at < len; at += piece)
        iov[count++] = (struct iovec){bytes + at, len - at < piece ? len - at : piece};
    return count;
}

static void send(struct session *s, uint8_t *message, size_t len, uint8_t how, uint64_t unique,
                 uint32_t opcode)
{
    static uint8_t reply[ROOM];
    static struct iovec in[MESSAGE_MAX], out[ROOM / 13 + 1];
    size_t piece = (how & 32) != 0 ? 13 : ROOM, room = (how & 16) != 0 ? 150 : ROOM;
    struct oriel_fuse_request r = {.in = in, .out = out, .flags = (how & 4) != 0 ? ORIEL_FUSE_GUARDED : 0};
    r.in_count = vectors(in, message, len, piece);
    r.out_count = vectors(out, reply, room, piece);
    oriel_fuse_server_weight(s->server, &r);
    size_t n = oriel_fuse_server_handle(s->server, &r);
    if (n == 0)
        return;
    struct wire_out_header header;
    must(n >= sizeof(header) && n <= room);
    memcpy(&header, reply, sizeof(header));
    if (opcode == FUSE_INIT_OTHER_ENDIAN)
        return;
    must(header.len == n && header.unique == unique && header.error <= 0 && header.error > -512);
    must(header.error == 0 || n == sizeof(header));
    learn(s, opcode, reply + sizeof(header), n - sizeof(header));
}

/* One thread serves here, so nobody could give up the lock that a SETLKW waits for. */
static void interrupt(struct session *s, uint64_t unique)
{
    struct {
        struct wire_in_header header;
        struct wire_interrupt_in args;
    } message = {.header = {.len = sizeof(message), .opcode = FUSE_INTERRUPT}, .args = {unique}};
    send(s, (uint8_t *)&message, sizeof(message), 0, 0, FUSE_INTERRUPT);
}

static void init(struct session *s)
{
    struct {
        struct wire_in_header header;
        struct wire_init_in args;
    } message = {.header = {.len = sizeof(message), .opcode = FUSE_INIT},
                 .args = {.major = 7, .minor = FUSE_MINOR, .flags = 0x7fffffff, .flags2 = UINT32_MAX}};
    send(s, (uint8_t *)&message, sizeof(message), 0, 0, FUSE_INIT);
}

static void send_raw(struct session *s, const uint8_t *bytes, size_t len, uint8_t how)
{
    uint8_t message[MESSAGE_MAX];
    struct wire_in_header header = {0};
    memcpy(message, bytes, len);
    memcpy(&header, bytes, len < sizeof(header) ? len : sizeof(header));
    if (header.opcode == FUSE_SETLKW)
        interrupt(s, header.unique);
    send(s, message, len, how, header.unique, header.opcode);
}

static void send_args(struct session *s, uint8_t opcode, uint8_t node, uint8_t how, const uint8_t *bytes,
                      size_t len)
{
    uint8_t message[MESSAGE_MAX];
    uint64_t nodeid =
        node < 128 ? s->nodeids[node % KNOWN] : (uint64_t)(node & 7) | (uint64_t)(node & 8) << 29;
    struct wire_in_header header = {.len = (uint32_t)(sizeof(header) + len),
                                    .opcode = opcode == 26 + 128 ? FUSE_INIT_OTHER_ENDIAN : opcode % 64,
                                    .unique = ++s->unique,
                                    .nodeid = nodeid,
                                    .total_extlen = (how & 64) != 0 ? 3 : 0};
    memcpy(message, &header, sizeof(header));
    memcpy(message + sizeof(header), bytes, len);
    if ((how & 1) != 0 && len >= 8)
        memcpy(message + sizeof(header), &s->handles[bytes[0] % KNOWN], 8);
    if ((how & 2) != 0 && len >= 24)
        memcpy(message + sizeof(header) + 16, &s->nodeids[bytes[16] % KNOWN], 8);
    if (header.opcode == FUSE_SETLKW)
        interrupt(s, header.unique);
    send(s, message, sizeof(header) + len, how, header.unique, header.opcode);
}

/* The memory back-end keeps its own limits, and wants none of the process's. */
static void limit_files(bool limited)
{
    struct rlimit limit = {limited ? FILE_LIMIT : RLIM_INFINITY, RLIM_INFINITY};
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &limit);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    struct session s = {.nodeids = {FUSE_ROOT_ID}};
    unsigned which = data[0] % 3;
    limit_files(which != 1);
    open_session(&s, which, data[1]);
    if ((data[1] & 128) == 0)
        init(&s);
    size_t at = 2;
    for (int i = 0; i < MAX_REQUESTS && size - at >= 4; i++) {
        const uint8_t *r = data + at;
        size_t len = r[3] < size - at - 4 ? r[3] : size - at - 4;
        if ((r[2] & 8) != 0)
            send_raw(&s, r + 4, len, r[2]);
        else
            send_args(&s, r[0], r[1], r[2], r + 4, len);
        at += 4 + len;
    }
    close_session(&s, which);
    limit_files(false);
    return 0;
}
