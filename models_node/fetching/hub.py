"""Hugging Face's hub through its own client, `huggingface_hub`; its many exceptions become one `FetchError`."""

from __future__ import annotations

import contextlib
import fnmatch
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from models_node.errors import FetchError

MAIN = "main"
WORKERS = 4  # files at once
# Weights, tokenizer, configuration, chat template; nothing that is code, or the same weights in another format.
WANTED = (
    "*.safetensors", "*.safetensors.index.json", "*.json", "*.jinja",
    "tokenizer.model", "*.tiktoken", "merges.txt", "vocab.txt", "LICENSE*", "NOTICE*",
)  # fmt: skip
# Some makers put the same weights there a second time, in a format of their own.
NEVER = ("consolidated*", "*/*")


@dataclass(frozen=True, slots=True)
class Listing:
    """What is to be downloaded. commit: 40 hex digits that name this state of the source for ever. files: bytes of
    each, by its name. sha256: of the large ones, which is where the hub knows it.
    """

    source: str
    commit: str
    files: dict[str, int]
    sha256: dict[str, str]

    @property
    def total_bytes(self) -> int:
        return sum(self.files.values())


class Hub:
    """endpoint: the hub's address, unset: HF_ENDPOINT or Hugging Face's own. token: unset: none is sent."""

    def __init__(self, endpoint: str | None = None, token: str | None = None) -> None:
        # Read when the client is imported; it would send how it is used, and draw bars of its own.
        os.environ.update(HF_HUB_DISABLE_TELEMETRY="1", HF_HUB_DISABLE_PROGRESS_BARS="1")
        self._endpoint = endpoint or os.environ.get("HF_ENDPOINT") or None
        self._token: str | bool = token or False

    def listing(self, source: str, revision: str | None) -> Listing:
        """The wanted files of a source, as of now. Raises FetchError."""
        from huggingface_hub import HfApi
        from huggingface_hub.hf_api import RepoFile

        api = HfApi(endpoint=self._endpoint, token=self._token)
        with told(source, revision):
            commit = api.model_info(source, revision=revision or MAIN).sha or ""
            tree = api.list_repo_tree(source, recursive=True, revision=commit)
            found = [file for file in tree if isinstance(file, RepoFile) and wanted(file.path)]
        files = {file.path: file.size for file in found}
        sha256 = {file.path: file.lfs.sha256 for file in found if file.lfs}
        if not any(name.endswith(".safetensors") for name in files) or "config.json" not in files:
            raise FetchError(
                f"{source} holds no config.json and safetensors at its top, which is what vLLM is given here",
                "name another `source` in the catalogue",
            )
        return Listing(source, commit, files, sha256)

    def download(self, listing: Listing, folder: Path) -> None:
        """Every listed file into `folder`; goes on with what an earlier try has left there. Raises FetchError.

        Whether all of it is there is the caller's to check: where the hub is lost halfway, the client may take what it
        has for good.
        """
        from huggingface_hub import snapshot_download

        with told(listing.source, listing.commit):
            snapshot_download(
                listing.source,
                revision=listing.commit,
                local_dir=folder,
                allow_patterns=[escaped(name) for name in listing.files],
                max_workers=WORKERS,
                endpoint=self._endpoint,
                token=self._token,
            )


def wanted(name: str) -> bool:
    return matches(name, WANTED) and not matches(name, NEVER)


def matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def escaped(name: str) -> str:
    """A pattern that this name alone matches."""
    return "".join(f"[{character}]" if character in "*?[" else character for character in name)


@contextlib.contextmanager
def told(source: str, revision: str | None) -> Iterator[None]:
    """Tells what the hub's client raises in one line, with what to do."""
    import httpx2
    from huggingface_hub import errors as hub

    try:
        yield
    except hub.GatedRepoError:
        raise FetchError(
            f"{source} is gated: its makers want their terms accepted first",
            f"accept them on the model's page with your account, then set HF_TOKEN to a token of it{_token_note()}",
        ) from None
    except hub.RepositoryNotFoundError:
        raise FetchError(
            f"the hub shows no {source!r}: it is spelt otherwise, private, or gated",
            f"check `source` in the catalogue; where it needs an account, set HF_TOKEN{_token_note()}",
        ) from None
    except hub.RevisionNotFoundError:
        raise FetchError(f"{source} has no revision {revision!r}", "check `revision` in the catalogue") from None
    except hub.OfflineModeIsEnabled:
        raise FetchError("HF_HUB_OFFLINE forbids downloads", "unset it where this machine may download") from None
    except hub.HfHubHTTPError as error:
        status = error.response.status_code
        refused = status in (401, 403)
        mend = f"set HF_TOKEN to a token that may read it{_token_note()}" if refused else "try again later"
        raise FetchError(f"the hub answered {status} for {source}", mend) from None
    except (httpx2.HTTPError, hub.LocalEntryNotFoundError, ConnectionError) as error:
        raise FetchError(
            f"the hub cannot be reached for {source} ({type(error.__cause__ or error).__name__})",
            "run this where the hub can be reached, or copy the folder of weights from such a machine",
        ) from None


def _token_note() -> str:
    return " (the one that is set is not enough)" if os.environ.get("HF_TOKEN") else ""
