#!/usr/bin/env python3
"""Hostile programs in Palisade, wasmtime and node: what each did with them.

    python3 bench/hostile/run.py [--palisade PROGRAM] [--seconds N] [NAME...]

Needs a `palisade` binary to make modules of the texts; wasmtime is its Python package (`pip install wasmtime`), node is
`node` on the path. A rival that is not there is said to be not run. Each program gets a fresh directory with links
that lead out, a FIFO, and a secret beside it, and is killed after N seconds (10). Palisade runs with `--sandbox`,
whatever the program needs allowed for that directory, and a deadline of half the time; wasmtime with fuel and limits on
memory and tables, all that it has; node as it is.
"""

import argparse
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

from programs import NEEDS_STDIN, PROGRAMS

HERE = os.path.dirname(os.path.abspath(__file__))
SECRET = b"a secret of the host"


def world(folder):
    """The directory that is granted, and what lies beside it."""
    grant = os.path.join(folder, "grant")
    os.makedirs(os.path.join(folder, "outside"))
    os.mkdir(grant)
    with open(os.path.join(folder, "outside", "secret"), "wb") as file:
        file.write(SECRET)
    with open(os.path.join(grant, "plain"), "wb") as file:
        file.write(b"nothing")
    os.symlink("../outside/secret", os.path.join(grant, "link-out"))
    os.symlink(os.path.join(folder, "outside", "secret"), os.path.join(grant, "link-absolute"))
    os.symlink("/proc/self/maps", os.path.join(grant, "link-proc"))
    os.mkfifo(os.path.join(grant, "fifo"))
    return grant


def run(command, stdin, seconds):
    """Status (or None if it was killed), seconds, peak memory in MB, bytes written, whether the secret was seen."""
    limits = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 50, 1 << 50))
    start = time.monotonic()
    child = subprocess.Popen(
        command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=limits,
        env={**os.environ, "PALISADE_SECRET": SECRET.decode()},
    )
    seen = {"bytes": 0, "secret": False, "errors": b""}

    def drain():
        while piece := child.stdout.read1(1 << 16):
            seen["bytes"] += len(piece)
            seen["secret"] |= SECRET in piece

    def errors():
        while piece := child.stderr.read1(1 << 16):
            seen["errors"] = (seen["errors"] + piece)[-4000:]

    threads = [threading.Thread(target=work, daemon=True) for work in (drain, errors)]
    for thread in threads:
        thread.start()
    killed = threading.Event()

    def kill():
        killed.set()
        child.send_signal(signal.SIGKILL)

    timer = threading.Timer(seconds, kill)
    timer.start()
    _, status, usage = os.wait4(child.pid, 0)
    timer.cancel()
    child.returncode = os.waitstatus_to_exitcode(status)
    for thread in threads:
        thread.join(2)
    took = time.monotonic() - start
    status = None if killed.is_set() else child.returncode
    return status, took, usage.ru_maxrss / 1024, seen


def verdict(status, took, memory, seen, folder):
    parts = ["KILLED" if status is None else f"status {status}", f"{took:.1f} s"]
    # What this process had when it began the other counts as the other's.
    if memory > 4 + resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:
        parts.append(f"{memory:.0f} MB")
    if seen["bytes"] > 1 << 20:
        parts.append(f"wrote {seen['bytes'] >> 20} MB")
    if seen["secret"]:
        parts.append("READ THE SECRET")
    big = os.path.join(folder, "grant", "big")
    if os.path.exists(big) and os.stat(big).st_size:
        size = os.stat(big)
        parts.append(f"file of {size.st_size >> 30} GiB, {size.st_blocks >> 21} GiB on disk")
    return ", ".join(parts)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--palisade", default=os.path.join(HERE, "../../target/release/palisade"))
    parser.add_argument("--node", default="node")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("names", nargs="*", metavar="NAME")
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in PROGRAMS]
    if unknown:
        sys.exit(f"no program is called {unknown[0]!r}; there are: " + ", ".join(PROGRAMS))
    try:
        import wasmtime  # noqa: F401
        from wasmtime import wat2wasm
    except ImportError:
        sys.exit("not run: the Python package `wasmtime`, which also makes modules of texts, is not installed")
    node = shutil.which(options.node)

    print("| program | palisade --sandbox | wasmtime, fuel and limits | node |\n|---|---|---|---|")
    for name in options.names or PROGRAMS:
        row = [name]
        for engine in ("palisade", "wasmtime", "node"):
            if engine == "node" and not node:
                row.append("not run")
                continue
            with tempfile.TemporaryDirectory() as folder:
                grant = world(folder)
                module = os.path.join(folder, "program.wasm")
                with open(module, "wb") as file:
                    file.write(wat2wasm(PROGRAMS[name]))
                if engine == "palisade":
                    command = [options.palisade, "run", module, "--sandbox", "--allow-read", "--allow-write",
                               "--allow-path", "--allow-clock", "--allow-random", "--dir", f"{grant}::/",
                               "--timeout", f"{int(options.seconds * 500)}ms"]
                elif engine == "wasmtime":
                    command = [sys.executable, os.path.join(HERE, "wasmtime_run.py"), module, grant]
                else:
                    command = [node, "--no-warnings", os.path.join(HERE, "node_run.mjs"), module, grant]
                # A pipe that nobody ever writes to.
                silent, writer = os.pipe()
                try:
                    stdin = silent if name in NEEDS_STDIN else subprocess.DEVNULL
                    row.append(verdict(*run(command, stdin, options.seconds), folder))
                finally:
                    os.close(silent)
                    os.close(writer)
        print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()
