//! Ctrl-C, SIGTERM, closed pipes, and the clock that runs while modules are loaded.
//!
//! While files are read and modules checked there is nothing to clean up, so a signal or the
//! timeout ends the process on the spot, even if the main thread sits in a read that never returns.
//! Once the guest runs, its store is told to stop, and the main thread reports how that went; after
//! its end a signal ends the process on the spot again. A second signal ends the process at once, whatever is going on.
//!
//! A closed pipe ends the process by SIGPIPE, as it does other tools: quietly.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use palisade::{InterruptHandle, TrapCode};
use signal_hook::consts::{SIGINT, SIGPIPE, SIGTERM, SIGXFSZ};
use signal_hook::iterator::Signals as Arriving;

use crate::failure::{Failure, Status};

/// What the process is doing, as far as a signal is concerned.
enum Phase {
    /// Reading and checking modules.
    Loading,
    /// The guest runs, and this stops it.
    Running(InterruptHandle),
    /// The guest has ended; what is left is saying so.
    Over,
}

struct Shared {
    phase: Mutex<Phase>,
    changed: Condvar,
    /// The first signal that arrived while the guest ran; 0 for none.
    signal: AtomicI32,
}

impl Shared {
    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn signalled(&self, signal: i32) {
        let earlier = self.signal.swap(signal, Ordering::SeqCst);
        match &*self.phase() {
            Phase::Running(guest) if earlier == 0 => guest.interrupt(TrapCode::Interrupted),
            _ => std::process::exit(i32::from(Status::Signal(signal).code())),
        }
    }
}

/// The process's dealings with signals.
pub(crate) struct Signals {
    shared: Arc<Shared>,
    /// Until a thread takes them.
    arriving: Option<Arriving>,
}

impl Signals {
    /// Installs the handlers. What arrives waits for [`Signals::watch`].
    pub(crate) fn install() -> Result<Self, Failure> {
        let shared = Arc::new(Shared {
            phase: Mutex::new(Phase::Loading),
            changed: Condvar::new(),
            signal: AtomicI32::new(0),
        });
        let arriving = Arriving::new([SIGINT, SIGTERM]).map_err(|error| unhandled(&error))?;
        Ok(Self { shared, arriving: Some(arriving) })
    }

    /// Starts the thread that acts on signals; again, it does nothing. A process that locks itself in does so before any
    /// thread starts, and a signal that comes until then waits.
    pub(crate) fn watch(&mut self) -> Result<(), Failure> {
        let Some(mut arriving) = self.arriving.take() else { return Ok(()) };
        let shared = Arc::clone(&self.shared);
        let thread = std::thread::Builder::new().name("signals".into()).spawn(move || {
            for signal in arriving.forever() {
                shared.signalled(signal);
            }
        });
        thread.map(drop).map_err(|error| unhandled(&error))
    }

    /// From now on until [`Signals::running`], the process ends when this time is over.
    pub(crate) fn limit_loading(&self, timeout: Option<Duration>) -> Result<(), Failure> {
        let Some(timeout) = timeout else { return Ok(()) };
        let shared = Arc::clone(&self.shared);
        let watch = move || {
            let (phase, wait) = shared
                .changed
                .wait_timeout_while(shared.phase(), timeout, |phase| {
                    matches!(phase, Phase::Loading)
                })
                .unwrap_or_else(PoisonError::into_inner);
            if wait.timed_out() && matches!(*phase, Phase::Loading) {
                too_long().report();
                std::process::exit(i32::from(Status::Deadline.code()));
            }
        };
        std::thread::Builder::new().name("loading".into()).spawn(watch).map_err(|error| {
            Failure::new(Status::Internal, format!("the timeout cannot be watched: {error}"))
        })?;
        Ok(())
    }

    /// For what is read before any thread may start: ends the process for a signal that waits, as the thread would.
    pub(crate) fn proceed(&mut self, until: Option<Instant>) -> Result<(), Failure> {
        if let Some(signal) = self.arriving.as_mut().and_then(|arriving| arriving.pending().next())
        {
            std::process::exit(i32::from(Status::Signal(signal).code()));
        }
        match until.filter(|_| self.arriving.is_some()) {
            Some(until) if Instant::now() >= until => Err(too_long()),
            _ => Ok(()),
        }
    }

    /// Loading is over: from now on signals stop this guest.
    pub(crate) fn running(&self, guest: InterruptHandle) {
        *self.shared.phase() = Phase::Running(guest);
        self.shared.changed.notify_all();
    }

    /// The guest has ended: from now on signals end the process on the spot again, since whoever should read the
    /// results may never do so.
    pub(crate) fn over(&self) {
        *self.shared.phase() = Phase::Over;
    }

    /// The signal that asked the guest to stop, if there was one.
    pub(crate) fn received(&self) -> Option<i32> {
        match self.shared.signal.load(Ordering::SeqCst) {
            0 => None,
            signal => Some(signal),
        }
    }
}

/// Without this a guest that writes beyond the process's own limit on the size of files ends the process; with it
/// the write fails.
pub(crate) fn take_full_files_as_errors() -> io::Result<()> {
    signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)))?;
    Ok(())
}

/// Rust programs start with SIGPIPE ignored; this makes it deadly again.
pub(crate) fn end_quietly_on_closed_pipes() -> io::Result<()> {
    let always = Arc::new(AtomicBool::new(true));
    signal_hook::flag::register_conditional_default(SIGPIPE, always)?;
    Ok(())
}

fn unhandled(error: &io::Error) -> Failure {
    Failure::new(Status::Internal, format!("signals cannot be handled: {error}"))
}

fn too_long() -> Failure {
    Failure::new(Status::Deadline, "the deadline passed while modules were loaded")
        .hint("--timeout gives it longer")
}

/// What a signal is called.
pub(crate) fn name(signal: i32) -> &'static str {
    match signal {
        SIGINT => "Ctrl-C",
        SIGTERM => "SIGTERM",
        _ => "a signal",
    }
}
