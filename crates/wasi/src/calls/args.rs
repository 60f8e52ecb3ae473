//! Arguments and environment.
//!
//! Both are lists of NUL-terminated strings behind a list of addresses. A denied environment looks empty of the
//! host's variables rather than failing, since ordinary programs do not survive an error there.

use super::{Answer, Call};
use crate::Errno;

impl Call<'_> {
    pub(crate) fn args_get(&mut self, argv: u32, argv_buf: u32) -> Answer {
        let list = std::mem::take(&mut self.ctx.args);
        let answer = self.strings(&list, argv, argv_buf);
        self.ctx.args = list;
        answer
    }

    pub(crate) fn args_sizes_get(&mut self, count_out: u32, size_out: u32) -> Answer {
        let (count, size) = sizes(&self.ctx.args)?;
        self.string_sizes(count, size, count_out, size_out)
    }

    pub(crate) fn environ_get(&mut self, environ: u32, environ_buf: u32) -> Answer {
        self.note_environment();
        let list = std::mem::take(&mut self.ctx.env);
        let answer = self.strings(&list, environ, environ_buf);
        self.ctx.env = list;
        answer
    }

    pub(crate) fn environ_sizes_get(&mut self, count_out: u32, size_out: u32) -> Answer {
        self.note_environment();
        let (count, size) = sizes(&self.ctx.env)?;
        self.string_sizes(count, size, count_out, size_out)
    }

    /// Only an environment that is there and withheld, or granted, is a decision worth reporting.
    fn note_environment(&mut self) {
        if self.ctx.env_withheld || self.ctx.caps.contains(crate::Caps::ENV) {
            self.granted();
        }
    }

    fn string_sizes(&mut self, count: u32, size: u32, count_out: u32, size_out: u32) -> Answer {
        self.check_out(count_out, 4)?;
        self.check_out(size_out, 4)?;
        self.write_u32(count_out, count)?;
        self.write_u32(size_out, size)?;
        Ok(())
    }

    fn strings(&mut self, list: &[Vec<u8>], pointers: u32, buffer: u32) -> Answer {
        let (count, size) = sizes(list)?;
        let pointers_len = u64::from(count) * 4;
        self.check_out(pointers, pointers_len)?;
        self.check_out(buffer, u64::from(size))?;
        self.charge_bytes(pointers_len + u64::from(size))?;
        let memory = self.memory()?;
        let mut slot = u64::from(pointers);
        let mut at = u64::from(buffer);
        for text in list {
            // Both ranges were checked; the address fits, as memories have at most 2^32 bytes.
            let address = u32::try_from(at).map_err(|_| Errno::OVERFLOW)?;
            memory.write(slot, &address.to_le_bytes())?;
            memory.write(at, text)?;
            memory.write(at + text.len() as u64, &[0])?;
            slot += 4;
            at += text.len() as u64 + 1;
        }
        Ok(())
    }
}

fn sizes(list: &[Vec<u8>]) -> Result<(u32, u32), Errno> {
    let count = u32::try_from(list.len()).map_err(|_| Errno::OVERFLOW)?;
    let size: u64 = list.iter().map(|t| t.len() as u64 + 1).sum();
    Ok((count, u32::try_from(size).map_err(|_| Errno::OVERFLOW)?))
}
