"""Hostile programs, as text modules: what each tries, and what it needs to try it.

Each is a command of WASI preview 1 with the directory `grant` as descriptor 3. It ends with status 0 if it got what
it wanted, and with the error number of WASI if it was refused; many never end by themselves.
"""

IMPORTS = """
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_allocate" (func $fd_allocate (param i32 i64 i64) (result i32)))
  (import "wasi_snapshot_preview1" "fd_filestat_set_size" (func $set_size (param i32 i64) (result i32)))
  (import "wasi_snapshot_preview1" "path_open" (func $path_open
    (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_symlink" (func $path_symlink (param i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "random_get" (func $random_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ_sizes (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_get" (func $environ (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
"""

HELPERS = """
  (memory (export "memory") 4 65536)
  (func $check (param $errno i32) (if (local.get $errno) (then (call $exit (local.get $errno)))))
  (func $print (param $at i32) (param $len i32)
    (i32.store (i32.const 64) (local.get $at)) (i32.store (i32.const 68) (local.get $len))
    (call $check (call $fd_write (i32.const 1) (i32.const 64) (i32.const 1) (i32.const 72))))
  ;; Opens a path for reading (rights 2), and writing (64), and prints what it holds.
  (func $open (param $at i32) (param $len i32) (param $flags i32) (param $create i32) (param $rights i64) (result i32)
    (call $check (call $path_open (i32.const 3) (local.get $flags) (local.get $at) (local.get $len)
      (local.get $create) (local.get $rights) (i64.const 0) (i32.const 0) (i32.const 80)))
    (i32.load (i32.const 80)))
  (func $show (param $fd i32)
    (i32.store (i32.const 64) (i32.const 4096)) (i32.store (i32.const 68) (i32.const 1000))
    (call $check (call $fd_read (local.get $fd) (i32.const 64) (i32.const 1) (i32.const 72)))
    (call $print (i32.const 4096) (i32.load (i32.const 72))))
"""


def command(body, extra=""):
    return f"(module {IMPORTS} {HELPERS} {extra} (func (export \"_start\") {body}))"


def reads(path, flags=1):
    """Opens a path and prints the file."""
    data = f'(data (i32.const 1024) "{path}")'
    opened = f"(call $open (i32.const 1024) (i32.const {len(path)}) (i32.const {flags}) (i32.const 0) (i64.const 2))"
    return command(f"(call $show {opened})", data)


def tables(count, targets):
    """A function of many wide branch tables."""
    table = f"(br_table {'0 1 ' * (targets // 2)} (local.get 0))"
    body = f"(block (block {table}))" * count
    return f'(module (memory (export "memory") 1) (func $f (param i32) {body}) (func (export "_start") (call $f (i32.const 0))))'


PROGRAMS = {
    "endless loop": command("(loop $l (br $l))"),
    "endless recursion": command("(call $deep)", "(func $deep (call $deep) (call $deep))"),
    "recursion without loops": command(
        "(drop (call $fib (i64.const 90)))",
        """(func $fib (param i64) (result i64) (if (result i64) (i64.lt_u (local.get 0) (i64.const 2))
          (then (local.get 0)) (else (i64.add (call $fib (i64.sub (local.get 0) (i64.const 1)))
            (call $fib (i64.sub (local.get 0) (i64.const 2)))))))""",
    ),
    "memory without end": command(
        """(local $at i32) (loop $l
          (br_if 1 (i32.eq (memory.grow (i32.const 16)) (i32.const -1)))
          (memory.fill (i32.sub (i32.shl (memory.size) (i32.const 16)) (i32.const 1048576)) (i32.const 1) (i32.const 1048576))
          (br $l))"""
    ),
    "a table of four billion": command(
        "(drop (table.grow $t (ref.null func) (i32.const 0x3fffffff)))(loop $l (br $l))", "(table $t 0 funcref)"
    ),
    "objects without end": command(
        """(local $l (ref null $list)) (loop $again
          (local.set $l (struct.new $list (local.get $l) (i64.const 1))) (br $again))""",
        "(type $list (struct (field (ref null $list)) (field i64)))",
    ),
    "throwing without end": command(
        "(loop $l (block $h (try_table (catch $e $h) (throw $e))) (br $l))", "(tag $e)"
    ),
    "copies of gigabytes": command(
        """(drop (memory.grow (i32.const 3000))) (loop $l
          (memory.copy (i32.const 0) (i32.const 1) (i32.const 190000000)) (br $l))"""
    ),
    "output without end": command("(loop $l (call $print (i32.const 0) (i32.const 65536)) (br $l))"),
    "a sleep for ever": command(
        """(i64.store (i32.const 1024) (i64.const 7)) (i32.store (i32.const 1040) (i32.const 1))
          (i64.store (i32.const 1048) (i64.const 0x7fffffffffffffff))
          (call $check (call $poll (i32.const 1024) (i32.const 2048) (i32.const 1) (i32.const 72)))"""
    ),
    "a read that never ends": command("(call $show (i32.const 0))"),
    "134 million subscriptions": command(
        "(call $check (call $poll (i32.const 1024) (i32.const 2048) (i32.const 0x8000000) (i32.const 72)))"
    ),
    "a path that goes up": reads("../outside/secret"),
    "a link that leads out": reads("link-out"),
    "an absolute link": reads("link-absolute"),
    "a link of its own that leads out": command(
        """(call $check (call $path_symlink (i32.const 1024) (i32.const 17) (i32.const 3) (i32.const 1056) (i32.const 4)))
          (call $show (call $open (i32.const 1056) (i32.const 4) (i32.const 1) (i32.const 0) (i64.const 2)))""",
        '(data (i32.const 1024) "../outside/secret") (data (i32.const 1056) "mine")',
    ),
    "a link with a slash behind it": reads("link-out/", 0),
    "a FIFO as a file": reads("fifo"),
    "memory of the process": reads("link-proc"),
    "descriptors without end": command(
        """(loop $l (drop (call $open (i32.const 1024) (i32.const 5) (i32.const 0) (i32.const 0) (i64.const 2))) (br $l))""",
        '(data (i32.const 1024) "plain")',
    ),
    "a file of eight exbibytes": command(
        """(local $fd i32)
          (local.set $fd (call $open (i32.const 1024) (i32.const 3) (i32.const 0) (i32.const 1) (i64.const 0x400140)))
          (call $check (call $set_size (local.get $fd) (i64.const 0x7fffffffffff0000)))""",
        '(data (i32.const 1024) "big")',
    ),
    "a terabyte of disk": command(
        """(local $fd i32)
          (local.set $fd (call $open (i32.const 1024) (i32.const 3) (i32.const 0) (i32.const 1) (i64.const 0x140)))
          (call $check (call $fd_allocate (local.get $fd) (i64.const 0) (i64.const 0x10000000000)))""",
        '(data (i32.const 1024) "big")',
    ),
    "random numbers without end": command(
        """(drop (memory.grow (i32.const 3000))) (loop $l
          (call $check (call $random_get (i32.const 131072) (i32.const 190000000))) (br $l))"""
    ),
    "the host's environment": command(
        """(call $check (call $environ_sizes (i32.const 1024) (i32.const 1028)))
          (call $check (call $environ (i32.const 2048) (i32.const 65536)))
          (call $print (i32.const 65536) (i32.load (i32.const 1028)))"""
    ),
    "wide branch tables": tables(200, 60000),
}

# What is expected to be possible only where this is given; everything else of a program is asked for in vain.
NEEDS_STDIN = {"a read that never ends"}
