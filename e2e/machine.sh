#!/bin/bash
# The first process of a test machine, started in namespaces of its own (mount, net, uts, pid). It makes private every
# directory that the test writes to, says "up", and reaps what its children leave. When it ends, everything in it ends.
#
# $1 is the hostname, $2 "device" or "host". A host shares /tmp and the homes with the test; a device has its own.
set -eu
name=$1
kind=$2

mount -t proc proc /proc
mount -t tmpfs -o mode=0755 tmpfs /mnt
mkdir /mnt/etc
cp -a /etc/. /mnt/etc/
mount --bind /mnt/etc /etc
mount -t tmpfs -o mode=0755 tmpfs /run
mkdir -p /run/lock /run/sshd

if [ "$kind" = device ]; then
	mount -t tmpfs -o mode=0755 tmpfs /home
	mount -t tmpfs -o mode=0700 tmpfs /root
	mount --bind /usr /usr
	mount -o remount,bind,ro /usr
	mount -t tmpfs -o mode=0755 tmpfs /usr/local
	mkdir -p /usr/local/bin /usr/local/sbin
	mount -t tmpfs -o mode=0755 tmpfs /var
	mkdir -p /var/log /var/lib /var/cache /var/spool /var/empty
	mkdir -m 1777 /var/tmp
	ln -s /run /var/run
	mount -t tmpfs -o mode=1777 tmpfs /tmp
fi

hostname "$name"
printf '127.0.0.1 localhost %s\n10.77.0.1 hub.adit.test\n' "$name" >/etc/hosts
echo 'nameserver 192.0.2.1' >/etc/resolv.conf # answers nobody: names come from /etc/hosts
ip link set lo up

trap 'exit 0' TERM
echo up
while :; do
	sleep 3600 &
	wait $! || :
done
