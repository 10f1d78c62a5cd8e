#!/usr/bin/env bash
# Build the kernel's own FP stress tests (tools/testing/selftests/arm64/fp) from Debian's source package, and print the
# folder they are in. Nothing of theirs is in this project. Needs apt-get, xz-utils, gcc-aarch64-linux-gnu and
# libc6-dev-arm64-cross.
#
#   tests/selftests/build.sh [CACHE]       CACHE: ~/.cache/fpstate/selftests if not given
#
# What is there already is not built again. Without the package or the compiler, says so in one line and exits 1.
set -euo pipefail
package=linux-source-6.1
cache=${1:-${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/fpstate/selftests}
out=$cache/$package
programs=(fpsimd-test sve-test za-test fp-pidbench)

fail() {
    echo "the kernel's FP stress tests are not built: $1" >&2
    exit 1
}

built() {
    local name
    for name in "${programs[@]}"; do
        [[ -x $out/$name ]] || return 1
    done
}

if ! built; then
    command -v aarch64-linux-gnu-gcc >/dev/null || fail "there is no aarch64-linux-gnu-gcc (Debian's gcc-aarch64-linux-gnu)"
    command -v apt-get >/dev/null || fail "there is no apt-get, which gets $package"
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    (cd "$work" && apt-get download "$package" >apt.log 2>&1) || fail "apt-get has no $package"
    mkdir -p "$out"
    within=$package/tools/testing/selftests/arm64/fp
    dpkg-deb --fsys-tarfile "$work"/"$package"_*.deb | tar -xOf - "./usr/src/$package.tar.xz" |
        tar -xJf - -C "$work" "$within" || fail "$package does not have $within"
    cd "$work/$within"
    for name in "${programs[@]}"; do
        aarch64-linux-gnu-gcc -nostdlib -static "$name.S" asm-utils.S -o "$out/$name" 2>"$work/cc.log" ||
            fail "$name does not compile: $(head -n 1 "$work/cc.log")"
    done
fi
echo "$out"
