"""CycloneDX 1.5 of all that runs on a gateway (lock and trained models): ``make sbom`` writes sbom.json.

Deterministic: the same lock gives the same bytes, so that two builds can be compared.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import tomllib
import uuid
from pathlib import Path

ROOT = Path(__file__).parents[1]
_PIN = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;\\]+)\s*(?:;\s*(?P<marker>[^\\]+?))?\s*\\?$")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


def components(lock: str) -> list[dict[str, object]]:
    """One component a pinned package, with the SHA-256 of every accepted file."""
    found: list[dict[str, object]] = []
    for line in lock.splitlines():
        pin = _PIN.match(line)
        if pin:
            name = re.sub(r"[-_.]+", "-", pin["name"]).lower()
            purl = f"pkg:pypi/{name}@{pin['version']}"
            row: dict[str, object] = {
                "type": "library",
                "bom-ref": purl,
                "name": name,
                "version": pin["version"],
                "purl": purl,
            }
            if pin["marker"]:
                row["properties"] = [{"name": "python:marker", "value": pin["marker"].strip()}]
            found.append({**row, "hashes": []})
        elif found and (digest := _HASH.search(line)):
            hashes = found[-1]["hashes"]
            assert isinstance(hashes, list)
            hashes.append({"alg": "SHA-256", "content": digest[1]})
    return found


def models(version: str) -> list[dict[str, object]]:
    """What was trained and comes with the program: the door's network by its manifest, the presence filter."""
    manifest = tomllib.loads((ROOT / "models" / "manifest.toml").read_text(encoding="utf-8"))["model"]
    found = []
    for name, release, file in (
        (manifest["name"], manifest["version"], f"models/{manifest['file']}"),
        ("presence", version, "edge/core/presence/presence.npz"),
    ):
        digest = hashlib.sha256((ROOT / file).read_bytes()).hexdigest()
        row: dict[str, object] = {
            "type": "machine-learning-model", "bom-ref": f"model:{name}@{release}", "name": name, "version": release,
            "licenses": [{"license": {"id": "Apache-2.0"}}], "hashes": [{"alg": "SHA-256", "content": digest}],
            "properties": [{"name": "smartstore:file", "value": file}],
        }  # fmt: skip
        found.append(row)
    return found


def sbom(lock: str, version: str) -> dict[str, object]:
    """The document. Its serial number follows from what is in it."""
    rows = [*components(lock), *models(version)]
    serial = uuid.UUID(bytes=hashlib.sha256((version + json.dumps(rows)).encode()).digest()[:16], version=4)
    product = f"pkg:pypi/smartstore-gateway@{version}"
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application", "bom-ref": product, "name": "smartstore-gateway", "version": version,
                "purl": product, "licenses": [{"license": {"id": "Apache-2.0"}}],
            }
        },
        "components": rows,
        "dependencies": [{"ref": product, "dependsOn": [row["bom-ref"] for row in rows]}],
    }  # fmt: skip


def main() -> None:
    """Write it to standard output."""
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    found = re.search(r'^version = "([^"]+)"$', project, re.MULTILINE)
    assert found is not None, "pyproject.toml: expected a version"
    lock = (ROOT / "requirements-gateway.lock").read_text(encoding="utf-8")
    json.dump(sbom(lock, found[1]), sys.stdout, indent=1)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
