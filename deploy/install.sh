#!/bin/sh
# Make this machine (Raspberry Pi OS 64-bit or Debian) a gateway. Run again at any time: it changes only what differs.
#   install.sh                 install or repair
#   install.sh --check         say what differs, change nothing; exit code 1 when something does
#   install.sh --uninstall     remove programs and units; facts and settings stay
#   install.sh --wipe          decommission: remove everything of the gateway, keys, facts and settings included
# ROOT=/some/chroot prefixes every path (tests); START=no leaves systemd alone.
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
ROOT=${ROOT:-}
START=${START:-yes}
base="$ROOT/opt/smartstore"
slots="$base/slots"
current="$base/current"
good="$base/good"
state="$ROOT/var/lib/smartstore"
units="smartstore.service smartstore-update.timer smartstore-update.path smartstore-follow.path"
changed=0
mode=install
case "${1:-}" in
"") ;;
--check) mode=check ;;
--uninstall) mode=uninstall ;;
--wipe) mode=wipe ;;
*)
    echo "install.sh: $1: expected --check, --uninstall, --wipe or nothing" >&2
    exit 2
    ;;
esac

say() { echo "install.sh: $*"; }
differs() {
    changed=1
    say "$1"
}

files() {
    cat <<LIST
deploy/systemd/smartstore.service etc/systemd/system/smartstore.service
deploy/systemd/smartstore-update.service etc/systemd/system/smartstore-update.service
deploy/systemd/smartstore-update.timer etc/systemd/system/smartstore-update.timer
deploy/systemd/smartstore-update.path etc/systemd/system/smartstore-update.path
deploy/systemd/smartstore-follow.service etc/systemd/system/smartstore-follow.service
deploy/systemd/smartstore-follow.path etc/systemd/system/smartstore-follow.path
deploy/gate.sh usr/lib/smartstore/gate.sh
deploy/systemd/hardware-watchdog.conf etc/systemd/system.conf.d/smartstore-watchdog.conf
deploy/journald/smartstore.conf etc/systemd/journald.conf.d/smartstore.conf
deploy/udev/60-smartstore.rules etc/udev/rules.d/60-smartstore.rules
deploy/polkit/60-smartstore.rules etc/polkit-1/rules.d/60-smartstore.rules
LIST
}

put() {
    if cmp -s "$here/$1" "$ROOT/$2"; then return 0; fi
    differs "$2 differs from the release"
    [ "$mode" = check ] && return 0
    mkdir -p "$(dirname "$ROOT/$2")"
    cp "$here/$1" "$ROOT/$2.new"
    chmod 0644 "$ROOT/$2.new"
    mv "$ROOT/$2.new" "$ROOT/$2"
}

owner() { awk -F: '$1 == "smartstore" { print $3 ":" $4 }' "$ROOT/etc/passwd"; }

turn() {
    rm -f "$1.new"
    ln -s "$2" "$1.new"
    mv -T "$1.new" "$1"
}

version() { sed -n 's/^version = "\(.*\)"$/\1/p' "$here/pyproject.toml" | head -1; }

programs() {
    wanted=$(version)
    slot="$slots/$wanted"
    if [ "$(readlink "$current" 2>/dev/null || true)" = "slots/$wanted" ] && [ -e "$slot/.complete" ]; then return 0; fi
    differs "release $wanted is not the current one"
    [ "$mode" = check ] && return 0
    # A slot is complete or it is not there: the mark is written last, the link is turned in one rename.
    if [ ! -e "$slot/.complete" ]; then
        rm -rf "$slot"
        mkdir -p "$slot"
        python3 -m venv "$slot"
        if [ "${PIP:-yes}" = yes ]; then
            "$slot/bin/python" -m pip install --quiet --require-hashes -r "$here/requirements-gateway.lock"
            # What builds is pinned by hash like what runs, and does not stay.
            "$slot/bin/python" -m pip install --quiet --require-hashes --target "$slot/build" -r "$here/requirements-build.lock"
            PYTHONPATH="$slot/build" "$slot/bin/python" -m pip install --quiet --no-deps --no-build-isolation "$here"
            rm -rf "$slot/build"
        fi
        cp -R "$here/docs" "$here/deploy" "$slot/"
        sync
        : >"$slot/.complete"
    fi
    before=$(readlink "$good" 2>/dev/null || true)
    rm -f "$base/trial.json" "$base/trial.starts"
    turn "$good" "slots/$wanted"
    turn "$current" "slots/$wanted"
    if [ -n "$before" ] && [ "$before" != "slots/$wanted" ]; then turn "$base/previous" "$before"; fi
    # The updater, which is not root, fills and empties slots.
    chown -R "$(owner)" "$base"
}

people() {
    if grep -q '^smartstore:' "$ROOT/etc/passwd" 2>/dev/null; then return 0; fi
    differs "user smartstore is missing"
    [ "$mode" = check ] && return 0
    if [ -n "$ROOT" ]; then
        chroot "$ROOT" useradd --system --home-dir /var/lib/smartstore --shell /usr/sbin/nologin smartstore 2>/dev/null ||
            useradd --root "$ROOT" --system --home-dir /var/lib/smartstore --shell /usr/sbin/nologin smartstore
    else
        useradd --system --home-dir /var/lib/smartstore --shell /usr/sbin/nologin smartstore
    fi
}

settings() {
    [ -e "$state/gateway.toml" ] && return 0
    differs "no settings yet: an empty store is set up"
    [ "$mode" = check ] && return 0
    mkdir -p "$state"
    cp "$here/deploy/first-settings.toml" "$state/gateway.toml"
    cp "$here/deploy/first-site.json" "$state/site.json"
    chown -R "$(owner)" "$state"
    chmod 0700 "$state"
}

# Who publishes puts its first root metadata into the release; it is trusted once and never replaced by a file.
trust() {
    if [ ! -e "$here/deploy/root.json" ] || [ -e "$state/root.json" ]; then return 0; fi
    differs "the publisher's root metadata is not here yet"
    [ "$mode" = check ] && return 0
    cp "$here/deploy/root.json" "$state/root.json"
    chown "$(owner)" "$state/root.json"
}

# A folder may be a mount of the data partition (read-only-root.sh): then what is in it goes, and the empty folder stays.
clear_out() {
    [ -d "$1" ] || return 0
    find "$1" -mindepth 1 -delete
    rmdir "$1" 2>/dev/null || true
}

remove() {
    if [ "$START" = yes ]; then
        # shellcheck disable=SC2086
        systemctl disable --now $units smartstore-update.service 2>/dev/null || true
    fi
    files | while read -r _ target; do rm -f "$ROOT/$target"; done
    clear_out "$ROOT/opt/smartstore"
    [ "$START" = no ] || systemctl daemon-reload || true
    say "programs and units are removed"
}

wipe() {
    # Overwrite what is secret before unlinking; on flash this is best effort, so the keys are revoked centrally too.
    for folder in "$state" "$ROOT/etc/smartstore"; do
        [ ! -d "$folder" ] || find "$folder" -type f -exec shred -u {} + 2>/dev/null || true
    done
    for folder in "$state" "$ROOT/var/lib/smartstore-update" "$ROOT/etc/smartstore"; do clear_out "$folder"; done
    [ "$START" = no ] || userdel smartstore 2>/dev/null || true
    say "facts, settings and keys are gone; revoke this gateway's certificate at the platform"
}

[ "$mode" = check ] || [ "$(id -u)" = 0 ] || {
    echo "install.sh: run it as root" >&2
    exit 2
}
case $mode in
uninstall) remove && exit 0 ;;
wipe) remove && wipe && exit 0 ;;
esac
people
programs
files >"${TMPDIR:-/tmp}/smartstore-files.$$"
while read -r source target; do put "$source" "$target"; done <"${TMPDIR:-/tmp}/smartstore-files.$$"
rm -f "${TMPDIR:-/tmp}/smartstore-files.$$"
settings
trust
if [ "$START" = yes ]; then
    for unit in $units; do systemctl is-enabled --quiet "$unit" 2>/dev/null || differs "$unit is not enabled"; done
fi
if [ "$mode" = check ]; then
    [ "$changed" = 0 ] && say "everything is as released"
    exit "$changed"
fi
if [ "$START" = yes ] && [ "$changed" = 1 ]; then
    systemctl daemon-reload
    # What is plugged in already gets its name and rights, too; logs move to memory now, not at the next start.
    { udevadm control --reload && udevadm trigger --subsystem-match=tty --subsystem-match=usb; } 2>/dev/null || true
    systemctl try-restart systemd-journald.service || true
    # shellcheck disable=SC2086
    systemctl enable $units
    # shellcheck disable=SC2086
    systemctl restart $units
fi
if [ "$changed" = 0 ]; then say "nothing to do"; else say "done"; fi
