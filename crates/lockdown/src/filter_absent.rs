//! The filter of system calls, on processors for which there is none: their calls have other numbers and other names,
//! and a list that nobody ran is no wall. The lock says that it is missing.

use crate::Error;
use crate::builder::Needs;

/// Whether system calls can be filtered.
pub(crate) fn available() -> bool {
    false
}

/// There is none.
pub(crate) struct Filters;

/// Makes the filters.
pub(crate) fn compile(_needs: &Needs) -> Result<Filters, Error> {
    Ok(Filters)
}

/// Installs nothing, and says so.
pub(crate) fn install(_filters: &Filters) -> Result<bool, Error> {
    Ok(false)
}
