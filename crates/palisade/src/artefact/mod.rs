//! Artefacts: modules with their machine code, in files.
//!
//! ```text
//! magic, version, kind of proof │ length of the statement │ proof │ statement │ module │ batch of code │ …
//! ```
//!
//! The statement says what the code depends on ([`stamp`]), which module it is of, what that was validated against, and
//! for each batch its lengths and a hash. The proof (a MAC or a signature, [`trust`]) covers everything before it and the
//! statement, and by its hashes all the rest.
//!
//! Invariants: nothing is believed before the proof has been checked, but lengths that bound what is read; bytes
//! are read once, into memory of our own, and used from there, so that there is no time between check and use; what
//! comes out is checked against the module ([`tables`]) before any of it becomes executable.

mod error;
mod stamp;
mod tables;
mod trust;
mod wire;

use std::io::{self, Read as _};
use std::sync::Arc;

use palisade_jit::Bounds;
use palisade_module::{ModuleBytes, ModuleInfo};
use palisade_vm::native::code::Tables;
use palisade_vm::native::{CodeRegistry, Draft};
use palisade_vm::sys::large::prefer_large_pages;

use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};

pub use error::ArtefactError;
use stamp::Stamp;
pub use trust::{Key, PublicKey, Seal, SecretKey, Trust};
use trust::{Kind, PROOF};
use wire::{Broken, Reader, Writer};

/// How a file begins: no text, no module, and not after a transfer that changes ends of lines.
pub const ARTEFACT_MAGIC: [u8; 8] = *b"\x89PAL\r\n\x1a\n";
/// The version of the format.
const FORMAT: u32 = 1;
/// The bytes before the proof.
const HEADER: usize = 24;
/// The longest statement: more than two hundred thousand batches.
const MOST_STATEMENT: u64 = 16 << 20;

/// What a batch of code is.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Part {
    /// The stubs of the shapes of the module's functions, in their order.
    Stubs,
    /// Functions, for one form of bounds checks.
    Functions(Bounds),
    /// A function that is entered at the loop at an offset in the module.
    Loop(Bounds, u32),
}

/// A batch of code that was loaded. Its tables name no module yet.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) part: Part,
    /// On pages that are not executable yet.
    pub(crate) code: Draft,
    pub(crate) tables: Tables,
}

/// What is written of a module.
pub(crate) struct Contents<'a> {
    pub(crate) info: &'a ModuleInfo,
    /// Whether the module itself is written, too.
    pub(crate) with_module: bool,
    /// Whether all functions were compiled, or refused, for the two forms of bounds checks.
    pub(crate) whole: [bool; 2],
    pub(crate) batches: Vec<(Part, &'a [u8], &'a Tables)>,
}

/// Not by `From`, which would make an error of the host of it.
pub(crate) fn refused(error: ArtefactError) -> Error {
    Error::new(ErrorKind::Artefact(error))
}

impl From<Broken> for Error {
    fn from(Broken(why): Broken) -> Self {
        refused(ArtefactError::Damaged(why))
    }
}

const SHORT: ArtefactError = ArtefactError::Damaged("it ends early");

/// What code of an engine depends on. An engine without machine code has none to depend on anything.
fn stamp_of(engine: &Engine) -> Result<Stamp> {
    let tier = engine.tier().ok_or_else(|| {
        Error::msg(
            "this engine makes no machine code, so that there is nothing to write into an artefact",
        )
    })?;
    Ok(Stamp::of(tier.options(), tier.fingerprint()))
}

/// The name under which a cache keeps the code of a module: a number over the module and all that its code depends on.
pub(crate) fn cache_key(engine: &Engine, module: &[u8]) -> Result<[u8; 32]> {
    let mut w = Writer::default();
    for (name, value) in &stamp_of(engine)?.0 {
        w.bytes(name.as_bytes());
        w.bytes(value.as_bytes());
    }
    w.raw(blake3::hash(module).as_bytes());
    Ok(blake3::derive_key("palisade 2026 name in the cache", &w.0))
}

/// Writes an artefact.
pub(crate) fn write(engine: &Engine, contents: &Contents<'_>, seal: &Seal) -> Result<Vec<u8>> {
    let module: &[u8] = &contents.info.bytes;
    let mut w = Writer::default();
    let stamp = stamp_of(engine)?;
    w.u64(stamp.0.len() as u64);
    for (name, value) in &stamp.0 {
        w.bytes(name.as_bytes());
        w.bytes(value.as_bytes());
    }
    w.bytes(stamp::checked(engine.config()).as_bytes());
    w.u8(contents.with_module.into());
    w.u64(module.len() as u64);
    w.raw(blake3::hash(module).as_bytes());
    contents.whole.iter().for_each(|&whole| w.u8(whole.into()));
    w.u64(contents.batches.len() as u64);
    let mut encoded = Vec::with_capacity(contents.batches.len());
    for (part, code, tables) in &contents.batches {
        let mut bytes = Writer::default();
        tables::write(&mut bytes, tables);
        let (number, offset) = match *part {
            Part::Stubs => (0, 0),
            Part::Functions(Bounds::Guard) => (1, 0),
            Part::Functions(Bounds::Explicit) => (2, 0),
            Part::Loop(Bounds::Guard, offset) => (3, offset),
            Part::Loop(Bounds::Explicit, offset) => (4, offset),
        };
        w.u8(number);
        w.var(offset);
        w.u64(code.len() as u64);
        w.u64(bytes.0.len() as u64);
        w.raw(blake3::hash(code).as_bytes());
        w.raw(blake3::hash(&bytes.0).as_bytes());
        encoded.push(bytes.0);
    }
    let statement = w.0;
    if statement.len() as u64 > MOST_STATEMENT {
        return Err(Error::new(ErrorKind::Limit(
            "too many batches of code for an artefact".into(),
        )));
    }
    let mut message = header(seal.kind(), statement.len() as u64).to_vec();
    message.extend_from_slice(&statement);
    let proof = seal.prove(&message);
    let mut out = message;
    out.splice(HEADER..HEADER, proof);
    if contents.with_module {
        out.extend_from_slice(module);
    }
    for ((_, code, _), tables) in contents.batches.iter().zip(&encoded) {
        out.extend_from_slice(code);
        out.extend_from_slice(tables);
    }
    Ok(out)
}

fn header(kind: Kind, statement: u64) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(&ARTEFACT_MAGIC);
    header[8..12].copy_from_slice(&FORMAT.to_le_bytes());
    header[12] = kind.number();
    header[16..].copy_from_slice(&statement.to_le_bytes());
    header
}

/// What a trusted statement says of a batch.
struct BatchHead {
    part: Part,
    code: u32,
    tables: u32,
    code_hash: [u8; 32],
    tables_hash: [u8; 32],
}

/// What somebody trusted says.
struct Statement {
    stamp: Stamp,
    checked: String,
    with_module: bool,
    module_len: u64,
    module_hash: [u8; 32],
    whole: [bool; 2],
    batches: Vec<BatchHead>,
}

impl Statement {
    fn read(bytes: &[u8]) -> wire::Read<Self> {
        let mut r = Reader(bytes);
        let text = |bytes: &[u8]| {
            String::from_utf8(bytes.to_vec()).map_err(|_| Broken("its statement is no text"))
        };
        let entries = r.u64()?;
        let mut stamp = Vec::new();
        for _ in 0..entries {
            stamp.push((text(r.bytes()?)?, text(r.bytes()?)?));
        }
        let checked = text(r.bytes()?)?;
        let flag = |byte| match byte {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Broken("its statement is neither yes nor no")),
        };
        let with_module = flag(r.u8()?)?;
        let (module_len, module_hash) = (r.u64()?, r.array()?);
        let whole = [flag(r.u8()?)?, flag(r.u8()?)?];
        let count = r.u64()?;
        let mut batches = Vec::new();
        for _ in 0..count {
            let (number, offset) = (r.u8()?, r.var()?);
            let part = match number {
                0 => Part::Stubs,
                1 => Part::Functions(Bounds::Guard),
                2 => Part::Functions(Bounds::Explicit),
                3 => Part::Loop(Bounds::Guard, offset),
                4 => Part::Loop(Bounds::Explicit, offset),
                _ => return Err(Broken("a batch of its code is of no kind")),
            };
            let len = |value: u64| u32::try_from(value).map_err(|_| Broken("a batch is too long"));
            let (code, tables) = (len(r.u64()?)?, len(r.u64()?)?);
            let (code_hash, tables_hash) = (r.array()?, r.array()?);
            batches.push(BatchHead { part, code, tables, code_hash, tables_hash });
        }
        r.end()?;
        let stamp = Stamp(stamp);
        Ok(Self { stamp, checked, with_module, module_len, module_hash, whole, batches })
    }

    /// Whether its code is what this engine would make.
    fn agree(&self, engine: &Engine) -> Result<(), Error> {
        let own = stamp_of(engine)?;
        let Some((name, here, found)) = own.difference(&self.stamp) else { return Ok(()) };
        let (found, here) = (found.to_owned(), here.to_owned());
        Err(refused(match name {
            stamp::PALISADE => ArtefactError::Build { found, here },
            stamp::PROCESSOR => ArtefactError::Processor,
            _ => ArtefactError::Option { name: name.to_owned(), found, here },
        }))
    }
}

/// An artefact that somebody trusted vouches for, read and verified.
pub(crate) struct Artefact {
    /// The module, byte for byte what was compiled.
    pub(crate) module: ModuleBytes,
    /// Whether its function bodies were found valid, under these very limits and proposals.
    pub(crate) validated: bool,
    pub(crate) whole: [bool; 2],
    batches: Vec<(BatchHead, Draft, Vec<u8>)>,
}

/// Where the module comes from.
pub(crate) enum Source {
    /// The artefact.
    Inside,
    /// It is at hand; the artefact has its code alone.
    Given(ModuleBytes),
}

fn failed(error: io::Error) -> Error {
    Error::msg(format_args!("the artefact cannot be read: {error}"))
}

/// Room for so many bytes, which nothing has to be copied out of.
fn room(len: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let len = usize::try_from(len).map_err(|_| refused(SHORT))?;
    bytes
        .try_reserve_exact(len)
        .map_err(|_| Error::new(ErrorKind::Limit("no memory for the artefact".to_owned())))?;
    // Touching it for the first time takes longer than reading and hashing.
    prefer_large_pages(bytes.spare_capacity_mut());
    Ok(bytes)
}

/// Reads exactly so many bytes, and no further than there are.
fn take(from: &mut dyn io::Read, len: u64) -> Result<Vec<u8>> {
    let mut bytes = room(len)?;
    from.take(len).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 == len { Ok(bytes) } else { Err(refused(SHORT)) }
}

/// How much is read before it is hashed, so that it is still in the processor's cache.
const PIECE: u64 = 512 << 10;

fn compare(hasher: &blake3::Hasher, hash: &[u8; 32]) -> Result<()> {
    if hasher.finalize() == blake3::Hash::from_bytes(*hash) {
        return Ok(());
    }
    Err(refused(ArtefactError::Damaged("a part of it is not what was written")))
}

/// Reads so many bytes, which must be those of a hash.
fn verified(from: &mut dyn io::Read, len: u64, hash: &[u8; 32]) -> Result<Vec<u8>> {
    let mut bytes = room(len)?;
    let mut hasher = blake3::Hasher::new();
    while (bytes.len() as u64) < len {
        let before = bytes.len();
        let piece = PIECE.min(len - before as u64);
        from.take(piece).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() as u64 - before as u64 != piece {
            return Err(refused(SHORT));
        }
        hasher.update(bytes.get(before..).unwrap_or_default());
    }
    compare(&hasher, hash)?;
    Ok(bytes)
}

/// The same for code, which goes where it is to run. Nobody can run it before it is published.
fn verified_code(
    registry: &Arc<CodeRegistry>,
    from: &mut dyn io::Read,
    len: u32,
    hash: &[u8; 32],
) -> Result<Draft> {
    let mut draft = registry.draft(len as usize).map_err(|error| {
        Error::new(ErrorKind::Limit(format!("no room for the artefact's code: {error}")))
    })?;
    let mut hasher = blake3::Hasher::new();
    for piece in draft.bytes().chunks_mut(PIECE as usize) {
        from.read_exact(piece).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => refused(SHORT),
            _ => failed(error),
        })?;
        hasher.update(piece);
    }
    compare(&hasher, hash)?;
    Ok(draft)
}

/// Reads an artefact for an engine, if it comes from somebody trusted.
pub(crate) fn read(
    engine: &Engine,
    from: &mut dyn io::Read,
    source: Source,
    trust: &Trust,
) -> Result<Artefact> {
    let mut head = Vec::new();
    from.take(HEADER as u64).read_to_end(&mut head).map_err(failed)?;
    let Some(found) = head.first_chunk::<8>() else { return Err(refused(ArtefactError::NotOne)) };
    if *found != ARTEFACT_MAGIC {
        return Err(refused(ArtefactError::NotOne));
    }
    let mut r = Reader(&head[8..]);
    let format = u32::from_le_bytes(r.array()?);
    if format != FORMAT {
        return Err(refused(ArtefactError::Format { found: format, expected: FORMAT }));
    }
    let kind = Kind::from_number(r.u8()?).ok_or(Broken("its proof is of no kind"))?;
    let zeros = r.array::<3>()?;
    let len = r.u64()?;
    if zeros != [0; 3] || len > MOST_STATEMENT {
        return Err(refused(ArtefactError::Damaged("its header is not one that is written")));
    }
    let proof = take(from, PROOF as u64)?;
    let proof = proof.first_chunk().ok_or_else(|| refused(SHORT))?;
    let mut message = head;
    message.extend(take(from, len)?);
    if !trust.check(kind, &message, proof) {
        return Err(refused(ArtefactError::Untrusted { signed: kind == Kind::Signature }));
    }
    // From here on it is what somebody trusted wrote, or damaged behind the statement.
    let statement = Statement::read(message.get(HEADER..).unwrap_or_default())?;
    if engine.tier().is_some() {
        statement.agree(engine)?;
    }
    let module = match source {
        Source::Inside if statement.with_module => {
            if statement.module_len > engine.config().limits.module_bytes {
                let limit = engine.config().limits.module_bytes;
                let error = palisade_module::DecodeError::too_large(statement.module_len, limit);
                return Err(Error::new(ErrorKind::Module(error)));
            }
            verified(from, statement.module_len, &statement.module_hash)?.into()
        }
        Source::Given(module) if !statement.with_module => {
            let same = module.len() as u64 == statement.module_len
                && blake3::hash(&module) == blake3::Hash::from_bytes(statement.module_hash);
            if !same {
                return Err(refused(ArtefactError::OtherModule));
            }
            module
        }
        _ => return Err(refused(ArtefactError::OtherModule)),
    };
    let mut batches = Vec::new();
    for head in statement.batches {
        match engine.tier() {
            Some(tier) => {
                let code = verified_code(&tier.registry, from, head.code, &head.code_hash)?;
                let tables = verified(from, head.tables.into(), &head.tables_hash)?;
                batches.push((head, code, tables));
            }
            // Where the interpreter runs everything, it is checked and not needed.
            None => {
                verified(from, head.code.into(), &head.code_hash)?;
                verified(from, head.tables.into(), &head.tables_hash)?;
            }
        }
    }
    let mut more = [0];
    if from.read(&mut more).map_err(failed)? != 0 {
        return Err(refused(ArtefactError::Damaged("there is more than there should be")));
    }
    let validated = statement.checked == stamp::checked(engine.config());
    Ok(Artefact { module, validated, whole: statement.whole, batches })
}

impl Artefact {
    /// Its batches of code, consistent with themselves and with the module.
    pub(crate) fn batches(&mut self, info: &ModuleInfo) -> Result<Vec<Batch>> {
        let batches = std::mem::take(&mut self.batches).into_iter();
        batches
            .map(|(BatchHead { part, code: len, .. }, code, encoded)| {
                let info = (part != Part::Stubs).then_some(info);
                let mut r = Reader(&encoded);
                let tables = tables::read(&mut r, &tables::Bounds { code: len, info })?;
                r.end()?;
                Ok(Batch { part, code, tables })
            })
            .collect()
    }
}

#[cfg(test)]
#[path = "artefact_tests.rs"]
mod tests;
