//! Artefacts: modules with their machine code, in files.
//!
//! ```text
//! magic, version, kind of proof │ length of the statement │ proof │ statement │ module │ batch of code │ …
//! ```
//!
//! The statement says what the code depends on ([`stamp`]), which module it is of, what that was validated against, how the
//! module is cut into pieces ([`pieces`]), which functions each batch of code has, and of each piece and batch the length and a
//! hash. The proof (a MAC or a signature, [`trust`]) covers everything before it and the statement, and by its hashes all the
//! rest. So what a start does not need is not read ([`origin`]), until it is needed.
//!
//! Invariants: nothing is believed before the proof has been checked, but lengths that bound what is read; each part
//! is read once, into memory of our own, hashed there before it is used, and used from there, so that there is no time between
//! check and use; code is checked against the module ([`tables`]) before any of its batch becomes executable. What turns
//! out to be something else when it is read later never runs.

mod error;
mod origin;
mod pieces;
mod stamp;
mod tables;
mod trust;
mod wire;

use std::ops::Range;
use std::sync::Arc;

use palisade_jit::Bounds;
use palisade_module::info::FuncBody;
use palisade_module::{ModuleBytes, ModuleInfo};
use palisade_vm::native::code::{FuncKind, Tables};
use palisade_vm::native::{CodeRegistry, Draft};
use palisade_vm::sys::pieces::Unfilled;

use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};

pub use error::ArtefactError;
pub(crate) use origin::Input;
use origin::{Origin, SHORT};
use pieces::Piece;
use stamp::Stamp;
pub use trust::{Key, PublicKey, Seal, SecretKey, Trust};
use trust::{Kind, PROOF};
use wire::{Broken, Reader, Writer};

/// How a file begins: no text, no module, and not after a transfer that changes ends of lines.
pub const ARTEFACT_MAGIC: [u8; 8] = *b"\x89PAL\r\n\x1a\n";
/// The version of the format.
const FORMAT: u32 = 2;
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

/// A piece of the module could not be had, or was another.
pub(crate) fn lost_module() -> Error {
    refused(ArtefactError::Damaged("a part of its module is not what was written"))
}

impl From<Broken> for Error {
    fn from(Broken(why): Broken) -> Self {
        refused(ArtefactError::Damaged(why))
    }
}

/// What code of an engine depends on. An engine without machine code has none to depend on anything.
fn stamp_of(engine: &Engine) -> Result<Stamp> {
    let tier = engine.tier().ok_or_else(|| {
        Error::msg(
            "this engine makes no machine code, so that there is nothing to write into an artefact",
        )
    })?;
    Ok(Stamp::of(tier.options(), tier.fingerprint()))
}

/// The bytes of a module with their hash, which is taken once: for caches.
#[derive(Clone)]
pub struct HashedModule {
    bytes: Arc<Vec<u8>>,
    hash: [u8; 32],
}

impl HashedModule {
    /// Hashes a module.
    pub fn new(bytes: impl Into<Arc<Vec<u8>>>) -> Self {
        let bytes = bytes.into();
        let hash = *blake3::hash(&bytes).as_bytes();
        Self { bytes, hash }
    }

    /// Room for so many bytes of a module, which takes less time to be filled than it would elsewhere. `None` if there is none.
    pub fn room(len: usize) -> Option<Vec<u8>> {
        origin::room(len as u64).ok()
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The same, shared.
    pub fn shared(&self) -> Arc<Vec<u8>> {
        self.bytes.clone()
    }
}

impl std::fmt::Debug for HashedModule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HashedModule").field("bytes", &self.bytes.len()).finish_non_exhaustive()
    }
}

/// The name under which a cache keeps the code of a module: a number over the module and all that its code depends on.
pub(crate) fn cache_key(engine: &Engine, module: &HashedModule) -> Result<[u8; 32]> {
    let mut w = Writer::default();
    for (name, value) in &stamp_of(engine)?.0 {
        w.bytes(name.as_bytes());
        w.bytes(value.as_bytes());
    }
    w.raw(&module.hash);
    Ok(blake3::derive_key("palisade 2026 name in the cache", &w.0))
}

/// Writes an artefact.
pub(crate) fn write(engine: &Engine, contents: &Contents<'_>, seal: &Seal) -> Result<Vec<u8>> {
    let module = contents.info.bytes.whole().ok_or_else(lost_module)?;
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
    if contents.with_module {
        let cut = pieces::cut(contents.info, module);
        pieces::write(&mut w, &cut, &contents.info.bodies);
    }
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
        write_funcs(&mut w, tables);
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

/// Which functions a batch has, in runs that follow each other.
fn write_funcs(w: &mut Writer, tables: &Tables) {
    let mut runs: Vec<Range<u32>> = Vec::new();
    for func in functions(tables) {
        match runs.last_mut() {
            Some(run) if run.end == func => run.end += 1,
            _ => runs.push(func..func + 1),
        }
    }
    w.var(runs.len() as u32);
    let mut end = 0;
    for run in runs {
        // Functions stand in their order.
        w.var(run.start - end);
        w.var(run.end - run.start);
        end = run.end;
    }
}

fn read_funcs(r: &mut Reader<'_>) -> wire::Read<Vec<Range<u32>>> {
    const OUTSIDE: Broken = Broken("a function of its code is none");
    let mut runs = Vec::new();
    let mut end = 0u32;
    for _ in 0..r.var()? {
        let start = end.checked_add(r.var()?).ok_or(OUTSIDE)?;
        end = start.checked_add(r.var()?).ok_or(OUTSIDE)?;
        runs.push(start..end);
    }
    Ok(runs)
}

/// The functions of a batch, entered at their beginning or at a loop.
fn functions(tables: &Tables) -> impl Iterator<Item = u32> {
    tables.funcs.iter().filter_map(|func| match func.kind {
        FuncKind::Defined(defined) | FuncKind::Osr(defined) => Some(defined),
        FuncKind::Stub => None,
    })
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
#[derive(Debug)]
pub(crate) struct BatchHead {
    pub(crate) part: Part,
    /// The functions that it has code of.
    pub(crate) funcs: Vec<Range<u32>>,
    /// The bytes of its code.
    pub(crate) code: u32,
    pub(crate) tables: u32,
    code_hash: [u8; 32],
    tables_hash: [u8; 32],
    /// Where it stands, from the end of the statement on.
    at: u64,
}

/// What somebody trusted says.
struct Statement {
    stamp: Stamp,
    checked: String,
    with_module: bool,
    module_len: u64,
    module_hash: [u8; 32],
    pieces: Vec<Piece>,
    bodies: Vec<FuncBody>,
    whole: [bool; 2],
    batches: Vec<BatchHead>,
    /// The bytes behind it.
    rest: u64,
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
        let (pieces, bodies) =
            if with_module { pieces::read(&mut r, module_len)? } else { Default::default() };
        let mut at = if with_module { module_len } else { 0 };
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
            let funcs = read_funcs(&mut r)?;
            let len = |value: u64| u32::try_from(value).map_err(|_| Broken("a batch is too long"));
            let (code, tables) = (len(r.u64()?)?, len(r.u64()?)?);
            let (code_hash, tables_hash) = (r.array()?, r.array()?);
            batches.push(BatchHead { part, funcs, code, tables, code_hash, tables_hash, at });
            let bytes = u64::from(code) + u64::from(tables);
            at = at.checked_add(bytes).ok_or(Broken("it is longer than anything"))?;
        }
        r.end()?;
        let (stamp, rest) = (Stamp(stamp), at);
        Ok(Self {
            stamp,
            checked,
            with_module,
            module_len,
            module_hash,
            pieces,
            bodies,
            whole,
            batches,
            rest,
        })
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

/// An artefact that somebody trusted vouches for: its statement, and where the rest is.
pub(crate) struct Artefact {
    /// The module, byte for byte what was compiled.
    pub(crate) module: Found,
    /// Whether its function bodies were found valid, under these very limits and proposals.
    pub(crate) validated: bool,
    pub(crate) whole: [bool; 2],
    pub(crate) code: StoredCode,
}

/// The module of an artefact.
pub(crate) enum Found {
    /// All of it.
    Whole(ModuleBytes),
    /// What a start needs, where its bodies stand, and what will have all of it.
    Outline(Box<Outline>),
}

/// A module of which not all has been read.
pub(crate) struct Outline {
    unfilled: Unfilled,
    late: Vec<(u64, Range<usize>, [u8; 32])>,
    bodies: Vec<FuncBody>,
    origin: Arc<Origin>,
}

/// The code of an artefact, which is read when it is needed.
pub(crate) struct StoredCode {
    origin: Arc<Origin>,
    pub(crate) batches: Vec<BatchHead>,
}

/// Where the module comes from.
pub(crate) enum Source {
    /// The artefact.
    Inside,
    /// It is at hand; the artefact has its code alone.
    Given(HashedModule),
}

/// Reads of an artefact for an engine, if it comes from somebody trusted, what a start needs.
pub(crate) fn read(
    engine: &Engine,
    mut from: Input<'_>,
    source: Source,
    trust: &Trust,
) -> Result<Artefact> {
    let head = from.take(0, HEADER as u64)?;
    let Some((found, fields)) = head.split_first_chunk::<8>() else { return Err(refused(SHORT)) };
    if *found != ARTEFACT_MAGIC {
        return Err(refused(ArtefactError::NotOne));
    }
    let mut r = Reader(fields);
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
    let proof = from.take(HEADER as u64, PROOF as u64)?;
    let proof = proof.first_chunk().ok_or_else(|| refused(SHORT))?;
    let mut message = head;
    message.extend(from.take((HEADER + PROOF) as u64, len)?);
    if !trust.check(kind, &message, proof) {
        return Err(refused(ArtefactError::Untrusted { signed: kind == Kind::Signature }));
    }
    // From here on it is what somebody trusted wrote, or damaged behind the statement.
    let statement = Statement::read(message.get(HEADER..).unwrap_or_default())?;
    if engine.tier().is_some() {
        statement.agree(engine)?;
    }
    if statement.with_module && statement.module_len > engine.config().limits.module_bytes {
        let limit = engine.config().limits.module_bytes;
        let error = palisade_module::DecodeError::too_large(statement.module_len, limit);
        return Err(Error::new(ErrorKind::Module(error)));
    }
    let origin = Arc::new(from.rest((HEADER + PROOF) as u64 + len, statement.rest)?);
    let module = match source {
        Source::Inside if statement.with_module => {
            Found::Outline(Box::new(Outline::read(&statement, origin.clone())?))
        }
        Source::Given(module) if !statement.with_module => {
            let same = module.bytes.len() as u64 == statement.module_len
                && module.hash == statement.module_hash;
            if !same {
                return Err(refused(ArtefactError::OtherModule));
            }
            Found::Whole(module.bytes.into())
        }
        _ => return Err(refused(ArtefactError::OtherModule)),
    };
    let validated = statement.checked == stamp::checked(engine.config());
    let code = StoredCode { origin, batches: statement.batches };
    Ok(Artefact { module, validated, whole: statement.whole, code })
}

impl Outline {
    /// Reads what a start needs.
    fn read(statement: &Statement, origin: Arc<Origin>) -> Result<Self> {
        let no_room = |_| Error::new(ErrorKind::Limit("no memory for the module".to_owned()));
        let len = usize::try_from(statement.module_len).map_err(|_| refused(SHORT))?;
        let mut unfilled = Unfilled::new(len).map_err(no_room)?;
        let mut late = Vec::new();
        let mut at = 0;
        for piece in &statement.pieces {
            // The pieces' lengths add up to the module's.
            let range = at as usize..(at + piece.len) as usize;
            if piece.late {
                late.push((at, range, piece.hash));
            } else {
                let bytes = unfilled.now(range).ok_or_else(|| refused(SHORT))?;
                origin.verified(at, bytes, &piece.hash)?;
            }
            at += piece.len;
        }
        Ok(Self { unfilled, late, bodies: statement.bodies.clone(), origin })
    }

    /// Where the bodies are said to stand.
    pub(crate) fn bodies(&self) -> Vec<FuncBody> {
        self.bodies.clone()
    }

    /// What reads the rest when it is asked for.
    pub(crate) fn keep(self) -> ModuleBytes {
        let Self { unfilled, late, origin, .. } = self;
        let ranges = late.iter().map(|(_, range, _)| range.clone()).collect();
        let fill = move |number: usize, bytes: &mut [u8]| {
            let piece = late.get(number);
            piece.is_some_and(|(at, _, hash)| origin.verified(*at, bytes, hash).is_ok())
        };
        // Pieces stand behind each other, as those of a statement do.
        let pieces = unfilled.later(ranges, fill);
        pieces.map_or_else(|| Vec::new().into(), |pieces| ModuleBytes::late(Arc::new(pieces)))
    }
}

impl AsRef<[u8]> for Box<Outline> {
    fn as_ref(&self) -> &[u8] {
        self.unfilled.as_ref()
    }
}

impl StoredCode {
    /// Reads a batch, which comes out consistent with itself, with its head and with the module.
    pub(crate) fn load(
        &self,
        head: &BatchHead,
        registry: &Arc<CodeRegistry>,
        info: &ModuleInfo,
    ) -> Result<Batch> {
        let mut code = registry.draft(head.code as usize).map_err(|error| {
            Error::new(ErrorKind::Limit(format!("no room for the artefact's code: {error}")))
        })?;
        self.origin.verified(head.at, code.bytes(), &head.code_hash)?;
        let at = head.at.saturating_add(head.code.into());
        let encoded = self.origin.verified_vec(at, head.tables, &head.tables_hash)?;
        let info = (head.part != Part::Stubs).then_some(info);
        let mut r = Reader(&encoded);
        let tables = tables::read(&mut r, &tables::Bounds { code: head.code, info })?;
        r.end()?;
        if !functions(&tables).eq(head.funcs.iter().cloned().flatten()) {
            return Err(refused(ArtefactError::Damaged("its code is not what it says")));
        }
        Ok(Batch { part: head.part, code, tables })
    }

    /// Reads all of it, for nothing but to see whether it is what was written.
    pub(crate) fn check(&self) -> Result<()> {
        self.batches.iter().try_for_each(|head| {
            self.origin.verified_vec(head.at, head.code, &head.code_hash)?;
            let at = head.at.saturating_add(head.code.into());
            self.origin.verified_vec(at, head.tables, &head.tables_hash).map(drop)
        })
    }
}

#[cfg(test)]
#[path = "artefact_tests.rs"]
mod tests;
