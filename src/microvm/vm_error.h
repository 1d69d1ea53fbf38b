/* Why something could not be started or went on no longer, as one line for the person at the terminal. */
#ifndef ORIEL_MICROVM_VM_ERROR_H
#define ORIEL_MICROVM_VM_ERROR_H

struct vm_error {
    char text[400]; /* empty: no reason was recorded */
};

/* Records the line and returns `code` (a negative errno), so that a failure is one return statement. */
int vm_fail(struct vm_error *error, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
