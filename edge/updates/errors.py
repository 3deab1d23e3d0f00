"""Why an update is not made: each reason has a name that people, the audit and the platform see."""

from __future__ import annotations

from typing import Final

from edge.core.errors import GatewayError

REASONS: Final = {
    "clock_unset": "The clock is not known: allow NTP (UDP 123); the update follows by itself.",
    "forged": "What was offered is not signed by the publisher's keys: check updates.url, tell the publisher.",
    "tampered": "A file is not the one that was signed: the repository, or something on the way, changed it.",
    "replay": "The repository showed an older state than it did before: somebody may be holding updates back.",
    "freeze": "The repository's signatures have expired: the publisher must sign, or somebody holds updates back.",
    "mix_and_match": "The repository shows parts of different states: it is being changed, or somebody mixes them.",
    "rollback": "A release older than the one that runs is never installed; it has to be released under a new version.",
    "unknown_target": "The publisher has signed no such release for this kind of machine.",
    "bad_release": "The release was signed but is not usable: tell the publisher.",
    "failed_before": "This release was tried and taken back; `smartstore update apply --again` tries it once more.",
    "no_room": "Make room on the disk that holds the slots.",
    "unhealthy": "The release did worse than the one before, which runs again.",
    "busy": "Another update is under way; look at `smartstore update status`.",
    "nothing_before": "There is no earlier release on this machine to go back to.",
}


class UpdateRefused(GatewayError):
    """An update that is not made. `reason` is a key of `REASONS`, `detail` says what was found."""

    def __init__(self, reason: str, detail: str) -> None:
        self.reason, self.detail = reason, detail
        self.hint = REASONS[reason]  # type: ignore[misc]  # each reason brings its own next action
        super().__init__(f"{reason}: {detail}")


class RepositoryUnreachable(GatewayError):
    """The repository does not answer: no refusal, it is asked again later."""

    retryable = True
    hint = "Check the network and updates.url; the gateway goes on with what it has."
