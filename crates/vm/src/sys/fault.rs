//! Lets a test make the n-th request to the system fail: one counter for each thread, looked at by whatever asks the
//! system for memory, access, descriptors or threads, in this crate and in those above it.
//!
//! Compiled in for tests alone (this crate's own, and others through the feature `faults`); otherwise [`check`] is
//! nothing. What a request would have done is not done when it fails.

#[cfg(any(test, feature = "faults"))]
mod counter {
    use std::cell::Cell;
    use std::io;

    /// What is to fail.
    #[derive(Copy, Clone, PartialEq, Eq, Debug)]
    enum Plan {
        /// The request after so many, and all later ones.
        From(u32),
        /// The request after so many, and no other.
        Only(u32),
    }

    thread_local! {
        static PLAN: Cell<Option<Plan>> = const { Cell::new(None) };
        static FAILED: Cell<u32> = const { Cell::new(0) };
    }

    /// Makes the request after `successes` more, and all later ones of this thread, fail; `None` stops that.
    pub fn fail_after(successes: Option<u32>) {
        PLAN.set(successes.map(Plan::From));
        FAILED.set(0);
    }

    /// Makes the request after `successes` more of this thread fail, and no other.
    pub fn fail_once_after(successes: u32) {
        PLAN.set(Some(Plan::Only(successes)));
        FAILED.set(0);
    }

    /// How many requests failed since the last plan was made.
    pub fn failed() -> u32 {
        FAILED.get()
    }

    /// An error if this request is to fail.
    pub fn check() -> io::Result<()> {
        let (next, fails) = match PLAN.get() {
            None => (None, false),
            Some(Plan::From(0)) => (Some(Plan::From(0)), true),
            Some(Plan::Only(0)) => (None, true),
            Some(Plan::From(n)) => (Some(Plan::From(n - 1)), false),
            Some(Plan::Only(n)) => (Some(Plan::Only(n - 1)), false),
        };
        PLAN.set(next);
        if fails {
            FAILED.set(FAILED.get() + 1);
            return Err(io::Error::from(io::ErrorKind::OutOfMemory));
        }
        Ok(())
    }
}

#[cfg(any(test, feature = "faults"))]
pub use counter::{check, fail_after, fail_once_after, failed};

/// Nothing: requests fail when the system says so.
#[cfg(not(any(test, feature = "faults")))]
#[inline(always)]
pub(crate) fn check() -> std::io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_what_is_planned_fails() {
        let run = |n: usize| -> Vec<bool> { (0..n).map(|_| check().is_ok()).collect() };
        assert_eq!(run(3), [true; 3]);
        fail_after(Some(2));
        assert_eq!((run(5), failed()), (vec![true, true, false, false, false], 3));
        fail_once_after(1);
        assert_eq!((run(4), failed()), (vec![true, false, true, true], 1));
        fail_after(None);
        assert_eq!((run(2), failed()), (vec![true; 2], 0));
        check().expect("nothing is planned");
    }
}
