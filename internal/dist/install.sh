#!/bin/sh
# Installs the Adit agent: fetches `adit` for this machine, compares its hash, registers the machine with the hub by a
# one-time code and sets up a service. `sh -s -- --check` only looks. `adit agent uninstall` takes everything back.
#
# All of it is one function, called on the last line; with the braces there, a script that was cut off anywhere is a
# syntax error and does nothing.

adit_install() {

adit_help() {
	cat <<'HELP'
Installs the Adit agent on this machine. The hub's page "Add device" shows the line to paste.

  --check      only look: what is here, what is missing, whether the hub can be reached; changes nothing
  --upgrade    renew the program of a machine that is registered already; needs no code
  --user       install for this user only, without root
  --bin-dir D  put the program into D
  --help       show this

  ADIT_CODE    the install code (one use, expires)
  ADIT_HUB_KEY fingerprint of the hub's key, SHA256:...
  ADIT_ALLOW   neighbours that may be reached through this machine, HOST:PORT by commas
  ADIT_ROOT_PASSWORD  yes lets the hub give root a new password, and keep it
HELP
}

adit_say() { printf '%s\n' "$*" >&2; }

adit_fail() {
	adit_say "adit: $*"
	exit 1
}

adit_has() { command -v "$1" >/dev/null 2>&1; }

# Which of the platforms that Adit is made for this is; empty where none.
adit_platform() {
	os=$(uname -s)
	machine=$(uname -m)
	case $os in
	Linux) os=linux ;;
	Darwin) os=darwin ;;
	*) return 0 ;;
	esac
	case $machine in
	x86_64 | amd64) arch=amd64 ;;
	aarch64 | arm64) arch=arm64 ;;
	armv7* | armv8*) arch=armv7 ;;
	armv6*) arch=armv6 ;;
	i?86) arch=386 ;;
	riscv64) arch=riscv64 ;;
	mipsel | mipsle) arch=mipsle ;;
	mips)
		# The kernel calls both byte orders mips; the sixth byte of any program tells them apart.
		arch=mips
		if [ "$(head -c 6 /bin/sh | tail -c 1)" = "$(printf '\001')" ]; then arch=mipsle; fi
		;;
	*) return 0 ;;
	esac
	printf '%s' "$os-$arch"
}

# How this distribution installs the packages named.
adit_how() {
	if adit_has apt-get; then
		echo "apt-get install -y $*"
	elif adit_has opkg; then
		echo "opkg update && opkg install $*"
	elif adit_has apk; then
		echo "apk add $*"
	elif adit_has dnf; then
		echo "dnf install -y $*"
	elif adit_has yum; then
		echo "yum install -y $*"
	elif adit_has pacman; then
		echo "pacman -S --noconfirm $*"
	elif adit_has zypper; then
		echo "zypper install -y $*"
	elif adit_has xbps-install; then
		echo "xbps-install -y $*"
	elif adit_has brew; then
		echo "brew install $*"
	else
		echo "install the package $* of this system"
	fi
}

# BusyBox wget encrypts without checking whom it talks to.
adit_wget_blind() {
	case $(wget --help 2>&1 || :) in
	*BusyBox*) return 0 ;;
	*) return 1 ;;
	esac
}

adit_fetcher() {
	if adit_has curl; then
		echo curl
	elif adit_has wget; then
		echo wget
	fi
}

# adit_fetch URL FILE
adit_fetch() {
	case $(adit_fetcher) in
	curl) curl -fsSL --connect-timeout 20 --retry 2 -o "$2" "$1" ;;
	wget) wget -q -O "$2" "$1" ;;
	*) return 1 ;;
	esac
}

# SHA-256 of stdin, in hex; nothing where no tool for it is here.
adit_sha256() {
	if adit_has sha256sum; then
		sum=$(sha256sum)
		printf '%s' "${sum%% *}"
	elif adit_has shasum; then
		sum=$(shasum -a 256)
		printf '%s' "${sum%% *}"
	elif adit_has openssl; then
		sum=$(openssl dgst -sha256)
		printf '%s' "${sum##* }"
	else
		cat >/dev/null
	fi
}

adit_sha256_tool() { adit_has sha256sum || adit_has shasum || adit_has openssl; }

adit_want() {
	printf '%s\n' "$adit_hashes" | while read -r name hash; do
		if [ "$name" = "$1" ]; then printf '%s' "$hash"; fi
	done
}

adit_root() { [ "$(id -u)" = 0 ]; }

adit_openwrt() { [ -e /etc/openwrt_release ]; }

# KiB that are free where DIR is; nothing where that cannot be told.
adit_free() {
	df -Pk "$1" 2>/dev/null | {
		read -r _ || :
		read -r _ _ _ free _ || :
		case ${free:-} in
		*[!0-9]*) ;;
		*) printf '%s' "${free:-}" ;;
		esac
	}
}

# Where OpenWrt's flash has no room for the program (9 MB, and some for everything else), it lies in RAM, and the service
# fetches it after each boot. What is in flash already stays there, and what is in RAM too.
adit_in_ram() {
	if ! adit_openwrt || [ -n "$adit_dir" ] || [ "$adit_for_user" = yes ]; then return 1; fi
	if [ -e /etc/adit/fetch ]; then return 0; fi
	if [ -e /usr/bin/adit ]; then return 1; fi
	room=$(adit_free /usr/bin)
	[ -n "$room" ] && [ "$room" -lt 11264 ]
}

adit_bin_dir() {
	if [ -n "$adit_dir" ]; then
		printf '%s' "$adit_dir"
	elif [ "$adit_for_user" = yes ]; then
		printf '%s' "$HOME/.local/bin"
	elif adit_in_ram; then
		printf '/tmp/adit'
	elif adit_openwrt; then
		printf '/usr/bin'
	else
		printf '/usr/local/bin'
	fi
}

# Where DIR or the nearest directory above it that exists can be written.
adit_writable() {
	dir=$1
	while [ ! -d "$dir" ]; do dir=$(dirname "$dir"); done
	[ -w "$dir" ]
}

adit_row() { printf '  %-8s %s\n' "$1" "$2"; }

# adit_need NAME COMMAND...: a row saying which of the commands is here; false if none is.
adit_need() {
	what=$1
	shift
	for tool in "$@"; do
		if adit_has "$tool"; then
			adit_row ok "$what: $tool"
			return 0
		fi
	done
	adit_row missing "$what; install it with: $(adit_how "$1")"
	return 1
}

adit_check() {
	bad=0
	echo "Looking only; nothing is changed."
	platform=$(adit_platform)
	if [ -z "$platform" ]; then
		adit_row no "Adit is not made for $(uname -s) on $(uname -m)"
		bad=1
	elif [ -z "$(adit_want "$platform")" ]; then
		adit_row no "this hub has no adit for $platform; its operator can add it"
		bad=1
	else
		adit_row ok "platform: $platform"
	fi
	adit_need "download" curl wget || bad=1
	adit_need "unpack" gunzip || bad=1
	adit_need "compare hashes" sha256sum shasum openssl || bad=1
	if [ "$(adit_fetcher)" = wget ] && adit_wget_blind; then
		adit_row note "BusyBox wget checks no certificates: use the page's line for wget, or: $(adit_how curl)"
	fi
	if [ -n "$(adit_fetcher)" ]; then
		if adit_fetch "$adit_hub/healthz" /dev/null 2>/dev/null; then
			adit_row ok "hub: $adit_hub"
		else
			adit_row no "hub: $adit_hub cannot be reached from here (name, route, proxy, clock or certificate)"
			bad=1
		fi
	fi
	if adit_in_ram; then
		adit_row note "flash: short of room for the program, so it goes into RAM and is fetched from the hub after each boot"
	elif adit_openwrt; then
		adit_row ok "flash: the program goes there"
	fi
	if adit_root; then
		if adit_writable "$(adit_bin_dir)"; then
			adit_row ok "root: for the whole system, into $(adit_bin_dir)"
		else
			adit_row no "$(adit_bin_dir) cannot be written; choose another place with --bin-dir"
			bad=1
		fi
	elif adit_has sudo; then
		adit_row note "not root: sudo will be offered; without it, for $(id -un) only, into $HOME/.local/bin"
	else
		adit_row note "not root: for $(id -un) only, into $HOME/.local/bin"
	fi
	if adit_has sshd || [ -x /usr/sbin/sshd ]; then
		adit_row ok "ssh: sshd is here and stays as it is; it will accept the hub's certificates too"
	else
		adit_row note "ssh: no sshd here; the agent's own SSH server answers, inside the tunnel only"
	fi
	adit_row ok "code: $(if [ -n "$adit_code" ]; then echo given; else echo "none, and none is needed to look"; fi)"
	if [ "$bad" = 0 ]; then
		echo "All is here."
	else
		echo "Something is missing; see above."
	fi
	return "$bad"
}

# Refuses early, with the way out, whatever would stop the installation half-way.
adit_preflight() {
	[ -n "$adit_code" ] || [ "$adit_upgrade" = yes ] ||
		adit_fail "there is no install code. Copy the whole line from the hub's page \"Add device\", or pass --check to only look."
	adit_platform_name=$(adit_platform)
	[ -n "$adit_platform_name" ] ||
		adit_fail "Adit is not made for $(uname -s) on $(uname -m). A machine with OpenSSH can do without the agent: see the hub's page."
	adit_hash=$(adit_want "$adit_platform_name")
	[ -n "$adit_hash" ] ||
		adit_fail "this hub has no adit for $adit_platform_name. Its operator adds it by this, and starts the hub again: make internal/dist/files/adit-$adit_platform_name.gz bin/adit-hub"
	[ -n "$(adit_fetcher)" ] || adit_fail "neither curl nor wget is here. Try: $(adit_how curl)"
	adit_has gunzip || adit_fail "gunzip is not here. Try: $(adit_how gzip)"
	adit_sha256_tool || adit_fail "none of sha256sum, shasum and openssl is here. Try: $(adit_how coreutils)"
	case $adit_hub in
	https:*)
		if [ "$(adit_fetcher)" = wget ] && [ -z "${ADIT_SHA256:-}" ] && adit_wget_blind; then
			adit_fail "BusyBox wget does not check whom it talks to. Use the page's line for wget, which compares a hash, or: $(adit_how curl)"
		fi
		;;
	esac
}

# Chooses between root, sudo and this user alone. Sets adit_as and adit_for_user.
adit_choose() {
	adit_as=
	if adit_root || [ "$adit_for_user" = yes ]; then
		return 0
	fi
	if adit_has sudo && (: </dev/tty) 2>/dev/null; then
		printf 'Install for the whole system with sudo (otherwise for %s only)? [Y/n] ' "$(id -un)" >/dev/tty
		read -r answer </dev/tty || answer=n
		case $answer in
		'' | y | Y | yes)
			adit_as=sudo
			return 0
			;;
		esac
	fi
	adit_for_user=yes
	[ -n "${HOME:-}" ] || adit_fail "there is no root, no sudo and no HOME to install into."
}

adit_cleanup() {
	if [ -n "${adit_new:-}" ]; then $adit_as rm -f "$adit_new"; fi
	if [ -n "${adit_work:-}" ]; then rm -rf "$adit_work"; fi
	return 0
}

# Fetches, compares and unpacks the program, and puts it beside its place under a name of its own.
adit_get() {
	# A name that nobody can lay beforehand, where there is mktemp; mkdir at least takes nothing that exists.
	adit_work=$(mktemp -d "${TMPDIR:-/tmp}/adit-install.XXXXXX" 2>/dev/null) || {
		mkdir "${TMPDIR:-/tmp}/adit-install.$$" || adit_fail "cannot make a directory in ${TMPDIR:-/tmp}."
		adit_work=${TMPDIR:-/tmp}/adit-install.$$
	}
	adit_say "Fetching adit for $adit_platform_name from $adit_hub"
	query=
	if [ -n "$adit_code" ]; then query="?for=$(printf '%s' "$adit_code" | adit_sha256)"; fi
	adit_fetch "$adit_hub/dl/adit-$adit_platform_name.gz$query" "$adit_work/adit.gz" ||
		adit_fail "cannot fetch $adit_hub/dl/adit-$adit_platform_name.gz. Nothing was installed."
	[ "$(adit_sha256 <"$adit_work/adit.gz")" = "$adit_hash" ] ||
		adit_fail "what was fetched is not what this script expects (hash differs): cut short, or changed on the way. Nothing was installed."
	gunzip -c "$adit_work/adit.gz" >"$adit_work/adit" || adit_fail "cannot unpack adit in $adit_work: is the disk full?"
	rm -f "$adit_work/adit.gz"

	bin_dir=$(adit_bin_dir)
	if adit_in_ram && [ -e "$bin_dir" ] && ! $adit_as test -O "$bin_dir"; then
		adit_fail "$bin_dir is somebody else's; remove it. Nothing was installed."
	fi
	# Readable by all, whatever the umask: sshd runs the program as nobody.
	# shellcheck disable=SC2016
	$adit_as sh -c 'umask 022 && mkdir -p "$1"' sh "$bin_dir" 2>/dev/null || adit_fail "cannot make $bin_dir. Choose another place: sh -s -- --bin-dir DIR"
	new=$bin_dir/.adit.new.$$
	$adit_as cp "$adit_work/adit" "$new" 2>/dev/null ||
		adit_fail "cannot write into $bin_dir (read-only, or full). Choose another place: sh -s -- --bin-dir DIR. Nothing was installed."
	adit_new=$new
	$adit_as chmod 755 "$adit_new"
	"$adit_new" version >/dev/null 2>&1 || adit_fail "the program does not run on this machine. Nothing was installed."
}

# Registers from the new program, so that a refusal leaves the machine as it was.
adit_enroll() {
	set -- --hub "$adit_hub" --code-stdin --installed "$(adit_bin_dir)/adit"
	if [ -n "$adit_hub_key" ]; then set -- "$@" --hub-key "$adit_hub_key"; fi
	if [ -n "${ADIT_ALLOW:-}" ]; then set -- "$@" --allow "$ADIT_ALLOW"; fi
	if [ "${ADIT_ROOT_PASSWORD:-}" = yes ]; then set -- "$@" --root-password; fi
	if [ -n "${ADIT_CA_FILE:-}" ]; then set -- "$@" --ca-file "$ADIT_CA_FILE"; fi
	if [ "$adit_short" = yes ]; then set -- "$@" --short; fi
	if [ "$adit_as" = sudo ] && [ -n "${HTTPS_PROXY:-}${https_proxy:-}" ]; then
		printf '%s\n' "$adit_code" | sudo --preserve-env=HTTPS_PROXY,https_proxy,NO_PROXY,no_proxy "$adit_new" agent enroll "$@"
	else
		printf '%s\n' "$adit_code" | $adit_as "$adit_new" agent enroll "$@"
	fi
}

adit_main() {
	set -eu
	umask 077
	adit_hub='@HUB@'
	adit_hub_key=${ADIT_HUB_KEY:-'@HUB_KEY@'}
	adit_code=${ADIT_CODE:-'@CODE@'}
	adit_short='@SHORT@'
	adit_hashes='@HASHES@'
	adit_for_user=no
	adit_dir=
	adit_upgrade=no
	only_look=no
	unset ADIT_CODE
	while [ $# -gt 0 ]; do
		case $1 in
		--check) only_look=yes ;;
		--upgrade) adit_upgrade=yes ;;
		--user) adit_for_user=yes ;;
		--bin-dir)
			[ $# -gt 1 ] || adit_fail "--bin-dir needs a directory."
			adit_dir=$2
			shift
			;;
		--help | -h)
			adit_help
			return 0
			;;
		*) adit_fail "$1 is unknown. --help shows what is known." ;;
		esac
		shift
	done
	if [ "$only_look" = yes ]; then
		adit_check
		return
	fi
	adit_preflight
	adit_choose
	trap adit_cleanup EXIT
	trap 'exit 1' HUP INT TERM
	adit_get
	bin=$(adit_bin_dir)/adit
	if [ "$adit_upgrade" = no ]; then
		adit_enroll || adit_fail "this machine was not registered, and nothing was installed."
	elif [ ! -e "$bin" ] && [ ! -e /etc/adit/fetch ]; then
		adit_fail "there is no $bin to renew. Nothing was installed."
	fi
	$adit_as mv -f "$adit_new" "$bin"
	adit_new=
	set -- agent install-service
	if adit_in_ram; then set -- "$@" --fetch "$adit_hub/dl/adit-$adit_platform_name.gz" --sha256 "$adit_hash"; fi
	$adit_as "$bin" "$@"
	if [ "$adit_for_user" = yes ]; then
		case :$PATH: in
		*:"$(adit_bin_dir)":*) ;;
		*) adit_say "Add $(adit_bin_dir) to PATH to type adit." ;;
		esac
	fi
}

adit_main "$@"
}

{ adit_install "$@"; }
