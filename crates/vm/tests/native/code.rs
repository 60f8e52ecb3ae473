//! Machine code written by hand: a blob whose functions stand 64 bytes apart, and what its tables say.
//!
//! Functions take their context in `rdi` and one number in `rsi`, and give one in `rax`.

use std::arch::naked_asm;
use std::mem::offset_of;
use std::sync::Arc;

use palisade_core::TrapCode;
use palisade_module::ModuleInfo;
use palisade_vm::layout::{VmCtx, VmFuncRef, VmMemoryDef, VmOffsets};
use palisade_vm::native::code::{CallSite, FuncKind, FuncRange, Handler, StackMap, Tables};
use palisade_vm::native::{Builtin, POLL};

/// The bytes from one function to the next.
pub(crate) const STEP: u32 = 64;

/// The functions of the blob, by position.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Func {
    /// The trampoline from the host.
    Trampoline,
    /// `2 * n + 1`
    Double,
    /// `ud2` at byte 16, which is recorded as `unreachable`.
    Unreachable,
    /// `ud2` at byte 16, which nobody recorded.
    Unrecorded,
    /// Stores a byte to memory 0 at `n`, at byte 16, without looking.
    Store,
    /// Calls itself for ever, with a poll at byte 16.
    Runaway,
    /// Loops for ever, with a poll at byte 16.
    Spin,
    /// `memory.grow` by `n`.
    Grow,
    /// A stub into another engine: one argument, one result.
    Interp,
    /// A stub of a host function: one argument, one result.
    Host,
    /// Calls import 0 with `n`, and adds 1000.
    CallImport,
    /// Goes on in import 0 with `n`.
    TailImport,
    /// Throws the reference `n`.
    Throw,
    /// Calls `Throw` with `n`; the exception, or -1.
    Catch,
    /// Keeps `n` as a reference while it makes a structure of the type in the global table; gives it back.
    Keep,
    /// Calls itself until there are `n` frames, then `ud2`.
    Deep,
    /// As `Runaway`, with frames of a page.
    RunawayLarge,
    /// Divides 1 by `n`.
    Division,
    /// Loops for ever, and looks for nothing.
    Deaf,
    /// Calls `memory.grow` by 0, then itself, for ever: the stack ends in a wrapper sooner or later.
    Wrapped,
    /// Keeps `n` as a reference while it calls import 0 with it; gives it back.
    Hold,
    /// Calls import 0 with `n`; what it throws, or its result.
    CatchImport,
    /// Keeps `n` as a reference, makes a structure, calls itself for ever; with a poll at byte 16.
    Chain,
}

/// How many there are.
const COUNT: u32 = 23;

impl Func {
    pub(crate) fn start(self) -> u32 {
        self as u32 * STEP
    }
}

const LEN: usize = (COUNT * STEP) as usize;

macro_rules! entry {
    ($builtin:ident) => {
        Builtin::$builtin as usize * 8
    };
}

#[unsafe(naked)]
unsafe extern "sysv64" fn blob() {
    naked_asm!(
        "77:",
        // Trampoline: code in rdi, callee in rsi, cells in rdx.
        "push rbp",
        "mov rbp, rsp",
        "push rdx",
        "push rdx",
        "mov rax, rdi",
        "mov rdi, rsi",
        "mov rsi, [rdx]",
        "call rax",
        "mov rdx, [rbp - 8]",
        "mov [rdx], rax",
        "leave",
        "ret",
        // Double
        ".org 77b + 1 * 64",
        "push rbp",
        "mov rbp, rsp",
        "lea rax, [rsi + rsi + 1]",
        "pop rbp",
        "ret",
        // Unreachable
        ".org 77b + 2 * 64",
        "push rbp",
        "mov rbp, rsp",
        ".org 77b + 2 * 64 + 16, 0x90",
        "ud2",
        // Unrecorded
        ".org 77b + 3 * 64",
        "push rbp",
        "mov rbp, rsp",
        ".org 77b + 3 * 64 + 16, 0x90",
        "ud2",
        // Store
        ".org 77b + 4 * 64",
        "push rbp",
        "mov rbp, rsp",
        "mov rax, [rdi + {memory0}]",
        "mov rax, [rax + {base}]",
        ".org 77b + 4 * 64 + 16, 0x90",
        "mov byte ptr [rax + rsi], 7",
        "mov rax, rsi",
        "pop rbp",
        "ret",
        // Runaway
        ".org 77b + 5 * 64",
        "push rbp",
        "mov rbp, rsp",
        "mov rax, [rdi + {poll}]",
        ".org 77b + 5 * 64 + 16, 0x90",
        "mov ecx, [rax]",
        "call 77b + 5 * 64",
        "pop rbp",
        "ret",
        // Spin
        ".org 77b + 6 * 64",
        "push rbp",
        "mov rbp, rsp",
        "mov rax, [rdi + {poll}]",
        ".org 77b + 6 * 64 + 16, 0x90",
        "mov ecx, [rax + 4]",
        "jmp 77b + 6 * 64 + 16",
        // Grow
        ".org 77b + 7 * 64",
        "push rbp",
        "mov rbp, rsp",
        "mov rdx, rsi",
        "xor esi, esi",
        "mov rax, [rdi + {builtins}]",
        "call [rax + {grow}]",
        "pop rbp",
        "ret",
        // Interp: a function reference in rdi.
        ".org 77b + 8 * 64",
        "push rbp",
        "mov rbp, rsp",
        "sub rsp, 16",
        "mov [rsp], rsi",
        "mov rsi, rdi",
        "mov rdx, rsp",
        "mov rax, [rdi + {vmctx}]",
        "mov rdi, [rax + {store}]",
        "mov rax, [rax + {builtins}]",
        "call [rax + {call_interp}]",
        "mov rax, [rsp]",
        "leave",
        "ret",
        // Host: a host function in rdi; the table of built-ins from its store.
        ".org 77b + 9 * 64",
        "push rbp",
        "mov rbp, rsp",
        "sub rsp, 16",
        "mov [rsp], rsi",
        "mov rsi, rdi",
        "mov rdx, rsp",
        "mov rdi, [rdi + {host_store}]",
        "mov rax, [rdi + {caller}]",
        "mov rax, [rax + {builtins}]",
        "call [rax + {call_host}]",
        "mov rax, [rsp]",
        "leave",
        "ret",
        // CallImport
        ".org 77b + 10 * 64",
        "push rbp",
        "mov rbp, rsp",
        "mov rax, [rdi + {store}]",
        "mov [rax + {caller}], rdi",
        "mov rax, [rdi + {imports}]",
        "mov rdi, [rax + {native_ctx}]",
        "call [rax + {native}]",
        ".org 77b + 10 * 64 + 48, 0x90",
        "add rax, 1000",
        "pop rbp",
        "ret",
        // TailImport
        ".org 77b + 11 * 64",
        "push rbp",
        "mov rbp, rsp",
        "mov rax, [rdi + {imports}]",
        "mov rdi, [rax + {native_ctx}]",
        "pop rbp",
        "jmp [rax + {native}]",
        // Throw
        ".org 77b + 12 * 64",
        "push rbp",
        "mov rbp, rsp",
        "mov rax, [rdi + {builtins}]",
        "call [rax + {throw}]",
        ".org 77b + 12 * 64 + 32, 0x90",
        "ud2",
        // Catch: its context at rsp + 8.
        ".org 77b + 13 * 64",
        "push rbp",
        "mov rbp, rsp",
        "push rdi",
        "push rdi",
        "call 77b + 12 * 64",
        // byte 11: back here without an exception.
        "mov rax, -1",
        "leave",
        "ret",
        ".org 77b + 13 * 64 + 32, 0x90",
        // The handler, with the exception in rax.
        "leave",
        "ret",
        // Keep
        ".org 77b + 14 * 64",
        "push rbp",
        "mov rbp, rsp",
        "sub rsp, 16",
        "mov [rsp + 4], esi",
        "mov rax, [rdi + {builtins}]",
        "mov rax, [rax + {struct_new}]",
        "mov esi, [rdi + {types}]",
        "mov edx, 16",
        ".org 77b + 14 * 64 + 46, 0x90",
        "call rax",
        "mov eax, [rsp + 4]",
        "leave",
        "ret",
        // Deep
        ".org 77b + 15 * 64",
        "push rbp",
        "mov rbp, rsp",
        "sub rsi, 1",
        "jz 77b + 15 * 64 + 32",
        "call 77b + 15 * 64",
        ".org 77b + 15 * 64 + 32, 0x90",
        "ud2",
        // RunawayLarge
        ".org 77b + 16 * 64",
        "push rbp",
        "mov rbp, rsp",
        "sub rsp, 4096",
        "mov [rsp], rsp",
        "call 77b + 16 * 64",
        "leave",
        "ret",
        // Division: 1 / n at byte 16.
        ".org 77b + 17 * 64",
        "push rbp",
        "mov rbp, rsp",
        "mov eax, 1",
        "xor edx, edx",
        ".org 77b + 17 * 64 + 16, 0x90",
        "idiv rsi",
        "pop rbp",
        "ret",
        // Deaf
        ".org 77b + 18 * 64",
        "push rbp",
        "mov rbp, rsp",
        "jmp 77b + 18 * 64 + 4",
        // Wrapped
        ".org 77b + 19 * 64",
        "push rbp",
        "mov rbp, rsp",
        "push rdi",
        "push rdi",
        "mov rax, [rdi + {poll}]",
        ".org 77b + 19 * 64 + 16, 0x90",
        "mov ecx, [rax + 8]",
        "xor edx, edx",
        "xor esi, esi",
        "mov rax, [rdi + {builtins}]",
        "call [rax + {grow}]",
        "mov rdi, [rsp]",
        "call 77b + 19 * 64",
        "ud2",
        // Hold
        ".org 77b + 20 * 64",
        "push rbp",
        "mov rbp, rsp",
        "sub rsp, 16",
        "mov [rsp + 4], esi",
        "mov rax, [rdi + {store}]",
        "mov [rax + {caller}], rdi",
        "mov rax, [rdi + {imports}]",
        "mov rdi, [rax + {native_ctx}]",
        "mov rax, [rax + {native}]",
        ".org 77b + 20 * 64 + 46, 0x90",
        "call rax",
        "mov eax, [rsp + 4]",
        "leave",
        "ret",
        // CatchImport: its context at rsp + 8.
        ".org 77b + 21 * 64",
        "push rbp",
        "mov rbp, rsp",
        "push rdi",
        "push rdi",
        "mov rax, [rdi + {store}]",
        "mov [rax + {caller}], rdi",
        "mov rax, [rdi + {imports}]",
        "mov rdi, [rax + {native_ctx}]",
        "mov rax, [rax + {native}]",
        ".org 77b + 21 * 64 + 46, 0x90",
        "call rax",
        "nop",
        // byte 49: the handler, with the exception in rax.
        "leave",
        "ret",
        // Chain: the reference at rsp.
        ".org 77b + 22 * 64",
        "push rbp",
        "mov rbp, rsp",
        "push rdi",
        "push rsi",
        "mov rax, [rdi + {poll}]",
        ".org 77b + 22 * 64 + 16, 0x90",
        "mov ecx, [rax]",
        "mov rax, [rdi + {builtins}]",
        "mov rax, [rax + {struct_new}]",
        "mov esi, [rdi + {types}]",
        "mov edx, 16",
        ".org 77b + 22 * 64 + 46, 0x90",
        "call rax",
        "mov esi, [rsp]",
        "mov rdi, [rsp + 8]",
        "call 77b + 22 * 64",
        // byte 61
        "ud2",
        ".org 77b + {len}",
        memory0 = const offset_of!(VmCtx, memory0),
        base = const offset_of!(VmMemoryDef, base),
        poll = const offset_of!(VmCtx, poll),
        builtins = const offset_of!(VmCtx, builtins),
        store = const offset_of!(VmCtx, store),
        caller = const offset_of!(palisade_vm::layout::VmStoreCtx, native)
            + offset_of!(palisade_vm::layout::NativeState, caller),
        vmctx = const offset_of!(VmFuncRef, vmctx),
        host_store = const offset_of!(palisade_vm::layout::HostFunc, store),
        native = const offset_of!(VmFuncRef, native),
        native_ctx = const offset_of!(VmFuncRef, native) + 8,
        grow = const entry!(MemoryGrow),
        call_interp = const entry!(CallInterp),
        call_host = const entry!(CallHost),
        throw = const entry!(Throw),
        struct_new = const entry!(StructNew),
        imports = const IMPORTS,
        types = const TYPES,
        len = const LEN,
    )
}

/// Where the context of [`MODULE`] has its imported functions and its types. A test compares it with the offsets.
pub(crate) const IMPORTS: usize =
    size_of::<VmCtx>().next_multiple_of(16) + size_of::<VmMemoryDef>() + 16;
pub(crate) const TYPES: usize = IMPORTS + 48;

/// The code.
pub(crate) fn bytes() -> &'static [u8] {
    // SAFETY: the function has that many bytes.
    unsafe { std::slice::from_raw_parts(blob as *const u8, LEN) }
}

/// A module whose contexts are as the blob expects them.
pub(crate) const MODULE: &str = r#"(module
    (type $s (struct (field i64)))
    (type $f (func (param i64) (result i64)))
    (import "host" "f" (func (type $f)))
    (memory (export "m") 1 4)
    (tag (export "t"))
    (func (export "a") (type $f) local.get 0)
    (func (export "b") (type $f) local.get 0))"#;

/// The tables of the blob, for an instance of [`MODULE`].
pub(crate) fn tables(module: &Arc<ModuleInfo>, offsets: &Arc<VmOffsets>) -> Tables {
    assert_eq!(offsets.imported_funcs as usize, IMPORTS);
    assert_eq!(offsets.type_ids as usize, TYPES);
    use Func as F;
    let func = |number: u32| {
        let stubs = [F::Trampoline, F::Interp, F::Host];
        let kind = match stubs.iter().any(|&stub| stub as u32 == number) {
            true => FuncKind::Stub,
            false => FuncKind::Defined(number % 2),
        };
        FuncRange { range: number * STEP..(number + 1) * STEP, kind, body: 1000 + number }
    };
    let call = |func: Func, ret: u32, frame: u32, handlers| CallSite {
        ret: func.start() + ret,
        frame,
        handlers,
    };
    Tables {
        module: Some((Arc::clone(module), Arc::clone(offsets))),
        counts_depth: true,
        funcs: (0..COUNT).map(func).collect(),
        traps: vec![
            (F::Unreachable.start() + 16, TrapCode::Unreachable as u8),
            (F::Store.start() + 16, TrapCode::MemoryOutOfBounds as u8),
            (F::Runaway.start() + 16, POLL),
            (F::Spin.start() + 16, POLL),
            (F::Deep.start() + 32, TrapCode::Unreachable as u8),
            (F::Division.start() + 16, TrapCode::IntegerDivideByZero as u8),
            (F::Wrapped.start() + 16, POLL),
            (F::Chain.start() + 16, POLL),
        ],
        srclocs: vec![(F::Unreachable.start() + 16, 77)],
        inlined: Vec::new(),
        calls: vec![call(F::Catch, 11, 16, 0..2), call(F::CatchImport, KEEP_RET, 16, 2..4)],
        handlers: vec![
            Handler::Context(8),
            Handler::Tag(0, F::Catch.start() + 32),
            Handler::Context(8),
            Handler::Tag(0, F::CatchImport.start() + 49),
        ],
        maps: vec![
            StackMap { ret: F::Keep.start() + KEEP_RET, frame: 16, slots: 0..1 },
            StackMap { ret: F::Hold.start() + KEEP_RET, frame: 16, slots: 0..1 },
            StackMap { ret: F::Chain.start() + KEEP_RET, frame: 16, slots: 1..2 },
            StackMap { ret: F::Chain.start() + 61, frame: 16, slots: 1..2 },
        ],
        slots: vec![4, 0],
    }
}

/// Where the calls in `Keep`, `Hold`, `CatchImport` and `Chain` return to.
pub(crate) const KEEP_RET: u32 = 48;
