//! `--profile`: what profilers are given, each kind in a file of its own.
//!
//! Invariants: every file is made before the process locks itself in; what cannot be written later is said, and
//! changes nothing of the run.

mod guest;
mod perfmap;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use palisade::{Config, JitDump, Module, Store};
use palisade_wasi::Wasi;

use crate::args::Run;
use crate::escape;
use crate::failure::{self, Failure, Status};

use guest::Guest;
use perfmap::PerfMap;

/// A value of `--profile`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Profile {
    /// Where the machine code of which function stands, for `perf report`.
    Perfmap,
    /// Machine code itself, with names and lines, for `perf inject`.
    Jitdump,
    /// Where the guest spends its time, for the Firefox Profiler.
    Guest(Option<PathBuf>),
    /// The same, for flame graphs.
    Folded(Option<PathBuf>),
}

impl Profile {
    /// What the option says.
    pub(crate) fn parse(text: &OsStr) -> Result<Self, String> {
        let bytes = text.as_bytes();
        let at = bytes.iter().position(|&byte| byte == b'=');
        let (kind, file) = match at {
            Some(at) => (&bytes[..at], Some(OsStr::from_bytes(&bytes[at + 1..]))),
            None => (bytes, None),
        };
        if file.is_some_and(OsStr::is_empty) {
            return Err("the file is missing behind `=`".to_owned());
        }
        let path = file.map(PathBuf::from);
        match (kind, file) {
            (b"guest", _) => Ok(Self::Guest(path)),
            (b"folded", _) => Ok(Self::Folded(path)),
            (b"perfmap", None) => Ok(Self::Perfmap),
            (b"jitdump", None) => Ok(Self::Jitdump),
            (b"perfmap" | b"jitdump", Some(_)) => {
                Err("its file has a name that `perf` knows: write it without `=`".to_owned())
            }
            _ => Err("the kinds are guest, folded, perfmap and jitdump".to_owned()),
        }
    }
}

/// Everything that was asked for.
pub(crate) struct Profiles {
    perf_map: Option<PerfMap>,
    jit_dump: Option<Arc<JitDump>>,
    guest: Guest,
    /// Not a file, but told to those who look from outside as well.
    native_debug: bool,
}

impl Profiles {
    /// Makes the files.
    pub(crate) fn create(args: &Run) -> Result<Self, Failure> {
        let wanted = &args.inside.profile;
        for (at, profile) in wanted.iter().enumerate() {
            let kind = std::mem::discriminant(profile);
            if wanted[..at].iter().any(|other| std::mem::discriminant(other) == kind) {
                return Err(Failure::usage("--profile: the same kind is given twice"));
            }
        }
        let guest = Guest::create(args)?;
        let native_debug = args.inside.native_debug;
        let mut profiles = Self { perf_map: None, jit_dump: None, guest, native_debug };
        for profile in wanted {
            match profile {
                Profile::Perfmap => profiles.perf_map = Some(PerfMap::create()?),
                Profile::Jitdump => profiles.jit_dump = Some(Arc::new(jit_dump()?)),
                Profile::Guest(_) | Profile::Folded(_) => {}
            }
        }
        Ok(profiles)
    }

    /// Lets an engine write what it has to.
    pub(crate) fn configure(&self, config: &mut Config) {
        config.jit_dump(self.jit_dump.clone()).native_debug(self.native_debug);
    }

    /// Starts to look where the guest spends its time, if that is asked for.
    pub(crate) fn start(&mut self, store: &mut Store<Wasi>) -> Result<(), Failure> {
        self.guest.start(store)
    }

    /// Writes what is written when the guest has ended.
    pub(crate) fn write<'a>(&mut self, modules: impl Iterator<Item = &'a Module>) {
        self.guest.write();
        if let Some(perf_map) = &self.perf_map {
            perf_map.write(modules);
        }
        if let Some(dump) = &self.jit_dump
            && let Some(error) = dump.take_error()
        {
            let shown = escape::path(dump.path());
            failure::warn(&format!("--profile: {shown} cannot be written: {error}"));
        }
    }
}

/// The variable that other runtimes look for, too.
const FOLDER: &str = "JITDUMPDIR";

fn jit_dump() -> Result<JitDump, Failure> {
    let folder = std::env::var_os(FOLDER).filter(|folder| !folder.is_empty());
    let folder = folder.as_deref().map_or(Path::new("."), Path::new);
    JitDump::create(folder).map_err(|error| {
        let name = format!("jit-{}.dump", std::process::id());
        let shown = escape::path(&folder.join(name));
        Failure::new(Status::Usage, format!("--profile: {shown} cannot be made: {error}")).hint(
            format!(
                "it has to be in a folder where files can be made and executed; {FOLDER} names one"
            ),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_read() {
        let parse = |text: &str| Profile::parse(OsStr::new(text));
        assert_eq!(parse("perfmap"), Ok(Profile::Perfmap));
        assert_eq!(parse("jitdump"), Ok(Profile::Jitdump));
        assert_eq!(parse("guest"), Ok(Profile::Guest(None)));
        assert_eq!(parse("guest=a=b"), Ok(Profile::Guest(Some("a=b".into()))));
        assert_eq!(parse("folded=x"), Ok(Profile::Folded(Some("x".into()))));
        for wrong in ["", "perf", "perfmap=", "jitdump=x", "guest=", "folded=", "guests"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
