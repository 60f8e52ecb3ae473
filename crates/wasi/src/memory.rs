//! The guest's linear memory, as WASI sees it.
//!
//! Addresses are 32 bits wide and are added up in 64 bits, so that no sum wraps. Whatever the guest passes by
//! address (paths, lists of buffers, subscriptions) is copied in once and judged on the copy, so that nothing
//! another thread writes afterwards can change what was checked. Only the contents of buffers are used in place,
//! and only where the memory is not shared.

use crate::Errno;

/// One linear memory. Every access is checked; none panics.
pub trait GuestMemory {
    /// Size in bytes at this moment.
    fn len(&self) -> u64;

    /// Copies out of the memory; `FAULT` if any byte lies outside, and then nothing is copied.
    fn read(&self, addr: u64, buf: &mut [u8]) -> Result<(), Errno>;

    /// Copies into the memory; `FAULT` if any byte lies outside, and then nothing is written.
    fn write(&mut self, addr: u64, data: &[u8]) -> Result<(), Errno>;

    /// The bytes themselves. `None` if the memory is shared with other threads and must be copied.
    fn slice(&self, addr: u64, len: u64) -> Option<Result<&[u8], Errno>>;

    /// The bytes themselves, to be written to. `None` as for [`GuestMemory::slice`].
    fn slice_mut(&mut self, addr: u64, len: u64) -> Option<Result<&mut [u8], Errno>>;

    /// Whether there are no bytes at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `FAULT` unless all of `len` bytes from `addr` lie inside. No bytes lie inside anywhere.
    fn check(&self, addr: u64, len: u64) -> Result<(), Errno> {
        match addr.checked_add(len) {
            Some(end) if end <= self.len() || len == 0 => Ok(()),
            _ => Err(Errno::FAULT),
        }
    }
}

fn range(size: usize, addr: u64, len: u64) -> Result<std::ops::Range<usize>, Errno> {
    if len == 0 {
        return Ok(0..0);
    }
    let end = addr.checked_add(len).ok_or(Errno::FAULT)?;
    if end > size as u64 {
        return Err(Errno::FAULT);
    }
    let start = usize::try_from(addr).map_err(|_| Errno::FAULT)?;
    let end = usize::try_from(end).map_err(|_| Errno::FAULT)?;
    Ok(start..end)
}

impl GuestMemory for [u8] {
    fn len(&self) -> u64 {
        <[u8]>::len(self) as u64
    }

    fn read(&self, addr: u64, buf: &mut [u8]) -> Result<(), Errno> {
        let range = range(<[u8]>::len(self), addr, <[u8]>::len(buf) as u64)?;
        buf.copy_from_slice(self.get(range).ok_or(Errno::FAULT)?);
        Ok(())
    }

    fn write(&mut self, addr: u64, data: &[u8]) -> Result<(), Errno> {
        let range = range(<[u8]>::len(self), addr, data.len() as u64)?;
        self.get_mut(range).ok_or(Errno::FAULT)?.copy_from_slice(data);
        Ok(())
    }

    fn slice(&self, addr: u64, len: u64) -> Option<Result<&[u8], Errno>> {
        Some(range(<[u8]>::len(self), addr, len).and_then(|r| self.get(r).ok_or(Errno::FAULT)))
    }

    fn slice_mut(&mut self, addr: u64, len: u64) -> Option<Result<&mut [u8], Errno>> {
        Some(range(<[u8]>::len(self), addr, len).and_then(|r| self.get_mut(r).ok_or(Errno::FAULT)))
    }
}

macro_rules! forward {
    ($($type:ty),*) => {$(
        impl GuestMemory for $type {
            fn len(&self) -> u64 {
                <[u8]>::len(self) as u64
            }
            fn read(&self, addr: u64, buf: &mut [u8]) -> Result<(), Errno> {
                GuestMemory::read(&self[..], addr, buf)
            }
            fn write(&mut self, addr: u64, data: &[u8]) -> Result<(), Errno> {
                GuestMemory::write(&mut self[..], addr, data)
            }
            fn slice(&self, addr: u64, len: u64) -> Option<Result<&[u8], Errno>> {
                GuestMemory::slice(&self[..], addr, len)
            }
            fn slice_mut(&mut self, addr: u64, len: u64) -> Option<Result<&mut [u8], Errno>> {
                GuestMemory::slice_mut(&mut self[..], addr, len)
            }
        }
    )*};
}
forward!(Vec<u8>, &mut [u8]);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accesses_are_exact_at_the_end() {
        let mut m = vec![0u8; 16];
        assert_eq!(GuestMemory::write(&mut m, 15, &[1]), Ok(()));
        assert_eq!(GuestMemory::write(&mut m, 15, &[1, 2]), Err(Errno::FAULT));
        assert_eq!(GuestMemory::write(&mut m, 16, &[]), Ok(()));
        assert_eq!(GuestMemory::write(&mut m, u64::MAX, &[1]), Err(Errno::FAULT));
        assert_eq!(m.check(u64::MAX, 2), Err(Errno::FAULT));
        assert_eq!(m.check(0, 16), Ok(()));
        assert_eq!(m.check(1, 16), Err(Errno::FAULT));
        assert!(matches!(GuestMemory::slice(&m, 8, 8), Some(Ok(s)) if s.len() == 8));
        assert!(matches!(GuestMemory::slice(&m, 9, 8), Some(Err(Errno::FAULT))));
    }
}
