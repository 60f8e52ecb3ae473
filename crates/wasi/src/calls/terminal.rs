//! Writing to a terminal through the filter that makes control characters visible.
//!
//! What the guest wrote counts, for its answer and for the limit on output, not what the terminal is shown of it. A part of
//! the guest's bytes is filtered only when all before it has been taken; what a terminal does not take at once stays
//! with the stream and comes first the next time.

use crate::sys::event::PollFlags;

use super::Call;
use super::io::{Buffer, clip, total};
use crate::Errno;
use crate::descriptor::Object;
use crate::host::{Fail, after, check_stop, wait};
use crate::stream::{Output, TerminalOutput, UNREADY};

/// Bytes of the guest that are filtered at a time.
const PIECE: u64 = 1024;

/// Bytes that a terminal is given at a time.
const ATOMIC: usize = 4096;

impl Call<'_> {
    pub(super) fn write_terminal(&mut self, fd: u32, list: &[Buffer]) -> Result<u64, Fail> {
        let wanted = total(list);
        self.charge_write(wanted)?;
        let mut done = 0u64;
        if !self.flush_terminal(fd)? && wanted > 0 {
            return Err(Errno::AGAIN.into());
        }
        while done < wanted {
            let mut bytes = Vec::new();
            let memory = self.host.memory().ok_or(Errno::FAULT)?;
            for part in clip(list, done, PIECE) {
                let from = bytes.len();
                bytes.resize(from + part.len as usize, 0);
                memory.read(u64::from(part.addr), bytes.get_mut(from..).unwrap_or_default())?;
            }
            if bytes.is_empty() {
                break;
            }
            self.terminal(fd)?.push(&bytes);
            done += bytes.len() as u64;
            match self.flush_terminal(fd) {
                Ok(true) => {}
                Ok(false) => break,
                // What was taken was taken; the next call has the error.
                Err(Fail::Errno(_)) if done > bytes.len() as u64 => break,
                Err(fail) => return Err(fail),
            }
        }
        Ok(done)
    }

    fn terminal(&mut self, fd: u32) -> Result<&mut TerminalOutput, Errno> {
        match &mut self.ctx.table.get_mut(fd)?.object {
            Object::Output(Output::Terminal(terminal)) => Ok(terminal),
            _ => Err(Errno::BADF),
        }
    }

    /// Gives the terminal what is left for it. False if it takes no more now and the descriptor does not wait.
    fn flush_terminal(&mut self, fd: u32) -> Result<bool, Fail> {
        while !self.terminal(fd)?.is_done() {
            check_stop(self.host)?;
            let d = self.ctx.table.get(fd)?;
            let nonblocking = self.ctx.nonblocking(d);
            let stream = d.waitable().ok_or(Errno::BADF)?;
            let until = nonblocking.then(std::time::Instant::now);
            let events = wait(self.host, &[(stream, PollFlags::OUT)], until)?;
            if events.iter().all(|e| e.is_empty()) {
                return Ok(false);
            }
            match self.terminal(fd)?.write_some(ATOMIC) {
                Ok(()) | Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) if nonblocking => return Ok(false),
                // It has room, but not for this.
                Err(rustix::io::Errno::AGAIN) => {
                    wait(self.host, &[], after(UNREADY))?;
                }
                Err(e) => return Err(e.into()),
            }
        }
        Ok(true)
    }
}
