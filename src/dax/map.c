/* The calls out of the session: source and mapper, and what their errors become. */
#include "dax/session.h"

#include <errno.h>
#include <sys/stat.h>

int dax_guest_error(int err)
{
    switch (err) {
    case 0:
    case -EINVAL:
    case -ENOSPC:
    case -EEXIST:
    case -EROFS:
    case -ENOENT:
    case -ESTALE:
    case -EACCES:
    case -ENODEV:
    case -ENODATA:
    case -EIO:
        return err;
    case -ENOMEM:
    case -ENFILE:
    case -EMFILE:
    case -EDQUOT:
        return -ENOSPC;
    case -EPERM:
    case -ETXTBSY:
        return -EACCES;
    case -ENXIO:
        return -ENODEV;
    default:
        return -EIO;
    }
}

/* -ENODATA when the page at this offset lies wholly past the end of the file. */
static int check_inside_file(int fd, uint64_t page)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return -EIO;
    return st.st_size < 0 || page >= (uint64_t)st.st_size ? -ENODATA : 0;
}

static int acquire(struct oriel_dax *dax, const struct dax_mapping *mapping, struct oriel_dax_file *file)
{
    *file = (struct oriel_dax_file){.fd = -1};
    int err = dax->source.acquire(dax->source.opaque, mapping->nodeid, mapping->prot, file);
    if (err != 0)
        return dax_guest_error(err);
    if ((file->max_prot & mapping->prot) == mapping->prot)
        return 0;
    dax->source.release(dax->source.opaque, file);
    return -EACCES;
}

static int call_mapper(struct oriel_dax *dax, const struct dax_mapping *mapping, int fd,
                       enum oriel_range_left *left)
{
    int err = dax->mapper.map(dax->mapper.opaque, mapping->moffset, fd, mapping->foffset, mapping->len,
                              mapping->prot, left);
    if (err != 0 || !mapping->is_setup)
        dax_count(dax, COUNT_MAPS, 1);
    if (err == 0)
        return 0;
    ORIEL_TRACE(dax->trace, "dax map moffset=%#llx len=%#llx failed: %d, range %s",
                (unsigned long long)mapping->moffset, (unsigned long long)mapping->len, err,
                *left == ORIEL_RANGE_LOST ? "lost" : "kept");
    return dax_guest_error(err);
}

int dax_map(struct oriel_dax *dax, const struct dax_mapping *mapping, enum oriel_range_left *left)
{
    struct oriel_dax_file file;
    *left = ORIEL_RANGE_KEPT;
    int err = acquire(dax, mapping, &file);
    if (err != 0)
        return err;
    if (mapping->eof_check)
        err = check_inside_file(file.fd, mapping->eof_page);
    if (err == 0 && !mapping->check_only)
        err = call_mapper(dax, mapping, file.fd, left);
    dax->source.release(dax->source.opaque, &file);
    return err;
}

int dax_unmap(struct oriel_dax *dax, uint64_t moffset, uint64_t len)
{
    enum oriel_range_left left = ORIEL_RANGE_KEPT;
    int err = dax->mapper.unmap(dax->mapper.opaque, moffset, len, &left);
    if (err == 0)
        return 0;
    ORIEL_TRACE(dax->trace, "dax unmap moffset=%#llx len=%#llx failed: %d, range %s",
                (unsigned long long)moffset, (unsigned long long)len, err,
                left == ORIEL_RANGE_LOST ? "lost" : "kept");
    if (left == ORIEL_RANGE_LOST)
        return 0;
    return dax_guest_error(err) == -ENOSPC ? -ENOSPC : -EIO;
}
