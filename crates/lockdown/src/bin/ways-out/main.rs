//! Proof from inside: native code in a locked process tries the ways out, one per process.
//!
//! It stands for a guest that has broken out of the runtime: nothing checks what it does but the kernel. `try` locks
//! the process as the command does, then makes one attempt and tells by its end what came of it; `list` and `table` say
//! what should. The tests of this crate run every attempt, and anybody can do so on their own kernel.
//!
//! Attempts do no harm where they succeed (`--without-lock` makes them without the lock, to see that the lock
//! is what refuses them): what would is made with arguments that the kernel rejects after having let the call through.

#[cfg(target_arch = "x86_64")]
mod files;
#[cfg(target_arch = "x86_64")]
mod place;
#[cfg(target_arch = "x86_64")]
mod probe;
#[cfg(target_arch = "x86_64")]
mod system;

use std::process::ExitCode;

#[cfg(target_arch = "x86_64")]
fn main() -> ExitCode {
    probe::main()
}

#[cfg(not(target_arch = "x86_64"))]
fn main() -> ExitCode {
    eprintln!("not run: the ways out are those of x86-64");
    ExitCode::FAILURE
}
