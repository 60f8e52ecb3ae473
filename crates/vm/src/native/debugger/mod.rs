//! What native debuggers and unwinders are told of machine code, while it is there: [`NativeDebug`].
//!
//! For each batch of code an object file is made in memory, with its symbols and its table of frames, and put into the list that
//! debuggers read when a function that does nothing is called (gdb's interface for compilers that run). The same table of frames is registered with
//! the unwinder of this process, if it has one that takes such tables.
//!
//! Invariants: both registrations end before the pages of the code do; the list is changed under one lock, and is
//! consistent whenever the function is called. (Another compiler in this process that keeps the same list, with a lock
//! of its own, must not work at the same time.) Nothing of what is told is ever read back.

mod elf;
mod frames;

use std::collections::HashMap;
use std::ptr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{CodeListener, CodeObject};
use elf::Symbol;

/// An entry of the list, as debuggers read it.
#[repr(C)]
struct Entry {
    next: *mut Entry,
    previous: *mut Entry,
    file: *const u8,
    file_bytes: u64,
}

/// The head of the list, as debuggers read it.
#[repr(C)]
struct Descriptor {
    version: u32,
    /// What the function is called for: 0 nothing, 1 an entry came, 2 an entry goes.
    action: u32,
    relevant: *mut Entry,
    first: *mut Entry,
}

const CAME: u32 = 1;
const GOES: u32 = 2;

// Debuggers know both by their names. They are weak, so that another compiler in the process may define them as well: then all
// share one list.
std::arch::global_asm!(
    ".pushsection .text.__jit_debug_register_code,\"ax\",@progbits",
    ".weak __jit_debug_register_code",
    ".type __jit_debug_register_code,@function",
    "__jit_debug_register_code:",
    "ret",
    ".size __jit_debug_register_code, . - __jit_debug_register_code",
    ".popsection",
    ".pushsection .data.__jit_debug_descriptor,\"aw\",@progbits",
    ".balign 8",
    ".weak __jit_debug_descriptor",
    ".type __jit_debug_descriptor,@object",
    "__jit_debug_descriptor:",
    ".long 1",
    ".long 0",
    ".quad 0",
    ".quad 0",
    ".size __jit_debug_descriptor, . - __jit_debug_descriptor",
    ".popsection",
);

unsafe extern "C" {
    static mut __jit_debug_descriptor: Descriptor;
    fn __jit_debug_register_code();
    /// Of the unwinder that Rust's own code uses, wherever that is one that takes frames at run time.
    #[cfg(target_env = "gnu")]
    fn __register_frame(frames: *const u8);
    #[cfg(target_env = "gnu")]
    fn __deregister_frame(frames: *const u8);
}

/// The lock of the list.
static LIST: Mutex<()> = Mutex::new(());

fn list() -> MutexGuard<'static, ()> {
    LIST.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Tells debuggers and unwinders of code. The process has one list; what an engine put there goes with its code.
pub struct NativeDebug {
    name: fn(&CodeObject, &super::code::FuncRange) -> String,
    /// By the address of their code.
    told: Mutex<HashMap<usize, Told>>,
}

/// What was told of one batch, in memory of its own.
struct Told {
    entry: *mut Entry,
    /// What the entry leads to.
    _file: Box<[u8]>,
    frames: Box<[u8]>,
}

// SAFETY: the entry is owned, and only touched under the lock of the list.
unsafe impl Send for Told {}

impl NativeDebug {
    /// `name` says what a function is called.
    pub fn new(name: fn(&CodeObject, &super::code::FuncRange) -> String) -> Self {
        Self { name, told: Mutex::default() }
    }

    fn told(&self) -> MutexGuard<'_, HashMap<usize, Told>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for NativeDebug {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NativeDebug").field("batches", &self.told().len()).finish()
    }
}

impl CodeListener for NativeDebug {
    fn published(&self, code: &CodeObject) {
        let at = |offset: u32| code.at(offset).addr() as u64;
        let symbols: Vec<Symbol> = code
            .funcs()
            .iter()
            .map(|func| Symbol {
                at: at(func.range.start),
                bytes: func.range.len() as u64,
                name: (self.name)(code, func),
            })
            .collect();
        let frames = frames::table(code.funcs().iter().filter_map(|func| {
            let bytes = code.code().get(func.range.start as usize..func.range.end as usize)?;
            Some((at(func.range.start), bytes))
        }));
        let Some(file) = elf::file(at(0), code.len() as u64, &symbols, &frames) else { return };
        let frames = frames.into_boxed_slice();
        let entry = Box::into_raw(Box::new(Entry {
            next: ptr::null_mut(),
            previous: ptr::null_mut(),
            file: file.as_ptr(),
            file_bytes: file.len() as u64,
        }));
        // SAFETY: the entry and what it leads to live until `removed`, which takes both registrations back first; the
        // table of frames is well-formed and ends with a zero. The list is locked.
        unsafe {
            insert(entry);
            register(&frames);
        }
        self.told().insert(code.start().addr(), Told { entry, _file: file, frames });
    }

    fn removed(&self, code: &CodeObject) {
        let Some(told) = self.told().remove(&code.start().addr()) else { return };
        // SAFETY: both were registered when the code was published, once; the entry was made by a box.
        unsafe {
            deregister(&told.frames);
            remove(told.entry);
            drop(Box::from_raw(told.entry));
        }
    }
}

/// Puts an entry at the front of the list.
///
/// # Safety
///
/// The entry is live and in no list.
unsafe fn insert(entry: *mut Entry) {
    let _locked = list();
    // SAFETY: the caller's word; the head is only touched here and in `remove`, under the lock.
    unsafe {
        let head = &raw mut __jit_debug_descriptor;
        let first = (*head).first;
        (*entry).next = first;
        if !first.is_null() {
            (*first).previous = entry;
        }
        (*head).first = entry;
        tell(entry, CAME);
    }
}

/// Takes an entry out of the list.
///
/// # Safety
///
/// The entry is in the list.
unsafe fn remove(entry: *mut Entry) {
    let _locked = list();
    // SAFETY: as for `insert`; neighbours in the list are live.
    unsafe {
        let (previous, next) = ((*entry).previous, (*entry).next);
        if previous.is_null() {
            (&raw mut __jit_debug_descriptor.first).write(next);
        } else {
            (*previous).next = next;
        }
        if !next.is_null() {
            (*next).previous = previous;
        }
        tell(entry, GOES);
    }
}

/// Lets a debugger look at the list.
///
/// # Safety
///
/// The list is locked, and the entry live.
unsafe fn tell(entry: *mut Entry, action: u32) {
    // SAFETY: the caller's word; the function returns at once.
    unsafe {
        let head = &raw mut __jit_debug_descriptor;
        (&raw mut (*head).relevant).write_volatile(entry);
        (&raw mut (*head).action).write_volatile(action);
        __jit_debug_register_code();
        (&raw mut (*head).action).write_volatile(0);
        (&raw mut (*head).relevant).write_volatile(ptr::null_mut());
    }
}

/// # Safety
///
/// A table of frames that stays until it is deregistered.
unsafe fn register(frames: &[u8]) {
    #[cfg(target_env = "gnu")]
    // SAFETY: the caller's word.
    unsafe {
        __register_frame(frames.as_ptr());
    }
    #[cfg(not(target_env = "gnu"))]
    let _ = frames;
}

/// # Safety
///
/// The table was registered, and was not deregistered since.
unsafe fn deregister(frames: &[u8]) {
    #[cfg(target_env = "gnu")]
    // SAFETY: the caller's word.
    unsafe {
        __deregister_frame(frames.as_ptr());
    }
    #[cfg(not(target_env = "gnu"))]
    let _ = frames;
}

#[cfg(all(test, target_env = "gnu"))]
#[path = "debugger_tests.rs"]
mod tests;
