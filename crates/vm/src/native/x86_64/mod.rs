//! What depends on the processor: entering and leaving machine code, the wrappers around built-ins, and the
//! registers of a thread that a signal stopped. x86-64, Linux.
//!
//! Invariants: host code never runs on a guest's stack, and nothing in here unwinds. (Debuggers and the like may walk through: the
//! lines that begin with `.cfi` tell them where each caller's frame is, across the change of stacks, too. They are said to be frames of
//! signals, since of all frames only the callers of those may lie anywhere.) Every wrapper lies between
//! [`wrappers`] and [`WRAPPERS_LEN`] bytes further, so that a fault in one is known as ours; the first thing that a
//! wrapper does to the guest's stack is to touch the lowest word that it will need.

mod signal;

use std::arch::naked_asm;
use std::mem::offset_of;

use crate::layout::{Cell, HostFunc, NativeState, VmCtx, VmStoreCtx};
use crate::native::Builtin;
use crate::native::calls::{IMPLEMENTATIONS, RESUME};
use crate::native::entry::host_failed;

pub(crate) use signal::Registers;

/// Where a field of the native state stands in the store's context.
macro_rules! state {
    ($field:ident) => {
        offset_of!(VmStoreCtx, native) + offset_of!(NativeState, $field)
    };
}

/// The bytes between two wrappers' entries.
const STRIDE: usize = 16;
/// The bytes of what the wrappers have in common.
const COMMON_LEN: usize = 256;
/// The bytes of all wrappers.
pub(crate) const WRAPPERS_LEN: usize = STRIDE * Builtin::ALL.len() + COMMON_LEN;

/// The address of the wrapper around a built-in.
pub(crate) fn wrapper(number: usize) -> usize {
    wrappers as *const () as usize + STRIDE * number
}

/// Whether an instruction belongs to a wrapper.
pub(crate) fn in_wrapper(pc: usize) -> bool {
    pc.wrapping_sub(wrappers as *const () as usize) < WRAPPERS_LEN
}

/// Where a fault in machine code goes on: `leave`, entered by a jump.
pub(crate) fn leave_address() -> usize {
    leave as *const () as usize
}

/// Switches to the guest's stack and calls `trampoline(code, callee, cells)` there. 0 if it returned, otherwise what
/// [`leave`] was given.
///
/// # Safety
///
/// `stack` is aligned to 16 bytes, and below it there is room on a guest's stack; the trampoline is machine code
/// for the rest of the arguments, and leaves by returning or through [`leave`].
#[unsafe(naked)]
pub(crate) unsafe extern "sysv64" fn enter(
    ctx: *mut VmStoreCtx,
    trampoline: *const u8,
    code: *const u8,
    callee: *mut u8,
    cells: *mut Cell,
    stack: usize,
) -> u64 {
    naked_asm!(
        ".cfi_startproc",
        ".cfi_signal_frame",
        // Everything that the host's calling convention wants back is on the host's stack.
        "push rbp",
        ".cfi_def_cfa_offset 16",
        ".cfi_offset rbp, -16",
        "mov rbp, rsp",
        ".cfi_def_cfa_register rbp",
        "push rbx",
        ".cfi_offset rbx, -24",
        "push r12",
        ".cfi_offset r12, -32",
        "push r13",
        ".cfi_offset r13, -40",
        "push r14",
        ".cfi_offset r14, -48",
        "push r15",
        ".cfi_offset r15, -56",
        "sub rsp, 8",
        "mov [rdi + {host_sp}], rsp",
        // The trampoline gives this back.
        "mov rbx, rdi",
        "mov r10, rsi",
        "mov rdi, rdx",
        "mov rsi, rcx",
        "mov rdx, r8",
        "mov rax, rsp",
        "mov rsp, r9",
        // For whoever walks through: where the host's stack is. Twice, for the alignment.
        "push rax",
        "push rax",
        // No frame outside: where our own walks end.
        "xor ebp, ebp",
        // The frame begins 64 bytes above what the topmost word says.
        ".cfi_escape 0x0f, 5, 0x77, 0, 0x06, 0x23, 64",
        "call r10",
        "mov rdi, rbx",
        "xor esi, esi",
        "jmp {leave}",
        ".cfi_endproc",
        host_sp = const state!(host_sp),
        leave = sym leave,
    )
}

/// Ends the innermost entry with a status, from anywhere above it.
///
/// # Safety
///
/// The store is entered, and nothing of the host stands on the host's stack between here and the entry that is to
/// be cleaned up.
#[unsafe(naked)]
unsafe extern "sysv64" fn leave(ctx: *mut VmStoreCtx, status: u64) {
    naked_asm!(
        // As `enter` left the host's stack.
        ".cfi_startproc",
        ".cfi_signal_frame",
        ".cfi_def_cfa rsp, 64",
        ".cfi_offset rbp, -16",
        ".cfi_offset rbx, -24",
        ".cfi_offset r12, -32",
        ".cfi_offset r13, -40",
        ".cfi_offset r14, -48",
        ".cfi_offset r15, -56",
        "mov rsp, [rdi + {host_sp}]",
        "mov rax, rsi",
        "add rsp, 8",
        ".cfi_def_cfa_offset 56",
        "pop r15",
        ".cfi_def_cfa_offset 48",
        "pop r14",
        ".cfi_def_cfa_offset 40",
        "pop r13",
        ".cfi_def_cfa_offset 32",
        "pop r12",
        ".cfi_def_cfa_offset 24",
        "pop rbx",
        ".cfi_def_cfa_offset 16",
        "pop rbp",
        ".cfi_def_cfa_offset 8",
        "ret",
        ".cfi_endproc",
        host_sp = const state!(host_sp),
    )
}

/// What [`Builtin::MoveBytes`] does, on the host's stack.
///
/// # Safety
///
/// `len` bytes may be read at `from` and written at `to`, and nobody else touches them meanwhile.
unsafe extern "sysv64" fn move_bytes(to: *mut u8, from: *const u8, len: usize) {
    // SAFETY: the caller's word.
    unsafe { std::ptr::copy(from, to, len) }
}

/// What [`Builtin::FillBytes`] does, on the host's stack.
///
/// # Safety
///
/// `len` bytes may be written at `to`, and nobody else touches them meanwhile.
unsafe extern "sysv64" fn fill_bytes(to: *mut u8, byte: u8, len: usize) {
    // SAFETY: the caller's word.
    unsafe { std::ptr::write_bytes(to, byte, len) }
}

/// The wrappers, one entry for each built-in, [`STRIDE`] bytes apart. Machine code calls an entry with a context and
/// up to five numbers; `CallInterp` and `CallHost` are called with a store's context. The very last calls the code of a host function
/// with nothing in between: host calls are many, and most do little.
///
/// # Safety
///
/// Never called as such.
#[unsafe(naked)]
unsafe extern "sysv64" fn wrappers() {
    naked_asm!(
        ".cfi_startproc",
        ".cfi_signal_frame",
        ".cfi_remember_state",
        "77:",
        ".set palisade_vm_wrapper, 0",
        ".rept {plain}",
        // mov eax, number; jmp 2f; both as bytes, for their lengths
        ".byte 0xB8",
        ".long palisade_vm_wrapper",
        ".byte 0xE9",
        ".long 2f - . - 4",
        ".zero 6, 0xCC",
        ".set palisade_vm_wrapper, palisade_vm_wrapper + 1",
        ".endr",
        ".byte 0xB8",
        ".long palisade_vm_wrapper",
        ".byte 0xE9",
        ".long 3f - . - 4",
        ".zero 6, 0xCC",
        // Two that move bytes.
        "lea r11, [rip + {move_bytes}]",
        ".byte 0xE9",
        ".long 8f - . - 4",
        ".zero 4, 0xCC",
        "lea r11, [rip + {fill_bytes}]",
        ".byte 0xE9",
        ".long 8f - . - 4",
        ".zero 4, 0xCC",
        // The host: the store's context, the function, the cells.
        "test byte ptr [rsp - 64], 1",
        "push rbp",
        ".cfi_def_cfa_offset 16",
        ".cfi_offset rbp, -16",
        "mov rbp, rsp",
        ".cfi_def_cfa_register rbp",
        "push rdi",
        "mov [rdi + {exit_fp}], rbp",
        "mov rsp, [rdi + {host_sp}]",
        "mov rax, rsi",
        "mov rcx, rdx",
        "mov rdx, [rdi + {caller}]",
        "mov rsi, [rdi + {store_inner}]",
        "mov rdi, rax",
        "call [rax + {host_code}]",
        "test eax, eax",
        "jne 7f",
        "mov rsp, rbp",
        "pop rbp",
        ".cfi_def_cfa rsp, 8",
        "ret",
        "7:",
        ".cfi_def_cfa rbp, 16",
        "mov rdi, [rbp - 8]",
        "mov esi, eax",
        "call {host_failed}",
        "mov r10, [rbp - 8]",
        "jmp 5f",
        "2:",
        ".cfi_restore_state",
        ".cfi_remember_state",
        "mov r10, [rdi + {store}]",
        "jmp 4f",
        "3:",
        "mov r10, rdi",
        "4:",
        // If the guest's stack ends here, then at this instruction.
        "test byte ptr [rsp - 64], 1",
        "push rbp",
        ".cfi_def_cfa_offset 16",
        ".cfi_offset rbp, -16",
        "mov rbp, rsp",
        ".cfi_def_cfa_register rbp",
        "push r10",
        "mov [r10 + {exit_fp}], rbp",
        "mov rsp, [r10 + {host_sp}]",
        "lea r11, [rip + {implementations}]",
        "call [r11 + rax * 8]",
        "mov r10, [rbp - 8]",
        "test rdx, rdx",
        "jne 5f",
        "mov rsp, rbp",
        "pop rbp",
        ".cfi_def_cfa rsp, 8",
        "ret",
        "5:",
        ".cfi_def_cfa rbp, 16",
        "cmp rdx, {resume}",
        "je 6f",
        "mov rdi, r10",
        "mov rsi, rdx",
        "jmp {leave}",
        "6:",
        "mov rax, [r10 + {resume_payload}]",
        "xor edx, edx",
        "mov rsp, [r10 + {resume_sp}]",
        "mov rbp, [r10 + {resume_fp}]",
        "jmp [r10 + {resume_pc}]",
        // The context, and three arguments of a function in r11 that calls nothing of ours.
        "8:",
        ".cfi_restore_state",
        "mov rax, [rdi + {store}]",
        "mov rdi, rsi",
        "mov rsi, rdx",
        "mov rdx, rcx",
        "push rbp",
        ".cfi_def_cfa_offset 16",
        ".cfi_offset rbp, -16",
        "mov rbp, rsp",
        ".cfi_def_cfa_register rbp",
        "mov rsp, [rax + {host_sp}]",
        "call r11",
        "mov rsp, rbp",
        "pop rbp",
        ".cfi_def_cfa rsp, 8",
        "ret",
        ".org 77b + {len}, 0xCC",
        ".cfi_endproc",
        plain = const Builtin::CallInterp as usize,
        caller = const state!(caller),
        store_inner = const offset_of!(VmStoreCtx, store),
        host_code = const offset_of!(HostFunc, code),
        host_failed = sym host_failed,
        move_bytes = sym move_bytes,
        fill_bytes = sym fill_bytes,
        store = const offset_of!(VmCtx, store),
        exit_fp = const state!(exit_fp),
        host_sp = const state!(host_sp),
        implementations = sym IMPLEMENTATIONS,
        resume = const RESUME as i64,
        resume_payload = const state!(resume_payload),
        resume_sp = const state!(resume_sp),
        resume_fp = const state!(resume_fp),
        resume_pc = const state!(resume_pc),
        leave = sym leave,
        len = const WRAPPERS_LEN,
    )
}
