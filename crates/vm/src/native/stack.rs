//! The stack that machine code runs on: one for each store, made when it is first entered, between inaccessible
//! pages.
//!
//! Frames larger than a page are touched page by page where they are made, so that no frame reaches past the guard.
//!
//! Handlers of signals that do not ask for a stack of their own run on this one, wherever the guest has got to. For
//! those there is a reserve between the guard and the stack, closed like the guard: what touches it is machine code
//! whose stack is used up, or such a handler, for which it is opened until the guest has been stopped
//! (see `traps`).

use std::io;

use crate::sys::region::{Region, page_size, round_up};

/// Inaccessible bytes on each side.
const GUARD: usize = 128 << 10;

/// The part of it, next to the stack, that can be opened for handlers.
const RESERVE: usize = 64 << 10;

/// The least that there is, whatever the configuration says: a few entries and their frames.
const LEAST: usize = 64 << 10;

/// A stack for machine code.
#[derive(Debug)]
pub(crate) struct MachineStack {
    region: Region,
}

impl MachineStack {
    /// A stack of at least so many bytes.
    pub(crate) fn new(bytes: usize) -> io::Result<Self> {
        let too_large = || io::Error::from(io::ErrorKind::OutOfMemory);
        let bytes = round_up(bytes.max(LEAST).max(page_size())).ok_or_else(too_large)?;
        let total = bytes.checked_add(2 * GUARD).ok_or_else(too_large)?;
        let region = Region::reserve(total)?;
        region.open(GUARD, GUARD + bytes)?;
        Ok(Self { region })
    }

    /// Where the guard begins.
    pub(crate) fn guard(&self) -> usize {
        self.region.base() as usize
    }

    /// The lowest usable address.
    pub(crate) fn low(&self) -> usize {
        self.guard() + GUARD
    }

    /// Where the reserve below that begins.
    pub(crate) fn reserve(&self) -> usize {
        self.low() - RESERVE
    }

    /// One past the highest usable address.
    pub(crate) fn high(&self) -> usize {
        self.guard() + self.region.len() - GUARD
    }
}
