/* The guest's init program, carried inside the command so that it can't be missing or be another version's. */
        .section .rodata
        .balign 16
        .global guest_init_start, guest_init_end
        .hidden guest_init_start, guest_init_end
guest_init_start:
        .incbin GUEST_INIT
guest_init_end:
        .section .note.GNU-stack,"",@progbits
