//! The functions themselves, and what they have in common: memory, ledger, and the check of rights.
//!
//! Each function is a method of [`Call`] with the name and parameters that the table gives it. They all go the same
//! way: look the descriptor up, check that results can be written, copy in what the guest passes by address,
//! check the rights, charge for the work, do it, write the results.

mod args;
pub(crate) mod clock;
mod fd;
mod io;
mod list;
mod open;
mod paths;
mod poll;
mod process;
mod socket;
mod terminal;
mod times;

use std::os::fd::AsRawFd;

use crate::audit::{AuditEvent, Denial};
use crate::descriptor::{Descriptor, Dir, Object};
use crate::host::{Fail, Halt};
use crate::path::{GuestPath, PATH_MAX, PathError};
use crate::table::{CapRule, FunctionInfo};
use crate::{Caps, Errno, GuestMemory, Resource, Rights, WasiCtx, WasiFunc, WasiHost};

/// One call in progress.
pub(crate) struct Call<'a> {
    pub(crate) ctx: &'a mut WasiCtx,
    pub(crate) host: &'a mut dyn WasiHost,
    pub(crate) func: WasiFunc,
    /// What was allowed so far, reported at the end unless something was denied after all.
    pub(crate) allowed: Vec<(u32, Option<String>)>,
    /// The capabilities that this request needs, where the table leaves that to the request.
    pub(crate) wanted: Option<Caps>,
}

/// What a function answers.
pub(crate) type Answer = Result<(), Fail>;

impl Call<'_> {
    fn info(&self) -> &'static FunctionInfo {
        self.func.info()
    }

    // Memory.

    fn memory(&mut self) -> Result<&mut dyn GuestMemory, Errno> {
        self.host.memory().ok_or(Errno::FAULT)
    }

    /// `FAULT` unless results of `len` bytes can be written there.
    fn check_out(&mut self, addr: u32, len: u64) -> Result<(), Errno> {
        self.memory()?.check(u64::from(addr), len)
    }

    fn write(&mut self, addr: u32, data: &[u8]) -> Result<(), Errno> {
        self.memory()?.write(u64::from(addr), data)
    }

    fn write_u32(&mut self, addr: u32, value: u32) -> Result<(), Errno> {
        self.write(addr, &value.to_le_bytes())
    }

    fn write_u64(&mut self, addr: u32, value: u64) -> Result<(), Errno> {
        self.write(addr, &value.to_le_bytes())
    }

    /// Copies `len` bytes in; checked against the memory before anything is allocated.
    fn copy_in(&mut self, addr: u32, len: u32) -> Result<Vec<u8>, Fail> {
        self.check_out(addr, u64::from(len))?;
        self.charge_bytes(u64::from(len))?;
        let mut bytes = vec![0; len as usize];
        self.memory()?.read(u64::from(addr), &mut bytes)?;
        Ok(bytes)
    }

    /// Copies a path in and judges its form. One that starts at the root is denied as leading outside.
    fn path(&mut self, fd: u32, addr: u32, len: u32) -> Result<GuestPath, Fail> {
        if len > PATH_MAX {
            return Err(Errno::NAMETOOLONG.into());
        }
        let bytes = self.copy_in(addr, len)?;
        match GuestPath::parse(bytes.clone()) {
            Ok(path) => Ok(path),
            Err(PathError::Errno(e)) => Err(e.into()),
            Err(PathError::Outside) => {
                let shown = String::from_utf8_lossy(&bytes).into_owned();
                Err(self.deny(fd, Some(shown), Denial::Outside))
            }
        }
    }

    // Ledger.

    /// Bytes copied or produced: one unit per 64 of them, and counted.
    fn charge_bytes(&mut self, bytes: u64) -> Result<(), Halt> {
        match bytes.div_ceil(64) {
            0 => Ok(()),
            units => {
                self.host.charge_fuel(units)?;
                self.host.ledger().charge(Resource::CopiedBytes, bytes).map_err(Halt::Limit)
            }
        }
    }

    /// Counts bytes about to be written; over a limit the guest ends.
    fn charge_output(&mut self, bytes: u64) -> Result<(), Halt> {
        self.host.ledger().charge(Resource::OutputBytes, bytes).map_err(Halt::Limit)
    }

    /// `MFILE` if not one more descriptor may be opened: by the ledger, or because the host has too few left.
    fn check_descriptors(&mut self, near: u32) -> Result<(), Errno> {
        self.host.ledger().check(Resource::Descriptors, 1).map_err(|_| Errno::MFILE)?;
        let Some(fd) = self.ctx.table.get(near)?.host_fd() else { return Ok(()) };
        // The kernel gives the lowest number that is free: so the guest never gets one of those from the ceiling on.
        // What is opened comes second, after a handle to look at it.
        let handle = crate::sys::io::fcntl_dupfd_cloexec(fd, 0).map_err(|_| Errno::MFILE)?;
        let next = crate::sys::io::fcntl_dupfd_cloexec(&handle, 0).map_err(|_| Errno::MFILE)?;
        let number = u64::try_from(next.as_raw_fd()).unwrap_or(u64::MAX);
        if number < self.ctx.fd_ceiling { Ok(()) } else { Err(Errno::MFILE) }
    }

    /// Adds a descriptor to the table, and to the ledger.
    fn insert(&mut self, d: Descriptor) -> Result<u32, Errno> {
        self.host.ledger().charge(Resource::Descriptors, 1).map_err(|_| Errno::MFILE)?;
        let added = self.ctx.table.insert(d);
        if added.is_err() {
            self.host.ledger().release(Resource::Descriptors, 1);
        }
        added
    }

    /// `NOSPC` if no more entries may be created.
    fn check_files(&mut self) -> Result<(), Errno> {
        self.host.ledger().check(Resource::FilesCreated, 1).map_err(|_| Errno::NOSPC)
    }

    /// An entry was created, for which there was room.
    fn created_file(&mut self) {
        let _ = self.host.ledger().charge(Resource::FilesCreated, 1);
    }

    /// The largest size that a file may have.
    fn largest_file(&mut self) -> u64 {
        let limit = self.host.ledger().limit(Resource::FileBytes).unwrap_or(u64::MAX);
        self.ctx.file_ceiling.min(limit)
    }

    /// `FBIG` if a file may not be that large.
    fn check_size(&mut self, size: u64) -> Result<(), Errno> {
        if size > self.ctx.file_ceiling {
            return Err(Errno::FBIG);
        }
        self.host.ledger().note_size(Resource::FileBytes, size).map_err(|_| Errno::FBIG)
    }

    // Descriptors and rights.

    /// The directory behind a descriptor, or `NOTDIR`.
    fn dir(&self, fd: u32) -> Result<(&Descriptor, &Dir), Errno> {
        let d = self.ctx.table.get(fd)?;
        match &d.object {
            Object::Dir(dir) => Ok((d, dir)),
            _ => Err(Errno::NOTDIR),
        }
    }

    /// Checks the rights that the table demands on the descriptor.
    fn require(&mut self, fd: u32, path: Option<&GuestPath>) -> Result<(), Fail> {
        self.require_rights(fd, path, self.info().rights, Rights::empty())
    }

    /// Checks rights on a descriptor, and rights that objects opened through it can have.
    fn require_rights(
        &mut self,
        fd: u32,
        path: Option<&GuestPath>,
        base: Rights,
        inheriting: Rights,
    ) -> Result<(), Fail> {
        let d = self.ctx.table.get(fd)?;
        let shown = |on: bool| path.filter(|_| on).map(|p| p.trimmed().to_owned());
        if d.base.contains(base) && d.inheriting.contains(inheriting) {
            if self.ctx.audit_allowed {
                self.allowed.push((fd, shown(true)));
            }
            return Ok(());
        }
        let shown = shown(self.ctx.audit.is_some());
        let missing = base.difference(d.base) | inheriting.difference(d.inheriting);
        let why = match d.grant.and_then(|g| self.ctx.grants.get(g)) {
            Some(g) if !g.strength().contains(missing) => {
                let wanted = self.needed(missing);
                if self.ctx.caps.intersects(wanted) { Denial::Grant } else { Denial::Capability }
            }
            _ => Denial::Descriptor,
        };
        let caps = self.needed(missing);
        let required =
            if why == Denial::Descriptor { Caps::empty() } else { self.required(missing) };
        self.note(fd, shown, Some((why, caps, required)));
        Err(Errno::NOTCAPABLE.into())
    }

    /// The capabilities of which one would give these rights here.
    fn needed(&self, missing: Rights) -> Caps {
        match self.info().caps {
            CapRule::ByRequest(_) | CapRule::ByDescriptor(_) => {
                let reading = Rights::FD_READ | Rights::FD_READDIR;
                if missing.intersects(reading) {
                    Caps::READ
                } else if missing == Rights::PATH_OPEN {
                    self.info().caps.caps()
                } else {
                    Caps::WRITE
                }
            }
            rule => rule.caps(),
        }
    }

    /// The capabilities that would all be needed for these rights.
    fn required(&self, missing: Rights) -> Caps {
        match self.info().caps {
            CapRule::ByRequest(_) | CapRule::ByDescriptor(_) => match self.wanted {
                Some(wanted) => wanted,
                None => self.needed(missing),
            },
            CapRule::Needs(caps) => caps,
            // One is enough, and reading is the least.
            CapRule::AnyOf(caps) if caps.contains(Caps::READ) => Caps::READ,
            rule => rule.caps(),
        }
    }

    /// Reports what was allowed, at the end of a call in which nothing was denied.
    pub(crate) fn report_allowed(&mut self) {
        for (fd, path) in std::mem::take(&mut self.allowed) {
            self.note(fd, path, None);
        }
    }

    /// Reports a decision to the audit hook.
    fn note(&mut self, fd: u32, path: Option<String>, denied: Option<(Denial, Caps, Caps)>) {
        let function = self.info().name;
        let rule = self.info().caps;
        if denied.is_some() {
            self.allowed.clear();
        } else if rule == CapRule::Nothing || !self.ctx.audit_allowed {
            return;
        }
        let Some(hook) = self.ctx.audit.as_mut() else { return };
        let grant = self.ctx.table.get(fd).ok().and_then(|d| d.grant);
        let (why, capability, required) = match denied {
            Some((why, caps, required)) => (Some(why), caps, required),
            None => (None, self.wanted.unwrap_or(rule.caps()), Caps::empty()),
        };
        let preopen = grant.and_then(|g| self.ctx.grants.get(g));
        hook(AuditEvent {
            function,
            descriptor: (fd != NO_FD).then_some(fd),
            path,
            preopen: preopen.map(|g| g.name.clone()),
            capability,
            denied: why,
            switch: if why == Some(Denial::Capability) { capability.switch() } else { None },
            preopen_index: grant.filter(|_| preopen.is_some()),
            read_only: preopen.is_some_and(|g| !g.writable),
            required,
        });
    }

    /// Denies for a reason that no capability changes; those that it takes elsewhere are reported.
    fn deny(&mut self, fd: u32, path: Option<String>, why: Denial) -> Fail {
        let caps = self.wanted.unwrap_or(self.info().caps.caps());
        let required =
            if why == Denial::Outside { self.required(Rights::empty()) } else { Caps::empty() };
        self.note(fd, path, Some((why, caps, required)));
        Errno::NOTCAPABLE.into()
    }

    /// Turns a failed resolution into an answer, reporting what led outside.
    fn path_fail(&mut self, fd: u32, path: &GuestPath, e: PathError) -> Fail {
        match e {
            PathError::Errno(e) => e.into(),
            PathError::Outside => self.deny(fd, Some(path.trimmed().to_owned()), Denial::Outside),
        }
    }

    /// Whether a capability of the context is granted; reported either way.
    fn granted(&mut self) -> bool {
        let caps = self.info().caps.caps();
        let granted = self.ctx.caps.contains(caps);
        let denied = (!granted).then_some((Denial::Capability, caps, caps));
        self.note(NO_FD, None, denied);
        granted
    }
}

/// Stands for no descriptor in reports.
const NO_FD: u32 = u32::MAX;
