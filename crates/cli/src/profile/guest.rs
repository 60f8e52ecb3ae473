//! `--profile guest` and `--profile folded`: where the guest spends its time.
//!
//! The files are made, empty, before the guest starts, and written when it has ended, however it did.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use palisade::{GuestProfile, GuestProfiler, Store};
use palisade_wasi::Wasi;

use super::Profile;
use crate::args::Run;
use crate::audit::{self, Links};
use crate::escape;
use crate::failure::{self, Failure, Status};
use crate::outcome;

/// Where profiles go if nothing else is said.
const FIREFOX: &str = "palisade-profile.json";
const FOLDED: &str = "palisade-profile.folded";

/// How often the guest is looked at if nothing else is said.
const INTERVAL: Duration = Duration::from_millis(1);
/// The interval that the sampler can keep, and one that finds anything at all.
const INTERVALS: (Duration, Duration) = (Duration::from_micros(100), Duration::from_secs(10));

/// What was asked for.
pub(super) struct Guest {
    firefox: Option<Target>,
    folded: Option<Target>,
    interval: Duration,
    /// What the profile calls the run.
    name: String,
    running: Option<GuestProfiler>,
}

struct Target {
    path: PathBuf,
    file: File,
}

impl Target {
    fn create(path: Option<&Path>, default: &str, args: &Run) -> Result<Self, Failure> {
        let links = if path.is_some() { Links::Followed } else { Links::Refused };
        let path = path.unwrap_or(Path::new(default)).to_owned();
        let file = audit::emptied(&path, args, links).map_err(|why| {
            let shown = escape::path(&path);
            Failure::new(Status::Usage, format!("--profile: {shown} cannot be made: {why}"))
        })?;
        Ok(Self { path, file })
    }

    fn write(&self, write: impl FnOnce(&mut BufWriter<&File>) -> io::Result<()>) {
        let mut out = BufWriter::new(&self.file);
        if let Err(error) = write(&mut out).and_then(|()| out.flush()) {
            let shown = escape::path(&self.path);
            failure::warn(&format!("--profile: {shown} cannot be written: {error}"));
        }
    }
}

impl Guest {
    pub(super) fn create(args: &Run) -> Result<Self, Failure> {
        let name = args.file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let interval = args.inside.profile_interval.unwrap_or(INTERVAL);
        let mut guest = Self { firefox: None, folded: None, interval, name, running: None };
        for profile in &args.inside.profile {
            match profile {
                Profile::Guest(path) => {
                    guest.firefox = Some(Target::create(path.as_deref(), FIREFOX, args)?);
                }
                Profile::Folded(path) => {
                    guest.folded = Some(Target::create(path.as_deref(), FOLDED, args)?);
                }
                Profile::Perfmap | Profile::Jitdump => {}
            }
        }
        guest.check(args)?;
        Ok(guest)
    }

    fn check(&self, args: &Run) -> Result<(), Failure> {
        if args.inside.profile_interval.is_some() && !self.is_wanted() {
            return Err(Failure::usage("--profile-interval: nobody looks at the guest")
                .hint("it goes with --profile guest or --profile folded"));
        }
        if !(INTERVALS.0..=INTERVALS.1).contains(&self.interval) {
            return Err(Failure::usage("--profile-interval: it can be from 100us to 10s"));
        }
        Ok(())
    }

    fn is_wanted(&self) -> bool {
        self.firefox.is_some() || self.folded.is_some()
    }

    /// Starts to look, if that is asked for.
    pub(super) fn start(&mut self, store: &mut Store<Wasi>) -> Result<(), Failure> {
        if self.is_wanted() {
            let profiler = GuestProfiler::start(self.interval)
                .map_err(|error| outcome::failure(Path::new(&self.name), &error))?;
            store.set_profiler(Some((&profiler, &self.name)));
            self.running = Some(profiler);
        }
        Ok(())
    }

    /// Writes what was found.
    pub(super) fn write(&mut self) {
        let Some(profiler) = self.running.take() else { return };
        let profile: GuestProfile = profiler.finish();
        if let Some(target) = &self.firefox {
            target.write(|out| profile.write_firefox(out));
        }
        if let Some(target) = &self.folded {
            target.write(|out| profile.write_folded(out));
        }
        if profile.dropped() > 0 {
            failure::warn(&format!(
                "--profile: the guest ran for so long, or in so many ways, that there was no room for {} of {} samples; \
                 a longer --profile-interval takes fewer",
                profile.dropped(),
                profile.samples().max(profile.dropped())
            ));
        }
    }
}
