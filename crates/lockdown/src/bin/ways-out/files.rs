//! Ways out by files.

use libc::{
    AT_EMPTY_PATH, AT_FDCWD, O_CREAT, O_DIRECTORY, O_PATH, O_RDONLY, O_RDWR, O_TMPFILE, O_TRUNC,
    O_WRONLY,
};

use crate::place::Want::{self, Ends, IfDirectory, IfWritable, Refused};
use crate::place::{Place, Tried, Way, at, call, sys, text};

const HERE: usize = AT_FDCWD as usize;

/// What `openat2` takes.
#[repr(C)]
struct How {
    flags: u64,
    mode: u64,
    resolve: u64,
}

fn openat2(dir: usize, path: &std::ffi::CStr, flags: i32) -> Result<usize, i32> {
    let creates = flags & (O_CREAT | O_TMPFILE) & !O_DIRECTORY != 0;
    let how = How { flags: flags as u64, mode: if creates { 0o600 } else { 0 }, resolve: 0 };
    call(libc::SYS_openat2, &[dir, text(path), at(&how), size_of::<How>()])
}

fn open(path: &std::ffi::CStr, flags: i32) -> Tried {
    openat2(HERE, path, flags).map(drop)
}

fn secret(p: &Place) -> std::ffi::CString {
    p.path("outside/secret")
}

const fn way(name: &'static str, group: &'static str, want: Want, run: fn(&Place) -> Tried) -> Way {
    Way { name, group, want, run }
}

const OPENING: &str = "opening files";
const INSIDE: &str = "what is granted, and what it leads to";
const LOOKING: &str = "looking at metadata";
const CHANGING: &str = "changing metadata";
const NAMES: &str = "names outside";
const OTHER: &str = "other calls on files";

#[rustfmt::skip]
pub(crate) const WAYS: &[Way] = &[
    way("open", OPENING, Refused, |p| sys(libc::SYS_open, &[text(&secret(p)), O_RDONLY as usize])),
    way("open_inside", OPENING, Refused, |p| sys(libc::SYS_open, &[text(&p.path("inside/file")), O_RDONLY as usize])),
    way("openat", OPENING, Refused, |p| sys(libc::SYS_openat, &[HERE, text(&secret(p)), O_RDONLY as usize])),
    way("openat_inside", OPENING, Refused, |p| sys(libc::SYS_openat, &[p.inside_fd, text(c"file"), O_RDONLY as usize])),
    way("creat", OPENING, Refused, |p| sys(libc::SYS_creat, &[text(&p.path("outside/new")), 0o600])),
    way("openat2_to_read", OPENING, Refused, |p| open(&secret(p), O_RDONLY)),
    way("openat2_to_write", OPENING, Refused, |p| open(&secret(p), O_WRONLY)),
    way("openat2_to_truncate", OPENING, Refused, |p| open(&p.path("outside/victim"), O_RDONLY | O_TRUNC)),
    way("openat2_to_create", OPENING, Refused, |p| open(&p.path("outside/new"), O_WRONLY | O_CREAT)),
    way("openat2_of_a_nameless_file", OPENING, Refused, |p| open(&p.path("outside"), O_RDWR | O_TMPFILE)),
    way("openat2_of_a_directory", OPENING, Refused, |p| open(&p.path("outside"), O_RDONLY | O_DIRECTORY)),
    way("openat2_upwards", OPENING, Refused, |p| openat2(p.inside_fd, c"../outside/secret", O_RDONLY).map(drop)),
    way("openat2_through_a_link", OPENING, Refused, |p| openat2(p.inside_fd, c"way", O_RDONLY).map(drop)),
    way("openat2_of_etc_passwd", OPENING, Refused, |_| open(c"/etc/passwd", O_RDONLY)),
    way("openat2_of_the_program_itself", OPENING, Refused, |_| open(c"/proc/self/exe", O_RDONLY)),
    way("openat2_of_own_memory", OPENING, Refused, |_| open(c"/proc/self/mem", O_RDWR)),
    way("openat2_of_own_maps", OPENING, Refused, |_| open(c"/proc/self/maps", O_RDONLY)),
    way("openat2_of_another_environment", OPENING, Refused, |p| {
        let path = std::ffi::CString::new(format!("/proc/{}/environ", p.parent)).unwrap_or_default();
        open(&path, O_RDONLY)
    }),
    way("openat2_of_another_memory", OPENING, Refused, |p| {
        let path = std::ffi::CString::new(format!("/proc/{}/mem", p.parent)).unwrap_or_default();
        open(&path, O_RDONLY)
    }),
    way("openat2_of_a_descriptor_again", OPENING, Refused, |_| open(c"/proc/self/fd/0", O_RDONLY)),
    way("openat2_of_a_handle_again", OPENING, Refused, |p| {
        let handle = openat2(HERE, &secret(p), O_PATH)?;
        let path = std::ffi::CString::new(format!("/proc/self/fd/{handle}")).unwrap_or_default();
        open(&path, O_RDONLY)
    }),
    way("openat2_of_a_device", OPENING, Refused, |_| open(c"/dev/zero", O_RDONLY)),
    way("openat2_of_a_setting_of_the_kernel", OPENING, Refused, |_| open(c"/proc/sys/kernel/ostype", O_RDONLY)),
    way("open_by_handle_at", OPENING, Ends, |p| sys(libc::SYS_open_by_handle_at, &[p.inside_fd, 0, 0])),

    way("reading", INSIDE, IfDirectory, |p| openat2(p.inside_fd, c"file", O_RDONLY).map(drop)),
    way("listing", INSIDE, IfDirectory, |p| openat2(p.inside_fd, c".", O_RDONLY | O_DIRECTORY).map(drop)),
    way("writing", INSIDE, IfWritable, |p| openat2(p.inside_fd, c"file", O_RDWR).map(drop)),
    way("truncating", INSIDE, IfWritable, |p| openat2(p.inside_fd, c"file", O_RDONLY | O_TRUNC).map(drop)),
    way("creating", INSIDE, IfWritable, |p| openat2(p.inside_fd, c"new", O_WRONLY | O_CREAT).map(drop)),
    way("mkdirat", INSIDE, IfWritable, |p| sys(libc::SYS_mkdirat, &[p.inside_fd, text(c"directory"), 0o700])),
    way("unlinkat", INSIDE, IfWritable, |p| sys(libc::SYS_unlinkat, &[p.inside_fd, text(c"file"), 0])),
    way("renameat2", INSIDE, IfWritable, |p| sys(libc::SYS_renameat2, &[p.inside_fd, text(c"file"), p.inside_fd, text(c"moved"), 0])),
    way("linkat", INSIDE, IfWritable, |p| sys(libc::SYS_linkat, &[p.inside_fd, text(c"file"), p.inside_fd, text(c"again"), 0])),
    way("symlinkat_that_leads_out_and_cannot_be_followed", INSIDE, IfWritable, |p| {
        sys(libc::SYS_symlinkat, &[text(c"/etc/passwd"), p.inside_fd, text(c"link")])
    }),
    way("following_a_link_just_made", INSIDE, Refused, |p| {
        sys(libc::SYS_symlinkat, &[text(c"/etc/passwd"), p.inside_fd, text(c"link")])?;
        openat2(p.inside_fd, c"link", O_RDONLY).map(drop)
    }),
    way("mknodat_of_a_device", INSIDE, Refused, |p| sys(libc::SYS_mknodat, &[p.inside_fd, text(c"node"), (libc::S_IFCHR | 0o600) as usize, 0x103])),
    way("mapping_a_file_to_execute_it", INSIDE, Refused, |p| {
        let file = openat2(p.inside_fd, c"file", O_RDONLY)?;
        sys(libc::SYS_mmap, &[0, 4096, (libc::PROT_READ | libc::PROT_EXEC) as usize, libc::MAP_PRIVATE as usize, file, 0])
    }),

    way("openat2_of_a_mere_handle", LOOKING, IfDirectory, |p| open(&secret(p), O_PATH)),
    way("newfstatat", LOOKING, IfDirectory, |p| {
        let room = [0u8; 256];
        sys(libc::SYS_newfstatat, &[HERE, text(&secret(p)), at(&room), 0])
    }),
    way("statx", LOOKING, IfDirectory, |p| {
        let room = [0u8; 512];
        sys(libc::SYS_statx, &[HERE, text(&secret(p)), 0, 0xfff, at(&room)])
    }),
    way("readlinkat", LOOKING, IfDirectory, |p| {
        let room = [0u8; 256];
        sys(libc::SYS_readlinkat, &[HERE, text(&p.path("outside/link")), at(&room), 256])
    }),
    way("stat", LOOKING, Refused, |p| {
        let room = [0u8; 256];
        sys(libc::SYS_stat, &[text(&secret(p)), at(&room)])
    }),
    way("lstat", LOOKING, Refused, |p| {
        let room = [0u8; 256];
        sys(libc::SYS_lstat, &[text(&secret(p)), at(&room)])
    }),
    way("access", LOOKING, Refused, |p| sys(libc::SYS_access, &[text(&secret(p)), 0])),
    way("faccessat", LOOKING, Refused, |p| sys(libc::SYS_faccessat, &[HERE, text(&secret(p)), 0])),
    way("faccessat2", LOOKING, Refused, |p| sys(libc::SYS_faccessat2, &[HERE, text(&secret(p)), 0, 0])),
    way("readlink", LOOKING, Refused, |p| {
        let room = [0u8; 256];
        sys(libc::SYS_readlink, &[text(&p.path("outside/link")), at(&room), 256])
    }),
    way("statfs", LOOKING, Refused, |p| {
        let room = [0u8; 256];
        sys(libc::SYS_statfs, &[text(&secret(p)), at(&room)])
    }),
    way("getxattr", LOOKING, Refused, |p| sys(libc::SYS_getxattr, &[text(&secret(p)), text(c"user.a"), 0, 0])),
    way("listxattr", LOOKING, Refused, |p| sys(libc::SYS_listxattr, &[text(&secret(p)), 0, 0])),
    way("name_to_handle_at", LOOKING, Refused, |p| {
        let room = [0u8; 256];
        sys(libc::SYS_name_to_handle_at, &[HERE, text(&secret(p)), at(&room), at(&room) + 128, 0])
    }),
    way("cachestat", LOOKING, Refused, |_| sys(451, &[99, 0, 0, 0])),
    way("statmount", LOOKING, Refused, |_| sys(457, &[0, 0, 0, 0])),
    way("listmount", LOOKING, Refused, |_| sys(458, &[0, 0, 0, 0])),
    way("getcwd", LOOKING, Refused, |_| {
        let room = [0u8; 4096];
        sys(libc::SYS_getcwd, &[at(&room), 4096])
    }),

    way("utimensat", CHANGING, IfWritable, |p| sys(libc::SYS_utimensat, &[HERE, text(&p.path("outside/victim")), 0, 0])),
    way("utime", CHANGING, Refused, |p| sys(libc::SYS_utime, &[text(&p.path("outside/victim")), 0])),
    way("utimes", CHANGING, Refused, |p| sys(libc::SYS_utimes, &[text(&p.path("outside/victim")), 0])),
    way("futimesat", CHANGING, Refused, |p| sys(libc::SYS_futimesat, &[HERE, text(&p.path("outside/victim")), 0])),
    way("chmod", CHANGING, Refused, |p| sys(libc::SYS_chmod, &[text(&p.path("outside/victim")), 0o600])),
    way("fchmod", CHANGING, Refused, |p| sys(libc::SYS_fchmod, &[p.inside_fd, 0o700])),
    way("fchmodat", CHANGING, Refused, |p| sys(libc::SYS_fchmodat, &[HERE, text(&p.path("outside/victim")), 0o600])),
    way("fchmodat2", CHANGING, Refused, |p| sys(452, &[HERE, text(&p.path("outside/victim")), 0o600, 0])),
    way("chown", CHANGING, Refused, |p| sys(libc::SYS_chown, &[text(&p.path("outside/victim")), usize::MAX, usize::MAX])),
    way("lchown", CHANGING, Refused, |p| sys(libc::SYS_lchown, &[text(&p.path("outside/victim")), usize::MAX, usize::MAX])),
    way("fchown", CHANGING, Refused, |p| sys(libc::SYS_fchown, &[p.inside_fd, usize::MAX, usize::MAX])),
    way("fchownat", CHANGING, Refused, |p| sys(libc::SYS_fchownat, &[HERE, text(&p.path("outside/victim")), usize::MAX, usize::MAX, 0])),
    way("setxattr", CHANGING, Refused, |p| sys(libc::SYS_setxattr, &[text(&p.path("outside/victim")), text(c"user.a"), text(c"b"), 1, 0])),
    way("lsetxattr", CHANGING, Refused, |p| sys(libc::SYS_lsetxattr, &[text(&p.path("outside/victim")), text(c"user.a"), text(c"b"), 1, 0])),
    way("fsetxattr", CHANGING, Refused, |p| sys(libc::SYS_fsetxattr, &[p.inside_fd, text(c"user.a"), text(c"b"), 1, 0])),
    way("removexattr", CHANGING, Refused, |p| sys(libc::SYS_removexattr, &[text(&p.path("outside/victim")), text(c"user.a")])),
    way("setxattrat", CHANGING, Refused, |p| sys(463, &[HERE, text(&p.path("outside/victim")), 0, text(c"user.a"), 0, 0])),
    way("file_setattr", CHANGING, Refused, |p| sys(469, &[HERE, text(&p.path("outside/victim")), 0, 0, 0])),
    way("truncate", CHANGING, Refused, |p| sys(libc::SYS_truncate, &[text(&p.path("outside/victim")), 0])),
    way("truncate_inside", CHANGING, Refused, |p| sys(libc::SYS_truncate, &[text(&p.path("inside/file")), 0])),

    way("link", NAMES, Refused, |p| sys(libc::SYS_link, &[text(&secret(p)), text(&p.path("inside/taken"))])),
    way("linkat_into_the_grant", NAMES, Refused, |p| sys(libc::SYS_linkat, &[HERE, text(&secret(p)), p.inside_fd, text(c"taken"), 0])),
    way("linkat_out_of_the_grant", NAMES, Refused, |p| sys(libc::SYS_linkat, &[p.inside_fd, text(c"file"), HERE, text(&p.path("outside/taken")), 0])),
    way("linkat_of_a_descriptor", NAMES, Refused, |p| {
        let handle = openat2(HERE, &secret(p), O_PATH)?;
        sys(libc::SYS_linkat, &[handle, text(c""), p.inside_fd, text(c"taken"), AT_EMPTY_PATH as usize])
    }),
    way("rename", NAMES, Refused, |p| sys(libc::SYS_rename, &[text(&p.path("outside/victim")), text(&p.path("inside/taken"))])),
    way("renameat_into_the_grant", NAMES, Refused, |p| sys(libc::SYS_renameat, &[HERE, text(&p.path("outside/victim")), p.inside_fd, text(c"taken")])),
    way("renameat_out_of_the_grant", NAMES, Refused, |p| sys(libc::SYS_renameat, &[p.inside_fd, text(c"file"), HERE, text(&p.path("outside/taken"))])),
    way("renameat2_that_exchanges", NAMES, Refused, |p| sys(libc::SYS_renameat2, &[HERE, text(&p.path("outside/victim")), p.inside_fd, text(c"file"), 2])),
    way("symlink", NAMES, Refused, |p| sys(libc::SYS_symlink, &[text(c"/"), text(&p.path("outside/new"))])),
    way("symlinkat_outside", NAMES, Refused, |p| sys(libc::SYS_symlinkat, &[text(c"/"), HERE, text(&p.path("outside/new"))])),
    way("mkdir", NAMES, Refused, |p| sys(libc::SYS_mkdir, &[text(&p.path("outside/new")), 0o700])),
    way("mkdirat_outside", NAMES, Refused, |p| sys(libc::SYS_mkdirat, &[HERE, text(&p.path("outside/new")), 0o700])),
    way("rmdir", NAMES, Refused, |p| sys(libc::SYS_rmdir, &[text(&p.path("outside/empty"))])),
    way("unlink", NAMES, Refused, |p| sys(libc::SYS_unlink, &[text(&p.path("outside/victim"))])),
    way("unlinkat_outside", NAMES, Refused, |p| sys(libc::SYS_unlinkat, &[HERE, text(&p.path("outside/victim")), 0])),
    way("mknod", NAMES, Refused, |p| sys(libc::SYS_mknod, &[text(&p.path("outside/new")), (libc::S_IFIFO | 0o600) as usize, 0])),

    way("chdir", OTHER, Refused, |_| sys(libc::SYS_chdir, &[text(c"/")])),
    way("fchdir", OTHER, Refused, |p| sys(libc::SYS_fchdir, &[p.inside_fd])),
    way("umask", OTHER, Refused, |_| sys(libc::SYS_umask, &[0o22])),
    way("copy_file_range", OTHER, Refused, |_| sys(libc::SYS_copy_file_range, &[99, 0, 98, 0, 1, 0])),
    way("sendfile", OTHER, Refused, |_| sys(libc::SYS_sendfile, &[99, 98, 0, 1])),
    way("splice", OTHER, Refused, |_| sys(libc::SYS_splice, &[99, 0, 98, 0, 1, 0])),
    way("tee", OTHER, Refused, |_| sys(libc::SYS_tee, &[99, 98, 1, 0])),
    way("vmsplice", OTHER, Refused, |_| sys(libc::SYS_vmsplice, &[99, 0, 0, 0])),
    way("flock", OTHER, Refused, |p| sys(libc::SYS_flock, &[p.inside_fd, libc::LOCK_SH as usize])),
    way("inotify_init1", OTHER, Refused, |_| sys(libc::SYS_inotify_init1, &[0])),
    way("inotify_add_watch", OTHER, Refused, |_| sys(libc::SYS_inotify_add_watch, &[99, text(c"/"), 1])),
    way("fanotify_init", OTHER, Ends, |_| sys(libc::SYS_fanotify_init, &[0, 0])),
    way("fanotify_mark", OTHER, Refused, |_| sys(libc::SYS_fanotify_mark, &[99, 1, 1, HERE, text(c"/")])),
    way("lookup_dcookie", OTHER, Ends, |_| sys(libc::SYS_lookup_dcookie, &[0, 0, 0])),
    way("sync", OTHER, Refused, |_| sys(libc::SYS_sync, &[])),
];
