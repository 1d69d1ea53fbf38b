/* Bad messages about the device as a whole: ids, features, status. */
#include "bad_messages.h"

#include <sys/eventfd.h>

static void unknown_id(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    bad_put(bad, 200, NULL, 0);
}

static void id_zero(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    bad_put(bad, 0, NULL, 0);
}

static void id_of_another_device(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    bad_put_u64(bad, 20, 1500); /* NET_SET_MTU */
}

static void not_negotiated(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    int fd = eventfd(0, EFD_CLOEXEC);
    bad_put(bad, 21, NULL, 0); /* SET_BACKEND_REQ_FD */
    bad_add_fd(bad, fd);
}

static void features_short(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    uint32_t value = 0;
    bad_put(bad, FE_SET_FEATURES, &value, sizeof(value));
}

static void features_long(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    uint64_t value[2] = {0};
    bad_put(bad, FE_SET_FEATURES, value, sizeof(value));
}

static void features_not_offered(struct frontend *fe, struct bad *bad)
{
    bad_put_u64(bad, FE_SET_FEATURES, fe->features | UINT64_C(1) << 60);
}

static void features_with_fd(struct frontend *fe, struct bad *bad)
{
    bad_put_u64(bad, FE_SET_FEATURES, fe->features);
    bad_add_fd(bad, eventfd(0, EFD_CLOEXEC));
}

static void features_while_running(struct frontend *fe, struct bad *bad)
{
    bad_put_u64(bad, FE_SET_FEATURES, fe->features & ~FE_F_EVENT_IDX);
}

static void protocol_features_not_offered(struct frontend *fe, struct bad *bad)
{
    bad_put_u64(bad, FE_SET_PROTOCOL_FEATURES, fe->protocol_features | UINT64_C(1) << 40);
}

static void status_too_large(struct frontend *fe, struct bad *bad)
{
    (void)fe;
    bad_put_u64(bad, FE_SET_STATUS, 256);
}

static const struct bad_case cases[] = {
    {"unknown message id", unknown_id, false},
    {"message id 0", id_zero, false},
    {"message of another kind of device", id_of_another_device, false},
    {"message whose protocol feature was not negotiated", not_negotiated, false},
    {"SET_FEATURES too short", features_short, false},
    {"SET_FEATURES too long", features_long, false},
    {"SET_FEATURES with a bit that was not offered", features_not_offered, false},
    {"SET_FEATURES with a descriptor", features_with_fd, false},
    {"SET_FEATURES that differ while rings run", features_while_running, false},
    {"SET_PROTOCOL_FEATURES with a bit that was not offered", protocol_features_not_offered, false},
    {"SET_STATUS above 255", status_too_large, false},
};

const struct bad_kind bad_device_messages = {cases, sizeof(cases) / sizeof(cases[0])};
