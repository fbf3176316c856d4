#!/usr/bin/env bash
# Makes what the machine of tests/power boots: Debian's cloud kernel and an initramfs with busybox, the modules that the
# machine needs, `pontoon` and its libraries. Everything lies in DIRECTORY; the kernel is fetched once.
#
# ground.sh DIRECTORY PONTOON
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
dir=$1 pontoon=$2
modules="virtio_pci virtio_blk virtio_net ext4 crc32c_generic"

missing=()
for need in qemu-system-x86_64:qemu-system-x86 busybox:busybox-static mkfs.ext4:e2fsprogs cc:gcc apt-get:apt; do
  PATH=$PATH:/sbin:/usr/sbin command -v "${need%%:*}" >/dev/null || missing+=("${need##*:}")
done
if ((${#missing[@]})); then
  echo "needed: apt-get install --no-install-recommends ${missing[*]}" >&2
  exit 1
fi

mkdir -p "$dir"
cd "$dir"
if [ ! -e kernel.done ]; then
  package=$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends:/ { print $2; exit }')
  [ -n "$package" ] || { echo "apt knows no linux-image-cloud-amd64: apt-get update?" >&2; exit 1; }
  rm -rf kernel ./*.deb
  apt-get download -q "$package" >/dev/null 2>&1 || { echo "apt-get download $package failed" >&2; exit 1; }
  dpkg-deb -x ./*.deb kernel
  rm ./*.deb
  busybox depmod -b kernel "$(ls kernel/lib/modules)"
  cp kernel/boot/vmlinuz-* vmlinuz
  touch kernel.done
fi

version=$(ls kernel/lib/modules)
rm -rf guest
mkdir -p guest/{bin,proc,sys,dev,data,lib64,etc} "guest/lib/modules/$version"
cp "$(command -v busybox)" guest/bin/busybox
ln -s busybox guest/bin/sh
install -m 755 "$here/init.sh" guest/init
(
  cd "kernel/lib/modules/$version"
  for module in $modules; do
    # A line of modules.dep: the module, then all that it needs.
    for file in $(grep -E "(^|/)$module\.ko[^ ]*:" modules.dep | tr -d :); do
      cp --parents "$file" "$dir/guest/lib/modules/$version"
    done
  done
)
busybox depmod -b guest "$version"

cp "$pontoon" guest/bin/pontoon
strip guest/bin/pontoon 2>/dev/null || true
ldd "$pontoon" | grep -o '/[^ ]*' | while read -r library; do
  mkdir -p "guest$(dirname "$library")"
  cp -L "$library" "guest$library"
done
cc -shared -fPIC -O1 -o guest/lib/lie.so "$here/lie.c"
(cd guest && find . | busybox cpio -o -H newc 2>/dev/null) >initramfs.new
mv initramfs.new initramfs
