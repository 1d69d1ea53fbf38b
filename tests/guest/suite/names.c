/* Names, folders, attributes. */
#include "suite.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

static struct {
    unsigned files, folders;
    unsigned long long bytes;
} tree;

static int count_entry(const char *path, const struct stat *st, int kind, struct FTW *place)
{
    (void)place;
    if (kind == FTW_D) {
        tree.folders++;
    } else {
        char text[128] = "";
        require(kind == FTW_F, "%s is of kind %d", path, kind);
        tree.bytes += (unsigned long long)st->st_size;
        if (tree.files++ % 97 == 0) { /* the host wrote each file's path into it */
            int fd = must_open(path, O_RDONLY);
            ssize_t n = read(fd, text, sizeof text - 1);
            close(fd);
            require(n == st->st_size && strcmp(text, path) == 0, "%s holds '%s'", path, text);
        }
    }
    return 0;
}

/* The host made 50 folders of 100 files. */
static void walk_a_tree(void)
{
    require(nftw("tree", count_entry, 20, FTW_PHYS) == 0, "nftw: %m");
    require(tree.files == 5000 && tree.folders == 51, "%u files in %u folders", tree.files, tree.folders);
    tell("tree %llu", tree.bytes);
}

static void rename_while_open(void)
{
    char buffer[1000];
    int fd = new_file("name-1", 2 * MIB, 40), victim = new_file("name-2", MIB, 41);
    char *map = must_map(fd, 2 * MIB, PROT_READ | PROT_WRITE);
    require(rename("name-1", "name-2") == 0, "rename: %m");
    fill(map + MIB, 1000, 42, 0);
    must_pread(fd, buffer, sizeof buffer, (off_t)MIB);
    require_filled(buffer, sizeof buffer, 42, 0, "the renamed file");
    must_pread(victim, buffer, sizeof buffer, 5000);
    require_filled(buffer, sizeof buffer, 41, 5000, "the file that lost its name");
    require(access("name-1", F_OK) != 0 && errno == ENOENT, "the old name must be gone");
    require(mkdir("folder", 0755) == 0 && rename("name-2", "folder/name-3") == 0, "rename into a folder: %m");
    must_pwrite(fd, "!", 1, 2 * (off_t)MIB);
    publish("folder/name-3");
}

static void unlink_while_open(void)
{
    char buffer[1000];
    struct stat st;
    int fd = new_file("unlinked", 3 * RANGE, 43);
    char *map = must_map(fd, 3 * RANGE, PROT_READ | PROT_WRITE);
    require_filled(map, 1000, 43, 0, "the start");
    require(unlink("unlinked") == 0, "unlink: %m");
    require(fstat(fd, &st) == 0 && st.st_nlink == 0, "an unlinked file has %lu links",
            (unsigned long)st.st_nlink);
    fill(map + 2 * RANGE, 1000, 44, 0); /* a range that is mapped only now */
    must_pread(fd, buffer, sizeof buffer, 2 * (off_t)RANGE);
    require_filled(buffer, sizeof buffer, 44, 0, "the unlinked file");
    must_pwrite(fd, buffer, sizeof buffer, 3 * (off_t)RANGE); /* extends */
    must_truncate(fd, 500);
    require(!can_read(map + RANGE), "a page behind the end must raise SIGBUS");
    require(access("unlinked", F_OK) != 0 && errno == ENOENT, "the name must be gone");
}

static void folders(void)
{
    require(mkdir("dir", 0700) == 0 && mkdir("dir/sub", 0755) == 0, "mkdir: %m");
    require(mkdir("dir", 0700) < 0 && errno == EEXIST, "mkdir again: %m");
    require(rmdir("dir") < 0 && errno == ENOTEMPTY, "rmdir of a full folder: %m");
    close(new_file("dir/sub/file", 10, 45));
    require(rmdir("dir/sub/file") < 0 && errno == ENOTDIR, "rmdir of a file: %m");
    require(unlink("dir/sub") < 0 && errno == EISDIR, "unlink of a folder: %m");
    require(rename("dir/sub", "moved") == 0, "rename of a folder: %m");
    publish("moved/file");
    require(rmdir("dir") == 0, "rmdir: %m");
    require(access("dir", F_OK) < 0 && errno == ENOENT, "the folder must be gone");
}

static void links(void)
{
    char text[64] = "";
    struct stat st;
    close(new_file("linked", 10, 46));
    require(link("linked", "hard") == 0, "link: %m");
    require(stat("linked", &st) == 0 && st.st_nlink == 2, "%lu links", (unsigned long)st.st_nlink);
    require(symlink("linked", "soft") == 0, "symlink: %m");
    require(readlink("soft", text, sizeof text) == 6 && strcmp(text, "linked") == 0, "readlink says '%s': %m",
            text);
    require(stat("soft", &st) == 0 && S_ISREG(st.st_mode), "stat through a symbolic link: %m");
    require(lstat("soft", &st) == 0 && S_ISLNK(st.st_mode) && st.st_size == 6,
            "lstat of a symbolic link: %m");
    require(unlink("linked") == 0, "unlink: %m");
    publish("hard");
}

static void exchange_names(void)
{
    char byte, wanted;
    close(new_file("left", 10, 47));
    close(new_file("right", 10, 48));
    require(renameat2(AT_FDCWD, "left", AT_FDCWD, "right", RENAME_EXCHANGE) == 0, "renameat2 EXCHANGE: %m");
    int fd = must_open("left", O_RDONLY);
    must_pread(fd, &byte, 1, 0);
    fill(&wanted, 1, 48, 0);
    require(byte == wanted, "the files must have changed places");
    require(renameat2(AT_FDCWD, "left", AT_FDCWD, "right", RENAME_NOREPLACE) < 0 && errno == EEXIST,
            "renameat2 NOREPLACE over a file: %m");
    publish("left");
}

static void attributes(void)
{
    struct stat st;
    struct timespec times[2] = {{1000000000, 0}, {1100000000, 123456789}};
    int fd = new_file("attributes", 10, 49);
    require(fchmod(fd, 0604) == 0, "fchmod: %m");
    require(utimensat(AT_FDCWD, "attributes", times, 0) == 0, "utimensat: %m");
    require(fchown(fd, 1234, 4321) == 0, "fchown: %m");
    require(stat("attributes", &st) == 0, "stat: %m");
    require((st.st_mode & 07777) == 0604, "the mode is %o", st.st_mode);
    require(st.st_uid == 1234 && st.st_gid == 4321, "the owner is %u:%u", st.st_uid, st.st_gid);
    require(st.st_mtim.tv_sec == 1100000000 && st.st_mtim.tv_nsec / 1000 == 123456, "the time is %lld.%09ld",
            (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
    tell("attributes %o %u %u %lld", st.st_mode & 07777, st.st_uid, st.st_gid, (long long)st.st_mtim.tv_sec);
}

static void special_files(void)
{
    struct stat st;
    require(mkfifo("fifo", 0644) == 0, "mkfifo: %m");
    require(stat("fifo", &st) == 0 && S_ISFIFO(st.st_mode), "stat of a fifo: %m");
    int reader = open("fifo", O_RDONLY | O_NONBLOCK), writer = open("fifo", O_WRONLY | O_NONBLOCK);
    char byte = 0; /* a fifo lives in the guest's kernel; the host must never open it */
    require(reader >= 0 && writer >= 0 && write(writer, "x", 1) == 1 && read(reader, &byte, 1) == 1 &&
                byte == 'x',
            "a byte through the fifo: %m");
    require(unlink("fifo") == 0, "unlink: %m");
}

static void names_of_all_kinds(void)
{
    static const char *const names[] = {"with space", "-dash", "new\nline", "caf\xc3\xa9", "\xff\xfe", "..."};
    char longest[257], too_long[258];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        close(new_file(names[i], 1, 50));
        require(access(names[i], F_OK) == 0 && unlink(names[i]) == 0, "the name number %zu: %m", i);
    }
    memset(longest, 'n', 255);
    longest[255] = '\0';
    close(new_file(longest, 1, 50));
    require(unlink(longest) == 0, "a name of 255 bytes: %m");
    memset(too_long, 'n', 256);
    too_long[256] = '\0';
    require(open(too_long, O_RDWR | O_CREAT, 0644) < 0 && errno == ENAMETOOLONG, "a name of 256 bytes: %m");
}

static void free_space(void)
{
    struct statvfs st;
    require(statvfs(".", &st) == 0, "statvfs: %m");
    require(st.f_blocks > 0 && st.f_bsize > 0 && st.f_namemax == 255, "%llu blocks of %lu, names to %lu",
            (unsigned long long)st.f_blocks, st.f_bsize, st.f_namemax);
}

const struct check name_checks[] = {
    {"names", "walk a tree of 5,000 files", walk_a_tree},
    {"names", "rename while open and mapped", rename_while_open},
    {"names", "unlink while open and mapped", unlink_while_open},
    {"names", "folders", folders},
    {"names", "hard and symbolic links", links},
    {"names", "exchange and no-replace renames", exchange_names},
    {"names", "mode, owner and times", attributes},
    {"names", "a fifo", special_files},
    {"names", "names of all kinds", names_of_all_kinds},
    {"names", "statvfs", free_space},
    {0},
};
