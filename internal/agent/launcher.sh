#!/bin/sh
# Stands in adit's place where flash is too small for it, and starts the program that lies in RAM. After a boot the
# service (`adit agent run`) fetches it again, and runs nothing but what this device was installed with.

launcher_ram='@RAM@'
launcher_record='@RECORD@' # one line: SHA-256 of the compressed program, where it is, and perhaps a proxy

# In the log, and for whoever types `adit` in the meantime.
launcher_tell() {
	printf '%s\n' "$*" >"$launcher_ram/state"
	printf 'adit: %s\n' "$*" >&2
}

# What lies in RAM runs as root, and /tmp is everybody's: a directory that somebody else has laid is moved aside.
launcher_own() {
	umask 022
	while [ ! -d "$launcher_ram" ] || [ -L "$launcher_ram" ] || [ ! -O "$launcher_ram" ]; do
		mv "$launcher_ram" "$launcher_ram.foreign.$$" 2>/dev/null
		mkdir "$launcher_ram" 2>/dev/null || sleep 1
	done
	chmod 755 "$launcher_ram"
}

launcher_download() (
	if [ -n "$proxy" ]; then export https_proxy="$proxy" http_proxy="$proxy"; fi
	if command -v curl >/dev/null 2>&1; then
		exec curl -fsSL --connect-timeout 20 --max-time 900 -o "$launcher_ram/new.gz" "$url"
	fi
	# Without -T, at which BusyBox 1.35 crashes; every wget gives up by itself.
	exec wget -q -O "$launcher_ram/new.gz" "$url"
)

launcher_fetch() {
	proxy=
	read -r want url proxy <"$launcher_record" || {
		launcher_tell "$launcher_record cannot be read; install again with the line of the hub's page."
		return 1
	}
	launcher_download || {
		launcher_tell "cannot fetch $url yet; trying again."
		return 1
	}
	got=$(sha256sum <"$launcher_ram/new.gz")
	if [ "${got%% *}" != "$want" ]; then
		launcher_tell "not run: $url has the SHA-256 ${got%% *}, and this device was installed with $want." \
			"If the hub was upgraded, renew the program here by hand: curl -fsSL ${url%/dl/*}/i | sh -s -- --upgrade"
		return 1
	fi
	if ! gunzip -c "$launcher_ram/new.gz" >"$launcher_ram/new" || ! chmod 755 "$launcher_ram/new"; then
		launcher_tell "cannot unpack into $launcher_ram: is the RAM full?"
		return 1
	fi
	mv -f "$launcher_ram/new" "$launcher_ram/adit"
}

launcher_main() {
	if [ "${1:-} ${2:-}" = "agent run" ]; then
		launcher_own
		pause=2
		while [ ! -x "$launcher_ram/adit" ]; do
			if launcher_fetch; then break; fi
			rm -f "$launcher_ram/new" "$launcher_ram/new.gz"
			sleep "$pause"
			pause=$((pause * 2))
			if [ "$pause" -gt 300 ]; then pause=300; fi
		done
		rm -f "$launcher_ram/new.gz" "$launcher_ram/state"
	elif [ ! -x "$launcher_ram/adit" ] || { [ "$(id -u)" = 0 ] && [ ! -O "$launcher_ram" ]; }; then
		printf 'adit: the program is not in RAM yet. ' >&2
		cat "$launcher_ram/state" >&2 2>/dev/null || echo "The service adit fetches it: /etc/init.d/adit start" >&2
		exit 8
	fi
	exec "$launcher_ram/adit" "$@"
}

launcher_main "$@"
