//! Numbers and byte strings in files: little-endian, or as long as they need to be.
//!
//! Invariant: reading takes nothing for granted. Whatever the bytes are, the answer is a value or [`Broken`]; nothing
//! is allocated by a length that the bytes themselves do not bear out.

/// The bytes end early, or say what cannot be.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) struct Broken(pub(super) &'static str);

/// A result of reading.
pub(super) type Read<T> = Result<T, Broken>;

/// Bytes being written.
#[derive(Default)]
pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    pub(super) fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(super) fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// Seven bits in each byte, the lowest first; the highest bit says that there are more.
    pub(super) fn var(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    /// A number that may be below the one before: small differences become small numbers.
    pub(super) fn step(&mut self, from: u32, to: u32) {
        let step = to.wrapping_sub(from).cast_signed();
        self.var(((step << 1) ^ (step >> 31)).cast_unsigned());
    }

    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// A length and so many bytes.
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.u64(bytes.len() as u64);
        self.raw(bytes);
    }
}

/// Bytes being read.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, len: usize) -> Read<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(Broken("it ends early"))?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Read<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Broken("it ends early"))?;
        self.0 = rest;
        Ok(*taken)
    }

    #[inline]
    pub(super) fn u8(&mut self) -> Read<u8> {
        let (&byte, rest) = self.0.split_first().ok_or(Broken("it ends early"))?;
        self.0 = rest;
        Ok(byte)
    }

    pub(super) fn u64(&mut self) -> Read<u64> {
        self.array().map(u64::from_le_bytes)
    }

    #[inline]
    pub(super) fn var(&mut self) -> Read<u32> {
        let first = self.u8()?;
        if first < 0x80 { Ok(u32::from(first)) } else { self.longer(first) }
    }

    fn longer(&mut self, first: u8) -> Read<u32> {
        let mut value = u32::from(first & 0x7f);
        for shift in [7, 14, 21, 28] {
            let byte = self.u8()?;
            let bits = u32::from(byte & 0x7f);
            if shift == 28 && bits > 0xf {
                break;
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Broken("a number has too many digits"))
    }

    #[inline]
    pub(super) fn step(&mut self, from: u32) -> Read<u32> {
        let bits = self.var()?;
        let step = (bits >> 1).cast_signed() ^ -(bits & 1).cast_signed();
        Ok(from.wrapping_add_signed(step))
    }

    pub(super) fn bytes(&mut self) -> Read<&'a [u8]> {
        let len = self.u64()?;
        self.take(usize::try_from(len).map_err(|_| Broken("it ends early"))?)
    }

    /// How many entries follow, each of at least one byte.
    pub(super) fn count(&mut self) -> Read<usize> {
        let count = self.var()? as usize;
        if count > self.0.len() { Err(Broken("it ends early")) } else { Ok(count) }
    }

    pub(super) fn end(&self) -> Read<()> {
        if self.0.is_empty() { Ok(()) } else { Err(Broken("there is more than there should be")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let numbers = [0, 1, 0x7f, 0x80, 0x3fff, 0x4000, 1 << 28, u32::MAX];
        let mut writer = Writer::default();
        for number in numbers {
            writer.var(number);
            writer.step(1000, number);
        }
        writer.u64(u64::MAX - 1);
        writer.bytes(b"abc");
        let mut reader = Reader(&writer.0);
        for number in numbers {
            assert_eq!(reader.var(), Ok(number));
            assert_eq!(reader.step(1000), Ok(number));
        }
        assert_eq!(reader.u64(), Ok(u64::MAX - 1));
        assert_eq!(reader.bytes(), Ok(&b"abc"[..]));
        reader.end().unwrap();
        assert!(reader.u8().is_err());
    }

    #[test]
    fn lengths_are_not_believed() {
        assert!(Reader(&[0xff; 9]).bytes().is_err());
        assert!(Reader(&[0xff; 5]).var().is_err());
        assert!(Reader(&[0xff, 0xff, 0xff, 0xff, 0x1f]).var().is_err());
        assert!(Reader(&[5, 1, 2]).count().is_err());
        assert!(Reader(&[1]).end().is_err());
    }
}
