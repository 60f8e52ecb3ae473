#!/bin/sh
# Builds every kernel of this folder. The .wasm files are kept in the repository, so this is needed only
# after a change; then run `./check.py --record`. It takes clang and wasm-ld, and wat2wasm (wabt) for the
# one in text form. Names of sources may be given to build only those.
set -eu
cd "$(dirname "$0")"
CC=${CC:-clang}
objects=$(mktemp -d)
trap 'rm -rf "$objects"' EXIT

for source in ${@:-*.c *.wat}; do
    name=${source%.*}
    case $source in
        *.wat) wat2wasm --enable-tail-call "$source" -o "$name.wasm" ;;
        *)
            features=
            case $name in
                bulk) features=-mbulk-memory ;;
                simd) features=-msimd128 ;;
            esac
            # No built-in calls of memset and the like: there is no libc, and loops should stay loops.
            "$CC" --target=wasm32 -std=gnu11 -O2 -Wall -Wextra -Werror -ffreestanding -fno-builtin $features \
                -c "$source" -o "$objects/$name.o"
            "$CC" --target=wasm32 -nostdlib -Wl,--no-entry -Wl,--strip-all -Wl,-z,stack-size=65536 "$objects/$name.o" -o "$name.wasm"
            ;;
    esac
    printf '%8d  %s\n' "$(wc -c < "$name.wasm")" "$name.wasm"
done
