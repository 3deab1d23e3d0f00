#!/bin/sh
# Install the Debian packages that demo, tests and benchmarks use, as far as they are missing and we may.
# program:package pairs; without one of them everything else still works, and says what it does without.
set -u
wanted="dbus-daemon:dbus mosquitto:mosquitto mosquitto_sub:mosquitto-clients chromium:chromium npm:npm"
missing=""
for pair in $wanted; do
    program=${pair%%:*}
    command -v "$program" >/dev/null 2>&1 || [ -x "/usr/sbin/$program" ] || missing="$missing ${pair##*:}"
done
# Debian keeps PostgreSQL's server programs off the path, one folder a version.
command -v initdb >/dev/null 2>&1 || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing="$missing postgresql"
# Debian's own Python makes no environments without this package.
"${PYTHON:-python3}" -c "import ensurepip" 2>/dev/null || missing="$missing python3-venv"
[ -z "$missing" ] && exit 0
if ! command -v apt-get >/dev/null 2>&1; then
    echo "Missing:$missing. Install them with this system's package manager; going on without." >&2
    exit 0
fi
if [ "$(id -u)" = 0 ]; then
    sudo=""
elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
    sudo="sudo"
else
    echo "Missing:$missing. Run this once, then again what you ran: sudo apt-get install -y$missing" >&2
    exit 0
fi
echo "Installing system packages:$missing ..."
export DEBIAN_FRONTEND=noninteractive
# A broker that the package starts by itself would take port 1883: tests and demo start their own.
policy=/usr/sbin/policy-rc.d
made_policy=""
if [ ! -e "$policy" ] && [ "$(id -u)" = 0 ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod +x "$policy" && made_policy=yes
fi
# shellcheck disable=SC2086
{ $sudo apt-get update -qq && $sudo apt-get install -y -qq --no-install-recommends $missing; } >/dev/null 2>&1 ||
    echo "apt-get could not install:$missing. Going on without." >&2
[ -n "$made_policy" ] && rm -f "$policy"
exit 0
