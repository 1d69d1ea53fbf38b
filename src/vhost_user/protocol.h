/* vhost-user on the wire (QEMU docs/interop/vhost-user.rst). All numbers are in the machine's byte order. */
#ifndef ORIEL_VHOST_USER_PROTOCOL_H
#define ORIEL_VHOST_USER_PROTOCOL_H

#include <stdint.h>

#define VHOST_USER_VERSION       UINT32_C(1)
#define VHOST_USER_VERSION_MASK  UINT32_C(3)
#define VHOST_USER_FLAG_REPLY    UINT32_C(4)
#define VHOST_USER_FLAG_NEED_ACK UINT32_C(8)
#define VHOST_USER_FLAGS_KNOWN   (VHOST_USER_VERSION_MASK | VHOST_USER_FLAG_REPLY | VHOST_USER_FLAG_NEED_ACK)

#define VHOST_USER_MEM_TABLE_REGIONS 8   /* in one SET_MEM_TABLE */
#define VHOST_USER_FDS_MAX           8   /* in one message */
#define VHOST_USER_MEM_SLOTS         509 /* told by GET_MAX_MEM_SLOTS; as many as a KVM guest has slots */
#define VHOST_USER_CONFIG_MAX        256

enum vhost_user_request {
    VHOST_USER_GET_FEATURES = 1,
    VHOST_USER_SET_FEATURES = 2,
    VHOST_USER_SET_OWNER = 3,
    VHOST_USER_RESET_OWNER = 4,
    VHOST_USER_SET_MEM_TABLE = 5,
    VHOST_USER_SET_LOG_BASE = 6,
    VHOST_USER_SET_LOG_FD = 7,
    VHOST_USER_SET_VRING_NUM = 8,
    VHOST_USER_SET_VRING_ADDR = 9,
    VHOST_USER_SET_VRING_BASE = 10,
    VHOST_USER_GET_VRING_BASE = 11,
    VHOST_USER_SET_VRING_KICK = 12,
    VHOST_USER_SET_VRING_CALL = 13,
    VHOST_USER_SET_VRING_ERR = 14,
    VHOST_USER_GET_PROTOCOL_FEATURES = 15,
    VHOST_USER_SET_PROTOCOL_FEATURES = 16,
    VHOST_USER_GET_QUEUE_NUM = 17,
    VHOST_USER_SET_VRING_ENABLE = 18,
    VHOST_USER_SET_BACKEND_REQ_FD = 21,
    VHOST_USER_GET_CONFIG = 24,
    VHOST_USER_SET_CONFIG = 25,
    VHOST_USER_GET_INFLIGHT_FD = 31,
    VHOST_USER_SET_INFLIGHT_FD = 32,
    VHOST_USER_RESET_DEVICE = 34,
    VHOST_USER_GET_MAX_MEM_SLOTS = 36,
    VHOST_USER_ADD_MEM_REG = 37,
    VHOST_USER_REM_MEM_REG = 38,
    VHOST_USER_SET_STATUS = 39,
    VHOST_USER_GET_STATUS = 40,
    VHOST_USER_SET_DEVICE_STATE_FD = 42,
    VHOST_USER_CHECK_DEVICE_STATE = 43,
    VHOST_USER_GET_SHMEM_CONFIG = 44,
};

/* Bits of the virtio feature word that belong to vhost. */
#define VHOST_F_LOG_ALL                (UINT64_C(1) << 26)
#define VHOST_USER_F_PROTOCOL_FEATURES (UINT64_C(1) << 30)

#define VHOST_USER_PROTOCOL_F_MQ                  (UINT64_C(1) << 0)
#define VHOST_USER_PROTOCOL_F_LOG_SHMFD           (UINT64_C(1) << 1)
#define VHOST_USER_PROTOCOL_F_REPLY_ACK           (UINT64_C(1) << 3)
#define VHOST_USER_PROTOCOL_F_BACKEND_REQ         (UINT64_C(1) << 5)
#define VHOST_USER_PROTOCOL_F_CONFIG              (UINT64_C(1) << 9)
#define VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD      (UINT64_C(1) << 12)
#define VHOST_USER_PROTOCOL_F_RESET_DEVICE        (UINT64_C(1) << 13)
#define VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS (UINT64_C(1) << 15)
#define VHOST_USER_PROTOCOL_F_STATUS              (UINT64_C(1) << 16)
#define VHOST_USER_PROTOCOL_F_DEVICE_STATE        (UINT64_C(1) << 19)
#define VHOST_USER_PROTOCOL_F_SHMEM               (UINT64_C(1) << 22)

#define VHOST_VRING_F_LOG UINT32_C(1) /* in struct vhost_user_vring_addr: log writes to the used ring too */

#define VHOST_USER_VRING_INDEX_MASK UINT64_C(0xff)
#define VHOST_USER_VRING_NO_FD      (UINT64_C(1) << 8)

#define VHOST_USER_CONFIG_WRITABLE  UINT32_C(0)
#define VHOST_USER_CONFIG_MIGRATION UINT32_C(1)

struct vhost_user_header {
    uint32_t request, flags, size;
};

struct vhost_user_region {
    uint64_t gpa, size, user_address, mmap_offset;
};

struct vhost_user_mem_table {
    uint32_t count, padding;
    struct vhost_user_region regions[VHOST_USER_MEM_TABLE_REGIONS];
};

struct vhost_user_mem_region {
    uint64_t padding;
    struct vhost_user_region region;
};

struct vhost_user_vring_state {
    uint32_t index, num;
};

struct vhost_user_vring_addr {
    uint32_t index, flags;
    uint64_t desc, used, avail; /* addresses in the front-end's process */
    uint64_t log;               /* guest-physical address under which the used ring is logged */
};

struct vhost_user_log {
    uint64_t size, offset;
};

struct vhost_user_config {
    uint32_t offset, size, flags;
    uint8_t bytes[VHOST_USER_CONFIG_MAX];
};

union vhost_user_payload {
    uint64_t u64;
    struct vhost_user_mem_table mem_table;
    struct vhost_user_mem_region mem_region;
    struct vhost_user_vring_state vring_state;
    struct vhost_user_vring_addr vring_addr;
    struct vhost_user_log log;
    struct vhost_user_config config;
};

_Static_assert(sizeof(struct vhost_user_header) == 12, "header");
_Static_assert(sizeof(struct vhost_user_mem_table) == 264, "memory table");
_Static_assert(sizeof(struct vhost_user_mem_region) == 40, "memory region");
_Static_assert(sizeof(struct vhost_user_vring_addr) == 40, "ring address");
_Static_assert(sizeof(struct vhost_user_config) == 268, "configuration space");

#endif
