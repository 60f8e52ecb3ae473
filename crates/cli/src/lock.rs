//! The second wall, as the command uses it: from flags and grants to a locked process.
//!
//! The rules come from the descriptors and capabilities of the WASI context itself, so that what the kernel allows
//! cannot differ from what the guest was given. Whoever calls [`Lock::enforce`] has opened everything and started no
//! thread.

use palisade_lockdown::{Lockdown, Profile, Report, Rights, Support};
use palisade_wasi::{Caps, GrantedDirectory, Wasi};

use crate::args::{Engine, Run};
use crate::failure::{self, Failure, Status};

/// The lock that the options ask for.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Lock {
    /// Whether nothing runs with less than all of it.
    required: bool,
}

impl Lock {
    /// What the options ask for; `None` for no lock.
    pub(crate) fn of(run: &Run) -> Result<Option<Self>, Failure> {
        let wall = &run.wall;
        let asked = match (wall.require_lockdown, wall.lockdown) {
            (true, _) => Some("--require-lockdown"),
            (_, true) => Some("--lockdown"),
            _ => None,
        };
        if wall.no_lockdown {
            return match asked {
                Some(flag) => Err(Failure::usage(format!(
                    "{flag} and --no-lockdown contradict each other: give one of them"
                ))),
                None => Ok(None),
            };
        }
        let on = asked.is_some() || run.bounds.sandbox;
        Ok(on.then_some(Self { required: wall.require_lockdown }))
    }

    /// Locks this process, for good.
    pub(crate) fn enforce(self, wasi: &Wasi, engine: Engine) -> Result<Report, Failure> {
        let granted: Vec<(GrantedDirectory<'_>, Rights)> =
            wasi.ctx().into_iter().flat_map(|ctx| ctx.granted_directories()).map(rights).collect();
        if self.required {
            // Said before anything changes.
            require(&Support::probe().missing())?;
        }
        let mut builder = Lockdown::builder()
            .profile(match engine {
                Engine::Interp => Profile::Interpreter,
                Engine::Auto | Engine::Jit => Profile::Compiler,
            })
            .close_inherited(true);
        for (directory, rights) in &granted {
            builder = builder.directory(&directory.fd, *rights);
        }
        let report = builder.enforce().map_err(|error| {
            Failure::new(Status::Internal, format!("the process cannot be locked in: {error}"))
                .hint("--no-lockdown runs the guest without the second wall")
        })?;
        let missing = report.missing();
        if self.required {
            require(&missing)?;
        } else if !missing.is_empty() {
            failure::warn(&format!(
                "the second wall is incomplete, since this kernel lacks a part: {}; \
                 --require-lockdown refuses to run then",
                missing.join("; ")
            ));
        }
        Ok(report)
    }
}

fn require(missing: &[&str]) -> Result<(), Failure> {
    if missing.is_empty() {
        return Ok(());
    }
    let what = missing.join("; ");
    Err(Failure::new(
        Status::Internal,
        format!("--require-lockdown: this kernel lacks a part of the lock: {what}"),
    )
    .hint("without --require-lockdown the guest runs behind what there is"))
}

/// What capabilities are to the lock. In a directory where nothing may be changed, paths are for looking at, which
/// needs no right.
fn rights(directory: GrantedDirectory<'_>) -> (GrantedDirectory<'_>, Rights) {
    let pairs = [
        (directory.caps.contains(Caps::READ), Rights::READ),
        (directory.caps.contains(Caps::WRITE) && directory.writable, Rights::WRITE),
        (directory.caps.contains(Caps::PATH) && directory.writable, Rights::NAMES),
    ];
    let given = pairs.into_iter().filter(|(given, _)| *given);
    (directory, given.fold(Rights::NONE, |all, (_, right)| all | right))
}

/// A line for `--stats`.
pub(crate) fn stats(locked: Option<&Report>) -> String {
    let Some(report) = locked else { return "off".to_owned() };
    let mut parts = vec![
        format!("Landlock {}", report.landlock()),
        if report.seccomp { "system calls filtered" } else { "system calls not filtered" }.into(),
    ];
    if report.no_new_privs {
        parts.push("no new privileges".into());
    }
    if report.no_core_dumps {
        parts.push("no core dumps".into());
    }
    let missing = report.missing();
    if !missing.is_empty() {
        parts.push(format!("lacking {}", missing.join("; ")));
    }
    parts.join("; ")
}

/// A line for `features`.
pub(crate) fn outlook(support: &Support) -> String {
    let missing = support.missing();
    if missing.is_empty() {
        "complete: all of --sandbox's second wall is to be had".to_owned()
    } else {
        format!("incomplete: {}", missing.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args;

    fn lock(line: &str) -> Result<Option<Lock>, Failure> {
        let words: Vec<_> = line.split_whitespace().map(Into::into).collect();
        Lock::of(&args::parse_run(&words).expect("a line"))
    }

    #[test]
    fn flags_decide_wherever_they_stand() {
        let (on, required) = (Some(Lock { required: false }), Some(Lock { required: true }));
        for (line, wanted) in [
            ("a", None),
            ("--sandbox a", on),
            ("a --lockdown", on),
            ("--sandbox --lockdown a", on),
            ("--no-lockdown a --sandbox", None),
            ("a --sandbox --no-lockdown", None),
            ("--no-lockdown a", None),
            ("--require-lockdown a", required),
            ("--sandbox a --require-lockdown", required),
            ("--lockdown --require-lockdown a", required),
        ] {
            assert_eq!(lock(line).unwrap(), wanted, "{line}");
        }
        for line in ["--lockdown --no-lockdown a", "--no-lockdown a --require-lockdown"] {
            assert_eq!(lock(line).unwrap_err().status, Status::Usage, "{line}");
        }
    }
}
