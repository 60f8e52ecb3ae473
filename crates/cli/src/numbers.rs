//! Numbers as they are written for `--invoke`, and as results are printed.
//!
//! Integers are decimal or hexadecimal, signed or unsigned, whatever fits the type's bits; floats
//! are decimal or one of `inf` and `nan`. `_` may stand between digits.

/// An integer of `bits` bits, as its bits. Both `-1` and the highest unsigned number are accepted.
pub(crate) fn integer(text: &str, bits: u32) -> Result<u64, String> {
    let kind = format!("i{bits}");
    let (negative, magnitude) = match text.strip_prefix(['-', '+']) {
        Some(rest) => (text.starts_with('-'), rest),
        None => (false, text),
    };
    let value = unsigned(magnitude).ok_or_else(|| {
        format!("this is no {kind}: write a decimal or hexadecimal integer, such as -5 or 0xff")
    })?;
    let highest = (1u128 << bits) - 1;
    let lowest = 1u128 << (bits - 1);
    let fits = value.is_some_and(|v| if negative { v <= lowest } else { v <= highest });
    match value {
        Some(v) if fits => {
            let v = if negative { v.wrapping_neg() } else { v };
            // The mask leaves at most 64 bits.
            Ok((v & highest) as u64)
        }
        _ => Err(format!("this is no {kind}: it must lie between -{lowest} and {highest}")),
    }
}

/// A vector of 128 bits, written as one integer.
pub(crate) fn vector(text: &str) -> Result<u128, String> {
    unsigned(text).flatten().ok_or_else(|| {
        "this is no v128: write its 128 bits as one integer, such as 0x1_00000000".to_owned()
    })
}

/// Digits to a number; `None` if there are none, `Some(None)` if it has more than 128 bits.
fn unsigned(text: &str) -> Option<Option<u128>> {
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => (hex, 16),
        None => (text, 10),
    };
    let digits = without_underscores(digits)?;
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    Some(u128::from_str_radix(&digits, radix).ok())
}

/// An f32, as its bits.
pub(crate) fn float32(text: &str) -> Result<u32, String> {
    if let Some((negative, payload)) = nan(text) {
        let sign = u32::from(negative) << 31;
        return match payload {
            None => Ok(sign | 0x7fc0_0000),
            Some(p) if (1..=0x7f_ffff).contains(&p) => Ok(sign | 0x7f80_0000 | p as u32),
            Some(_) => Err("the payload of an f32 NaN lies between 0x1 and 0x7fffff".to_owned()),
        };
    }
    float(text).map(f32::to_bits)
}

/// An f64, as its bits.
pub(crate) fn float64(text: &str) -> Result<u64, String> {
    if let Some((negative, payload)) = nan(text) {
        let sign = u64::from(negative) << 63;
        return match payload {
            None => Ok(sign | 0x7ff8_0000_0000_0000),
            Some(p) if (1..=0xf_ffff_ffff_ffff).contains(&p) => {
                Ok(sign | 0x7ff0_0000_0000_0000 | p)
            }
            Some(_) => {
                Err("the payload of an f64 NaN lies between 0x1 and 0xfffffffffffff".to_owned())
            }
        };
    }
    float(text).map(f64::to_bits)
}

/// `nan`, `-nan`, `nan:0x123`: the sign and the payload.
fn nan(text: &str) -> Option<(bool, Option<u64>)> {
    let lower = text.to_ascii_lowercase();
    let negative = lower.starts_with('-');
    match lower.strip_prefix(['-', '+']).unwrap_or(&lower).strip_prefix("nan")? {
        "" => Some((negative, None)),
        // A payload that is no number becomes one that is out of range.
        payload => {
            let digits = payload.strip_prefix(":0x").and_then(without_underscores);
            let payload = digits.and_then(|d| u64::from_str_radix(&d, 16).ok());
            Some((negative, Some(payload.unwrap_or(0))))
        }
    }
}

fn float<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    let wrong = || {
        "this is no float: write a decimal number such as -1.5 or 2e10, or inf, or nan".to_owned()
    };
    without_underscores(text).and_then(|plain| plain.parse().ok()).ok_or_else(wrong)
}

/// Takes out underscores; `None` if one does not stand between two characters that may have one
/// between them.
fn without_underscores(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    for (i, _) in bytes.iter().enumerate().filter(|(_, byte)| **byte == b'_') {
        let neighbours = (i.checked_sub(1).and_then(|j| bytes.get(j)), bytes.get(i + 1));
        let (Some(before), Some(after)) = neighbours else { return None };
        if !before.is_ascii_hexdigit() || !after.is_ascii_hexdigit() {
            return None;
        }
    }
    Some(text.replace('_', ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers() {
        assert_eq!(integer("0", 32), Ok(0));
        assert_eq!(integer("-1", 32), Ok(0xffff_ffff));
        assert_eq!(integer("4294967295", 32), Ok(0xffff_ffff));
        assert_eq!(integer("-2147483648", 32), Ok(0x8000_0000));
        assert_eq!(integer("0xff", 32), Ok(255));
        assert_eq!(integer("-0x80", 32), Ok(0xffff_ff80));
        assert_eq!(integer("+7", 32), Ok(7));
        assert_eq!(integer("1_000", 64), Ok(1000));
        assert_eq!(integer("18446744073709551615", 64), Ok(u64::MAX));
        assert_eq!(integer("-9223372036854775808", 64), Ok(1 << 63));
        let wrong = [
            "",
            "-",
            "+",
            "0x",
            "1.5",
            "abc",
            "--1",
            "+-1",
            "4294967296",
            "-2147483649",
            "_1",
            "1_",
            "1__0",
            " 1",
            "1 ",
            "999999999999999999999999999999999999999999",
            "0x-1",
        ];
        for text in wrong {
            assert!(integer(text, 32).is_err(), "{text:?}");
        }
        assert!(integer("18446744073709551616", 64).is_err());
    }

    #[test]
    fn vectors() {
        assert_eq!(vector("0xffffffffffffffffffffffffffffffff"), Ok(u128::MAX));
        assert!(vector("0x1_ffffffffffffffffffffffffffffffff").is_err());
        assert!(vector("-1").is_err());
    }

    #[test]
    fn floats() {
        assert_eq!(float32("1.5"), Ok(1.5f32.to_bits()));
        assert_eq!(float64("-2e10"), Ok((-2e10f64).to_bits()));
        assert_eq!(float64("-inf"), Ok(f64::NEG_INFINITY.to_bits()));
        assert_eq!(float32("nan"), Ok(0x7fc0_0000));
        assert_eq!(float32("-nan:0x200000"), Ok(0xffa0_0000));
        assert_eq!(float64("NaN"), Ok(0x7ff8_0000_0000_0000));
        assert_eq!(float64("1_000.5"), Ok(1000.5f64.to_bits()));
        // Not by way of an f64.
        assert_eq!(float32("16777217"), Ok(16_777_216f32.to_bits()));
        for text in ["", "x", "1.5f", "nan:0x0", "nan:0x800000", "nan:5", "_1", "1 "] {
            assert!(float32(text).is_err(), "{text:?}");
        }
        assert!(float64("nan:0x10000000000000").is_err());
    }
}
