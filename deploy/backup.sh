#!/bin/sh
# backup.sh FILE: settings, planogram, CA and a consistent copy of the journal, while the gateway runs.
# backup.sh --restore FILE: put them back. A restored journal begins a new epoch (the copy is marked), so that the
# platform never takes facts of two lives for one.
set -eu
state=${STATE:-/var/lib/smartstore}
python=${PYTHON:-/opt/smartstore/current/bin/python}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if [ "${1:-}" = --restore ]; then
    [ -f "${2:-}" ] || { echo "backup.sh: ${2:-no file}: expected a backup" >&2; exit 2; }
    [ ! -e "$state/journal.db" ] || mv "$state/journal.db" "$state/journal.db.before-restore"
    rm -f "$state/journal.db-wal" "$state/journal.db-shm"
    mkdir -p "$state"
    tar -xzf "$2" -C "$state"
    echo "backup.sh: restored to $state; start the service, it begins a new epoch"
    exit 0
fi
[ -n "${1:-}" ] || { echo "backup.sh: expected a file name or --restore FILE" >&2; exit 2; }
for part in gateway.toml site.json calibration.json tls; do
    [ -e "$state/$part" ] && cp -R "$state/$part" "$work/"
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
umask 077
tar -czf "$1.new" -C "$work" .
mv "$1.new" "$1"
echo "backup.sh: $1 written; it holds the private key of the local CA: keep it locked away"
