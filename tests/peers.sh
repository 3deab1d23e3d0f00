#!/bin/sh
# Install the foreign programs that interoperability tests and benchmarks measure us against, each apart from us:
# sllurp (GPL-3: only ever a process of its own) and npm's llrpjs (MIT). Nothing of ours depends on them; where one
# cannot be installed, its test is skipped and its figure is null, both with the reason.
#   tests/peers.sh FOLDER [again]     `again` also tries what was tried before
set -u
home=$1
again=${2:-}
mkdir -p "$home"

# name, command that proves it is there, command that installs it
peer() {
    log="$home/$1.log"
    if sh -c "$2" >/dev/null 2>&1; then return; fi
    if [ -e "$log" ] && [ -z "$again" ]; then return; fi
    echo "Installing $1 apart, to be measured against ..."
    sh -c "$3" >"$log" 2>&1 || echo "$1 could not be installed ($(tail -n 1 "$log" | cut -c 1-120)); going on without." >&2
}

peer sllurp "$home/sllurp/bin/python -c 'import sllurp.llrp'" \
    "${PYTHON:-python3} -m venv $home/sllurp && $home/sllurp/bin/python -m pip install --quiet --disable-pip-version-check --retries 1 --timeout 20 sllurp==3.0.5"
peer llrpjs "test -e $home/node_modules/llrpjs/package.json" \
    "npm install --prefix $home --no-audit --no-fund --no-save --no-package-lock --ignore-scripts --fetch-retries 1 llrpjs@1.0.1"
# Readers of what we write, by those who defined it: Prometheus' text (Apache-2.0), CycloneDX (Apache-2.0).
peer readers "$home/readers/bin/python -c 'import prometheus_client, cyclonedx, jsonschema'" \
    "${PYTHON:-python3} -m venv $home/readers && $home/readers/bin/python -m pip install --quiet --disable-pip-version-check --retries 1 --timeout 20 prometheus_client==0.26.0 'cyclonedx-python-lib[json-validation]==11.12.0'"
exit 0
