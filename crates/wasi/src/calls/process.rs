//! The guest's own process, so to speak, and randomness.
//!
//! Nothing here reaches the host's process: an exit and a signal end the guest alone.

use crate::sys::rand::{GetRandomFlags, getrandom};

use super::{Answer, Call};
use crate::Errno;
use crate::host::{Halt, check_stop};

/// The most random bytes of one call.
const RANDOM_MAX: u32 = 64 << 20;

/// Random bytes obtained between two looks at whether to stop.
const RANDOM_CHUNK: u32 = 64 << 10;

impl Call<'_> {
    pub(crate) fn proc_exit(&mut self, status: u32) -> Answer {
        Err(Halt::Exit(status).into())
    }

    /// Signals that do nothing by default do nothing; all others end the guest with 128 and their number, as a shell
    /// would report it. Those that stop a process are refused: there is nobody who could continue the guest, and
    /// stopping the host's process is not a guest's to ask for.
    pub(crate) fn proc_raise(&mut self, signal: u32) -> Answer {
        const CHLD: u32 = 16;
        const CONT: u32 = 17;
        const STOP: u32 = 18;
        const TTOU: u32 = 21;
        const URG: u32 = 22;
        const WINCH: u32 = 27;
        const SYS: u32 = 30;
        if signal > SYS {
            return Err(Errno::INVAL.into());
        }
        if !self.granted() {
            return Err(Errno::NOTCAPABLE.into());
        }
        match signal {
            0 | CHLD | CONT | URG | WINCH => Ok(()),
            STOP..=TTOU => Err(Errno::NOTSUP.into()),
            _ => Err(Halt::Exit(128 + signal).into()),
        }
    }

    pub(crate) fn sched_yield(&mut self) -> Answer {
        check_stop(self.host)?;
        std::thread::yield_now();
        Ok(())
    }

    pub(crate) fn random_get(&mut self, buf: u32, buf_len: u32) -> Answer {
        if !self.granted() {
            return Err(Errno::NOTCAPABLE.into());
        }
        if buf_len > RANDOM_MAX {
            return Err(Errno::INVAL.into());
        }
        self.check_out(buf, u64::from(buf_len))?;
        self.charge_bytes(u64::from(buf_len))?;
        let mut done = 0;
        while done < buf_len {
            check_stop(self.host)?;
            let n = (buf_len - done).min(RANDOM_CHUNK);
            let at = u64::from(buf) + u64::from(done);
            if let Some(run) = &mut self.ctx.deterministic {
                let mut bytes = vec![0; n as usize];
                run.fill(&mut bytes);
                self.memory()?.write(at, &bytes)?;
                done += n;
                continue;
            }
            let filled = match self.memory()?.slice_mut(at, u64::from(n)) {
                Some(slice) => fill(slice?)?,
                None => {
                    let mut bytes = vec![0; n as usize];
                    let filled = fill(&mut bytes)?;
                    self.memory()?.write(at, bytes.get(..filled).unwrap_or_default())?;
                    filled
                }
            };
            done = done.saturating_add(u32::try_from(filled).unwrap_or(n));
        }
        Ok(())
    }
}

/// Fills as much as one call to the host gives.
fn fill(bytes: &mut [u8]) -> Result<usize, Errno> {
    loop {
        match getrandom(&mut *bytes, GetRandomFlags::empty()) {
            Ok(n) => return Ok(n),
            Err(crate::sys::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}
