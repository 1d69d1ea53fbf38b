/* One virtual processor and its thread. */
#ifndef ORIEL_MICROVM_VCPU_H
#define ORIEL_MICROVM_VCPU_H

#include "microvm/vm.h"

int vcpu_create(struct vm *vm, unsigned index, struct vm_error *error);
void vcpu_destroy(struct vcpu *cpu);
int vcpu_start(struct vcpu *cpu, struct vm_error *error);

/* Makes the thread leave KVM_RUN or a blocked write soon, and waits for its end. The machine is stopping. */
void vcpu_join(struct vcpu *cpu);

/* Has the thread come out of the guest soon and see whether it hangs in a fault (vcpu_look_at_fault()). Any
 * thread. */
void vcpu_look(struct vcpu *cpu);

/*
 * KVM_RUN said EFAULT: finds what the guest wanted and has the window bind it. What cannot be served becomes
 * a general protection exception in the guest. Returns false when the machine cannot go on (it was told to
 * stop).
 */
bool vcpu_resolve_fault(struct vcpu *cpu);

/* The guest was interrupted: if it stands at an access to a window page that the host cannot give, deals with
 * it likewise. */
void vcpu_look_at_fault(struct vcpu *cpu);

#endif
