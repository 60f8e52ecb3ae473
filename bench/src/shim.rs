//! As little WASI as real programs need to be measured inside this process: the same code under both engines, so that
//! what differs is the engines. It shows one folder, for reading; what is written to the standard output is kept and
//! compared; clocks and random numbers are the same in every run.

use std::path::PathBuf;

/// Where programs import it from.
pub const MODULE: &str = "wasi_snapshot_preview1";

const SUCCESS: i32 = 0;
const BADF: i32 = 8;
const FAULT: i32 = 21;
const NOENT: i32 = 44;
const NOSYS: i32 = 52;

/// A command, and what it is given.
#[derive(Clone)]
pub struct Command {
    pub args: Vec<String>,
    pub folder: PathBuf,
    /// The status that it has to end with.
    pub exit: i32,
}

struct File {
    bytes: Vec<u8>,
    at: usize,
}

/// What one run sees.
#[derive(Default)]
pub struct Shim {
    args: Vec<Vec<u8>>,
    folder: PathBuf,
    expected_exit: i32,
    exit: Option<i32>,
    output: Vec<u8>,
    files: Vec<Option<File>>,
    clock: u64,
    random: u64,
}

fn put(memory: &mut [u8], at: u64, bytes: &[u8]) -> Option<()> {
    let at = at as usize;
    memory.get_mut(at..at.checked_add(bytes.len())?)?.copy_from_slice(bytes);
    Some(())
}

fn get(memory: &[u8], at: u64, len: u64) -> Option<&[u8]> {
    memory.get(at as usize..(at as usize).checked_add(len as usize)?)
}

fn get_u32(memory: &[u8], at: u64) -> Option<u64> {
    Some(u64::from(u32::from_le_bytes(get(memory, at, 4)?.try_into().ok()?)))
}

fn put_u32(memory: &mut [u8], at: u64, value: usize) -> Option<()> {
    put(memory, at, &(value as u32).to_le_bytes())
}

impl Shim {
    pub fn new(command: &Command) -> Self {
        let args = command.args.iter().map(|arg| [arg.as_bytes(), b"\0"].concat()).collect();
        let (folder, expected_exit) = (command.folder.clone(), command.exit);
        Self { args, folder, expected_exit, random: 1, ..Self::default() }
    }

    /// A number for what was printed, after a look at how the program ended.
    pub fn end(self, trap: Option<String>) -> i64 {
        let exit = self.exit.unwrap_or(if trap.is_some() { -1 } else { 0 });
        assert_eq!(exit, self.expected_exit, "how it ended ({trap:?})");
        let hash = |h: u64, byte: &u8| (h ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        self.output.iter().fold(0xcbf2_9ce4_8422_2325, hash) as i64
    }

    /// Does what is asked; `None` if the program is to end.
    pub fn call(&mut self, name: &str, args: &[u64], memory: &mut [u8]) -> Option<i32> {
        if name == "proc_exit" {
            self.exit = args.first().map(|&code| code as i32);
            return None;
        }
        let mut all = [0; 9];
        all.iter_mut().zip(args).for_each(|(to, from)| *to = *from);
        Some(self.function(name, all, memory).unwrap_or(FAULT))
    }

    fn function(&mut self, name: &str, a: [u64; 9], memory: &mut [u8]) -> Option<i32> {
        match name {
            "args_sizes_get" => {
                put_u32(memory, a[0], self.args.len())?;
                put_u32(memory, a[1], self.args.iter().map(Vec::len).sum())?;
            }
            "args_get" => {
                let (mut pointers, mut bytes) = (a[0], a[1]);
                for arg in &self.args {
                    put_u32(memory, pointers, bytes as usize)?;
                    put(memory, bytes, arg)?;
                    pointers += 4;
                    bytes += arg.len() as u64;
                }
            }
            "environ_sizes_get" => {
                put_u32(memory, a[0], 0)?;
                put_u32(memory, a[1], 0)?;
            }
            "environ_get" | "sched_yield" | "fd_fdstat_set_flags" => {}
            "clock_time_get" | "clock_res_get" => {
                self.clock += 1_000_000;
                put(
                    memory,
                    if name == "clock_res_get" { a[1] } else { a[2] },
                    &self.clock.to_le_bytes(),
                )?;
            }
            "random_get" => {
                for at in 0..a[1] {
                    self.random = self.random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
                    put(memory, a[0] + at, &[(self.random >> 56) as u8])?;
                }
            }
            _ => return self.descriptor(name, a, memory),
        }
        Some(SUCCESS)
    }

    fn descriptor(&mut self, name: &str, a: [u64; 9], memory: &mut [u8]) -> Option<i32> {
        let fd = a[0];
        match name {
            "fd_write" => {
                let mut written = 0;
                for vector in 0..a[2] {
                    let at = get_u32(memory, a[1] + 8 * vector)?;
                    let len = get_u32(memory, a[1] + 8 * vector + 4)?;
                    let bytes = get(memory, at, len)?;
                    if fd == 1 {
                        self.output.extend_from_slice(bytes);
                    }
                    written += bytes.len();
                }
                put_u32(memory, a[3], written)?;
            }
            "fd_read" => {
                let mut read = 0;
                for vector in 0..a[2] {
                    let at = get_u32(memory, a[1] + 8 * vector)?;
                    let len = get_u32(memory, a[1] + 8 * vector + 4)?;
                    let Some(file) = self.file(fd) else { break };
                    let rest = file.bytes.get(file.at..).unwrap_or_default();
                    let some = &rest[..rest.len().min(len as usize)];
                    put(memory, at, some)?;
                    read += some.len();
                    file.at += some.len();
                }
                put_u32(memory, a[3], read)?;
            }
            "fd_prestat_get" if fd == 3 => put(memory, a[1], &[0, 0, 0, 0, 1, 0, 0, 0])?,
            "fd_prestat_dir_name" if fd == 3 => put(memory, a[1], b".")?,
            "fd_fdstat_get" => {
                let Some(kind) = self.kind(fd) else { return Some(BADF) };
                let mut stat = [0xff; 24];
                stat[..8].fill(0);
                stat[0] = kind;
                put(memory, a[1], &stat)?;
            }
            "fd_filestat_get" => {
                let Some(kind) = self.kind(fd) else { return Some(BADF) };
                let len = self.file(fd).map_or(0, |file| file.bytes.len());
                put(memory, a[1], &filestat(kind, len))?;
            }
            "path_filestat_get" => {
                let Some(bytes) = self.read(get(memory, a[2], a[3])?) else { return Some(NOENT) };
                put(memory, a[4], &filestat(4, bytes.len()))?;
            }
            "path_open" => {
                let Some(bytes) = self.read(get(memory, a[2], a[3])?) else { return Some(NOENT) };
                self.files.push(Some(File { bytes, at: 0 }));
                put_u32(memory, a[8], self.files.len() + 3)?;
            }
            "fd_seek" | "fd_tell" => {
                let Some(file) = self.file(fd) else { return Some(BADF) };
                let (offset, whence, to) =
                    if name == "fd_tell" { (0, 1, a[1]) } else { (a[1], a[2], a[3]) };
                let from = [0, file.at, file.bytes.len()][whence.min(2) as usize];
                file.at = from.wrapping_add(offset as usize);
                put(memory, to, &(file.at as u64).to_le_bytes())?;
            }
            "fd_close" => match self.files.get_mut((fd as usize).wrapping_sub(4)) {
                Some(file) => *file = None,
                None => return Some(BADF),
            },
            "fd_prestat_get" | "fd_prestat_dir_name" => return Some(BADF),
            _ => return Some(NOSYS),
        }
        Some(SUCCESS)
    }

    fn file(&mut self, fd: u64) -> Option<&mut File> {
        self.files.get_mut((fd as usize).checked_sub(4)?)?.as_mut()
    }

    /// The type of a descriptor as WASI numbers them.
    fn kind(&mut self, fd: u64) -> Option<u8> {
        match fd {
            0..=2 => Some(2),
            3 => Some(3),
            _ => self.file(fd).map(|_| 4),
        }
    }

    fn read(&self, path: &[u8]) -> Option<Vec<u8>> {
        let path = std::str::from_utf8(path).ok()?;
        std::fs::read(self.folder.join(path)).ok()
    }
}

fn filestat(kind: u8, len: usize) -> [u8; 64] {
    let mut stat = [0; 64];
    stat[16] = kind;
    stat[32..40].copy_from_slice(&(len as u64).to_le_bytes());
    stat
}
