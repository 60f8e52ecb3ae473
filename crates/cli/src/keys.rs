//! Keys in files: the user's own, which vouches for what this user compiled, and pairs for signatures.
//!
//! Invariants: a secret is written for its owner alone, and believed only if nobody else could have read or changed it:
//! no link, its owner's, closed to all others, in a directory that only its owner writes to. What is refused is said,
//! never repaired.

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use palisade::{Key, PublicKey, Seal, SecretKey, Trust};
use rustix::fs::OFlags;
use rustix::rand::{GetRandomFlags, getrandom};

use crate::escape;
use crate::failure::{Failure, Status};
use crate::load;

/// The name of the user's key in the directory of the user's data.
const KEY: &str = "key";
/// How secret keys for signatures begin in files, and public ones.
const SECRET: &str = "palisade-secret-key ";
const PUBLIC: &str = "palisade-public-key ";

/// A directory of the user's: what the variable says, or one in the home directory.
pub(crate) fn user_directory(variable: &str, otherwise: &str) -> Option<PathBuf> {
    let absolute =
        |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute(variable).or_else(|| Some(absolute("HOME")?.join(otherwise)))?;
    Some(base.join("palisade"))
}

/// Makes a directory for its owner alone, unless there is one, and sees to it that nobody else can change what is in it:
/// what is wrong, in words.
pub(crate) fn private_directory(path: &Path) -> Result<(), String> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| format!("it cannot be made: {error}"))?;
    let metadata = fs::symlink_metadata(path).map_err(|error| error.to_string())?;
    if metadata.is_symlink() {
        return Err("it is a symbolic link, and has to be the directory itself".into());
    }
    if !metadata.is_dir() {
        return Err("it is no directory".into());
    }
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err("it belongs to another user".into());
    }
    if metadata.mode() & 0o022 != 0 {
        return Err("others may write to it: chmod go-w it".into());
    }
    Ok(())
}

/// Opens a file that must be its owner's, and no link; others may have none of the permissions in `closed`.
pub(crate) fn open_own(path: &Path, closed: u32, write: bool) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = OpenOptions::new()
        .read(true)
        .write(write)
        .custom_flags(flags.bits().cast_signed())
        .open(path)?;
    let metadata = file.metadata()?;
    let wrong = |why: &str| Err(io::Error::new(io::ErrorKind::InvalidData, why.to_owned()));
    if !metadata.is_file() {
        return wrong("it is no file");
    }
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return wrong("it belongs to another user");
    }
    if metadata.mode() & closed != 0 {
        return wrong("its permissions are too wide: chmod 600 it");
    }
    Ok(file)
}

/// Random bytes for a secret.
fn random() -> io::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    let mut filled = 0;
    while filled < bytes.len() {
        match getrandom(&mut bytes[filled..], GetRandomFlags::empty()) {
            Ok(some) => filled += some,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(bytes)
}

/// Writes a new file for its owner alone; an error if there is one.
pub(crate) fn create_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    create(path, bytes, 0o600)
}

/// Writes a new file with these permissions, less what the user's mask takes away; an error if there is one.
pub(crate) fn create(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    if written.is_err() {
        let _ = fs::remove_file(path);
    }
    written
}

/// A name beside another one that nobody else uses.
pub(crate) fn beside(path: &Path) -> io::Result<PathBuf> {
    let unique = u64::from_le_bytes(*random()?.first_chunk().unwrap_or(&[0; 8]));
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{unique:016x}.tmp"));
    Ok(path.with_file_name(name))
}

/// What the user's key vouches for.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Use<'a> {
    /// Artefacts that `palisade compile` writes.
    Artefacts,
    /// The entry of a cache.
    Cache(&'a [u8; 32]),
}

/// The user's key for one use, made on first use. The key itself is gone when this returns.
pub(crate) fn own(purpose: Use<'_>) -> Result<Key, Failure> {
    let directory = user_directory("XDG_DATA_HOME", ".local/share").ok_or_else(|| {
        Failure::new(Status::Internal, "there is no place for this user's key")
            .hint("set HOME, or XDG_DATA_HOME, to the absolute path of a directory")
    })?;
    let failed = |path: &Path, why: &str| {
        Failure::new(
            Status::Internal,
            format!(
                "{}: this user's key cannot be used: {}",
                escape::path(path),
                escape::name(why)
            ),
        )
        .hint("with --sign and --trust, artefacts need no key of the user's")
    };
    private_directory(&directory).map_err(|why| failed(&directory, &why))?;
    let path = directory.join(KEY);
    let key = load(&path).map_err(|error| failed(&path, &error.to_string()))?;
    Ok(match purpose {
        Use::Artefacts => key.derive(b"artefacts"),
        Use::Cache(name) => key.derive(&[&b"cache "[..], name].concat()),
    })
}

fn load(path: &Path) -> io::Result<Key> {
    match open_own(path, 0o077, false) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // Whole or not there: of several processes that make one, the first one's is everybody's.
            let temporary = beside(path)?;
            create_private(&temporary, &random()?)?;
            let linked = fs::hard_link(&temporary, path);
            let _ = fs::remove_file(&temporary);
            match linked {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        Err(error) => return Err(error),
        Ok(_) => {}
    }
    // No buffer of anybody else's sees it.
    let mut file = open_own(path, 0o077, false)?;
    let (mut bytes, mut more) = ([0; 32], [0; 1]);
    let whole = file.read_exact(&mut bytes).is_ok() && matches!(file.read(&mut more), Ok(0));
    let key = whole.then(|| Key::from_bytes(bytes));
    bytes.fill(0);
    std::hint::black_box(&mut bytes);
    key.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it is not what was written"))
}

/// Whom a run trusts: this user, and those whose keys are given. `proceed` says from time to time whether to go on waiting for
/// what somebody is to write.
pub(crate) fn trust(
    given: &[OsString],
    proceed: &mut dyn FnMut() -> Result<(), Failure>,
) -> Result<Trust, Failure> {
    let mut trust = Trust::new();
    for key in given {
        trust = trust.signer(public(key, proceed)?);
    }
    // Where others are trusted, a user without a home does without the own key.
    match own(Use::Artefacts) {
        Ok(key) => Ok(trust.key(key)),
        Err(_) if !given.is_empty() => Ok(trust),
        Err(failure) => Err(failure),
    }
}

/// How an artefact is vouched for.
pub(crate) fn seal(sign: Option<&Path>) -> Result<Seal, Failure> {
    let Some(path) = sign else { return own(Use::Artefacts).map(Seal::Key) };
    let failed = |why: &str| {
        let shown = escape::path(path);
        Failure::new(Status::Unreadable, format!("--sign {shown}: {}", escape::name(why)))
            .hint("palisade key new FILE makes a key")
    };
    let mut text = String::new();
    open_own(path, 0o077, false)
        .and_then(|file| file.take(200).read_to_string(&mut text))
        .map_err(|error| failed(&error.to_string()))?;
    let bytes = text.strip_prefix(SECRET).and_then(|digits| parse(digits.trim_end()));
    let bytes = bytes.ok_or_else(|| failed("this is no secret key of Palisade's"))?;
    Ok(Seal::Signature(SecretKey::from_bytes(&bytes)))
}

/// Reads a value of `--trust`: the digits themselves, or a file with them.
fn public(
    given: &OsStr,
    proceed: &mut dyn FnMut() -> Result<(), Failure>,
) -> Result<PublicKey, Failure> {
    let failed = |status, why: &str| {
        let shown = escape::os(given);
        Failure::new(status, format!("--trust {shown}: {}", escape::name(why)))
            .hint("palisade key new FILE makes a key, and FILE.pub, which is what --trust takes")
    };
    let digits = match given.to_str().and_then(parse) {
        Some(digits) => digits,
        None => {
            let unreadable = |error: io::Error| failed(Status::Unreadable, &error.to_string());
            let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
            let mut options = OpenOptions::new();
            options.read(true).custom_flags(flags.bits().cast_signed());
            let file = options.open(given).map_err(unreadable)?;
            let mut stopped = None;
            if !file.metadata().is_ok_and(|data| data.is_file()) {
                let mut go_on = || {
                    proceed().map_err(|failure| {
                        stopped = Some(failure);
                        io::ErrorKind::TimedOut.into()
                    })
                };
                let waited = load::wait_for(&file, Some(&mut go_on));
                if let Some(failure) = stopped {
                    return Err(failure);
                }
                waited.map_err(unreadable)?;
            }
            let mut text = String::new();
            file.take(200).read_to_string(&mut text).map_err(unreadable)?;
            if text.starts_with(SECRET) {
                return Err(failed(
                    Status::Usage,
                    "this is the secret half of a key; give the other",
                ));
            }
            let digits = text.strip_prefix(PUBLIC).and_then(|digits| parse(digits.trim_end()));
            digits.ok_or_else(|| failed(Status::Usage, "this is no public key of Palisade's"))?
        }
    };
    PublicKey::from_bytes(&digits)
        .ok_or_else(|| failed(Status::Usage, "these are not the digits of a public key"))
}

/// Makes a pair of keys.
pub(crate) fn new_pair(path: &Path) -> Result<(), Failure> {
    let mut public_path = path.as_os_str().to_owned();
    public_path.push(".pub");
    let public_path = PathBuf::from(public_path);
    let failed = |path: &Path, error: &io::Error| {
        Failure::new(Status::Internal, format!("{}: {error}", escape::path(path)))
    };
    let secret = random().map_err(|error| failed(path, &error))?;
    let public = SecretKey::from_bytes(&secret).public().to_bytes();
    if public_path.symlink_metadata().is_ok() {
        return Err(failed(&public_path, &io::ErrorKind::AlreadyExists.into()));
    }
    create_private(path, format!("{SECRET}{}\n", digits(&secret)).as_bytes())
        .map_err(|error| failed(path, &error))?;
    let text = format!("{PUBLIC}{}\n", digits(&public));
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&public_path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|error| failed(&public_path, &error))
}

/// Bytes as digits.
pub(crate) fn digits(bytes: &[u8; 32]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn parse(digits: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if digits.len() != 64 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    #[test]
    fn digits_are_read_as_they_were_written() {
        let bytes: [u8; 32] = std::array::from_fn(|i| (i * 37) as u8);
        assert_eq!(parse(&digits(&bytes)), Some(bytes));
        for wrong in ["", "0", &"+1".repeat(32), &"0".repeat(63), &"0".repeat(65), &"g0".repeat(32)]
        {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a3_a_key_that_others_could_have_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let mode = |bits| fs::set_permissions(&path, fs::Permissions::from_mode(bits)).unwrap();
        let first = load(&path).unwrap();
        let same =
            |key: Key| format!("{:?}", digits_of(&key)) == format!("{:?}", digits_of(&first));
        assert!(same(load(&path).unwrap()));
        for bits in [0o640, 0o604, 0o620, 0o602] {
            mode(bits);
            assert!(load(&path).is_err(), "{bits:o}");
        }
        mode(0o600);
        assert!(same(load(&path).unwrap()));
        let link = dir.path().join("link");
        symlink(&path, &link).unwrap();
        assert!(load(&link).is_err());
        for wrong in [&[1; 31][..], &[1; 33], &[]] {
            fs::write(&path, wrong).unwrap();
            assert!(load(&path).is_err());
        }
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(load(&path).is_err());
    }

    /// A key is not to be seen: what it derives is compared by what it vouches for.
    fn digits_of(key: &Key) -> Vec<u8> {
        use palisade::{Config, Engine, Module, Strategy};
        let engine = Engine::new(Config::new().strategy(Strategy::Compiled)).unwrap();
        let module = Module::new(&engine, "(module)").unwrap();
        module.serialize(&Seal::Key(key.clone())).unwrap()
    }

    #[test]
    fn a3_directories_that_others_write_to_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let own = dir.path().join("a/b");
        private_directory(&own).unwrap();
        assert_eq!(fs::metadata(&own).unwrap().mode() & 0o777, 0o700);
        for bits in [0o770, 0o707, 0o1777] {
            fs::set_permissions(&own, fs::Permissions::from_mode(bits)).unwrap();
            assert!(private_directory(&own).is_err(), "{bits:o}");
        }
        fs::set_permissions(&own, fs::Permissions::from_mode(0o755)).unwrap();
        private_directory(&own).unwrap();
        let link = dir.path().join("link");
        symlink(&own, &link).unwrap();
        assert!(private_directory(&link).unwrap_err().contains("symbolic link"));
        fs::write(dir.path().join("file"), "").unwrap();
        assert!(private_directory(&dir.path().join("file")).is_err());
    }

    #[test]
    fn pairs_are_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("k");
        new_pair(&path).unwrap();
        let before = fs::read(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert!(new_pair(&path).is_err());
        fs::remove_file(dir.path().join("k.pub")).unwrap();
        assert!(new_pair(&path).is_err());
        assert_eq!(fs::read(&path).unwrap(), before);
        assert!(matches!(seal(Some(&path)), Ok(Seal::Signature(_))));
    }
}
