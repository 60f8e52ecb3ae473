//! Sizes, durations and counts as they are written on the command line.
//!
//! Every reader here takes a whole number, with `_` between digits where that helps, and the unit
//! that its kind needs. Nothing is guessed: a missing or unknown unit, a fraction or a number that
//! does not fit is an error that says what to write instead.

use std::fmt;
use std::time::Duration;

/// A bound of the ledger: a number, or none at all.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Bound<T> {
    /// Written as `unlimited`.
    Unlimited,
    /// At most this much.
    At(T),
}

impl<T> Bound<T> {
    /// The number, if there is one.
    pub(crate) fn limit(self) -> Option<T> {
        match self {
            Self::Unlimited => None,
            Self::At(n) => Some(n),
        }
    }
}

/// Why a quantity could not be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct QuantityError(String);

impl fmt::Display for QuantityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for QuantityError {}

fn fail<T>(message: impl Into<String>) -> Result<T, QuantityError> {
    Err(QuantityError(message.into()))
}

/// Splits a text where its leading digits (and underscores) end.
fn split_number(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(text.len());
    text.split_at(end)
}

fn digits(text: &str) -> Result<u64, QuantityError> {
    let starts_and_ends_with_digits = text.starts_with(|c: char| c.is_ascii_digit())
        && text.ends_with(|c: char| c.is_ascii_digit());
    if !starts_and_ends_with_digits {
        return fail("a whole number is wanted, such as 1000 or 1_000_000");
    }
    let plain: String = text.chars().filter(|&c| c != '_').collect();
    plain.parse().map_err(|_| QuantityError(format!("the highest number is {}", u64::MAX)))
}

/// A count: `1000000`, `1_000_000`.
pub(crate) fn count(text: &str) -> Result<u64, QuantityError> {
    match split_number(text) {
        (number, "") => digits(number),
        _ => fail("a whole number is wanted, such as 1000 or 1_000_000"),
    }
}

/// A count that fits 32 bits.
pub(crate) fn count32(text: &str) -> Result<u32, QuantityError> {
    u32::try_from(count(text)?)
        .map_err(|_| QuantityError(format!("the highest number is {}", u32::MAX)))
}

/// A size in bytes: `65536`, `512B`, `64KiB`, `10MB`, `1GiB`.
pub(crate) fn size(text: &str) -> Result<u64, QuantityError> {
    let (number, unit) = split_number(text);
    if number.is_empty() || unit.starts_with('.') {
        return fail("a size is a whole number with a unit, such as 64MiB, 10MB or 512KiB");
    }
    let factor: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        "k" | "m" | "g" | "t" => {
            let letter = unit.to_ascii_uppercase();
            return fail(format!(
                "`{unit}` could mean two things: write {number}{letter}iB (1024) or \
                 {number}{letter}B (1000)"
            ));
        }
        _ => {
            return fail("unknown unit of size: use B, KiB, MiB, GiB, TiB, KB, MB, GB or TB");
        }
    };
    match digits(number)?.checked_mul(factor) {
        Some(bytes) => Ok(bytes),
        None => fail(format!("the highest size is {} bytes", u64::MAX)),
    }
}

/// A duration: `250us`, `500ms`, `2s`, `1m`, `1h`.
pub(crate) fn duration(text: &str) -> Result<Duration, QuantityError> {
    let (number, unit) = split_number(text);
    if number.is_empty() || unit.starts_with('.') {
        return fail("a duration is a whole number with a unit, such as 500ms, 2s or 1m");
    }
    let n = digits(number)?;
    let seconds = |factor: u64| match n.checked_mul(factor) {
        Some(s) => Ok(Duration::from_secs(s)),
        None => fail("the duration is too long"),
    };
    match unit.to_ascii_lowercase().as_str() {
        "ns" => Ok(Duration::from_nanos(n)),
        "us" => Ok(Duration::from_micros(n)),
        "ms" => Ok(Duration::from_millis(n)),
        "s" => seconds(1),
        "m" | "min" => seconds(60),
        "h" => seconds(3600),
        "" => fail(format!("the unit is missing: write {n}ms or {n}s")),
        _ => fail("unknown unit of time: use us, ms, s, m or h"),
    }
}

fn bound<T>(
    text: &str,
    read: fn(&str) -> Result<T, QuantityError>,
) -> Result<Bound<T>, QuantityError> {
    if text.eq_ignore_ascii_case("unlimited") {
        return Ok(Bound::Unlimited);
    }
    read(text).map(Bound::At)
}

/// A count, or `unlimited`.
pub(crate) fn count_bound(text: &str) -> Result<Bound<u64>, QuantityError> {
    bound(text, count)
}

/// A size in bytes, or `unlimited`.
pub(crate) fn size_bound(text: &str) -> Result<Bound<u64>, QuantityError> {
    bound(text, size)
}

/// A duration, or `unlimited`.
pub(crate) fn duration_bound(text: &str) -> Result<Bound<Duration>, QuantityError> {
    bound(text, duration)
}

/// Shows a number of bytes with the largest binary unit that divides it well.
pub(crate) fn show_bytes(bytes: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    for (unit, factor) in UNITS {
        if bytes >= factor {
            let whole = bytes / factor;
            let tenth = (bytes % factor) * 10 / factor;
            return if tenth == 0 {
                format!("{whole} {unit}")
            } else {
                format!("{whole}.{tenth} {unit}")
            };
        }
    }
    format!("{bytes} bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts() {
        assert_eq!(count("0"), Ok(0));
        assert_eq!(count("1_000_000"), Ok(1_000_000));
        assert_eq!(count("18446744073709551615"), Ok(u64::MAX));
        for bad in
            ["", "_1", "1_", "1.5", "-1", "+1", "1e9", "0x10", "1 ", " 1", "18446744073709551616"]
        {
            assert!(count(bad).is_err(), "{bad:?}");
        }
        assert_eq!(count32("4294967295"), Ok(u32::MAX));
        assert!(count32("4294967296").is_err());
    }

    #[test]
    fn sizes() {
        assert_eq!(size("65536"), Ok(65536));
        assert_eq!(size("64KiB"), Ok(65536));
        assert_eq!(size("64kib"), Ok(65536));
        assert_eq!(size("10MB"), Ok(10_000_000));
        assert_eq!(size("1GiB"), Ok(1 << 30));
        assert_eq!(size("1_024B"), Ok(1024));
        for bad in ["", "MiB", "1.5GiB", "64M", "64 MiB", "1XiB", "-1MiB", "99999999TiB"] {
            assert!(size(bad).is_err(), "{bad:?}");
        }
        assert!(size("64M").unwrap_err().to_string().contains("64MiB"));
    }

    #[test]
    fn durations() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2s"), Ok(Duration::from_secs(2)));
        assert_eq!(duration("1m"), Ok(Duration::from_secs(60)));
        assert_eq!(duration("1h"), Ok(Duration::from_secs(3600)));
        assert_eq!(duration("250us"), Ok(Duration::from_micros(250)));
        for bad in ["", "5", "s", "1.5s", "1d", "-1s", "18446744073709551615h"] {
            assert!(duration(bad).is_err(), "{bad:?}");
        }
        assert!(duration("5").unwrap_err().to_string().contains("5ms"));
    }

    #[test]
    fn bounds() {
        assert_eq!(count_bound("unlimited"), Ok(Bound::Unlimited));
        assert_eq!(size_bound("1KiB"), Ok(Bound::At(1024)));
        assert!(duration_bound("forever").is_err());
    }

    #[test]
    fn shown_bytes() {
        assert_eq!(show_bytes(17), "17 bytes");
        assert_eq!(show_bytes(64 << 20), "64 MiB");
        assert_eq!(show_bytes((3 << 20) / 2), "1.5 MiB");
    }
}
