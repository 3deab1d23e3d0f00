#!/bin/sh
# A root that is never written: what the gateway keeps lies on a data partition of its own, the rest is memory.
#   read-only-root.sh LABEL     mount the ext4 file system LABEL (`mkfs.ext4 -L smartstore-data /dev/…` makes one) at
#                               /data, move the gateway's folders there, and make the root read-only from the next start
#   read-only-root.sh --check   say how it is; exit code 1 where the root is written
#   read-only-root.sh --undo    writable root again from the next start; the data stay on their partition
# For an update of Debian itself: `mount -o remount,rw /`, update, start anew. ROOT prefixes every path (tests).
set -eu
ROOT=${ROOT:-}
fstab="$ROOT/etc/fstab"
begin='# smartstore: read-only root, begin'
end='# smartstore: read-only root, end'
# what has to outlive a start: facts, releases, what was seen signed; pairings; random seed and timers of systemd
folders="var/lib/smartstore opt/smartstore var/lib/smartstore-update var/lib/bluetooth var/lib/systemd"

say() { echo "read-only-root.sh: $*"; }
done_already() { grep -qF "$begin" "$fstab"; }

# Also what an --undo has left.
without_ours() { sed -e "/^$begin\$/,/^$end\$/d" -e '/^LABEL=[^ ]* \/data ext4/d' -e '/^\/data\//d' "$fstab"; }

write() {
    cat >"$fstab.new"
    sync "$fstab.new" 2>/dev/null || sync
    mv "$fstab.new" "$fstab"
}

# The options of the line for / with ro or rw in front; everything else as it was.
root_options() {
    awk -v want="$1" '$1 !~ /^#/ && $2 == "/" {
        n = split($4, given, ","); kept = want
        for (i = 1; i <= n; i++) if (given[i] != "ro" && given[i] != "rw") kept = kept "," given[i]
        $4 = kept
    } { print }'
}

case "${1:-}" in
--check)
    if done_already; then say "the root is read-only, data on $(sed -n 's/^LABEL=\([^ ]*\) .*/\1/p' "$fstab" | head -1)"; else
        say "the root is written"
        exit 1
    fi
    ;;
--undo)
    if ! done_already; then say "nothing to do" && exit 0; fi
    # The mounts of the data stay: without them the gateway would start empty.
    sed -e "/^tmpfs .*smartstore-ro\$/d" -e "/^$begin\$/d" -e "/^$end\$/d" "$fstab" | root_options rw | write
    say "the root is writable from the next start; the data stay on their partition"
    ;;
"" | -*)
    echo "read-only-root.sh: ${1:-nothing}: expected the LABEL of a data partition, --check or --undo" >&2
    exit 2
    ;;
*)
    label=$1
    if done_already; then say "nothing to do" && exit 0; fi
    awk '$1 !~ /^#/ && $2 == "/" { found = 1 } END { exit !found }' "$fstab" || {
        echo "read-only-root.sh: $fstab: no line for /: expected one" >&2
        exit 2
    }
    if [ -z "$ROOT" ]; then
        blkid -L "$label" >/dev/null || {
            echo "read-only-root.sh: no file system has the label $label: mkfs.ext4 -L $label /dev/…" >&2
            exit 2
        }
        systemctl stop smartstore.service smartstore-update.timer 2>/dev/null || true
        mkdir -p /data
        mountpoint -q /data || mount -o noatime "LABEL=$label" /data
    fi
    mkdir -p "$ROOT/data"
    for folder in $folders; do
        mkdir -p "$ROOT/$folder" "$ROOT/data/$(dirname "$folder")"
        # Copied whole before the table names it; an interrupted copy is begun anew.
        if [ ! -e "$ROOT/data/$folder" ]; then
            rm -rf "$ROOT/data/$folder.new"
            cp -a "$ROOT/$folder" "$ROOT/data/$folder.new"
            mv "$ROOT/data/$folder.new" "$ROOT/data/$folder"
        fi
    done
    sync
    {
        without_ours | root_options ro
        echo "$begin"
        echo "LABEL=$label /data ext4 noatime,commit=5,errors=remount-ro 0 2"
        for folder in $folders; do
            echo "/data/$folder /$folder none bind,x-systemd.requires-mounts-for=/data 0 0"
        done
        for folder in tmp var/tmp var/log; do
            echo "tmpfs /$folder tmpfs nosuid,nodev,size=64m 0 0 # smartstore-ro"
        done
        echo "$end"
    } | write
    say "read-only from the next start"
    ;;
esac
