//! `palisade cache`: what is in the cache, and emptying it.

use std::io;

use crate::args::{Cache, CacheAction};
use crate::cache;
use crate::escape;
use crate::failure::{self, Failure, Status};
use crate::quantity::show_bytes;

pub(super) fn run(args: &Cache) -> Result<Status, Failure> {
    let directory = cache::directory(args.cache.as_deref()).ok_or_else(|| {
        Failure::usage("there is no place for a cache: set HOME, or write --cache DIR")
    })?;
    let failed = |error: io::Error| {
        Failure::new(Status::Unreadable, format!("{}: {error}", escape::path(&directory)))
    };
    let text = match args.action {
        CacheAction::List => {
            let entries = cache::list(&directory).map_err(failed)?;
            let mut text = String::new();
            for entry in &entries {
                let (name, bytes) = (&entry.name, show_bytes(entry.bytes));
                let age = entry.used.elapsed().unwrap_or_default().as_secs();
                text.push_str(&format!("{name}  {bytes}  used {age} s ago\n"));
            }
            text.push_str(&summary(entries.len(), cache::total(&entries)));
            text
        }
        CacheAction::Clear => {
            let (entries, bytes) = cache::clear(&directory).map_err(failed)?;
            format!("removed {}", summary(entries, bytes))
        }
    };
    failure::print(&text)?;
    Ok(Status::Success)
}

fn summary(entries: usize, bytes: u64) -> String {
    let word = if entries == 1 { "entry" } else { "entries" };
    format!("{entries} {word}, {}\n", show_bytes(bytes))
}
