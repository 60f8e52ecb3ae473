//! Compiled modules, entered as the engine enters them: values in and out, all ways of calling, faults.

#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

mod calls;
mod faults;
mod machine;
mod shapes;
