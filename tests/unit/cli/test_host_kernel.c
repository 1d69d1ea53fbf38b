#include "unit/microvm/unit.h"

#include <sys/stat.h>

#include "cli/host_kernel.h"

struct fixture {
    char root[32];
    struct vm_error error;
};

static void make(const struct fixture *f, const char *name, bool folder)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/%s", f->root, name);
    if (folder) {
        assert_int_equal(mkdir(path, 0755), 0);
        return;
    }
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fclose(file);
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    strcpy(f->root, "/tmp/oriel-unit-XXXXXX");
    if (mkdtemp(f->root) == NULL)
        return -1;
    make(f, "boot", true);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    char command[64];
    snprintf(command, sizeof(command), "rm -r %s", f->root);
    int status = system(command);
    free(f);
    return status;
}

static char *boot_path(const struct fixture *f, const char *name)
{
    static char path[128];
    snprintf(path, sizeof(path), "%s/boot%s%s", f->root, name[0] ? "/" : "", name);
    return path;
}

static void the_newest_version_wins(void **state)
{
    struct fixture *f = *state;
    char *path;
    make(f, "boot/vmlinuz-6.9.1-1-amd64", false);
    make(f, "boot/vmlinuz-6.12.3+deb12-amd64", false);
    make(f, "boot/vmlinuz-6.12.20+deb12-amd64", false);
    make(f, "boot/config-6.99", false);
    assert_int_equal(newest_kernel(boot_path(f, ""), &path, &f->error), 0);
    assert_string_equal(path, boot_path(f, "vmlinuz-6.12.20+deb12-amd64"));
    free(path);
}

static void no_kernel_says_what_to_do(void **state)
{
    struct fixture *f = *state;
    char *path;
    assert_int_equal(newest_kernel(boot_path(f, ""), &path, &f->error), -ENOENT);
    assert_non_null(strstr(f->error.text, "--kernel"));
    assert_int_equal(newest_kernel("/nonexistent", &path, &f->error), -ENOENT);
}

static void modules_are_found_beside_an_unpacked_package(void **state)
{
    struct fixture *f = *state;
    char *path;
    struct kernel_image kernel = {.path = boot_path(f, "vmlinuz"), .version = "6.1.0-test"};
    assert_int_equal(find_modules(&kernel, &path, &f->error), -ENOENT);
    assert_non_null(strstr(f->error.text, "6.1.0-test"));
    assert_non_null(strstr(f->error.text, "--modules"));
    make(f, "lib", true);
    make(f, "lib/modules", true);
    make(f, "lib/modules/6.1.0-test", true);
    make(f, "lib/modules/6.1.0-test/modules.order", false);
    assert_int_equal(find_modules(&kernel, &path, &f->error), 0);
    assert_non_null(strstr(path, "/boot/../lib/modules/6.1.0-test"));
    free(path);
    make(f, "boot/modules", true);
    make(f, "boot/modules/modules.order", false);
    assert_int_equal(find_modules(&kernel, &path, &f->error), 0);
    assert_string_equal(path, boot_path(f, "modules"));
    free(path);
}

static void a_kernel_without_a_version_needs_them_named(void **state)
{
    struct fixture *f = *state;
    char *path;
    struct kernel_image kernel = {.path = boot_path(f, "vmlinux")};
    assert_int_equal(find_modules(&kernel, &path, &f->error), -ENOENT);
    assert_non_null(strstr(f->error.text, "--modules"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_newest_version_wins, set_up, tear_down),
        cmocka_unit_test_setup_teardown(no_kernel_says_what_to_do, set_up, tear_down),
        cmocka_unit_test_setup_teardown(modules_are_found_beside_an_unpacked_package, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_kernel_without_a_version_needs_them_named, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
