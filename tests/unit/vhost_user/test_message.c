#include "vhost_user/message.h"

#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../vhost_user/send_fds.h"

static int ends[2]; /* ours: 0 */
static struct receiver receiver;
static unsigned fds_before;

static unsigned open_fds(void)
{
    unsigned n = 0;
    DIR *dir = opendir("/proc/self/fd");
    while (readdir(dir) != NULL)
        n++;
    closedir(dir);
    return n;
}

static int set_up(void **state)
{
    (void)state;
    memset(&receiver, 0, sizeof(receiver));
    fds_before = open_fds();
    return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends);
}

static int tear_down(void **state)
{
    (void)state;
    receiver_reset(&receiver);
    close(ends[0]);
    close(ends[1]);
    assert_int_equal(open_fds(), fds_before);
    return 0;
}

static void send_bytes(const void *data, size_t len, unsigned fd_count)
{
    int fds[SEND_FDS_MAX] = {0};
    for (unsigned i = 0; i < fd_count; i++)
        fds[i] = eventfd(0, EFD_CLOEXEC);
    assert_int_equal(send_with_fds(ends[1], data, len, fds, fd_count, 0), len);
    for (unsigned i = 0; i < fd_count; i++)
        close(fds[i]);
}

static void send_header(uint32_t request, uint32_t flags, uint32_t size, unsigned fd_count)
{
    struct vhost_user_header header = {.request = request, .flags = flags, .size = size};
    send_bytes(&header, sizeof(header), fd_count);
}

static void a_message_arrives_byte_by_byte(void **state)
{
    (void)state;
    struct {
        struct vhost_user_header header;
        uint64_t value;
    } __attribute__((packed)) wire = {{VHOST_USER_SET_FEATURES, 1 | 8, 8}, 0x1122334455667788};
    for (size_t i = 0; i < sizeof(wire); i++) {
        assert_int_equal(receiver_read(&receiver, ends[0]), -EAGAIN);
        send_bytes((char *)&wire + i, 1, 0);
    }
    assert_int_equal(receiver_read(&receiver, ends[0]), 1);
    assert_int_equal(receiver.message.header.request, VHOST_USER_SET_FEATURES);
    assert_true(receiver.message.payload.u64 == wire.value);
}

static void two_messages_at_once_stay_apart(void **state)
{
    (void)state;
    struct vhost_user_header two[2] = {{VHOST_USER_GET_FEATURES, 1, 0}, {VHOST_USER_SET_OWNER, 1, 0}};
    send_bytes(two, sizeof(two), 0);
    assert_int_equal(receiver_read(&receiver, ends[0]), 1);
    assert_int_equal(receiver.message.header.request, VHOST_USER_GET_FEATURES);
    receiver_reset(&receiver);
    assert_int_equal(receiver_read(&receiver, ends[0]), 1);
    assert_int_equal(receiver.message.header.request, VHOST_USER_SET_OWNER);
    receiver_reset(&receiver);
    assert_int_equal(receiver_read(&receiver, ends[0]), -EAGAIN);
}

static void descriptors_come_with_their_message(void **state)
{
    (void)state;
    uint64_t value = 7;
    send_header(VHOST_USER_SET_VRING_KICK, 1, 8, 1);
    send_bytes(&value, 8, 0);
    send_header(VHOST_USER_SET_VRING_CALL, 1, 8, 0);
    send_bytes(&value, 8, 2); /* with the payload: just as good */
    assert_int_equal(receiver_read(&receiver, ends[0]), 1);
    assert_int_equal(receiver.message.fd_count, 1);
    receiver_reset(&receiver);
    assert_int_equal(receiver_read(&receiver, ends[0]), 1);
    assert_int_equal(receiver.message.fd_count, 2);
    int taken = message_take_fd(&receiver.message, 1);
    receiver_reset(&receiver);
    assert_int_equal(eventfd_write(taken, 1), 0); /* not closed with the rest */
    close(taken);
}

static void a_short_payload_hides_the_one_before(void **state)
{
    (void)state;
    uint64_t value = UINT64_MAX;
    send_header(VHOST_USER_SET_FEATURES, 1, 8, 0);
    send_bytes(&value, 8, 0);
    send_header(VHOST_USER_SET_FEATURES, 1, 0, 0);
    assert_int_equal(receiver_read(&receiver, ends[0]), 1);
    receiver_reset(&receiver);
    assert_int_equal(receiver_read(&receiver, ends[0]), 1);
    assert_true(receiver.message.payload.u64 == 0);
}

static void bad_headers_are_told(void **state)
{
    (void)state;
    const struct vhost_user_header bad[] = {
        {1, 0, 0},          {1, 2, 0},      {1, 3, 0},
        {1, 1 | 4, 0},      {1, 1 | 16, 0}, {1, 1, sizeof(union vhost_user_payload) + 1},
        {1, 1, UINT32_MAX},
    };
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        send_bytes(&bad[i], sizeof(bad[i]), 0);
        assert_int_equal(receiver_read(&receiver, ends[0]), -EPROTO);
        assert_non_null(receiver.fault);
        receiver_reset(&receiver);
    }
}

static void too_many_descriptors_are_refused_and_closed(void **state)
{
    (void)state;
    const unsigned counts[] = {9, 16, 17, 60};
    for (unsigned i = 0; i < 4; i++) {
        send_header(VHOST_USER_SET_OWNER, 1, 0, counts[i]);
        assert_int_equal(receiver_read(&receiver, ends[0]), -EPROTO);
        receiver_reset(&receiver);
    }
    /* Eight are allowed; a ninth with the payload is not. */
    uint64_t value = 0;
    send_header(VHOST_USER_SET_FEATURES, 1, 8, 8);
    send_bytes(&value, 8, 1);
    assert_int_equal(receiver_read(&receiver, ends[0]), -EPROTO);
}

static void the_end_is_told_wherever_it_comes(void **state)
{
    (void)state;
    uint32_t half = 1;
    send_bytes(&half, sizeof(half), 1);
    assert_int_equal(receiver_read(&receiver, ends[0]), -EAGAIN);
    shutdown(ends[1], SHUT_WR);
    assert_int_equal(receiver_read(&receiver, ends[0]), -ECONNRESET);
}

static void a_peer_that_reads_nothing_does_not_stop_us(void **state)
{
    (void)state;
    struct message reply = {.header = {VHOST_USER_GET_FEATURES, 5, 8}};
    int r = 0;
    for (int i = 0; i < 100000 && r == 0; i++)
        r = message_send(ends[0], &reply);
    assert_int_equal(r, -EPROTO);
}

static void a_closed_peer_is_an_error_and_no_signal(void **state)
{
    (void)state;
    struct message reply = {.header = {VHOST_USER_GET_FEATURES, 5, 8}};
    close(ends[1]);
    ends[1] = dup(ends[0]);
    assert_int_equal(message_send(ends[0], &reply), -ECONNRESET);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_message_arrives_byte_by_byte, set_up, tear_down),
        cmocka_unit_test_setup_teardown(two_messages_at_once_stay_apart, set_up, tear_down),
        cmocka_unit_test_setup_teardown(descriptors_come_with_their_message, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_short_payload_hides_the_one_before, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bad_headers_are_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(too_many_descriptors_are_refused_and_closed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_end_is_told_wherever_it_comes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_peer_that_reads_nothing_does_not_stop_us, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_closed_peer_is_an_error_and_no_signal, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
