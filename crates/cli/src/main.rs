//! The `palisade` command.
//!
//! `main` sorts out which subcommand is meant and turns the way it ended into an exit status.
//! Whatever can go wrong is a [`failure::Failure`]; nothing here panics on account of what a user,
//! a file or a guest does, and a panic that happens all the same is reported as what it is, an
//! internal error.
#![forbid(unsafe_code)]

mod amounts;
mod args;
mod audit;
mod cache;
mod command;
mod conduct;
mod coredump;
mod dirs;
mod escape;
mod failure;
mod grants;
mod invoke;
mod keys;
mod lacking;
mod load;
mod lock;
mod numbers;
mod outcome;
mod profile;
mod quantity;
mod settings;
mod signals;
mod words;

#[cfg(test)]
mod man;

use std::ffi::OsString;
use std::process::ExitCode;

use crate::failure::{Failure, Status};

fn main() -> ExitCode {
    report_panics();
    // Without it closed pipes end in errors instead: worse, but no reason not to start.
    let _ = signals::end_quietly_on_closed_pipes();
    let _ = signals::take_full_files_as_errors();
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    let status = match std::panic::catch_unwind(|| command::dispatch(&words)) {
        Ok(Ok(status)) => status,
        Ok(Err(failure)) => {
            failure.report();
            failure.status
        }
        // The hook has told what there is to tell.
        Err(_) => Status::Internal,
    };
    ExitCode::from(status.code())
}

/// Puts a panic's message on one line of standard error, without ever panicking itself.
fn report_panics() {
    std::panic::set_hook(Box::new(|panic| {
        if palisade::is_compiling() {
            // It leaves a function interpreted, and is counted.
            return;
        }
        let what = panic.payload_as_str().unwrap_or("unknown cause");
        let place = panic.location().map(|l| format!(" ({l})")).unwrap_or_default();
        let failure = Failure::new(
            Status::Internal,
            format!("internal error: {}{place}", escape::name(what)),
        )
        .hint("this is a defect of Palisade; SECURITY.md says how to report it");
        failure.report();
    }));
}
