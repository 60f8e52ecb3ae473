//! What a guest lacked: from denials to the flags that would have allowed just that.
//!
//! Invariants: nothing is suggested that was not asked for and denied; what is remembered is bounded, however much is
//! denied; whatever comes from the guest is shown escaped, and quoted where a shell would take it for something else.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};

use palisade_wasi::{AuditEvent, Caps, Denial};

use crate::dirs::Grant;
use crate::escape;

/// How many directories outside, and how many things that no flag allows, are remembered.
const MANY: usize = 8;

/// See the module's documentation.
pub(crate) struct Lacking {
    has: Caps,
    grants: Vec<Grant>,
    /// Capabilities whose absence was an error.
    caps: Caps,
    /// Capabilities whose absence was an empty answer.
    gentle: Caps,
    /// Directories, by their number, that were read-only and should not have been.
    writable: BTreeSet<usize>,
    /// Directories that were not given: the host's name, the guest's, and whether something in them was to be changed.
    outside: BTreeMap<(PathBuf, String), bool>,
    /// Directories of files that stand among the arguments of a guest without directories.
    named: BTreeSet<PathBuf>,
    others: BTreeSet<String>,
    more: u64,
    /// The first denial that was an error, in words; how many there were.
    first: Option<String>,
    count: u64,
}

impl Lacking {
    pub(crate) fn new(has: Caps, grants: Vec<Grant>) -> Self {
        Self {
            has,
            grants,
            caps: Caps::empty(),
            gentle: Caps::empty(),
            writable: BTreeSet::new(),
            outside: BTreeMap::new(),
            named: BTreeSet::new(),
            others: BTreeSet::new(),
            more: 0,
            first: None,
            count: 0,
        }
    }

    /// Remembers a denial.
    pub(crate) fn denied(&mut self, event: &AuditEvent) {
        let Some(denial) = event.denied else { return };
        if event.is_gentle() {
            self.gentle |= event.required;
            return;
        }
        self.count += 1;
        if self.first.is_none() {
            self.first = Some(shown(event));
        }
        let changes = event.required.intersects(Caps::WRITE | Caps::PATH);
        // The capability is looked at before the path: a path that leads out needs its directory besides.
        let out = match denial {
            Denial::Capability | Denial::Grant | Denial::Outside => self.directory_outside(event),
            _ => None,
        };
        match (denial, out) {
            (_, Some(directory)) => self.outside(event, directory, changes),
            (Denial::Capability | Denial::Grant, None) => {
                self.caps |= event.required.difference(self.has);
                if let Some(at) = event.preopen_index.filter(|_| changes && event.read_only) {
                    self.writable.insert(at);
                }
            }
            (Denial::Outside, None) if event.function == "path_symlink" => {
                self.other(event, "links to absolute paths are not made")
            }
            (Denial::Outside, None) => self.other(event, "a link in it leads out of the directory"),
            (Denial::Special, None) => {
                self.other(event, "only regular files and directories open, and none of /proc")
            }
            (Denial::Stronger, None) => self.other(event, "more is allowed where it would go"),
            (_, None) => {
                self.other(event, "it gave the right up, or did not ask for it when it opened")
            }
        }
    }

    /// Remembers a directory that was not given.
    fn outside(&mut self, event: &AuditEvent, directory: (PathBuf, String), changes: bool) {
        if let Some(known) = self.outside.get_mut(&directory) {
            *known |= changes;
        } else if self.outside.len() < MANY {
            self.outside.insert(directory, changes);
        } else {
            self.more += 1;
            return;
        }
        self.caps |= event.required.difference(self.has);
    }

    fn other(&mut self, event: &AuditEvent, why: &str) {
        let text = format!("{} ({why})", shown(event));
        if self.others.len() < MANY || self.others.contains(&text) {
            self.others.insert(text);
        } else {
            self.more += 1;
        }
    }

    /// The directory that a path outside lies in, judged by its words alone: what the guest calls it, and what that is
    /// on the host. `None` if the words stay inside.
    fn directory_outside(&self, event: &AuditEvent) -> Option<(PathBuf, String)> {
        let path = Path::new(event.path.as_deref()?);
        // What is absolute there is the target of the link, which no directory makes better.
        if path.is_absolute() && event.function == "path_symlink" {
            return None;
        }
        if path.is_absolute() {
            let parent = tidy(path).parent().map_or_else(|| PathBuf::from("/"), Path::to_owned);
            let guest = parent.to_str()?.to_owned();
            return Some((parent, guest));
        }
        let tidied = tidy(path);
        if !tidied.starts_with("..") {
            return None;
        }
        let grant = self.grants.get(event.preopen_index?)?;
        // A path that ends in `..` names the directory itself.
        let named = tidied.file_name().is_some();
        let parent = if named { tidied.parent()? } else { &tidied };
        let guest = tidy(&Path::new(&grant.guest).join(parent)).to_str()?.to_owned();
        Some((tidy(&grant.host.join(parent)), guest))
    }

    /// Looks for files among the arguments of a guest that has no directory.
    pub(crate) fn named_by(&mut self, args: &[OsString]) {
        for arg in args {
            let path = Path::new(arg);
            let option = arg.as_encoded_bytes().starts_with(b"-");
            if option || self.named.len() >= MANY || !path.exists() {
                continue;
            }
            let dir = if path.is_dir() { Some(path) } else { path.parent() };
            let dir = dir.filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
            self.named.insert(dir.to_owned());
        }
    }

    /// The guest never looked for a directory: its arguments were no files to it.
    pub(crate) fn forget_named(&mut self) {
        self.named.clear();
    }

    /// The flags that would have allowed what was an error. Empty if none would.
    pub(crate) fn flags(&self) -> String {
        let mut flags: Vec<String> = switches(self.caps).map(str::to_owned).collect();
        for grant in self.writable.iter().filter_map(|at| self.grants.get(*at)) {
            flags.push(dir(&grant.host, &grant.guest, "rw"));
        }
        for ((host, guest), changes) in &self.outside {
            flags.push(dir(host, guest, if *changes { "rw" } else { "ro" }));
        }
        flags.join(" ")
    }

    /// The flags for what looked empty, or stood still.
    pub(crate) fn gentle_flags(&self) -> String {
        switches(self.gentle).collect::<Vec<_>>().join(" ")
    }

    /// The flags for files that the guest was called with.
    pub(crate) fn named(&self) -> String {
        if self.named.is_empty() {
            return String::new();
        }
        let read = (!self.has.contains(Caps::READ)).then(|| "--allow-read".to_owned());
        let dirs = self.named.iter().map(|path| format!("--dir {}:ro", word(path.as_os_str())));
        read.into_iter().chain(dirs).collect::<Vec<_>>().join(" ")
    }

    /// What no flag allows, and why.
    pub(crate) fn without_a_flag(&self) -> Vec<String> {
        let mut all: Vec<String> = self.others.iter().cloned().collect();
        if self.more > 0 {
            all.push(format!("{} more that are not listed", self.more));
        }
        all
    }

    /// What to say of a guest that failed.
    pub(crate) fn hints(&self, trapped: bool) -> Vec<String> {
        let mut hints = Vec::new();
        if let Some(first) = &self.first {
            let more = match self.count {
                1 => String::new(),
                n => format!(", and {} more", n - 1),
            };
            let flags = self.flags();
            hints.push(match flags.is_empty() {
                true => format!("it was denied {first}{more}; no flag allows that"),
                false => format!("it was denied {first}{more}; {flags} would allow it"),
            });
        }
        let named = self.named();
        if !named.is_empty() {
            hints.push(format!(
                "it was given no directory; {named} gives it the files that it was called with"
            ));
        }
        // Most programs get on without: worth a word only where something broke.
        if trapped && !self.gentle.is_empty() {
            let gentle = self.gentle_flags();
            hints.push(format!("what looked empty to it, or stood still, is given by {gentle}"));
        }
        hints
    }
}

fn switches(caps: Caps) -> impl Iterator<Item = &'static str> {
    let single = Caps::SWITCHES.iter().filter(|(cap, ..)| cap.bits().count_ones() == 1);
    single.filter(move |(cap, ..)| caps.contains(*cap)).map(|(.., switch)| *switch)
}

/// A denial in a few words.
fn shown(event: &AuditEvent) -> String {
    let path = event.path.as_deref().map(|path| format!(" \"{}\"", escape::name(path)));
    let dir = event.preopen.as_deref().map(|dir| format!(" in `{}`", escape::name(dir)));
    format!("{}{}{}", event.function, path.unwrap_or_default(), dir.unwrap_or_default())
}

/// A path without `.`, and without `..` behind a name. Nothing is looked up.
fn tidy(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => match out.components().next_back() {
                Some(Component::Normal(_)) => {
                    out.pop();
                }
                Some(Component::RootDir) => {}
                _ => out.push(".."),
            },
            part => out.push(part),
        }
    }
    if out.as_os_str().is_empty() { PathBuf::from(".") } else { out }
}

/// A value of `--dir`.
fn dir(host: &Path, guest: &str, mode: &str) -> String {
    let host = host.as_os_str();
    let mut text = host.to_owned();
    if host != OsStr::new(guest) {
        text.push("::");
        text.push(guest);
    }
    text.push(":");
    text.push(mode);
    format!("--dir {}", word(&text))
}

/// Text as a word of a shell's command line, fit for a terminal.
fn word(text: &OsStr) -> String {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"_./:=@%+,-".contains(b);
    let shown = escape::os(text);
    if text.as_encoded_bytes().iter().all(plain) {
        return shown;
    }
    format!("'{}'", shown.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_tidied_by_their_words() {
        for (path, tidied) in [
            ("a/./b/../c", "a/c"),
            ("./x", "x"),
            ("../x", "../x"),
            ("a/../../x", "../x"),
            ("/a/../../x", "/x"),
            ("a/..", "."),
        ] {
            assert_eq!(tidy(Path::new(path)), Path::new(tidied), "{path}");
        }
    }

    #[test]
    fn words_are_quoted_where_a_shell_would_take_them_apart() {
        for (text, quoted) in [
            ("data:ro", "data:ro"),
            ("my data", "'my data'"),
            ("it's", "'it'\\''s'"),
            ("$(rm)", "'$(rm)'"),
            ("a\x1b[31m", "'a\\u{1b}[31m'"),
        ] {
            assert_eq!(word(OsStr::new(text)), quoted);
        }
    }
}
