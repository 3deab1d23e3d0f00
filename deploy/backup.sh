#!/bin/sh
# backup.sh FILE: settings, planogram, keys, models and a consistent copy of the journal, while the gateway runs.
# backup.sh --restore FILE: put them back, with the service stopped. A restored journal begins a new epoch (the copy is
# marked), so that the platform never takes facts of two lives for one.
set -eu
state=${STATE:-/var/lib/smartstore}
python=${PYTHON:-/opt/smartstore/current/bin/python}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
refuse() {
    echo "backup.sh: $1" >&2
    exit 2
}
if [ "${1:-}" = --restore ]; then
    [ -f "${2:-}" ] || refuse "${2:-no file}: expected a backup"
    if [ -z "${STATE:-}" ] && systemctl is-active --quiet smartstore 2>/dev/null; then
        refuse "the gateway runs: expected \`systemctl stop smartstore\` before"
    fi
    # All of it is unpacked before anything is touched: half a backup must not cost what is there.
    tar -xzf "$2" -C "$work" 2>/dev/null || refuse "$2: expected a whole backup of this tool, nothing was changed"
    [ -f "$work/journal.db" ] || refuse "$2: no journal.db in it, nothing was changed"
    mkdir -p "$state"
    for file in journal.db journal.db-wal journal.db-shm; do
        [ ! -e "$state/$file" ] || mv "$state/$file" "$state/$file.before-restore"
    done
    cp -R "$work/." "$state/"
    chmod 0700 "$state"
    if [ "$(id -u)" = 0 ] && id smartstore >/dev/null 2>&1 && [ -z "${STATE:-}" ]; then
        chown -R smartstore: "$state"
    fi
    echo "backup.sh: restored to $state; start the service, it begins a new epoch"
    exit 0
fi
[ -n "${1:-}" ] || refuse "expected a file name or --restore FILE"
[ -f "$state/journal.db" ] || refuse "$state: no journal.db there, expected the folder of a gateway (STATE=…)"
umask 077
for part in gateway.toml site.json calibration.json root.json tls platform models; do
    [ ! -e "$state/$part" ] || cp -R "$state/$part" "$work/"
done
"$python" - "$state/journal.db" "$work/journal.db" <<'PY'
import contextlib, sqlite3, sys
source, target = sys.argv[1:]
with contextlib.closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as live, \
        contextlib.closing(sqlite3.connect(target)) as copy:
    live.backup(copy)
    # "restored" is no machine's identity: whoever opens this file begins a new epoch (edge/journal/log.py).
    copy.execute("INSERT INTO meta (key, value) VALUES ('machine', ?) ON CONFLICT (key) DO UPDATE SET value = ?",
                 (b'"restored"', b'"restored"'))
    copy.commit()
    copy.execute("PRAGMA journal_mode = DELETE")
PY
tar -czf "$1.new" -C "$work" .
sync "$1.new" 2>/dev/null || sync
mv "$1.new" "$1"
echo "backup.sh: $1 written; it holds this gateway's private keys: keep it locked away"
