//! [`ModuleBytes`]: the bytes of a module, all of them in memory, or some of them only once somebody needs them.
//!
//! Invariant: bytes that were given away once never change, and are those that the module had when it was checked. Where
//! bytes cannot be had any more, nothing is given in their place.

use std::ops::Range;
use std::sync::Arc;

/// Bytes some of which are fetched when they are asked for. Whoever keeps them sees to it that they are the right ones.
pub trait LateBytes: Send + Sync {
    /// How many there are, fetched or not.
    fn len(&self) -> usize;

    /// Some of them; `None` if there are not that many, or if they cannot be had any more.
    fn get(&self, range: Range<usize>) -> Option<&[u8]>;

    /// Whether bytes that were asked for could not be had: what holds them changed, or is gone.
    fn is_lost(&self) -> bool;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The bytes of a module, shared and not copied: large ones are taken over as they were read.
#[derive(Clone)]
pub struct ModuleBytes(Kept);

#[derive(Clone)]
enum Kept {
    Whole(Arc<Vec<u8>>),
    Late(Arc<dyn LateBytes>),
}

impl ModuleBytes {
    /// Bytes that are fetched when they are needed.
    pub fn late(bytes: Arc<dyn LateBytes>) -> Self {
        Self(Kept::Late(bytes))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        match &self.0 {
            Kept::Whole(bytes) => bytes.len(),
            Kept::Late(bytes) => bytes.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Some of them; `None` if there are not that many, or if they are lost.
    pub fn get(&self, range: Range<usize>) -> Option<&[u8]> {
        match &self.0 {
            Kept::Whole(bytes) => bytes.get(range),
            Kept::Late(bytes) => bytes.get(range),
        }
    }

    /// All of them; `None` if some are lost.
    pub fn whole(&self) -> Option<&[u8]> {
        self.get(0..self.len())
    }

    /// Whether some were asked for that could not be had any more.
    pub fn are_lost(&self) -> bool {
        match &self.0 {
            Kept::Whole(_) => false,
            Kept::Late(bytes) => bytes.is_lost(),
        }
    }
}

impl std::fmt::Debug for ModuleBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ModuleBytes({} bytes)", self.len())
    }
}

impl From<Vec<u8>> for ModuleBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Kept::Whole(Arc::new(bytes)))
    }
}

impl From<Arc<Vec<u8>>> for ModuleBytes {
    fn from(bytes: Arc<Vec<u8>>) -> Self {
        Self(Kept::Whole(bytes))
    }
}

impl From<&[u8]> for ModuleBytes {
    fn from(bytes: &[u8]) -> Self {
        bytes.to_vec().into()
    }
}
