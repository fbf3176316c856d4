#!/bin/busybox sh
# The first and only program of the machine of tests/power: mounts the disk, runs three nodes and a proxy on it, and
# says on the console, in lines that begin with POWER, what the test wants to know. It never stops anything: the
# machine ends by a power cut.
/bin/busybox --install -s /bin
export PATH=/bin NO_COLOR=1
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
# Some kernels have some of these built in.
modprobe -a virtio_pci virtio_blk virtio_net crc32c_generic ext4 2>/dev/null
# The test's wishes are words of the kernel's command line.
found='' mount_options='' preload='' segment=1000000 ports=7001,7002,7003
for word in $(cat /proc/cmdline); do
  case $word in
    power.found) found=1 ;;
    power.mount=*) mount_options="-o ${word#power.mount=}" ;;
    power.preload=*) preload=${word#power.preload=} ;;
    power.segment=*) segment=${word#power.segment=} ;;
    power.ports=*) ports=${word#power.ports=} ;;
  esac
done
ip link set lo up
ip addr add 10.0.2.15/24 dev eth0
ip link set eth0 up

# shellcheck disable=SC2086
mount -t ext4 $mount_options /dev/vda /data || echo "POWER ended mount $?"
# What the cut left, before anybody tidies up.
(cd /data && ls -d n*/*/* 2>/dev/null | sed 's/^/POWER file /')

mkdir -p /etc
{
  echo "version = 1"
  number=1
  for port in ${ports//,/ }; do
    printf '[[node]]\nname = "n%s"\naddr = "127.0.0.1:%s"\n' $number "$port"
    number=$((number + 1))
  done
  printf '[[shard]]\nname = "a"\nnodes = ["n1", "n2", "n3"]\n[[shard]]\nname = "b"\nnodes = ["n2", "n3", "n1"]\n'
} >/etc/shards.toml
cd /data || echo "POWER ended cd $?"
export PONTOON_CONFIG=/etc/shards.toml
for node in n1 n2 n3; do
  (
    LD_PRELOAD=$preload pontoon node --name $node --data /data/$node \
      --snapshot-entries 100 --snapshot-bytes 100000 --log-segment-bytes "$segment"
    echo "POWER ended $node $?"
  ) &
done
if [ -n "$found" ]; then
  tries=0
  until pontoon init >/dev/null 2>/tmp.init; do
    tries=$((tries + 1))
    [ $tries -lt 60 ] || { cat /tmp.init; echo "POWER ended init 1"; break; }
    sleep 1
  done
fi
(
  pontoon proxy --listen 0.0.0.0:6379 --workers 1
  echo "POWER ended proxy $?"
) &
echo "POWER up"
while read -r word; do
  if [ "$word" = verify ]; then
    pontoon verify
    echo "POWER verified $?"
  fi
done
while :; do sleep 1000; done
