#include "fuse/reply_entry.h"

#include "fuse/attr.h"

int reply_entry(struct request *r, void *parent, const char *name, struct oriel_fs_entry *entry)
{
    struct node_table *nodes = &r->server->nodes;
    struct node *node;
    int rc = fuse_node_intern(nodes, parent, name, entry, &node);
    if (rc != 0)
        return rc;
    struct wire_entry_out out;
    attr_to_entry(r->server, node, &entry->attr, &out);
    rc = reply_data(r, &out, sizeof(out));
    if (rc != 0)
        fuse_node_uncount(nodes, node, 1);
    fuse_node_put(nodes, node);
    return rc;
}
