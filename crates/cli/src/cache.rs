//! The cache of machine code: `run --cache`, and what `palisade cache` does.
//!
//! An entry is an artefact without its module (of one in the text format with what that means), under a name made from the module and from all that code depends on, vouched
//! for by a key made from the user's for this entry alone. So whoever breaks out of a guest holds no key that would
//! vouch for anything else.
//!
//! Invariants: nothing about the cache ever makes a run fail or changes what it does: what is missing, broken, somebody
//! else's or unwritable costs a recompile. Entries are replaced whole, by renaming. A process that locks itself in can rename
//! nothing: it writes over a file that it opened before, and what is half written is refused by whoever reads it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek as _, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU32;
use std::time::{Duration, SystemTime};

use palisade::{Engine, HashedModule, Key, Module, Seal, Trust};
use palisade_core::Limits;

use crate::args::Code;
use crate::escape;
use crate::failure::{self, Failure};
use crate::keys::{self, Use};
use crate::load::Opened;
use crate::outcome;

/// How names of entries end.
const ENDING: &str = ".code";
/// How names of files end that become entries.
const TEMPORARY: &str = ".tmp";
/// The most bytes that all entries take; the ones that were used least recently go.
const MOST: u64 = 1 << 30;
/// The most bytes of an entry.
const MOST_ENTRY: u64 = 256 << 20;
/// After so long whoever was writing a file is not writing it any more.
const ABANDONED: Duration = Duration::from_secs(3600);

/// A directory of entries, which this user alone writes to.
#[derive(Debug)]
pub(crate) struct Cache {
    directory: PathBuf,
}

/// An entry as it stands in the directory.
#[derive(Debug)]
pub(crate) struct Listed {
    /// The file's name.
    pub(crate) name: String,
    /// Its bytes.
    pub(crate) bytes: u64,
    /// When it was used last.
    pub(crate) used: SystemTime,
}

/// The directory of a cache: the one given, or the user's.
pub(crate) fn directory(given: Option<&Path>) -> Option<PathBuf> {
    given.map(Path::to_owned).or_else(|| keys::user_directory("XDG_CACHE_HOME", ".cache"))
}

/// The entries in a directory. None if there is no such directory.
pub(crate) fn list(directory: &Path) -> io::Result<Vec<Listed>> {
    files(directory, ENDING)
}

fn files(directory: &Path, ending: &str) -> io::Result<Vec<Listed>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut all = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| is_ours(name, ending)) else { continue };
        // It may have gone meanwhile.
        let Ok(metadata) = entry.metadata() else { continue };
        let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        if metadata.is_file() {
            all.push(Listed { name: name.to_owned(), bytes: metadata.len(), used });
        }
    }
    all.sort_by(|a, b| a.used.cmp(&b.used).then_with(|| a.name.cmp(&b.name)));
    Ok(all)
}

/// Whether a file's name is one that this module gives: nothing else in the directory is touched.
fn is_ours(name: &str, ending: &str) -> bool {
    let bytes = name.as_bytes();
    let Some((digits, rest)) = bytes.split_at_checked(64) else { return false };
    let Some(rest) = rest.strip_prefix(ENDING.as_bytes()) else { return false };
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'.';
    digits.iter().all(u8::is_ascii_hexdigit)
        && rest.iter().all(plain)
        && if ending == ENDING { rest.is_empty() } else { name.ends_with(ending) }
}

/// The bytes of all entries.
pub(crate) fn total(entries: &[Listed]) -> u64 {
    entries.iter().fold(0, |sum: u64, entry| sum.saturating_add(entry.bytes))
}

/// Removes all entries, and what was to become one. How many entries, and their bytes.
pub(crate) fn clear(directory: &Path) -> io::Result<(usize, u64)> {
    let entries = list(directory)?;
    for file in entries.iter().chain(&files(directory, TEMPORARY)?) {
        match fs::remove_file(directory.join(&file.name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok((entries.len(), total(&entries)))
}

impl Cache {
    /// The cache that the options ask for. One that cannot be used is said, and done without.
    pub(crate) fn of(code: &Code) -> Option<Self> {
        let given = code.cache.as_ref()?.as_deref();
        let Some(directory) = directory(given) else {
            failure::warn("--cache: there is no place for a cache: set HOME, or write --cache=DIR");
            return None;
        };
        match keys::private_directory(&directory) {
            Ok(()) => {
                let cache = Self { directory };
                cache.shrink(MOST);
                Some(cache)
            }
            Err(why) => {
                let (shown, why) = (escape::path(&directory), escape::name(&why));
                failure::warn(&format!("--cache: {shown} is not used: {why}"));
                None
            }
        }
    }

    /// Removes what was used least recently until the rest is no larger than that, and what nobody finished.
    fn shrink(&self, most: u64) {
        let Ok(entries) = list(&self.directory) else { return };
        let mut total = total(&entries);
        for entry in entries {
            if total <= most {
                break;
            }
            if fs::remove_file(self.directory.join(&entry.name)).is_ok() {
                total = total.saturating_sub(entry.bytes);
            }
        }
        for file in files(&self.directory, TEMPORARY).unwrap_or_default() {
            if file.used.elapsed().is_ok_and(|age| age > ABANDONED) {
                let _ = fs::remove_file(self.directory.join(&file.name));
            }
        }
    }

    /// The entry of a module. It reads the module, which nobody looks at but to hash it, and opens all that will be needed;
    /// `None` where there is nothing to keep. `locked`: whether nothing can be opened or renamed any more when it is written.
    /// `proceed` says from time to time whether to go on.
    pub(crate) fn entry(
        &self,
        engine: &Engine,
        limits: &Limits,
        opened: &Opened,
        locked: bool,
        proceed: &mut dyn FnMut() -> Result<(), Failure>,
    ) -> Result<Option<Entry>, Failure> {
        // An engine without machine code has no use for it.
        if !engine.has_machine_code() {
            return Ok(None);
        }
        let Some(module) = opened.read_whole(limits, proceed)? else { return Ok(None) };
        let module = HashedModule::new(module);
        let entry = Module::cache_key(engine, &module).map_err(|error| error.to_string());
        let entry = entry.and_then(|name| {
            let key = keys::own(Use::Cache(&name)).map_err(|failure| failure.message)?;
            Ok((self.directory.join(format!("{}{ENDING}", keys::digits(&name))), key))
        });
        let mut entry = match entry {
            Ok((path, key)) => Entry {
                module,
                stored: None,
                place: Some((path, key)),
                over: None,
                loaded: Vec::new(),
                found: None,
                outcome: "no entry yet",
            },
            Err(why) => {
                failure::warn(&format!("--cache: {}", escape::name(&why)));
                // The module has been read, and cannot be read twice.
                let outcome = "not used";
                Entry {
                    module,
                    stored: None,
                    place: None,
                    over: None,
                    loaded: Vec::new(),
                    found: None,
                    outcome,
                }
            }
        };
        entry.open(locked);
        Ok(Some(entry))
    }
}

/// The entry of one module, found or not.
pub(crate) struct Entry {
    module: HashedModule,
    /// What is there.
    stored: Option<File>,
    /// Where it is, and what vouches for it.
    place: Option<(PathBuf, Key)>,
    /// What is written over, where nothing can be renamed.
    over: Option<File>,
    /// How what was loaded begins, up to the end of its proof.
    loaded: Vec<u8>,
    /// Batches of code that were there, if there was an entry that could be used.
    found: Option<usize>,
    outcome: &'static str,
}

impl Entry {
    fn open(&mut self, locked: bool) {
        let Some((path, _)) = &self.place else { return };
        // A file with another name could be changed by it; one that others may write to, by them.
        let usable = |file: &File| {
            file.metadata().is_ok_and(|data| data.nlink() == 1 && data.len() <= MOST_ENTRY)
        };
        self.stored = keys::open_own(path, 0o022, false).ok().filter(usable);
        if let Some(stored) = &self.stored {
            // For those who look for what was used least recently.
            let _ = stored.set_modified(SystemTime::now());
        }
        if locked {
            let fresh = || {
                let mut options = OpenOptions::new();
                options.read(true).write(true).create_new(true).mode(0o600).open(path).ok()
            };
            let old = || keys::open_own(path, 0o022, true).ok().filter(usable);
            self.over = old().or_else(fresh);
        }
    }

    /// Whether the module is in the binary format; if not, what the text means is in the entry.
    fn is_binary(&self) -> bool {
        self.module.bytes().starts_with(b"\0asm")
    }

    /// Loads the module, with the code that there is.
    pub(crate) fn load(&mut self, engine: &Engine, file: &Path) -> Result<Module, Failure> {
        if let (Some(stored), Some((_, key))) = (self.stored.take(), &self.place) {
            let trust = Trust::new().key(key.clone());
            let cancel = AtomicU32::new(0);
            self.loaded = head(&stored);
            let found = if self.is_binary() {
                Module::with_code_file(engine, self.module.clone(), stored, &trust, &cancel)
            } else {
                // All at once: another process may write over the module that is in it.
                Module::deserialize_from(engine, stored, &trust)
            };
            match found {
                Ok(module) => {
                    self.found = Some(module.code_batches());
                    self.outcome = "used";
                    return Ok(module);
                }
                // Whatever is wrong with the module is said below; whatever is wrong with the entry is nobody's business.
                Err(_) => self.outcome = "entry refused, compiled anew",
            }
        }
        let module = Module::from_vec(engine, self.module.shared());
        module.map_err(|error| outcome::failure(file, &error))
    }

    /// Writes down what has been compiled, if there is more than there was. Without any code an entry still says that the module
    /// is valid.
    pub(crate) fn save(&mut self, module: &Module) {
        let Some((path, key)) = self.place.take() else { return };
        if self.found.is_some() && module.engine().stored_stats().damaged > 0 {
            // It is not what was written any more: the next run makes it anew, unless somebody else has by now.
            let now = match &self.over {
                Some(file) => head(file),
                None => {
                    keys::open_own(&path, 0o022, false).map(|file| head(&file)).unwrap_or_default()
                }
            };
            if now != self.loaded {
                self.outcome = "used, and written anew by another process meanwhile";
                return;
            }
            let gone = match self.over.take() {
                Some(file) => file.set_len(0).is_ok(),
                None => fs::remove_file(&path).is_ok(),
            };
            self.outcome = if gone { "used, and removed: damaged" } else { "used, though damaged" };
            return;
        }
        if self.found.is_some_and(|found| module.code_batches() <= found) {
            return;
        }
        let seal = Seal::Key(key);
        let bytes =
            if self.is_binary() { module.serialize_code(&seal) } else { module.serialize(&seal) };
        let Ok(bytes) = bytes else { return };
        if bytes.len() as u64 > MOST_ENTRY {
            return;
        }
        let written = match self.over.take() {
            Some(file) => overwrite(file, &bytes),
            None => replace(&path, &bytes, 0o600),
        };
        self.outcome = match (self.found, written.is_ok()) {
            (None, true) => "written",
            (Some(_), true) => "used, and more was written",
            (None, false) => "could not be written",
            (Some(_), false) => "used; more could not be written",
        };
    }

    /// What came of it, for `--stats`.
    pub(crate) fn outcome(&self) -> &'static str {
        self.outcome
    }
}

/// Puts a file with these permissions in the place of another, whole.
pub(crate) fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let temporary = keys::beside(path)?;
    let done = keys::create(&temporary, bytes, mode).and_then(|()| fs::rename(&temporary, path));
    if done.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    done
}

/// How an entry begins: more than its header and proof take, of which no two are alike.
const HEAD: usize = 128;

fn head(file: &File) -> Vec<u8> {
    let mut bytes = [0; HEAD];
    let read = file.read_at(&mut bytes, 0).unwrap_or(0);
    bytes.get(..read).unwrap_or_default().to_vec()
}

fn overwrite(mut file: File, bytes: &[u8]) -> io::Result<()> {
    let done = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(bytes));
    if done.is_err() {
        // An empty file is no entry.
        let _ = file.set_len(0);
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(digit: u8) -> String {
        format!("{}{ENDING}", keys::digits(&[digit; 32]))
    }

    #[test]
    fn what_was_used_least_recently_goes_and_nothing_that_is_not_ours() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache { directory: dir.path().to_owned() };
        let now = SystemTime::now();
        let write = |name: &str, age: u64| {
            let path = dir.path().join(name);
            fs::write(&path, [0; 100]).unwrap();
            let file = File::options().write(true).open(&path).unwrap();
            file.set_modified(now - Duration::from_secs(age)).unwrap();
        };
        for (i, age) in [(1, 500), (2, 100), (3, 900), (4, 10)] {
            write(&name(i), age);
        }
        let forged = format!("{}\u{1b}[2J{ENDING}", name(7));
        let others =
            ["precious", "a.code", "x.tmp", &format!("{}{ENDING}", "z".repeat(64)), &*forged];
        others.iter().for_each(|other| write(other, 100_000));
        write(&format!("{}.00.tmp", name(5)), 100_000);
        write(&format!("{}.01.tmp", name(5)), 5);
        cache.shrink(250);
        let left: Vec<_> = list(dir.path()).unwrap().into_iter().map(|entry| entry.name).collect();
        assert_eq!(left, [name(2), name(4)]);
        let temporary = files(dir.path(), TEMPORARY).unwrap();
        assert_eq!(temporary.len(), 1, "{temporary:?}");
        assert_eq!(clear(dir.path()).unwrap(), (2, 200));
        let mut left: Vec<_> =
            fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left.len(), others.len(), "{left:?}");
        assert!(list(&dir.path().join("none")).unwrap().is_empty());
    }

    #[test]
    fn a5_a_file_is_replaced_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        replace(&path, b"old", 0o600).unwrap();
        replace(&path, b"new", 0o600).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        let missing = dir.path().join("none/f");
        assert!(replace(&missing, b"x", 0o600).is_err());
        // A directory in its place cannot be replaced, and nothing is left of the attempt.
        fs::create_dir(dir.path().join("d")).unwrap();
        assert!(replace(&dir.path().join("d"), b"x", 0o600).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
