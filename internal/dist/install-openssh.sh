#!/bin/sh
# Makes this machine a device of an Adit hub without any program of Adit's: stock OpenSSH keeps a connection to the hub,
# over its one HTTPS port, and people come back through it. `sh -s -- --check` only looks, `--uninstall` takes everything
# back. Needs sh, ssh, ssh-keygen and openssl.
#
# All of it is one function, called on the last line; with the braces there, a script that was cut off anywhere is a
# syntax error and does nothing.

adit_install() {

adit_help() {
	cat <<'HELP'
Makes this machine a device of the hub by stock OpenSSH, without our agent. The hub's page "Add device" shows the line to
paste. As root it is for the whole system; else, or with --user, for this user's account only.

  --check      only look: what is here, what is missing, whether the hub can be reached; changes nothing
  --user       for this user only, also as root
  --uninstall  take everything back
  --help       show this

  ADIT_CODE    the install code (one use, expires)
  ADIT_HUB_KEY fingerprint of the hub's key, SHA256:...
  ADIT_ALLOW   neighbours that may be reached through this machine, HOST:PORT by commas
  ADIT_FORWARD ports of this machine to offer beside SSH, by commas, as 1883
  ADIT_SSHD    where this machine's SSH server listens, HOST:PORT, where it is not found; or none
  ADIT_CA_FILE roots (PEM) to trust where a network inspects TLS
  HTTPS_PROXY  http://HOST:PORT, where there is no other way out; it is remembered
HELP
}

adit_say() { printf '%s\n' "$*" >&2; }

adit_fail() {
	adit_say "adit: $*"
	exit 1
}

adit_has() { command -v "$1" >/dev/null 2>&1; }

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
	else
		echo "install the package $* of this system"
	fi
}

adit_row() { printf '  %-8s %s\n' "$1" "$2"; }

adit_root() { [ "$(id -u)" = 0 ]; }

# Whether this is for the whole system.
adit_system() { [ "$adit_for_user" = no ]; }

# The program called $1, of those that root may trust and people have.
adit_program() {
	for place in /usr/sbin /usr/local/sbin /sbin /usr/bin /bin /usr/local/bin; do
		if [ -x "$place/$1" ]; then
			printf '%s' "$place/$1"
			return 0
		fi
	done
	command -v "$1" || :
}

# adit_limited SECONDS COMMAND...: the command, killed when it takes longer. openssl alone would wait for minutes.
adit_limited() {
	limit=$1
	shift
	exec 3<&0
	"$@" <&3 3<&- &
	limited=$!
	exec 3<&-
	(
		trap 'kill "$nap"; exit 0' TERM
		sleep "$limit" &
		nap=$!
		wait "$nap"
		kill "$limited"
	) </dev/null >/dev/null 2>&1 &
	watch=$!
	result=0
	wait "$limited" || result=$?
	kill "$watch" 2>/dev/null || :
	return "$result"
}

# The version of OpenSSH, as 9.2p1; nothing where ssh is another program.
adit_openssh() { ssh -V 2>&1 | sed -n 's/^OpenSSH_\([0-9][^ ,]*\).*/\1/p' | sed 1q; }

# ssh-keygen has checked signatures since 8.1.
adit_checks_signatures() {
	version=$(adit_openssh)
	major=${version%%.*}
	minor=${version#*.}
	minor=${minor%%[!0-9]*}
	[ "${major:-0}" -gt 8 ] || { [ "${major:-0}" = 8 ] && [ "${minor:-0}" -ge 1 ]; }
}

# openssl has proven the host's name since 1.1; LibreSSL has other options.
adit_openssl_serves() {
	case $(openssl version 2>/dev/null) in
	"OpenSSL 0."* | "OpenSSL 1.0."*) return 1 ;;
	"OpenSSL "*) return 0 ;;
	*) return 1 ;;
	esac
}

# Sets adit_via, the options that lead openssl through HTTPS_PROXY; empty without one.
adit_find_proxy() {
	adit_via=
	via=${HTTPS_PROXY:-${https_proxy:-}}
	if [ -z "$via" ]; then return 0; fi
	via=${via#http://}
	adit_via="-proxy $(adit_neighbour "${via%/}")" ||
		adit_fail "HTTPS_PROXY: without our agent it takes the form http://HOST:PORT, without a password."
}

# adit_reaches [ROOTS]: whether openssl reaches the hub and believes that it is the hub.
adit_reaches() {
	# shellcheck disable=SC2086 # options
	adit_limited 20 openssl s_client ${1:+-CAfile "$1"} $adit_via $adit_tls </dev/null >/dev/null 2>&1
}

# Sets adit_roots, the file of roots that openssl must be told of; empty where it finds them by itself. Some systems keep
# them where only curl looks.
adit_find_roots() {
	adit_roots=
	if [ -n "${ADIT_CA_FILE:-}" ]; then
		adit_roots=$ADIT_CA_FILE
		adit_reaches "$adit_roots"
		return
	fi
	if adit_reaches; then return 0; fi
	for adit_roots in /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/cert.pem /etc/ssl/ca-bundle.pem; do
		if [ -r "$adit_roots" ] && adit_reaches "$adit_roots"; then return 0; fi
	done
	adit_roots=
	return 1
}

# The ProxyCommand, with these roots and the proxy.
adit_proxy_with() {
	options="${1:+-CAfile $1 }${adit_via:+$adit_via }"
	printf '%s' "${adit_proxy%%s_client *}s_client $options${adit_proxy#*s_client }"
}

# Whether an SSH server answers through the hub's one port and whatever stands before it.
adit_passes() {
	inner=$(adit_proxy_with "$adit_roots")
	inner=${inner#"sh -c '"}
	case $(sleep 4 | sh -c "${inner%"'"}" 2>/dev/null | tr -d '\r\000' | sed -n '/^SSH-2/{p;q;}') in
	SSH-2*) return 0 ;;
	*) return 1 ;;
	esac
}

# What the SSH server at HOST:PORT calls itself; nothing where none answers. It is left before anybody logs in.
adit_greet() {
	greeted=${1%:*}
	greeted=${greeted#\[}
	ssh -v -F /dev/null -o BatchMode=yes -o ConnectTimeout=5 -o StrictHostKeyChecking=yes -o UserKnownHostsFile=/dev/null \
		-o GlobalKnownHostsFile=/dev/null -p "${1##*:}" "nobody@${greeted%\]}" true 2>&1 </dev/null |
		tr -d '\r' | sed -n 's/.*remote software version //p' | sed 1q
}

# sshd's own account of its settings, which only root gets; else what its files say about ports.
adit_sshd_settings() {
	program=$(adit_program sshd)
	if adit_system; then
		if [ -n "$program" ]; then "$program" -T 2>/dev/null || :; fi
	else
		adit_sshd_files | sed -n 's/^[[:space:]]*[Pp][Oo][Rr][Tt][[:space:]=]\{1,\}\([0-9]\{1,\}\).*/port \1/p'
	fi
}

adit_sshd_files() (
	set +f
	cat /etc/ssh/sshd_config.d/*.conf /etc/ssh/sshd_config 2>/dev/null || :
)

# adit_setting KEY: the first value of it in adit_settings.
adit_setting() { printf '%s\n' "$adit_settings" | sed -n "s/^$1 //p" | sed 1q; }

# Where sshd is to be reached from this machine itself.
adit_sshd_address() {
	port=$(adit_setting port)
	port=${port:-22}
	listens=$(printf '%s\n' "$adit_settings" | sed -n "s/^listenaddress \(.*:$port\)\$/\1/p")
	case $listens in
	'' | *0.0.0.0:* | *127.0.0.1:*) printf '127.0.0.1:%s' "$port" ;;
	*"[::]:"*) printf '[::1]:%s' "$port" ;;
	*) printf '%s\n' "$listens" | sed 1q ;;
	esac
}

# Sets adit_settings, adit_server (openssh, dropbear or none), adit_address and adit_version.
adit_find_sshd() {
	adit_settings=$(adit_sshd_settings)
	adit_address=${ADIT_SSHD:-$(adit_sshd_address)}
	adit_server=none
	adit_version=
	if [ "$adit_address" = none ]; then return 0; fi
	adit_neighbour "$adit_address" >/dev/null || adit_fail "ADIT_SSHD: $adit_address is not HOST:PORT, as 127.0.0.1:22, nor none."
	adit_version=$(adit_greet "$adit_address")
	case $adit_version in
	'') ;;
	dropbear*) adit_server=dropbear ;;
	*) adit_server=openssh ;;
	esac
}

# adit_neighbour HOST:PORT: the same, if it is one.
adit_neighbour() {
	neighbour=${1#tcp:}
	port=${neighbour##*:}
	host=${neighbour%:*}
	case $port in
	'' | 0* | *[!0-9]* | ??????*) return 1 ;;
	esac
	[ "$port" -le 65535 ] || return 1
	case $host in
	"[]" | "$neighbour") return 1 ;;
	"["*"]")
		inside=${host#\[}
		case ${inside%\]} in
		*[!0-9a-fA-F:.]*) return 1 ;;
		esac
		;;
	'' | -* | *[!A-Za-z0-9._-]*) return 1 ;;
	esac
	printf '%s\n' "$neighbour"
}

# adit_add_neighbours LIST: adds what is in it, by commas, to adit_allow, each once. False at what is no neighbour, $entry.
adit_add_neighbours() {
	for entry in $(printf '%s' "$1" | tr ',' ' '); do
		neighbour=$(adit_neighbour "$entry") || return 1
		case "$adit_allow " in
		*" $neighbour "*) ;;
		*) adit_allow="$adit_allow $neighbour" ;;
		esac
	done
}

# Reads ADIT_ALLOW and ADIT_FORWARD into adit_allow and adit_ports, each word led by a space.
adit_read_lists() {
	adit_allow=
	adit_ports=
	adit_add_neighbours "${ADIT_ALLOW:-}" ||
		adit_fail "ADIT_ALLOW: $entry is not one HOST:PORT, as 192.168.1.10:80. Without our agent each neighbour is named by itself."
	for entry in $(printf '%s' "${ADIT_FORWARD:-}" | tr ',' ' '); do
		adit_neighbour "localhost:$entry" >/dev/null || adit_fail "ADIT_FORWARD: $entry is no port of this machine, as 1883."
		case "$adit_ports 22 " in # 22 is sshd
		*" $entry "*) ;;
		*) adit_ports="$adit_ports $entry" ;;
		esac
	done
}

# Why no file of ours may be added to sshd's settings; nothing where one may.
adit_no_drop_in() {
	if ! adit_system; then
		echo "without root sshd's settings stay as they are"
	elif [ -z "$adit_settings" ]; then
		echo "sshd here does not tell its settings"
	elif [ ! -d /etc/ssh/sshd_config.d ]; then
		echo "sshd here reads no /etc/ssh/sshd_config.d"
	elif [ ! -x /bin/echo ] && [ ! -x /usr/bin/echo ]; then
		echo "there is no program echo"
	elif ! id nobody >/dev/null 2>&1; then
		echo "there is no account nobody"
	elif printf '%s\n' "$adit_settings" | sed -n '/^trustedusercakeys /p; /^authorizedprincipals/p' | grep -qv ' none$'; then
		echo "sshd here has settings of its own for certificates, which stay as they are"
	elif adit_sshd_files | grep -qiE '^[[:space:]]*(trustedusercakeys|authorizedprincipals[a-z]*)[[:space:]=]'; then
		echo "sshd here has settings of its own for some certificates, which stay as they are"
	fi
}

# What will keep the connection up: a service manager counts only where it runs.
adit_manager() {
	if adit_system && [ -d /run/systemd/system ] && adit_has systemctl; then
		echo systemd
	elif adit_system && [ -e /run/openrc/softlevel ] && [ -x /sbin/openrc-run ] && adit_has supervise-daemon; then
		echo openrc
	elif ! adit_system && [ -n "${XDG_RUNTIME_DIR:-}" ] && systemctl --user show-environment >/dev/null 2>&1; then
		echo systemd-user
	else
		echo loop
	fi
}

adit_sender() {
	if adit_has curl; then
		echo curl
	elif adit_has wget && case $(wget --version 2>&1) in *"GNU Wget"*) true ;; *) false ;; esac; then
		echo wget # BusyBox wget does not check whom it talks to
	else
		echo openssl
	fi
}

adit_check_programs() {
	if [ -n "$(adit_openssh)" ]; then
		adit_row ok "ssh: OpenSSH $(adit_openssh)"
	else
		adit_row missing "OpenSSH's ssh; install it with: $(adit_how openssh-client)"
		bad=1
	fi
	if ! adit_has ssh-keygen; then
		adit_row missing "ssh-keygen; install it with: $(adit_how openssh-client)"
		bad=1
	elif adit_checks_signatures; then
		adit_row ok "ssh-keygen: checks the hub's signature"
	else
		adit_row note "ssh-keygen: older than 8.1, so it cannot check the hub's signature"
	fi
	if adit_openssl_serves; then
		adit_row ok "openssl: $(openssl version)"
	else
		adit_row missing "OpenSSL 1.1 or newer; install it with: $(adit_how openssl)"
		bad=1
	fi
}

adit_check_hub() {
	if [ -z "$adit_tls" ]; then
		adit_row no "hub: $adit_hub is not https, which the way in without our agent needs"
		bad=1
	elif ! adit_openssl_serves; then
		adit_row no "hub: not tried without openssl"
	elif adit_find_proxy && ! adit_find_roots; then
		adit_row no "hub: $adit_hub cannot be reached from here (name, route, proxy, clock or certificate)"
		bad=1
	else
		adit_row ok "hub: $adit_hub${adit_roots:+ (by the roots in $adit_roots)}"
		if adit_passes; then
			adit_row ok "hub: SSH passes what stands before it"
		else
			adit_row no "hub: SSH does not pass what stands before it; its operator can ask: adit-hub doctor"
			bad=1
		fi
	fi
}

adit_check_sshd() {
	adit_find_sshd
	case $adit_server in
	none)
		adit_row no "sshd: none answers at $adit_address; $(adit_how openssh-server), or say where by ADIT_SSHD"
		bad=1
		;;
	dropbear) adit_row note "sshd: Dropbear knows no certificates, so people log in by passwords and keys of their own" ;;
	openssh)
		adit_row ok "sshd: $adit_version at $adit_address"
		why=$(adit_no_drop_in)
		if [ -z "$why" ]; then
			adit_row ok "certificates: by a file in /etc/ssh/sshd_config.d"
		else
			adit_row note "certificates: by a line in authorized_keys of $(id -un) ($why)"
		fi
		;;
	esac
}

adit_check() {
	bad=0
	echo "Looking only; nothing is changed."
	adit_check_programs
	adit_check_hub
	if [ -n "$(adit_openssh)" ]; then adit_check_sshd; fi
	case $(adit_manager) in
	systemd) adit_row ok "kept up by: systemd" ;;
	openrc) adit_row ok "kept up by: OpenRC" ;;
	systemd-user) adit_row ok "kept up by: systemd of $(id -un)" ;;
	loop) adit_row note "kept up by: a small script, since no service manager runs here" ;;
	esac
	if adit_system; then
		adit_row ok "root: for the whole system"
	else
		adit_row note "for $(id -un) only; become root first to make it for the whole system"
	fi
	if [ -e "$adit_dir/installed" ]; then adit_row note "this machine is a device already ($adit_dir)"; fi
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
	[ -n "$adit_code" ] ||
		adit_fail "there is no install code. Copy the whole line from the hub's page \"Add device\", or pass --check to only look."
	[ -n "$adit_tls" ] || adit_fail "the hub is at $adit_hub. Without our agent the way in needs https."
	[ -n "$(adit_openssh)" ] || adit_fail "OpenSSH's ssh is not here. Try: $(adit_how openssh-client)"
	adit_has ssh-keygen || adit_fail "ssh-keygen is not here. Try: $(adit_how openssh-client)"
	adit_openssl_serves || adit_fail "OpenSSL 1.1 or newer is not here. Try: $(adit_how openssl)"
	if [ -e "$adit_dir/installed" ]; then
		adit_fail "this machine is $(adit_recorded name) of $(adit_recorded hub) already. To take it out: the same line with \`sh -s -- --uninstall\`."
	fi
	[ -z "${ADIT_CA_FILE:-}" ] || [ -r "$ADIT_CA_FILE" ] || adit_fail "ADIT_CA_FILE: $ADIT_CA_FILE cannot be read."
	adit_read_lists
	adit_find_sshd
	if [ "$adit_server" = none ] && [ "$adit_address" != none ]; then
		adit_fail "no SSH server answers at $adit_address. Try: $(adit_how openssh-server), or say where it is by ADIT_SSHD=HOST:PORT."
	fi
	[ "$adit_address" != none ] || [ -n "$adit_ports$adit_allow" ] || adit_fail "with ADIT_SSHD=none name what to offer by ADIT_FORWARD."
	adit_find_proxy
	adit_find_roots || adit_fail "$adit_hub cannot be reached from here (name, route, proxy, clock or certificate). Nothing was changed."
}

# adit_record KEY VALUE: remembered for --uninstall, before what it tells of is done.
adit_record() { printf '%s %s\n' "$1" "$2" >>"$adit_dir/state"; }

adit_recorded() { sed -n "s/^$1 //p" "$adit_dir/state" 2>/dev/null | sed 1q; }

adit_cleanup() {
	if [ -n "${adit_work:-}" ]; then rm -rf "$adit_work"; fi
	if [ "${adit_fresh:-no}" = yes ]; then
		rm -f "$adit_dir/id_ed25519" "$adit_dir/id_ed25519.pub"
		rmdir "$adit_dir" 2>/dev/null || :
	fi
	return 0
}

adit_make_key() {
	if [ ! -e "$adit_dir" ]; then adit_fresh=yes; fi
	mkdir -p "$adit_dir" 2>/dev/null || adit_fail "cannot make $adit_dir. Nothing was changed."
	if [ ! -e "$adit_dir/id_ed25519" ]; then
		ssh-keygen -q -t ed25519 -N '' -C adit -f "$adit_dir/id_ed25519" </dev/null ||
			adit_fail "cannot make a key in $adit_dir (read-only, or full). Nothing was changed."
	fi
	# A name that nobody can lay beforehand, where there is mktemp; mkdir at least takes nothing that exists.
	adit_work=$(mktemp -d "${TMPDIR:-/tmp}/adit-install.XXXXXX" 2>/dev/null) || {
		mkdir "${TMPDIR:-/tmp}/adit-install.$$" || adit_fail "cannot make a directory in ${TMPDIR:-/tmp}."
		adit_work=${TMPDIR:-/tmp}/adit-install.$$
	}
}

# The first two words of a public key's file: what is left without its comment.
adit_key() { sed -n 's/^\([^ ]* [^ ]*\).*/\1/p' "$1" | sed 1q; }

# One string of JSON: the text without control characters, quoted.
adit_json() { printf '"%s"' "$(printf '%s' "$1" | tr -d '\000-\037\177' | sed 's/\\/\\\\/g; s/"/\\"/g')"; }

# The public halves of sshd's host keys, as a list of JSON.
adit_host_keys() {
	files=$(printf '%s\n' "$adit_settings" | sed -n 's/^hostkey //p')
	comma=
	printf '['
	for file in ${files:-/etc/ssh/ssh_host_ed25519_key /etc/ssh/ssh_host_ecdsa_key /etc/ssh/ssh_host_rsa_key}; do
		if [ "$adit_server" = openssh ] && [ -r "$file.pub" ]; then
			printf '%s' "$comma"
			adit_json "$(adit_key "$file.pub")"
			comma=,
		fi
	done
	printf ']'
}

adit_os() { sed -n 's/^PRETTY_NAME="\{0,1\}\([^"]*\)"\{0,1\}$/\1/p' /etc/os-release 2>/dev/null | sed 1q; }

adit_facts() {
	os=$(adit_os)
	printf '{"hostname":%s,"os":%s,"kernel":%s,"arch":%s,' "$(adit_json "$(uname -n)")" "$(adit_json "${os:-$(uname -s)}")" \
		"$(adit_json "$(uname -s) $(uname -r)")" "$(adit_json "$(uname -m)")"
	if adit_system; then
		printf '"install":"system",'
	else
		printf '"install":"user","login":%s,' "$(adit_json "$(id -un)")"
	fi
	printf '"ssh":{"server":"%s"' "$adit_server"
	if [ "$adit_server" != none ]; then
		printf ',"version":%s,"address":%s,"trust":"%s"' "$(adit_json "$adit_version")" "$(adit_json "$adit_address")" "$adit_planned"
	fi
	printf '}}'
}

# The request's body. A here-document: the code is in nobody's arguments, whatever the shell.
adit_body() {
	short=false
	if [ "$adit_short" = yes ]; then short=true; fi
	cat <<BODY
{"code":"$adit_code","public_key":$(adit_json "$adit_own_key"),"hostname":$(adit_json "$(uname -n)"),"facts":$(adit_facts),"ssh_host_keys":$(adit_host_keys),"via":"openssh","short":$short}
BODY
}

# Posts the body and leaves the answer's text in $adit_work/answer. Sets adit_status, an HTTP status or nothing.
adit_post() {
	to=$adit_hub/api/v1/enroll
	case $(adit_sender) in
	curl)
		adit_status=$(curl -sS --connect-timeout 20 --max-time 60 ${adit_roots:+--cacert "$adit_roots"} -o "$adit_work/answer" \
			-w '%{http_code}' -H 'Content-Type: application/json' --data-binary "@$adit_work/body" "$to") || adit_status=
		;;
	wget)
		adit_status=200
		wget -q --content-on-error --timeout=60 --tries=1 ${adit_roots:+--ca-certificate="$adit_roots"} -O "$adit_work/answer" \
			--header='Content-Type: application/json' --post-file="$adit_work/body" "$to" || adit_status=error
		[ -s "$adit_work/answer" ] || adit_status=
		;;
	*) adit_post_by_openssl ;;
	esac
}

adit_post_by_openssl() {
	{
		printf 'POST /api/v1/enroll HTTP/1.1\r\nHost: %s\r\nUser-Agent: openssl\r\nContent-Type: application/json\r\n' "$adit_authority"
		printf 'Content-Length: %s\r\nConnection: close\r\n\r\n' "$(wc -c <"$adit_work/body" | tr -d ' ')"
		cat "$adit_work/body"
	} >"$adit_work/request"
	# shellcheck disable=SC2086 # options
	adit_limited 60 openssl s_client -quiet ${adit_roots:+-CAfile "$adit_roots"} $adit_via $adit_tls \
		<"$adit_work/request" >"$adit_work/reply" || :
	rm -f "$adit_work/request"
	adit_status=$(tr -d '\r' <"$adit_work/reply" | sed -n '1s/^HTTP[^ ]* \([0-9]*\).*/\1/p')
	# A body in chunks has lines with their lengths in between; what we wait for is one line of JSON.
	tr -d '\r' <"$adit_work/reply" | sed '1,/^$/d; /^[0-9a-fA-F]\{1,8\}$/d' | tr -d '\n' >"$adit_work/answer"
}

# adit_field NAME: a string of the answer. None that we use has an escaped character.
adit_field() { sed -n 's/.*"'"$1"'":"\([^"\\]*\)".*/\1/p' "$adit_work/answer" | sed 1q; }

adit_enroll() {
	adit_own_key=$(adit_key "$adit_dir/id_ed25519.pub")
	adit_planned=none
	if [ "$adit_server" = openssh ]; then
		adit_planned=authorized_keys
		if [ -z "$(adit_no_drop_in)" ]; then adit_planned=sshd_config; fi
	fi
	adit_body >"$adit_work/body"
	adit_post
	rm -f "$adit_work/body"
	case $adit_status in
	'' | 200 | 5??) adit_fresh=no ;; # the code may be used up: the same key gets the same answer again
	esac
	[ -n "$adit_status" ] || adit_fail "the hub at $adit_hub did not answer. Nothing was changed but that $adit_dir has a key; the same line tries again."
	if [ "$adit_status" != 200 ]; then
		detail=$(tr -cd '\040-\176' <"$adit_work/answer" | sed -n 's/.*"detail":"\([^"\\]*\(\\.[^"\\]*\)*\)".*/\1/p' | sed 's/\\\(.\)/\1/g')
		adit_fail "${detail:-the hub said no (HTTP status $adit_status).} This machine was not registered, and nothing was changed."
	fi
	adit_device=$(adit_field device_id)
	adit_name=$(adit_field name)
	adit_state=$(adit_field status)
	adit_user_ca=$(adit_field user_ca)
	adit_gate_key=$(adit_field ssh_gate_key)
	adit_answer_allow=$(sed -n 's/.*"allow":\[\("[^"\\]*"\(,"[^"\\]*"\)*\)\].*/\1/p' "$adit_work/answer" | tr -d '"')
}

# Refuses an answer that is not of the hub in the line, before anything of it is used.
adit_verify() {
	case $adit_device in
	dev_*[!A-Za-z0-9_]* | dev_) adit_device= ;;
	dev_*) ;;
	*) adit_device= ;;
	esac
	case "$adit_name $adit_gate_key $adit_user_ca" in
	*[!a-zA-Z0-9\ +/=@._:-]* | " "* | *"  "*) adit_device= ;;
	esac
	case "$adit_gate_key|$adit_user_ca" in
	"ssh-ed25519 "*"|ssh-"*" "*) ;;
	*) adit_device= ;;
	esac
	[ -n "$adit_device" ] || adit_fail "the hub's answer makes no sense; its version may not know machines without our agent. Nothing was changed."
	key=$(sed -n 's/.*"hub_keys":\["\([A-Za-z0-9_-]*\)".*/\1/p' "$adit_work/answer" | sed 1q)
	printf '%s=' "$key" | tr '_-' '/+' | openssl base64 -d -A >"$adit_work/hub.key" 2>/dev/null || :
	shown=SHA256:$(openssl dgst -sha256 -binary <"$adit_work/hub.key" | openssl base64 -A | tr -d =)
	[ "$shown" = "$adit_hub_key" ] ||
		adit_fail "this is not the hub of the install line: its key is $shown, the line says $adit_hub_key. Something stands in between, or the line is from another hub. Nothing was changed."
	adit_check_signature
	adit_add_neighbours "$adit_answer_allow" ||
		adit_fail "the install code wants $entry to be reachable through this machine, which is not one HOST:PORT. Nothing was changed."
}

adit_check_signature() {
	if ! adit_checks_signatures; then
		adit_say "ssh-keygen here is older than 8.1 and cannot check the hub's signature: only TLS vouches for the answer."
		return 0
	fi
	{
		printf 'hub ssh-ed25519 '
		{
			printf '\000\000\000\013ssh-ed25519\000\000\000\040'
			cat "$adit_work/hub.key"
		} | openssl base64 -A
		echo
	} >"$adit_work/signers"
	{
		echo "-----BEGIN SSH SIGNATURE-----"
		adit_field ssh_signature | sed 's/.\{70\}/&\
/g'
		echo "-----END SSH SIGNATURE-----"
	} >"$adit_work/signature"
	printf '%s\n' "adit enroll v1 openssh" "$adit_own_key" "$adit_device" "$adit_name" "$adit_state" "$adit_gate_key" "$adit_user_ca" \
		"$adit_answer_allow" |
		ssh-keygen -Y verify -f "$adit_work/signers" -I hub -n adit-enroll -s "$adit_work/signature" >/dev/null 2>&1 ||
		adit_fail "the hub's answer is not signed by its key: something between here and the hub changed it. Nothing was changed."
}

# What people may reach by -L and -D once they are in: this machine's own loopback, and the neighbours.
adit_limits() {
	printf 'permitopen="127.0.0.1:*",permitopen="localhost:*",permitopen="[::1]:*"'
	for entry in $adit_allow; do printf ',permitopen="%s"' "$entry"; done
}

adit_write_files() {
	adit_record device "$adit_device"
	adit_record name "$adit_name"
	adit_record hub "$adit_hub"
	adit_record sshd "$adit_address"
	printf '%s\n' "$adit_user_ca" >"$adit_dir/user_ca.pub"
	printf '%s %s\n' "$adit_host" "$adit_gate_key" >"$adit_dir/known_hosts"
	roots=
	if [ -n "${ADIT_CA_FILE:-}" ]; then
		roots=$adit_dir/ca.pem
		cat "$ADIT_CA_FILE" >"$roots"
	elif [ -n "$adit_roots" ]; then
		roots=$adit_roots
	fi
	{
		cat <<CONFIG
# Written by the install script of Adit. The lines RemoteForward are what this machine offers at its hub, as
# [HOST:]PORT there and HOST:PORT seen from here; a change counts when the service starts again.
Host *
	ProxyCommand $(adit_proxy_with "$roots")
	IdentityFile $adit_dir/id_ed25519
	IdentitiesOnly yes
	UserKnownHostsFile $adit_dir/known_hosts
	GlobalKnownHostsFile /dev/null
	StrictHostKeyChecking yes
	HostKeyAlgorithms ssh-ed25519
	PreferredAuthentications publickey
	BatchMode yes
	ConnectTimeout 10
	ServerAliveInterval 20
	ServerAliveCountMax 2
	ExitOnForwardFailure yes
CONFIG
		if [ "$adit_address" != none ]; then printf '\tRemoteForward 22 %s\n' "$adit_address"; fi
		for entry in $adit_ports; do printf '\tRemoteForward %s 127.0.0.1:%s\n' "$entry" "$entry"; done
		for entry in $adit_allow; do printf '\tRemoteForward %s %s\n' "$entry" "$entry"; done
	} >"$adit_dir/config"
}

# The command that keeps the connection. Nothing in it is secret: the key is in its file.
adit_command() { printf '%s -N -T -F %s/config %s@%s' "$(command -v ssh)" "$adit_dir" "$adit_device" "$adit_host"; }

# Whether the connection comes about, with all it is to carry; if not, the cause is in $adit_work/error.
adit_connects() {
	ssh -f -N -T -M -S "$adit_work/try" -F "$adit_dir/config" "$adit_device@$adit_host" </dev/null >/dev/null 2>"$adit_work/error" || return 1
	ssh -S "$adit_work/try" -F "$adit_dir/config" -O exit "$adit_device@$adit_host" >/dev/null 2>&1 || :
}

adit_trust() {
	adit_trusts=none
	if [ "$adit_server" != openssh ]; then return 0; fi
	adit_why=$(adit_no_drop_in)
	if [ -z "$adit_why" ]; then
		if adit_by_drop_in; then
			adit_trusts=sshd_config
			return 0
		fi
		adit_take_back_drop_in
	fi
	if adit_by_keys; then adit_trusts=authorized_keys; fi
}

adit_by_drop_in() {
	echo=/bin/echo
	if [ ! -x "$echo" ]; then echo=/usr/bin/echo; fi
	adit_record drop_in "$adit_drop_in"
	if ! {
		cat <<DROPIN
# Written by the install script of Adit, for a machine without its agent; its --uninstall removes this file.
# Certificates of the hub open accounts here, each certificate one account. Nothing else changes.
TrustedUserCAKeys $adit_dir/user_ca.pub
AuthorizedPrincipalsCommand $echo '$(adit_limits)' $adit_device/%u
AuthorizedPrincipalsCommandUser nobody
DROPIN
		if [ "$(adit_setting persourcepenaltyexemptlist)" = none ]; then
			echo "PerSourcePenaltyExemptList 127.0.0.0/8,::1/128"
		fi
	} >"$adit_drop_in.new" || ! chmod 644 "$adit_drop_in.new" || ! mv -f "$adit_drop_in.new" "$adit_drop_in"; then
		rm -f "$adit_drop_in.new" # sshd reads *.conf only, and never half a file
		adit_why="$adit_drop_in cannot be written"
		return 1
	fi
	program=$(adit_program sshd)
	adit_why="sshd does not accept the added settings"
	"$program" -t 2>/dev/null || return 1
	adit_why="sshd does not take up the added settings"
	now=$("$program" -T 2>/dev/null) || return 1
	printf '%s\n' "$now" | grep -q "^trustedusercakeys $adit_dir/user_ca.pub\$" || return 1
	printf '%s\n' "$now" | grep -q "^authorizedprincipalscommand .*$adit_device/%u" || return 1
	adit_why="sshd did not answer after it was told to read the added settings"
	adit_reload_sshd
}

# Tells sshd to read its settings, and waits until it answers.
adit_reload_sshd() {
	if [ -d /run/systemd/system ]; then
		for unit in ssh.service sshd.service; do systemctl try-reload-or-restart "$unit" >/dev/null 2>&1 || :; done
	elif [ -e /run/openrc/softlevel ]; then
		rc-service sshd reload >/dev/null 2>&1 || :
	else
		pid=$(cat /run/sshd.pid 2>/dev/null || cat /var/run/sshd.pid 2>/dev/null) || return 1
		kill -HUP "$pid" || return 1
	fi
	for try in 1 2 3 4 5 6 7 8; do
		sleep 1 # the old one may answer first
		if [ -n "$(adit_greet "$adit_address")" ]; then return 0; fi
	done
	adit_say "sshd does not answer $try seconds after reading its settings."
	return 1
}

# Removes the file if it still is ours. An sshd that did not survive reading its settings may have been the only way in.
adit_take_back_drop_in() {
	if ! sed 1q "$adit_drop_in" 2>/dev/null | grep -q 'install script of Adit'; then return 0; fi
	rm -f "$adit_drop_in"
	if adit_reload_sshd; then return 0; fi
	if [ -d /run/systemd/system ]; then
		for unit in ssh.service sshd.service; do systemctl try-restart "$unit" >/dev/null 2>&1 || :; done
	elif [ -e /run/openrc/softlevel ]; then
		rc-service sshd restart >/dev/null 2>&1 || :
	else
		"$(adit_program sshd)" || :
	fi
}

# The home of the account that this is for. sudo may have kept another HOME.
adit_home() {
	if adit_system; then
		sed -n "s/^$(id -un):[^:]*:[^:]*:[^:]*:[^:]*:\([^:]*\):.*/\1/p" /etc/passwd | sed 1q
	else
		printf '%s' "$HOME"
	fi
}

# The authorized_keys file that sshd reads for this account.
adit_keys_file() {
	home=$(adit_home)
	file=$(adit_setting authorizedkeysfile)
	file=${file%% *}
	file=$(printf '%s' "${file:-.ssh/authorized_keys}" | sed "s|%h|$home|g; s|%u|$(id -un)|g")
	case $file in
	none) ;;
	/*) printf '%s' "$file" ;;
	*) printf '%s' "$home/$file" ;;
	esac
}

adit_by_keys() {
	login=$(id -un)
	keys=$(adit_keys_file)
	if [ -z "$keys" ]; then
		adit_why="$adit_why; sshd here reads no authorized_keys files"
		return 1
	fi
	if [ "$login" = root ] && [ "$(adit_setting permitrootlogin)" = no ]; then
		adit_why="$adit_why; sshd here lets root not in"
		return 1
	fi
	adit_record keys "$keys"
	{
		mkdir -p "${keys%/*}" &&
			if [ -n "$(tail -c 1 "$keys" 2>/dev/null)" ]; then echo >>"$keys"; fi &&
			printf 'cert-authority,principals="%s/%s",%s %s adit-ssh:%s\n' "$adit_device" "$login" "$(adit_limits)" \
				"$(adit_key "$adit_dir/user_ca.pub")" "$adit_device" >>"$keys"
	} 2>/dev/null || {
		adit_why="$adit_why; $keys cannot be written"
		return 1
	}
}

# Takes our line out, and the file where nothing else was in it. The file is whole at every moment; one that is a link
# somewhere else is written through it.
adit_take_back_keys() {
	if ! grep -q "^cert-authority,.* adit-ssh:$adit_device\$" "$1" 2>/dev/null; then return 0; fi
	cp -p "$1" "$1.adit" || adit_fail "cannot write beside $1, which has a line of ours still."
	grep -v "^cert-authority,.* adit-ssh:$adit_device\$" "$1" >"$1.adit" || :
	if [ ! -s "$1.adit" ] && [ ! -L "$1" ]; then
		rm -f "$1"
	elif [ -L "$1" ]; then
		cat "$1.adit" >"$1"
	else
		mv -f "$1.adit" "$1"
	fi
	rm -f "$1.adit"
}

adit_unit() {
	cat <<UNIT
[Unit]
Description=Adit: way in through $adit_host by OpenSSH
After=network.target
StartLimitIntervalSec=0

[Service]
ExecStart=$(adit_command)
Restart=always
RestartSec=15
NoNewPrivileges=yes

[Install]
WantedBy=$1
UNIT
}

adit_rc() {
	cat <<RC
#!/sbin/openrc-run
# Needs nothing of the network: it is tried again until it is there.

name="Adit: way in through $adit_host by OpenSSH"
supervisor=supervise-daemon
command=$(command -v ssh)
command_args='-N -T -F $adit_dir/config $adit_device@$adit_host'
respawn_delay=15
respawn_max=0
output_log=/var/log/adit-ssh.log
error_log=/var/log/adit-ssh.log
RC
}

# Where no service manager runs: a script that starts ssh again and again.
adit_loop() {
	cat <<LOOP
#!/bin/sh
# Keeps the connection to $adit_host up where no service manager does. Written by the install script of Adit.
cd "$adit_dir" || exit 1
old=\$(cat pid 2>/dev/null)
# Not some other process that got the number after a reboot.
if [ -n "\$old" ] && tr '\\000' ' ' <"/proc/\$old/cmdline" 2>/dev/null | grep -q "$adit_dir/run"; then exit 0; fi
echo \$\$ >pid
child=
trap 'kill \$child 2>/dev/null; rm -f pid; exit 0' INT TERM
while :; do
	if [ "\$(wc -c <log 2>/dev/null || echo 0)" -gt 262144 ]; then mv -f log log.old; fi
	$(adit_command) </dev/null >>log 2>&1 &
	child=\$!
	wait \$child
	echo "\$(date): the connection ended; again in 15 s" >>log
	sleep 15 &
	child=\$!
	wait \$child
done
LOOP
}

adit_serve() {
	manager=$(adit_manager)
	adit_record service "$manager"
	adit_log="$adit_dir/log"
	case $manager in
	systemd)
		adit_unit multi-user.target >"$adit_unit_file"
		chmod 644 "$adit_unit_file"
		systemctl daemon-reload && systemctl enable adit-ssh.service 2>/dev/null && systemctl restart adit-ssh.service || return 1
		adit_log="journalctl -u adit-ssh"
		;;
	systemd-user)
		mkdir -p "${adit_user_unit%/*}"
		adit_unit default.target >"$adit_user_unit"
		systemctl --user daemon-reload && systemctl --user enable adit-ssh.service 2>/dev/null &&
			systemctl --user restart adit-ssh.service || return 1
		loginctl enable-linger >/dev/null 2>&1 || adit_say "To start at boot, an administrator can allow it: loginctl enable-linger $(id -un)"
		adit_log="journalctl --user -u adit-ssh"
		;;
	openrc)
		adit_rc >"$adit_rc_file"
		chmod 755 "$adit_rc_file"
		rc-update add adit-ssh default >/dev/null && rc-service adit-ssh restart >/dev/null 2>&1 || return 1
		adit_log=/var/log/adit-ssh.log
		;;
	loop) adit_serve_by_loop ;;
	esac
}

adit_serve_by_loop() {
	adit_loop >"$adit_dir/run"
	chmod 700 "$adit_dir/run"
	if adit_has setsid; then
		setsid "$adit_dir/run" </dev/null >/dev/null 2>&1 &
	elif adit_has nohup; then
		nohup "$adit_dir/run" </dev/null >/dev/null 2>&1 &
	else
		"$adit_dir/run" </dev/null >/dev/null 2>&1 &
	fi
	if rest=$(adit_crontab) && printf '%s%s\n' "${rest:+$rest
}" "@reboot $adit_dir/run >/dev/null 2>&1 # adit-ssh" | crontab - 2>/dev/null; then
		adit_record crontab yes
	else
		adit_say "No service manager runs here, and no cron. After a restart of this machine, start it with: $adit_dir/run"
	fi
}

# The user's crontab without our line. It fails where that cannot be read: what is there must not be lost.
adit_crontab() {
	adit_has crontab || return 1
	table=$(LC_ALL=C crontab -l 2>&1) || {
		case $table in
		*"no crontab"* | *"can't open"*"No such file"*) table= ;;
		*) return 1 ;;
		esac
	}
	printf '%s\n' "$table" | grep -v '# adit-ssh$' || :
}

adit_stop() {
	case $(adit_recorded service) in
	systemd)
		systemctl disable --now adit-ssh.service >/dev/null 2>&1 || :
		rm -f "$adit_unit_file"
		systemctl daemon-reload >/dev/null 2>&1 || :
		;;
	systemd-user)
		systemctl --user disable --now adit-ssh.service >/dev/null 2>&1 || :
		rm -f "$adit_user_unit"
		systemctl --user daemon-reload >/dev/null 2>&1 || :
		;;
	openrc)
		rc-service adit-ssh stop >/dev/null 2>&1 || :
		rc-update delete adit-ssh >/dev/null 2>&1 || :
		rm -f "$adit_rc_file"
		;;
	loop)
		pid=$(cat "$adit_dir/pid" 2>/dev/null) || pid=
		# Not some other process that got the number after a reboot.
		if [ -n "$pid" ] && tr '\000' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -q "$adit_dir/run"; then kill "$pid" || :; fi
		;;
	esac
	if [ "$(adit_recorded crontab)" = yes ]; then
		if ! rest=$(adit_crontab); then
			adit_say "The crontab cannot be read. Take the line with $adit_dir/run out of it by hand: crontab -e"
		elif [ -n "$rest" ]; then
			printf '%s\n' "$rest" | crontab -
		else
			crontab -r 2>/dev/null || :
		fi
	fi
}

# Undoes all that is recorded. Key and settings stay.
adit_take_back() {
	adit_device=$(adit_recorded device)
	adit_stop
	if [ -n "$(adit_recorded drop_in)" ]; then adit_take_back_drop_in; fi
	keys=$(adit_recorded keys)
	if [ -n "$keys" ]; then adit_take_back_keys "$keys"; fi
	rm -f "$adit_dir/state"
}

adit_uninstall() {
	[ -e "$adit_dir/state" ] || adit_fail "there is nothing to take back: $adit_dir/state does not exist."
	adit_name=$(adit_recorded name)
	ADIT_SSHD=${ADIT_SSHD:-$(adit_recorded sshd)}
	adit_find_sshd
	adit_take_back
	rm -rf "$adit_dir"
	adit_say "$adit_name is no device any more as far as this machine goes. Remove it on the hub's page too."
}

# The fingerprint of this machine's key as the hub's page shows it: of the key's 32 bytes alone.
adit_fingerprint() {
	printf 'SHA256:'
	printf '%s' "${adit_own_key#* }" | openssl base64 -d -A | tail -c 32 | openssl dgst -sha256 -binary | openssl base64 -A | tr -d =
}

adit_tell() {
	if [ "$adit_state" = pending ]; then
		adit_say "Registered as $adit_name at $adit_hub, waiting for approval."
		adit_say "  Compare this fingerprint with the one on the page, then approve it there:"
		adit_say "  $(adit_fingerprint)"
	else
		adit_say "Registered as $adit_name at $adit_hub."
	fi
	case $adit_trusts in
	sshd_config) adit_say "SSH: this machine's sshd, which now takes the hub's certificates too ($adit_drop_in)." ;;
	authorized_keys)
		adit_say "SSH: this machine's sshd, by one line in $(adit_recorded keys)."
		if adit_system; then adit_say "  For that account only: $adit_why."; fi
		;;
	none)
		case $adit_server in
		openssh) adit_say "SSH: this machine's sshd stays as it is ($adit_why). People log in by passwords and keys of their own." ;;
		dropbear) adit_say "SSH: Dropbear knows no certificates. People log in by passwords and keys of their own." ;;
		esac
		;;
	esac
	if [ -n "$adit_allow" ]; then adit_say "Neighbours that people may reach through this machine:$adit_allow"; fi
	if [ -n "$adit_ports" ]; then adit_say "Ports of this machine that people may reach:$adit_ports"; fi
}

adit_arrive() {
	if [ "$adit_state" = pending ]; then
		adit_say "$adit_name comes online as soon as it is approved on the hub's page."
	elif [ -z "$adit_trouble" ]; then
		adit_say "$adit_name is online."
	else
		adit_say "$adit_name is not online yet: $adit_trouble"
		adit_say "It goes on trying."
	fi
	adit_say "Its log: $adit_log"
}

adit_main() {
	set -euf
	umask 077
	LC_ALL=C
	export LC_ALL
	adit_hub='@HUB@'
	adit_hub_key=${ADIT_HUB_KEY:-'@HUB_KEY@'}
	adit_code=${ADIT_CODE:-'@CODE@'}
	adit_short='@SHORT@'
	adit_host='@HOST@'
	adit_authority='@AUTHORITY@'
	adit_tls='@S_CLIENT@'
	adit_proxy='@PROXY@'
	unset ADIT_CODE
	adit_for_user=no
	adit_root || adit_for_user=yes
	what=install
	while [ $# -gt 0 ]; do
		case $1 in
		--check) what=check ;;
		--uninstall) what=uninstall ;;
		--user) adit_for_user=yes ;;
		--help | -h) what=help ;;
		*) adit_fail "$1 is unknown. --help shows what is known." ;;
		esac
		shift
	done
	if [ "$what" = help ]; then
		adit_help
		return
	fi
	adit_drop_in=/etc/ssh/sshd_config.d/adit-ssh.conf
	adit_unit_file=/etc/systemd/system/adit-ssh.service
	adit_rc_file=/etc/init.d/adit-ssh
	adit_dir=/etc/adit-ssh
	if ! adit_system; then
		case ${HOME:-} in
		/*[!A-Za-z0-9/._@+-]* | [!/]* | '') adit_fail "HOME is \"${HOME:-}\", which cannot stand in settings of ssh." ;;
		esac
		adit_dir=$HOME/.config/adit-ssh
		adit_user_unit=$HOME/.config/systemd/user/adit-ssh.service
	fi
	case $what in
	check)
		adit_check
		return
		;;
	uninstall)
		adit_uninstall
		return
		;;
	esac
	adit_preflight
	if [ -e "$adit_dir/state" ]; then # of a try that did not come to its end
		adit_take_back
		adit_find_sshd
	fi
	trap adit_cleanup EXIT
	trap 'exit 1' HUP INT TERM
	adit_make_key
	adit_say "Registering with $adit_hub"
	adit_enroll
	adit_verify
	adit_write_files
	adit_trust
	adit_tell
	adit_trouble=
	if [ "$adit_state" != pending ] && ! adit_connects; then adit_trouble=$(tail -n 1 "$adit_work/error"); fi
	adit_serve || adit_fail "the service could not be set up with $manager. The same line tries again while its code lives."
	: >"$adit_dir/installed"
	adit_arrive
}

adit_main "$@"
}

{ adit_install "$@"; }
