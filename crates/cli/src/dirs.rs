//! Reading `--dir HOST[::GUEST][:ro|:rw]`.
//!
//! The text is taken apart from its end: first the suffix, then the guest's name. A directory whose
//! own name ends in `:ro` can be given by writing the suffix all the same.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use crate::escape;
use crate::failure::Failure;

/// A directory to give to the guest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Grant {
    /// Where it is.
    pub(crate) host: PathBuf,
    /// What the guest calls it.
    pub(crate) guest: String,
    /// Whether the suffix forbids changing anything in it.
    pub(crate) read_only: bool,
}

impl Grant {
    /// Reads one value of `--dir`.
    pub(crate) fn parse(text: &OsStr) -> Result<Self, Failure> {
        let (names, read_only) = strip_suffix(text.as_bytes());
        let (host, guest) = match find_separator(names) {
            None => (names, names),
            Some(at) => {
                let guest = &names[at + 2..];
                if find_separator(guest).is_some() {
                    return Err(wrong(text, "`::` stands in it more than once"));
                }
                (&names[..at], guest)
            }
        };
        if host.is_empty() {
            return Err(wrong(text, "the directory of the host is missing"));
        }
        if guest.is_empty() {
            return Err(wrong(text, "the guest's name for it is missing"));
        }
        let Ok(guest) = std::str::from_utf8(guest) else {
            return Err(wrong(text, "the guest's name for it is not UTF-8")
                .hint("give it a name of its own: --dir HOST::GUEST"));
        };
        Ok(Self {
            host: PathBuf::from(OsString::from(OsStr::from_bytes(host))),
            guest: guest.to_owned(),
            read_only,
        })
    }
}

fn strip_suffix(text: &[u8]) -> (&[u8], bool) {
    // A GUEST of `ro` or `rw` after `::` is a name, not a suffix.
    for (suffix, read_only) in [(b":ro", true), (b":rw", false)] {
        if let Some(names) = text.strip_suffix(suffix)
            && !names.is_empty()
            && !names.ends_with(b":")
        {
            return (names, read_only);
        }
    }
    (text, false)
}

fn find_separator(text: &[u8]) -> Option<usize> {
    text.windows(2).position(|pair| pair == b"::")
}

fn wrong(text: &OsStr, why: &str) -> Failure {
    Failure::usage(format!("--dir {}: {why}", escape::os(text)))
        .hint("write --dir HOST, --dir HOST::GUEST or --dir HOST::GUEST:ro")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(text: &str) -> Result<(String, String, bool), String> {
        Grant::parse(OsStr::new(text))
            .map(|g| (g.host.to_string_lossy().into_owned(), g.guest, g.read_only))
            .map_err(|f| f.message)
    }

    fn ok(host: &str, guest: &str, read_only: bool) -> Result<(String, String, bool), String> {
        Ok((host.into(), guest.into(), read_only))
    }

    #[test]
    fn all_forms() {
        assert_eq!(grant("."), ok(".", ".", false));
        assert_eq!(grant("data"), ok("data", "data", false));
        assert_eq!(grant("data:ro"), ok("data", "data", true));
        assert_eq!(grant("data:rw"), ok("data", "data", false));
        assert_eq!(grant("/a/b::/data"), ok("/a/b", "/data", false));
        assert_eq!(grant("/a/b::/data:ro"), ok("/a/b", "/data", true));
        assert_eq!(grant("a::b:rw"), ok("a", "b", false));
    }

    #[test]
    fn what_looks_like_a_suffix_and_is_none() {
        assert_eq!(grant("a::ro"), ok("a", "ro", false));
        assert_eq!(grant("x:ro:rw"), ok("x:ro", "x:ro", false));
        assert_eq!(grant("c:d"), ok("c:d", "c:d", false));
    }

    #[test]
    fn errors() {
        for bad in ["", "::x", "x::", "a::b::c", ":ro::"] {
            assert!(grant(bad).is_err(), "{bad:?}");
        }
        assert!(Grant::parse(OsStr::from_bytes(b"\xff")).is_err());
        assert!(Grant::parse(OsStr::from_bytes(b"\xff::x")).is_ok());
    }
}
