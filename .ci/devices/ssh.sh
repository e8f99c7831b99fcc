#!/usr/bin/env bash
# An ssh server and client, and an arm64 board without the board: an emulator, Debian's arm64 Python and the
# interpreter's wheel, in tests/.arm64 (see tests/e2e/test_runner_ssh.py).
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive
apt-get install -y -qq openssh-server openssh-client qemu-user-static >/dev/null

board="$(cd "$(dirname "$0")/../.." && pwd)/tests/.arm64"
[ ! -e "$board/python3" ] || exit 0
work="$(mktemp -d)"
had_arm64="$(dpkg --print-foreign-architectures | grep -x arm64 || true)"
finish() {
  rm -rf "$work"
  [ -n "$had_arm64" ] || dpkg --remove-architecture arm64
}
trap finish EXIT
dpkg --add-architecture arm64
apt-get update -qq
chmod 755 "$work" # apt downloads as a user of its own
cd "$work"
apt-get download -qq libc6:arm64 libgcc-s1:arm64 libstdc++6:arm64 zlib1g:arm64 libexpat1:arm64 libffi8:arm64 \
  libssl3:arm64 libbz2-1.0:arm64 liblzma5:arm64 libuuid1:arm64 \
  python3.11-minimal:arm64 libpython3.11-minimal:arm64 libpython3.11-stdlib:arm64 2>/dev/null
mkdir -p "$board/sysroot"
for package in *.deb; do
  dpkg -x "$package" "$board/sysroot"
done
python3 -m pip download -q --disable-pip-version-check --no-deps --only-binary=:all: --python-version 3.11 \
  --platform manylinux_2_34_aarch64 --platform manylinux2014_aarch64 -d "$work" tflite-runtime==2.14.0 numpy==1.26.4
for wheel in *.whl; do
  python3 -m zipfile -e "$wheel" "$board/site"
done
cat >"$work/python3" <<'WRAPPER'
#!/bin/sh
here="$(cd "$(dirname "$0")" && pwd)"
export PYTHONPATH="$here/site" PYTHONHOME="$here/sysroot/usr" PYTHONDONTWRITEBYTECODE=1
exec qemu-aarch64-static -L "$here/sysroot" "$here/sysroot/usr/bin/python3.11" "$@"
WRAPPER
chmod 755 "$work/python3"
mv "$work/python3" "$board/python3" # last: it says that the rest is whole
