#!/bin/sh
# The gate of the slots, as small as can be: it must work when a release does not. Run as root by systemd.
#   gate.sh start    before each start of the gateway: makes sure that `current` names a complete release, and takes a
#                    release on trial back after three starts (it crashed, hung, or the power was cut three times)
#   gate.sh follow   restarts the gateway where another release than the started one is current
# SLOTS names the folder of the releases, RUN where the started one is remembered.
set -eu
base=${SLOTS:-/opt/smartstore}
run=${RUN:-/run/smartstore-gate}
STARTS=3

whole() { [ -n "$1" ] && [ -e "$base/slots/$1/.complete" ] && [ -x "$base/slots/$1/bin/smartstore" ]; }
named() { basename "$(readlink "$base/$1" 2>/dev/null || true)"; }
turn() {
    rm -f "$base/$1.gate"
    ln -s "slots/$2" "$base/$1.gate"
    mv -T "$base/$1.gate" "$base/$1"
    sync "$base" 2>/dev/null || sync
}

good=$(named good)
current=$(named current)
case "${1:-}" in
start)
    if ! whole "$current"; then
        # Never neither: the good one, the previous one, or any complete release there is.
        for other in "$good" "$(named previous)" $(ls -1r "$base/slots" 2>/dev/null || true); do
            if whole "$other"; then
                echo "gate.sh: ${current:-nothing} is not complete: $other is started" >&2
                turn current "$other"
                current=$other
                break
            fi
        done
    fi
    whole "$good" || { whole "$current" && turn good "$current" && good=$current; }
    if [ "$current" != "$good" ]; then
        starts=$(($(cat "$base/trial.starts" 2>/dev/null || echo 0) + 1))
        if [ "$starts" -gt "$STARTS" ]; then
            echo "gate.sh: $current did not stay up in $STARTS starts: back to $good" >&2
            turn current "$good"
            current=$good
        else
            echo "$starts" >"$base/trial.starts.gate"
            mv "$base/trial.starts.gate" "$base/trial.starts"
            sync "$base/trial.starts" 2>/dev/null || sync
        fi
    fi
    mkdir -p "$run"
    echo "$current" >"$run/started"
    ;;
follow)
    started=$(cat "$run/started" 2>/dev/null || true)
    [ -n "$started" ] && [ "$started" != "$current" ] || exit 0
    echo "gate.sh: $current follows $started" >&2
    exec systemctl restart smartstore.service
    ;;
*)
    echo "gate.sh: ${1:-nothing}: expected start or follow" >&2
    exit 2
    ;;
esac
