//! The 46 functions of preview 1, declared once.
//!
//! From this one table come the dispatcher, the checks, the list that a linker binds, and the printed table. A
//! function that is not here does not exist; a function here without an implementation does not compile.

use crate::calls::Call;
use crate::host::{Fail, Halt};
use crate::{Caps, Rights, WasiCtx, WasiHost};

/// A WebAssembly value type, as far as preview 1 uses them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ValType {
    /// 32-bit integer.
    I32,
    /// 64-bit integer.
    I64,
}

/// What capability a function needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CapRule {
    /// None: there is nothing to check.
    Nothing,
    /// All of these.
    Needs(Caps),
    /// One of these, at least.
    AnyOf(Caps),
    /// What is asked for decides; one of these at the least.
    ByRequest(Caps),
    /// What reading or writing the descriptor needs.
    ByDescriptor(Caps),
}

impl CapRule {
    /// The capabilities of which at least one matters.
    #[must_use]
    pub const fn caps(self) -> Caps {
        match self {
            CapRule::Nothing => Caps::empty(),
            CapRule::Needs(c)
            | CapRule::AnyOf(c)
            | CapRule::ByRequest(c)
            | CapRule::ByDescriptor(c) => c,
        }
    }
}

/// One function of preview 1.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct FunctionInfo {
    /// Which one.
    pub func: WasiFunc,
    /// Its name, as imported from `wasi_snapshot_preview1`.
    pub name: &'static str,
    /// Names of its parameters.
    pub param_names: &'static [&'static str],
    /// Types of its parameters.
    pub params: &'static [ValType],
    /// Types of its results: one `i32`, the errno, or none.
    pub results: &'static [ValType],
    /// The capability it needs.
    pub caps: CapRule,
    /// The rights it needs on its (first) descriptor.
    pub rights: Rights,
    /// The rights it needs on its second descriptor.
    pub target_rights: Rights,
    /// Fuel for the call itself; what it copies and lists comes on top.
    pub fuel: u64,
    /// Whether it may wait.
    pub may_block: bool,
    /// What else there is to know.
    pub notes: &'static str,
}

/// The module that the functions are imported from.
pub const MODULE: &str = "wasi_snapshot_preview1";

/// Fuel of every call.
pub const CALL_FUEL: u64 = 50;

trait Param {
    const TYPE: ValType;
    fn from_cell(cell: u64) -> Self;
}

impl Param for u32 {
    const TYPE: ValType = ValType::I32;
    fn from_cell(cell: u64) -> u32 {
        // The upper half of a cell that holds an i32 means nothing.
        cell as u32
    }
}

impl Param for u64 {
    const TYPE: ValType = ValType::I64;
    fn from_cell(cell: u64) -> u64 {
        cell
    }
}

macro_rules! results {
    (errno) => {
        &[ValType::I32]
    };
    (never) => {
        &[]
    };
}

macro_rules! functions {
    ($($variant:ident $name:ident($($param:ident: $type:ty),*) -> $result:ident,
       $rule:expr, [$($right:ident)*] [$($target:ident)*], $block:literal, $notes:literal;)*) => {
        /// A function of preview 1.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[allow(missing_docs)]
        pub enum WasiFunc { $($variant,)* }

        /// Every function of preview 1, in the order of [`WasiFunc`].
        pub const FUNCTIONS: &[FunctionInfo] = &[$(FunctionInfo {
            func: WasiFunc::$variant,
            name: stringify!($name),
            param_names: &[$(stringify!($param)),*],
            params: &[$(<$type as Param>::TYPE),*],
            results: results!($result),
            caps: $rule,
            rights: Rights::empty()$(.union(Rights::$right))*,
            target_rights: Rights::empty()$(.union(Rights::$target))*,
            fuel: CALL_FUEL,
            may_block: $block,
            notes: $notes,
        },)*];

        impl WasiFunc {
            /// What the table says of it.
            #[must_use]
            pub const fn info(self) -> &'static FunctionInfo {
                const { assert!(FUNCTIONS.len() == 46) };
                match self { $(WasiFunc::$variant => {
                    const INFO: &FunctionInfo = &FUNCTIONS[WasiFunc::$variant as usize];
                    INFO
                },)* }
            }

            /// The function of this name.
            #[must_use]
            pub fn by_name(name: &str) -> Option<WasiFunc> {
                match name { $(stringify!($name) => Some(WasiFunc::$variant),)* _ => None }
            }
        }

        fn dispatch(call: &mut Call<'_>, args: &[u64]) -> Result<(), Fail> {
            match call.func {
                $(WasiFunc::$variant => {
                    let [$($param),*] = args else { return Err(ARITY.into()) };
                    call.$name($(<$type as Param>::from_cell(*$param)),*)
                })*
            }
        }
    };
}

const ARITY: Halt = Halt::Internal("a function was called with a wrong number of arguments");

const NOTHING: CapRule = CapRule::Nothing;
const ENV: CapRule = CapRule::Needs(Caps::ENV);
const CLOCK: CapRule = CapRule::Needs(Caps::CLOCK);
const RANDOM: CapRule = CapRule::Needs(Caps::RANDOM);
const READ: CapRule = CapRule::Needs(Caps::READ);
const WRITE: CapRule = CapRule::Needs(Caps::WRITE);
const PATH: CapRule = CapRule::Needs(Caps::PATH);
const PROC: CapRule = CapRule::Needs(Caps::PROC);
const READ_OR_WRITE: CapRule = CapRule::AnyOf(Caps::READ.union(Caps::WRITE));
const READ_OR_PATH: CapRule = CapRule::AnyOf(Caps::READ.union(Caps::PATH));
const OPEN: CapRule = CapRule::ByRequest(Caps::FILES);
const POLL: CapRule = CapRule::ByDescriptor(Caps::READ.union(Caps::WRITE));

functions! {
    ArgsGet args_get(argv: u32, argv_buf: u32) -> errno, NOTHING, [] [], false, "";
    ArgsSizesGet args_sizes_get(count_out: u32, size_out: u32) -> errno, NOTHING, [] [], false, "";
    EnvironGet environ_get(environ: u32, environ_buf: u32) -> errno, ENV, [] [], false,
        "denied: the host's environment looks empty, pairs given by name are there all the same";
    EnvironSizesGet environ_sizes_get(count_out: u32, size_out: u32) -> errno, ENV, [] [], false,
        "denied: as environ_get";
    ClockResGet clock_res_get(id: u32, out: u32) -> errno, CLOCK, [] [], false,
        "denied: 1 s";
    ClockTimeGet clock_time_get(id: u32, precision: u64, out: u32) -> errno, CLOCK, [] [], false,
        "denied: every clock stands still; processor time is that of the guest's thread since start";
    FdAdvise fd_advise(fd: u32, offset: u64, len: u64, advice: u32) -> errno, READ_OR_WRITE,
        [FD_ADVISE] [], false, "";
    FdAllocate fd_allocate(fd: u32, offset: u64, len: u64) -> errno, WRITE, [FD_ALLOCATE] [], false,
        "counts as output; over the limit NOSPC, over the largest file size FBIG";
    FdClose fd_close(fd: u32) -> errno, NOTHING, [] [], false, "preopens and standard streams close too";
    FdDatasync fd_datasync(fd: u32) -> errno, WRITE, [FD_DATASYNC] [], false, "standard streams need none";
    FdFdstatGet fd_fdstat_get(fd: u32, out: u32) -> errno, NOTHING, [] [], false, "";
    FdFdstatSetFlags fd_fdstat_set_flags(fd: u32, flags: u32) -> errno, WRITE,
        [FD_FDSTAT_SET_FLAGS] [], false, "append and nonblock; standard streams and sockets need none";
    FdFdstatSetRights fd_fdstat_set_rights(fd: u32, base: u64, inheriting: u64) -> errno, NOTHING, [] [], false,
        "only shrinks";
    FdFilestatGet fd_filestat_get(fd: u32, out: u32) -> errno, READ_OR_WRITE, [FD_FILESTAT_GET] [], false,
        "device and inode are keyed hashes; links are counted as 1 without path";
    FdFilestatSetSize fd_filestat_set_size(fd: u32, size: u64) -> errno, WRITE,
        [FD_FILESTAT_SET_SIZE] [], false, "over the largest file size FBIG";
    FdFilestatSetTimes fd_filestat_set_times(fd: u32, atim: u64, mtim: u64, fst_flags: u32) -> errno, WRITE,
        [FD_FILESTAT_SET_TIMES] [], false, "";
    FdPread fd_pread(fd: u32, iovs: u32, iovs_len: u32, offset: u64, out: u32) -> errno, READ,
        [FD_READ FD_SEEK] [], false, "at most 1,024 buffers; at most 64 MiB a call";
    FdPrestatGet fd_prestat_get(fd: u32, out: u32) -> errno, NOTHING, [] [], false, "";
    FdPrestatDirName fd_prestat_dir_name(fd: u32, path: u32, path_len: u32) -> errno, NOTHING, [] [], false, "";
    FdPwrite fd_pwrite(fd: u32, iovs: u32, iovs_len: u32, offset: u64, out: u32) -> errno, WRITE,
        [FD_WRITE FD_SEEK] [], false, "counts as output; writes at its offset even if the descriptor appends";
    FdRead fd_read(fd: u32, iovs: u32, iovs_len: u32, out: u32) -> errno, READ, [FD_READ] [], true,
        "standard streams and sockets need none";
    FdReaddir fd_readdir(fd: u32, buf: u32, buf_len: u32, cookie: u64, out: u32) -> errno, READ,
        [FD_READDIR] [], false, "1 unit of fuel per entry";
    FdRenumber fd_renumber(from: u32, to: u32) -> errno, NOTHING, [] [], false,
        "closes what it replaces, preopens included; both must be open";
    FdSeek fd_seek(fd: u32, offset: u64, whence: u32, out: u32) -> errno, READ_OR_WRITE, [FD_SEEK] [], false,
        "FD_TELL is enough where nothing moves";
    FdSync fd_sync(fd: u32) -> errno, WRITE, [FD_SYNC] [], false, "standard streams need none";
    FdTell fd_tell(fd: u32, out: u32) -> errno, READ_OR_WRITE, [FD_TELL] [], false, "";
    FdWrite fd_write(fd: u32, iovs: u32, iovs_len: u32, out: u32) -> errno, WRITE, [FD_WRITE] [], true,
        "standard streams and sockets need none; counts as output";
    PathCreateDirectory path_create_directory(fd: u32, path: u32, path_len: u32) -> errno, PATH,
        [PATH_CREATE_DIRECTORY] [], false, "not in a read-only directory";
    PathFilestatGet path_filestat_get(fd: u32, flags: u32, path: u32, path_len: u32, out: u32) -> errno,
        READ_OR_PATH, [PATH_FILESTAT_GET] [], false, "";
    PathFilestatSetTimes path_filestat_set_times(fd: u32, flags: u32, path: u32, path_len: u32, atim: u64,
        mtim: u64, fst_flags: u32) -> errno, PATH, [PATH_FILESTAT_SET_TIMES] [], false,
        "not in a read-only directory";
    PathLink path_link(old_fd: u32, old_flags: u32, old_path: u32, old_path_len: u32, new_fd: u32,
        new_path: u32, new_path_len: u32) -> errno, PATH, [PATH_LINK_SOURCE] [PATH_LINK_TARGET], false,
        "not to where the guest may do more; SYMLINK_FOLLOW is INVAL";
    PathOpen path_open(fd: u32, dirflags: u32, path: u32, path_len: u32, oflags: u32, base: u64,
        inheriting: u64, fdflags: u32, out: u32) -> errno, OPEN, [PATH_OPEN] [], false,
        "creating, truncating, appending, writing: write; reading: read; a directory handle alone: any";
    PathReadlink path_readlink(fd: u32, path: u32, path_len: u32, buf: u32, buf_len: u32, out: u32) -> errno,
        READ_OR_PATH, [PATH_READLINK] [], false, "";
    PathRemoveDirectory path_remove_directory(fd: u32, path: u32, path_len: u32) -> errno, PATH,
        [PATH_REMOVE_DIRECTORY] [], false, "not in a read-only directory";
    PathRename path_rename(fd: u32, old_path: u32, old_path_len: u32, new_fd: u32, new_path: u32,
        new_path_len: u32) -> errno, PATH, [PATH_RENAME_SOURCE] [PATH_RENAME_TARGET], false,
        "not to where the guest may do more";
    PathSymlink path_symlink(old_path: u32, old_path_len: u32, fd: u32, new_path: u32, new_path_len: u32)
        -> errno, PATH, [PATH_SYMLINK] [], false, "absolute targets are refused";
    PathUnlinkFile path_unlink_file(fd: u32, path: u32, path_len: u32) -> errno, PATH,
        [PATH_UNLINK_FILE] [], false, "not in a read-only directory";
    PollOneoff poll_oneoff(subscriptions: u32, events: u32, count: u32, out: u32) -> errno, POLL,
        [POLL_FD_READWRITE] [], true, "clocks need none, those of processor time cannot be waited for; at most 4,096 subscriptions, 1 unit of fuel each";
    ProcExit proc_exit(status: u32) -> never, NOTHING, [] [], false, "always ends the guest";
    ProcRaise proc_raise(signal: u32) -> errno, PROC, [] [], false,
        "ends the guest with 128 + signal, nothing is sent to the host's process; signals that stop are NOTSUP, for nobody could continue the guest";
    SchedYield sched_yield() -> errno, NOTHING, [] [], false, "";
    RandomGet random_get(buf: u32, buf_len: u32) -> errno, RANDOM, [] [], true, "at most 64 MiB a call";
    SockAccept sock_accept(fd: u32, flags: u32, out: u32) -> errno, NOTHING, [SOCK_ACCEPT] [], true,
        "sockets exist only if the embedder hands one over";
    SockRecv sock_recv(fd: u32, iovs: u32, iovs_len: u32, ri_flags: u32, out: u32, ro_flags_out: u32) -> errno,
        NOTHING, [FD_READ] [], true, "";
    SockSend sock_send(fd: u32, iovs: u32, iovs_len: u32, si_flags: u32, out: u32) -> errno, NOTHING,
        [FD_WRITE] [], true, "counts as output";
    SockShutdown sock_shutdown(fd: u32, how: u32) -> errno, NOTHING, [SOCK_SHUTDOWN] [], false, "";
}

/// Calls `func` with its arguments in the order of its signature, each in a 64-bit cell (an `i32` in the lower
/// half). The answer is the errno, 0 for success.
///
/// # Errors
///
/// When the guest ends: it exited, a limit of the ledger was reached, or it is to be stopped.
pub fn call(
    ctx: &mut WasiCtx,
    host: &mut dyn WasiHost,
    func: WasiFunc,
    args: &[u64],
) -> Result<i32, Halt> {
    host.charge_fuel(func.info().fuel)?;
    if let Some(halt) = host.interrupted() {
        return Err(halt);
    }
    ctx.enter(host.ledger()).map_err(Halt::Limit)?;
    let mut call = Call { ctx, host, func, allowed: Vec::new(), wanted: None };
    let answer = dispatch(&mut call, args);
    call.report_allowed();
    if let Some(run) = &mut ctx.deterministic {
        run.settle(host.ledger()).map_err(Halt::Limit)?;
    }
    match answer {
        Ok(()) => Ok(0),
        Err(Fail::Errno(e)) => Ok(e.code()),
        Err(Fail::Halt(h)) => Err(h),
    }
}

/// The table in Markdown, for the documentation.
#[must_use]
pub fn render_markdown() -> String {
    let mut out = String::from(
        "| function | parameters | capability | rights | may wait | notes |\n|---|---|---|---|---|---|\n",
    );
    for f in FUNCTIONS {
        let typed = f.param_names.iter().zip(f.params);
        let params: Vec<String> = typed
            .map(|(n, t)| format!("{n}: {}", if *t == ValType::I32 { "i32" } else { "i64" }))
            .collect();
        let caps = match f.caps {
            CapRule::Nothing => "none".to_owned(),
            CapRule::Needs(c) => c.names(),
            CapRule::AnyOf(c) => c.names().replace(", ", " or "),
            CapRule::ByRequest(c) => {
                format!("{}, by what is asked", c.names().replace(", ", " or "))
            }
            CapRule::ByDescriptor(_) => "by descriptor".to_owned(),
        };
        let rights: Vec<String> =
            (f.rights | f.target_rights).iter_names().map(|(n, _)| n.to_lowercase()).collect();
        let wait = if f.may_block { "yes" } else { "" };
        out.push_str(&format!(
            "| {} | {} | {} | {} | {} | {} |\n",
            f.name,
            params.join(", "),
            caps,
            rights.join(", "),
            wait,
            f.notes
        ));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forty_six_functions_of_which_thirty_two_check_a_capability() {
        assert_eq!(FUNCTIONS.len(), 46);
        assert_eq!(FUNCTIONS.iter().filter(|f| f.caps != CapRule::Nothing).count(), 32);
        for f in FUNCTIONS {
            assert_eq!(f.func.info().name, f.name);
            assert_eq!(WasiFunc::by_name(f.name), Some(f.func));
            assert_eq!(f.params.len(), f.param_names.len());
            assert_eq!(f.fuel, 50);
        }
        assert_eq!(WasiFunc::by_name("fd_dup"), None);
    }

    #[test]
    fn the_table_prints_one_row_per_function() {
        assert_eq!(render_markdown().lines().count(), 48);
    }
}
