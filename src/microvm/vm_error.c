#include "microvm/vm_error.h"

#include <stdarg.h>
#include <stdio.h>

int vm_fail(struct vm_error *error, int code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(error->text, sizeof(error->text), format, args);
    va_end(args);
    return code;
}
