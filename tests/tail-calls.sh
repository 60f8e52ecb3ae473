#!/usr/bin/env bash
# Shows that the tail-call dispatcher does not grow the stack in a binary as it ships.
#
#     tests/tail-calls.sh target/release/palisade
#
# First by running: a kernel of millions of instructions on a host stack of 256 KiB. Then by reading: no handler may
# call what it should jump to. Without objdump the second part says "not run".
set -euo pipefail
binary=${1:?usage: tests/tail-calls.sh BINARY}
here=$(cd "$(dirname "$0")/.." && pwd)

"$binary" features | grep -q 'tail calls' || {
    echo "the tail-call dispatcher is not in use in $binary" >&2
    exit 1
}

# Kernel, argument, result: as in bench/kernels/kernels.json.
while read -r kernel arg expected; do
    found=$( (ulimit -s 256 && "$binary" run --invoke run "$here/bench/kernels/$kernel.wasm" -- "$arg") )
    if [ "$found" != "$expected" ]; then
        echo "$kernel on a small stack: expected $expected, found $found" >&2
        exit 1
    fi
done <<'KERNELS'
mixed 10 -450547203387040885
vm 10 -4901099357726590339
tailcall 50000 -1550964
simd 5 8572134295205174492
KERNELS
echo "four kernels ran on a stack of 256 KiB"

if ! command -v objdump >/dev/null; then
    echo "reading the handlers: not run, objdump is missing"
    exit 0
fi
# A lost sibling call shows as a call through a register, or through the word that an instruction begins with.
objdump -d --no-show-raw-insn "$binary" | awk '
    /^[0-9a-f]+ <.*palisade_interp.*state.*tail/ { name = $2; handlers++; inside = 1; next }
    /^$/ { inside = 0 }
    inside && /call +\*(%|\(%)/ { print "a call in " name ": " $0; lost++ }
    END {
        if (handlers < 1000) { print "only " handlers + 0 " handlers found: the check sees nothing"; exit 1 }
        if (lost) exit 1
        print handlers " handlers, each ends in a jump"
    }'
