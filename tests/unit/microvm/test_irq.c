/* Routing of message interrupts. */
#include "microvm/irq.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

/* Without a VM behind it every table is refused: the same message is tried again then, not taken for known. */
static void a_route_that_is_refused_is_not_kept(void **state)
{
    (void)state;
    struct irq_router *router = calloc(1, sizeof(*router));
    const struct irq_vector vector = {.index = 0, .fd = -1};
    assert_non_null(router);
    router->vm_fd = -1;
    router->message_count = 1;
    pthread_mutex_init(&router->lock, NULL);
    assert_int_equal(irq_vector_route(router, &vector, 0xfee00000, 0x41), -EBADF);
    assert_int_equal(irq_vector_route(router, &vector, 0xfee00000, 0x41), -EBADF);
    assert_false(router->messages[0].used);
    irq_router_destroy(router);
    free(router);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_route_that_is_refused_is_not_kept)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
