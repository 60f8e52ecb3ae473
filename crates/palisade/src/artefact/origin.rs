//! Where the bytes of an artefact come from, and come from later: [`Input`] before its statement is known, [`Origin`] after.
//!
//! Invariants: what is read is copied into memory of our own before it is hashed, and hashed before it is used; nobody
//! waits for more than the statement says that there is. A file may change at any time: then what is read later has
//! another hash.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;

use palisade_vm::sys::file::regular_len;
use palisade_vm::sys::large::prefer_large_pages;

use super::error::ArtefactError;
use super::refused;
use crate::error::{Error, ErrorKind, Result};

/// How much is read before it is hashed, so that it is still in the processor's cache.
const PIECE: usize = 256 << 10;

pub(super) const SHORT: ArtefactError = ArtefactError::Damaged("it ends early");
const LONG: ArtefactError = ArtefactError::Damaged("there is more than there should be");
const OTHER: ArtefactError = ArtefactError::Damaged("a part of it is not what was written");

/// An artefact that nobody has read yet.
pub(crate) enum Input<'a> {
    /// A file that is kept open, from its start on.
    File(File),
    /// Bytes of somebody else, which are copied.
    Bytes(&'a [u8]),
    /// Whatever can be read from once.
    Stream(&'a mut dyn io::Read),
}

/// The bytes behind the statement. Offsets count from there.
pub(super) enum Origin {
    File { file: File, from: u64 },
    Kept(Vec<u8>),
}

fn failed(error: io::Error) -> Error {
    Error::msg(format_args!("the artefact cannot be read: {error}"))
}

/// Room for so many bytes, which nothing has to be copied out of.
pub(super) fn room(len: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let len = usize::try_from(len).map_err(|_| refused(SHORT))?;
    bytes
        .try_reserve_exact(len)
        .map_err(|_| Error::new(ErrorKind::Limit("no memory for the artefact".to_owned())))?;
    // Touching it for the first time takes longer than reading and hashing.
    prefer_large_pages(bytes.spare_capacity_mut());
    Ok(bytes)
}

impl<'a> Input<'a> {
    /// A file, which is read when its parts are needed if it is one that can be read anywhere. `Err` with the file if not.
    pub(crate) fn of_file(file: File) -> std::result::Result<Self, File> {
        // Not by `std`: a locked process may not ask in its way.
        if matches!(regular_len(&file), Ok(Some(_))) { Ok(Self::File(file)) } else { Err(file) }
    }

    /// The bytes from an offset on, which is where the last ones ended.
    pub(super) fn take(&mut self, at: u64, len: u64) -> Result<Vec<u8>> {
        let mut bytes = room(len)?;
        match self {
            Self::File(file) => {
                bytes.resize(len as usize, 0);
                read_at(file, &mut bytes, at)?;
            }
            Self::Bytes(given) => {
                let (taken, rest) = given
                    .split_at_checked(usize::try_from(len).unwrap_or(usize::MAX))
                    .ok_or_else(|| refused(SHORT))?;
                bytes.extend_from_slice(taken);
                *given = rest;
            }
            Self::Stream(from) => {
                from.take(len).read_to_end(&mut bytes).map_err(failed)?;
                if bytes.len() as u64 != len {
                    return Err(refused(SHORT));
                }
            }
        }
        Ok(bytes)
    }

    /// What follows, from an offset on, of which there must be so much.
    pub(super) fn rest(self, from: u64, len: u64) -> Result<Origin> {
        let exactly = |found: u64| match found.cmp(&len) {
            std::cmp::Ordering::Less => Err(refused(SHORT)),
            std::cmp::Ordering::Equal => Ok(()),
            std::cmp::Ordering::Greater => Err(refused(LONG)),
        };
        match self {
            Self::File(file) => {
                let all = regular_len(&file).map_err(failed)?.unwrap_or(0);
                exactly(all.saturating_sub(from))?;
                Ok(Origin::File { file, from })
            }
            Self::Bytes(given) => {
                exactly(given.len() as u64)?;
                let mut bytes = room(len)?;
                bytes.extend_from_slice(given);
                Ok(Origin::Kept(bytes))
            }
            Self::Stream(from) => {
                let mut bytes = room(len)?;
                from.take(len).read_to_end(&mut bytes).map_err(failed)?;
                exactly(bytes.len() as u64)?;
                if from.read(&mut [0]).map_err(failed)? != 0 {
                    return Err(refused(LONG));
                }
                Ok(Origin::Kept(bytes))
            }
        }
    }
}

fn read_at(file: &File, into: &mut [u8], at: u64) -> Result<()> {
    file.read_exact_at(into, at).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => refused(SHORT),
        _ => failed(error),
    })
}

impl Origin {
    /// Copies bytes from an offset on, which must be those of a hash.
    pub(super) fn verified(&self, at: u64, into: &mut [u8], hash: &[u8; 32]) -> Result<()> {
        let mut hasher = blake3::Hasher::new();
        let mut at = at;
        for piece in into.chunks_mut(PIECE) {
            match self {
                Self::File { file, from } => read_at(file, piece, from.saturating_add(at))?,
                Self::Kept(bytes) => {
                    let start = usize::try_from(at).unwrap_or(usize::MAX);
                    let found =
                        start.checked_add(piece.len()).and_then(|end| bytes.get(start..end));
                    piece.copy_from_slice(found.ok_or_else(|| refused(SHORT))?);
                }
            }
            hasher.update(piece);
            at += piece.len() as u64;
        }
        if hasher.finalize() == blake3::Hash::from_bytes(*hash) {
            return Ok(());
        }
        Err(refused(OTHER))
    }

    /// The same into memory of its own.
    pub(super) fn verified_vec(&self, at: u64, len: u32, hash: &[u8; 32]) -> Result<Vec<u8>> {
        let mut bytes = room(len.into())?;
        bytes.resize(len as usize, 0);
        self.verified(at, &mut bytes, hash)?;
        Ok(bytes)
    }
}
