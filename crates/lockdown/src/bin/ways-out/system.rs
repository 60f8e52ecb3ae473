//! Ways out by everything that is no file: programs, memory, processes, sockets, the machine.

use libc::{MAP_ANONYMOUS, MAP_PRIVATE, PROT_EXEC, PROT_READ, PROT_WRITE, SIGCHLD};

use crate::place::Want::{self, Ends, IfCompiler, Refused};
use crate::place::{Place, Tried, Way, at, call, end_of_child, sys, text};

const fn way(name: &'static str, group: &'static str, want: Want, run: fn(&Place) -> Tried) -> Way {
    Way { name, group, want, run }
}

const PROGRAMS: &str = "starting programs and processes";
const MEMORY: &str = "making memory executable";
const OTHERS: &str = "reaching other processes";
const SELF: &str = "changing what this process is";
const SOCKETS: &str = "sockets";
const IPC: &str = "other means between processes";
const VIEWS: &str = "other views of the system";
const MACHINES: &str = "machines within the kernel";
const MACHINE: &str = "the machine";
const DEVICES: &str = "requests to devices and descriptors";
const DOORS: &str = "other doors to the kernel";

const PAGE: usize = 4096;
const RW: usize = (PROT_READ | PROT_WRITE) as usize;
const RX: usize = (PROT_READ | PROT_EXEC) as usize;
const RWX: usize = (PROT_READ | PROT_WRITE | PROT_EXEC) as usize;
const OWN: usize = (MAP_PRIVATE | MAP_ANONYMOUS) as usize;
const NO_FD: usize = usize::MAX;

/// A page of one's own.
fn page() -> Result<usize, i32> {
    call(libc::SYS_mmap, &[0, PAGE, RW, OWN, NO_FD, 0])
}

fn clone(flags: i32) -> Tried {
    if call(libc::SYS_clone, &[(flags | SIGCHLD) as usize, 0, 0, 0, 0])? == 0 {
        end_of_child();
    }
    Ok(())
}

fn socket(family: i32, kind: i32, protocol: usize) -> Tried {
    sys(libc::SYS_socket, &[family as usize, kind as usize, protocol])
}

fn prctl(what: i32, value: usize) -> Tried {
    sys(libc::SYS_prctl, &[what as usize, value, 0, 0, 0])
}

fn ioctl(request: u64) -> Tried {
    let room = [0u8; 256];
    sys(libc::SYS_ioctl, &[0, request as usize, at(&room)])
}

fn fcntl(command: i32, value: usize) -> Tried {
    sys(libc::SYS_fcntl, &[0, command as usize, value])
}

#[rustfmt::skip]
pub(crate) const WAYS: &[Way] = &[
    way("execve", PROGRAMS, Ends, |_| {
        let argv = [text(c"/bin/true"), 0];
        sys(libc::SYS_execve, &[text(c"/bin/true"), at(&argv), at(&argv) + 8])
    }),
    way("execveat_of_memory", PROGRAMS, Ends, |_| {
        let file = call(libc::SYS_memfd_create, &[text(c"x"), 0])?;
        let argv = [text(c"x"), 0];
        sys(libc::SYS_execveat, &[file, text(c""), at(&argv), at(&argv) + 8, libc::AT_EMPTY_PATH as usize])
    }),
    way("fork", PROGRAMS, Ends, |_| {
        if call(libc::SYS_fork, &[])? == 0 {
            end_of_child();
        }
        Ok(())
    }),
    way("vfork", PROGRAMS, Ends, |_| vfork()),
    way("clone_of_a_process", PROGRAMS, Ends, |_| clone(0)),
    way("clone_that_shares_memory_only", PROGRAMS, Ends, |_| clone(libc::CLONE_VFORK)),
    way("clone3", PROGRAMS, Refused, |_| {
        // Without room for its arguments no process begins.
        sys(libc::SYS_clone3, &[0, 64])
    }),
    way("uselib", PROGRAMS, Ends, |_| sys(libc::SYS_uselib, &[text(c"/lib")])),

    way("mmap_writable_and_executable", MEMORY, Refused, |_| sys(libc::SYS_mmap, &[0, PAGE, RWX, OWN, NO_FD, 0])),
    way("mmap_executable", MEMORY, Refused, |_| sys(libc::SYS_mmap, &[0, PAGE, RX, OWN, NO_FD, 0])),
    way("mmap_of_a_memory_file_executable", MEMORY, Refused, |_| {
        let file = call(libc::SYS_memfd_create, &[text(c"x"), 0])?;
        sys(libc::SYS_ftruncate, &[file, PAGE])?;
        sys(libc::SYS_mmap, &[0, PAGE, RX, libc::MAP_SHARED as usize, file, 0])
    }),
    way("mprotect_writable_and_executable", MEMORY, Refused, |_| sys(libc::SYS_mprotect, &[page()?, PAGE, RWX])),
    way("mprotect_writable_then_executable", MEMORY, IfCompiler, |_| sys(libc::SYS_mprotect, &[page()?, PAGE, RX])),
    way("mprotect_executable_then_writable", MEMORY, IfCompiler, |_| {
        let page = page()?;
        sys(libc::SYS_mprotect, &[page, PAGE, RX])?;
        sys(libc::SYS_mprotect, &[page, PAGE, RW])
    }),
    way("one_memory_mapped_twice_writable_and_executable", MEMORY, IfCompiler, |_| {
        let file = call(libc::SYS_memfd_create, &[text(c"x"), 0])?;
        sys(libc::SYS_ftruncate, &[file, PAGE])?;
        let shared = libc::MAP_SHARED as usize;
        sys(libc::SYS_mmap, &[0, PAGE, RW, shared, file, 0])?;
        let again = call(libc::SYS_mmap, &[0, PAGE, PROT_READ as usize, shared, file, 0])?;
        sys(libc::SYS_mprotect, &[again, PAGE, RX])
    }),
    way("mprotect_of_the_stack", MEMORY, Refused, |_| {
        let local = 0u8;
        sys(libc::SYS_mprotect, &[at(&local) & !(PAGE - 1), PAGE, RWX])
    }),
    way("pkey_mprotect", MEMORY, Refused, |_| sys(libc::SYS_pkey_mprotect, &[page()?, PAGE, RWX, NO_FD])),
    way("pkey_alloc", MEMORY, Refused, |_| sys(libc::SYS_pkey_alloc, &[1, 0])),
    way("remap_file_pages", MEMORY, Refused, |_| sys(libc::SYS_remap_file_pages, &[page()?, PAGE, 0, 0, 0])),
    way("shmat_executable", MEMORY, Refused, |_| sys(libc::SYS_shmat, &[usize::MAX, 0, 0o100000])),
    way("personality_that_makes_all_executable", MEMORY, Refused, |_| sys(libc::SYS_personality, &[0x0040_0000])),
    way("memfd_secret", MEMORY, Refused, |_| sys(447, &[usize::MAX])),
    way("map_shadow_stack", MEMORY, Refused, |_| sys(453, &[0, 1, usize::MAX])),
    way("modify_ldt", MEMORY, Ends, |_| {
        let room = [0u8; 64];
        sys(libc::SYS_modify_ldt, &[0, at(&room), 64])
    }),

    way("ptrace_of_the_parent", OTHERS, Ends, |p| sys(libc::SYS_ptrace, &[9999, p.parent, 0, 0])),
    way("ptrace_by_the_parent", OTHERS, Ends, |_| sys(libc::SYS_ptrace, &[libc::PTRACE_TRACEME as usize, 0, 0, 0])),
    way("process_vm_readv", OTHERS, Ends, |p| sys(libc::SYS_process_vm_readv, &[p.parent, 0, 0, 0, 0, 0])),
    way("process_vm_writev", OTHERS, Ends, |p| sys(libc::SYS_process_vm_writev, &[p.own, 0, 0, 0, 0, 0])),
    way("process_madvise", OTHERS, Refused, |_| sys(libc::SYS_process_madvise, &[99, 0, 0, 0, 0])),
    way("pidfd_open", OTHERS, Refused, |p| sys(libc::SYS_pidfd_open, &[p.parent, 0])),
    way("pidfd_getfd", OTHERS, Ends, |_| sys(libc::SYS_pidfd_getfd, &[99, 0, 0])),
    way("pidfd_send_signal", OTHERS, Refused, |_| sys(libc::SYS_pidfd_send_signal, &[99, 0, 0, 0])),
    way("kcmp", OTHERS, Ends, |p| sys(libc::SYS_kcmp, &[p.own, p.own, 0, 0, 0])),
    way("kill_the_parent", OTHERS, Refused, |p| sys(libc::SYS_kill, &[p.parent, 0])),
    way("kill_all", OTHERS, Refused, |_| sys(libc::SYS_kill, &[usize::MAX, 0])),
    way("tkill", OTHERS, Refused, |p| sys(libc::SYS_tkill, &[p.parent, 0])),
    way("tgkill_of_another", OTHERS, Refused, |p| sys(libc::SYS_tgkill, &[p.parent, p.parent, 0])),
    way("rt_sigqueueinfo", OTHERS, Refused, |p| sys(libc::SYS_rt_sigqueueinfo, &[p.parent, 0, 0])),
    way("rt_tgsigqueueinfo", OTHERS, Refused, |p| sys(libc::SYS_rt_tgsigqueueinfo, &[p.parent, p.parent, 0, 0])),
    way("prlimit64_of_another", OTHERS, Refused, |p| {
        let room = [0u8; 16];
        sys(libc::SYS_prlimit64, &[p.parent, 7, 0, at(&room)])
    }),
    way("sched_setaffinity", OTHERS, Refused, |p| sys(libc::SYS_sched_setaffinity, &[p.parent, 8, 0])),
    way("setpriority", OTHERS, Refused, |p| sys(libc::SYS_setpriority, &[0, p.own, 19])),
    way("ioprio_set", OTHERS, Refused, |_| sys(libc::SYS_ioprio_set, &[1, 0, 0x4007])),
    way("sched_setscheduler", OTHERS, Refused, |_| {
        let none = 0i32;
        sys(libc::SYS_sched_setscheduler, &[0, libc::SCHED_BATCH as usize, at(&none)])
    }),
    way("sched_setattr", OTHERS, Refused, |_| sys(libc::SYS_sched_setattr, &[0, 0, 0])),
    way("setpgid", OTHERS, Refused, |_| sys(libc::SYS_setpgid, &[0, 0])),
    way("setsid", OTHERS, Refused, |_| sys(libc::SYS_setsid, &[])),
    way("migrate_pages", OTHERS, Refused, |p| sys(libc::SYS_migrate_pages, &[p.own, 0, 0, 0])),
    way("move_pages", OTHERS, Refused, |p| sys(libc::SYS_move_pages, &[p.own, 0, 0, 0, 0, 0])),

    way("setuid", SELF, Ends, |_| sys(libc::SYS_setuid, &[usize::MAX])),
    way("setgid", SELF, Ends, |_| sys(libc::SYS_setgid, &[usize::MAX])),
    way("setresuid", SELF, Ends, |_| sys(libc::SYS_setresuid, &[usize::MAX; 3])),
    way("setresgid", SELF, Ends, |_| sys(libc::SYS_setresgid, &[usize::MAX; 3])),
    way("setgroups", SELF, Ends, |_| sys(libc::SYS_setgroups, &[1, 0])),
    way("capset", SELF, Ends, |_| sys(libc::SYS_capset, &[0, 0])),
    way("setrlimit", SELF, Refused, |_| {
        let limits = [16u64, 16];
        sys(libc::SYS_setrlimit, &[libc::RLIMIT_NOFILE as usize, at(&limits)])
    }),
    way("prlimit64_that_raises", SELF, Refused, |_| {
        let limits = [0u64, 0];
        sys(libc::SYS_prlimit64, &[0, libc::RLIMIT_CORE as usize, at(&limits), 0])
    }),
    way("prctl_dumpable", SELF, Refused, |_| prctl(libc::PR_SET_DUMPABLE, 1)),
    way("prctl_memory_map", SELF, Refused, |_| prctl(libc::PR_SET_MM, 99)),
    way("prctl_tracer", SELF, Refused, |_| prctl(libc::PR_SET_PTRACER, usize::MAX)),
    way("prctl_subreaper", SELF, Refused, |_| prctl(libc::PR_SET_CHILD_SUBREAPER, 1)),
    way("prctl_death_signal", SELF, Refused, |_| prctl(libc::PR_SET_PDEATHSIG, 0)),
    way("prctl_keep_capabilities", SELF, Refused, |_| prctl(libc::PR_SET_KEEPCAPS, 0)),
    way("prctl_user_dispatch", SELF, Refused, |_| prctl(59, 0)),
    way("prctl_seccomp", SELF, Refused, |_| prctl(libc::PR_SET_SECCOMP, 99)),
    way("seccomp", SELF, Ends, |_| sys(libc::SYS_seccomp, &[99, 0, 0])),
    way("landlock_create_ruleset", SELF, Refused, |_| sys(libc::SYS_landlock_create_ruleset, &[0, 0, 1])),
    way("arch_prctl", SELF, Refused, |_| sys(libc::SYS_arch_prctl, &[0x9999, 0])),

    way("socket_of_tcp", SOCKETS, Refused, |_| socket(libc::AF_INET, libc::SOCK_STREAM, 0)),
    way("socket_of_udp", SOCKETS, Refused, |_| socket(libc::AF_INET, libc::SOCK_DGRAM, 0)),
    way("socket_of_tcp_6", SOCKETS, Refused, |_| socket(libc::AF_INET6, libc::SOCK_STREAM, 0)),
    way("socket_of_unix", SOCKETS, Refused, |_| socket(libc::AF_UNIX, libc::SOCK_STREAM, 0)),
    way("socket_of_netlink", SOCKETS, Refused, |_| socket(libc::AF_NETLINK, libc::SOCK_RAW, 0)),
    way("socket_of_packets", SOCKETS, Refused, |_| socket(libc::AF_PACKET, libc::SOCK_RAW, 0)),
    way("socket_of_the_host", SOCKETS, Refused, |_| socket(libc::AF_VSOCK, libc::SOCK_STREAM, 0)),
    way("socket_of_ciphers", SOCKETS, Refused, |_| socket(libc::AF_ALG, libc::SOCK_SEQPACKET, 0)),
    way("socketpair", SOCKETS, Refused, |_| {
        let room = [0i32; 2];
        sys(libc::SYS_socketpair, &[libc::AF_UNIX as usize, libc::SOCK_STREAM as usize, 0, at(&room)])
    }),
    way("connect", SOCKETS, Refused, |_| sys(libc::SYS_connect, &[0, 0, 0])),
    way("bind", SOCKETS, Refused, |_| sys(libc::SYS_bind, &[0, 0, 0])),
    way("listen", SOCKETS, Refused, |_| sys(libc::SYS_listen, &[0, 1])),
    way("accept4", SOCKETS, Refused, |_| sys(libc::SYS_accept4, &[0, 0, 0, 0])),
    way("sendto_an_address", SOCKETS, Refused, |_| {
        let address = [0u8; 16];
        sys(libc::SYS_sendto, &[0, at(&address), 1, 0, at(&address), 16])
    }),
    way("sendmsg", SOCKETS, Refused, |_| sys(libc::SYS_sendmsg, &[0, 0, 0])),
    way("recvmsg", SOCKETS, Refused, |_| sys(libc::SYS_recvmsg, &[0, 0, 0])),
    way("sendmmsg", SOCKETS, Refused, |_| sys(libc::SYS_sendmmsg, &[0, 0, 1, 0])),
    way("setsockopt", SOCKETS, Refused, |_| sys(libc::SYS_setsockopt, &[0, 0, 0, 0, 0])),
    way("getpeername", SOCKETS, Refused, |_| sys(libc::SYS_getpeername, &[0, 0, 0])),

    way("shmget", IPC, Refused, |_| sys(libc::SYS_shmget, &[0x5041_4c49, 1, 0])),
    way("shmctl", IPC, Refused, |_| sys(libc::SYS_shmctl, &[usize::MAX, 2, 0])),
    way("msgget", IPC, Refused, |_| sys(libc::SYS_msgget, &[0x5041_4c49, 0])),
    way("msgsnd", IPC, Refused, |_| sys(libc::SYS_msgsnd, &[usize::MAX, 0, 0, 0])),
    way("semget", IPC, Refused, |_| sys(libc::SYS_semget, &[0x5041_4c49, 1, 0])),
    way("semop", IPC, Refused, |_| sys(libc::SYS_semop, &[usize::MAX, 0, 0])),
    way("mq_open", IPC, Refused, |_| sys(libc::SYS_mq_open, &[text(c"palisade-none"), 0, 0, 0])),
    way("mq_unlink", IPC, Refused, |_| sys(libc::SYS_mq_unlink, &[text(c"palisade-none")])),
    way("pipe2", IPC, Refused, |_| {
        let room = [0i32; 2];
        sys(libc::SYS_pipe2, &[at(&room), 0])
    }),
    way("timer_create", IPC, Refused, |_| sys(libc::SYS_timer_create, &[0, 0, 0])),
    way("timerfd_create", IPC, Refused, |_| sys(libc::SYS_timerfd_create, &[1, 0])),
    way("signalfd4", IPC, Refused, |_| sys(libc::SYS_signalfd4, &[usize::MAX, 0, 0, 0])),
    way("epoll_create1", IPC, Refused, |_| sys(libc::SYS_epoll_create1, &[0])),
    way("close_range", IPC, Refused, |_| sys(libc::SYS_close_range, &[1000, 1000, 0])),

    way("unshare", VIEWS, Ends, |_| sys(libc::SYS_unshare, &[libc::CLONE_NEWUSER as usize])),
    way("setns", VIEWS, Ends, |_| sys(libc::SYS_setns, &[99, 0])),
    way("clone_into_new_users", VIEWS, Ends, |_| clone(libc::CLONE_NEWUSER)),
    way("clone_into_new_mounts", VIEWS, Ends, |_| clone(libc::CLONE_NEWNS)),
    way("clone_into_new_processes", VIEWS, Ends, |_| clone(libc::CLONE_NEWPID)),
    way("clone_into_a_new_network", VIEWS, Ends, |_| clone(libc::CLONE_NEWNET)),
    way("clone_into_a_new_thread_and_view", VIEWS, Ends, |_| {
        sys(libc::SYS_clone, &[(libc::CLONE_VM | libc::CLONE_SIGHAND | libc::CLONE_THREAD | libc::CLONE_NEWUSER) as usize, 0, 0, 0, 0])
    }),
    way("chroot", VIEWS, Ends, |_| sys(libc::SYS_chroot, &[text(c"/none")])),
    way("pivot_root", VIEWS, Ends, |_| sys(libc::SYS_pivot_root, &[text(c"/none"), text(c"/none")])),
    way("mount", VIEWS, Ends, |_| sys(libc::SYS_mount, &[text(c"none"), text(c"/none"), text(c"tmpfs"), 0, 0])),
    way("umount2", VIEWS, Ends, |_| sys(libc::SYS_umount2, &[text(c"/none"), 0])),
    way("move_mount", VIEWS, Ends, |_| sys(libc::SYS_move_mount, &[99, text(c""), 98, text(c""), 0])),
    way("open_tree", VIEWS, Ends, |_| sys(libc::SYS_open_tree, &[99, text(c""), 0])),
    way("fsopen", VIEWS, Ends, |_| sys(libc::SYS_fsopen, &[text(c"none"), 0])),
    way("mount_setattr", VIEWS, Ends, |_| sys(libc::SYS_mount_setattr, &[99, text(c""), 0, 0, 0])),

    way("io_uring_setup", MACHINES, Ends, |_| sys(libc::SYS_io_uring_setup, &[0, 0])),
    way("io_uring_enter", MACHINES, Ends, |_| sys(libc::SYS_io_uring_enter, &[99, 1, 0, 0, 0, 0])),
    way("bpf", MACHINES, Ends, |_| sys(libc::SYS_bpf, &[9999, 0, 0])),
    way("perf_event_open", MACHINES, Ends, |_| sys(libc::SYS_perf_event_open, &[0, 0, 0, NO_FD, 0])),
    way("userfaultfd", MACHINES, Ends, |_| sys(libc::SYS_userfaultfd, &[0])),
    way("keyctl", MACHINES, Ends, |_| sys(libc::SYS_keyctl, &[9999, 0, 0, 0, 0])),
    way("add_key", MACHINES, Ends, |_| sys(libc::SYS_add_key, &[0, 0, 0, 0, 0])),
    way("request_key", MACHINES, Ends, |_| sys(libc::SYS_request_key, &[0, 0, 0, 0])),

    way("init_module", MACHINE, Ends, |_| sys(libc::SYS_init_module, &[0, 0, text(c"")])),
    way("finit_module", MACHINE, Ends, |_| sys(libc::SYS_finit_module, &[99, text(c""), 0])),
    way("delete_module", MACHINE, Ends, |_| sys(libc::SYS_delete_module, &[text(c"palisade-none"), 0])),
    way("kexec_load", MACHINE, Ends, |_| sys(libc::SYS_kexec_load, &[0, 9999, 0, usize::MAX])),
    way("kexec_file_load", MACHINE, Ends, |_| sys(libc::SYS_kexec_file_load, &[99, 98, 0, 0, usize::MAX])),
    way("reboot", MACHINE, Ends, |_| sys(libc::SYS_reboot, &[0, 0, 0, 0])),
    way("swapon", MACHINE, Ends, |_| sys(libc::SYS_swapon, &[text(c"/none"), 0])),
    way("swapoff", MACHINE, Ends, |_| sys(libc::SYS_swapoff, &[text(c"/none")])),
    way("acct", MACHINE, Ends, |_| sys(libc::SYS_acct, &[text(c"/none/none")])),
    way("quotactl", MACHINE, Ends, |_| sys(libc::SYS_quotactl, &[0, text(c"/none"), 0, 0])),
    way("syslog", MACHINE, Ends, |_| sys(libc::SYS_syslog, &[10, 0, 0])),
    way("settimeofday", MACHINE, Ends, |_| sys(libc::SYS_settimeofday, &[0, 0])),
    way("clock_settime", MACHINE, Ends, |_| sys(libc::SYS_clock_settime, &[0, 0])),
    way("clock_adjtime", MACHINE, Ends, |_| sys(libc::SYS_clock_adjtime, &[0, 0])),
    way("sethostname", MACHINE, Ends, |_| sys(libc::SYS_sethostname, &[0, usize::MAX])),
    way("iopl", MACHINE, Ends, |_| sys(libc::SYS_iopl, &[9])),
    way("ioperm", MACHINE, Ends, |_| sys(libc::SYS_ioperm, &[usize::MAX, 1, 1])),

    way("ioctl_that_types_into_the_terminal", DEVICES, Refused, |_| ioctl(libc::TIOCSTI)),
    way("ioctl_that_takes_the_terminal", DEVICES, Refused, |_| ioctl(libc::TIOCSCTTY)),
    way("ioctl_of_the_console", DEVICES, Refused, |_| ioctl(libc::TIOCLINUX)),
    way("ioctl_that_sets_the_terminal", DEVICES, Refused, |_| ioctl(libc::TCSETS)),
    way("ioctl_with_high_bits", DEVICES, Refused, |_| ioctl(0xdead_0000_5412)),
    way("fcntl_owner", DEVICES, Refused, |p| fcntl(libc::F_SETOWN, p.own)),
    way("fcntl_signal", DEVICES, Refused, |_| fcntl(10, 0)),
    way("fcntl_lease", DEVICES, Refused, |_| fcntl(libc::F_SETLEASE, libc::F_UNLCK as usize)),
    way("fcntl_notify", DEVICES, Refused, |_| fcntl(1026, 0)),
    way("fcntl_lock", DEVICES, Refused, |_| {
        let lock = [0u8; 32];
        fcntl(libc::F_GETLK, at(&lock))
    }),
    way("fcntl_pipe_size", DEVICES, Refused, |_| fcntl(1031, PAGE)),

    way("calls_of_32_bits", DOORS, Ends, |_| old_door(20)),
    way("execve_of_32_bits", DOORS, Ends, |_| old_door(11)),
    way("getpid_of_x32", DOORS, Refused, |_| sys(0x4000_0000 + libc::SYS_getpid, &[])),
    way("open_of_x32", DOORS, Refused, |_| sys(0x4000_0000 + libc::SYS_open, &[text(c"/"), 0])),
    way("execve_of_x32", DOORS, Refused, |_| sys(0x4000_0000 + 520, &[0, 0, 0])),
    way("a_number_that_no_kernel_has", DOORS, Refused, |_| sys(100_000, &[])),
];

/// The child of a `vfork` runs on its parent's stack, so it must end before anything returns there.
fn vfork() -> Tried {
    let answer: isize;
    // SAFETY: the child, for which the answer is 0, makes the call that ends it, and touches no memory; the parent
    // goes on behind. The kernel changes rax, rcx and r11, and the child's call rdi besides.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "mov eax, 60",
            "xor edi, edi",
            "syscall",
            "2:",
            inlateout("rax") libc::SYS_vfork => answer,
            out("rcx") _, out("r11") _, out("rdi") _,
        );
    }
    if answer < 0 { Err(-answer as i32) } else { Ok(()) }
}

/// A call by the door of 32-bit programs, without arguments.
fn old_door(number: isize) -> Tried {
    let answer: isize;
    // SAFETY: the calls made this way take no arguments or fail for the lack of them; the kernel changes rax, and
    // r8 to r11. rbx, the first argument, is kept and set to 0 around the call.
    unsafe {
        std::arch::asm!(
            "push rbx",
            "xor ebx, ebx",
            "int 0x80",
            "pop rbx",
            inlateout("rax") number => answer,
            in("rcx") 0, in("rdx") 0,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    let answer = answer as i32;
    if answer < 0 { Err(-answer) } else { Ok(()) }
}
