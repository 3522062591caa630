"""What a batch was asked, as it stands in a file of its run: written by the API, read by the batch's own process."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

ASKED = "batch.json"


@dataclass(frozen=True, slots=True)
class Job:
    """files: name, and either `data` (base64) or the `file_id` of a stored file."""

    code: str
    language: str
    timeout_seconds: float
    files: tuple[dict[str, str], ...]


def written_jobs(jobs: Sequence[Job]) -> bytes:
    return json.dumps({"jobs": [asdict(job) for job in jobs]}).encode()


def read_jobs(data: bytes) -> list[Job]:
    return [Job(**{**job, "files": tuple(job["files"])}) for job in json.loads(data)["jobs"]]
