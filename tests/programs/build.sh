#!/bin/sh
# Builds every program of this folder for wasm32-wasi. The .wasm files are kept in the repository, so
# this is needed only after a change. It takes clang, wasm-ld and wasi-libc (Debian and Ubuntu: clang
# lld wasi-libc libclang-rt-dev-wasm32); a wasi-sdk does too:
#     CC=/opt/wasi-sdk/bin/clang SYSROOT=/opt/wasi-sdk/share/wasi-sysroot ./build.sh
# Names of programs may be given to build only those.
set -eu
cd "$(dirname "$0")"
CC=${CC:-clang}
SYSROOT=${SYSROOT:-/usr}
objects=$(mktemp -d)
trap 'rm -rf "$objects"' EXIT

for source in ${@:-*.c}; do
    name=${source%.c}
    # Kept: the name section, so that backtraces have names. Everything else goes without.
    case $name in
        deep | probe | reactor | hog) strip=-Wl,--strip-debug ;;
        *) strip=-Wl,--strip-all ;;
    esac
    model=
    [ "$name" = reactor ] && model=-mexec-model=reactor
    # Compiled and linked apart: some clang versions run wasm-opt after a one-step build, if there is one.
    "$CC" --target=wasm32-wasi --sysroot="$SYSROOT" -std=gnu11 -Os -Wall -Wextra -Werror \
        -ffile-prefix-map="$PWD"=. -c "$name.c" -o "$objects/$name.o"
    "$CC" --target=wasm32-wasi --sysroot="$SYSROOT" $model $strip "$objects/$name.o" -o "$name.wasm"
    printf '%8d  %s\n' "$(wc -c < "$name.wasm")" "$name.wasm"
done
