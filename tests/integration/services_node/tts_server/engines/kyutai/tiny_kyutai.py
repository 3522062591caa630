"""A Pocket TTS of random weights and the smallest shape that has all its parts: it loads and babbles in no time."""

from __future__ import annotations

import math
import wave
from pathlib import Path
from typing import Any

import torch
import yaml

LETTERS = "abcdefghijklmnñopqrstuvwxyzáéíóúü .,;:?!"
RATE = 24_000


def make_model(folder: Path, config: str = "spanish.yaml", *, width: int = 32, endless: bool = False) -> Path:
    """What a user downloads, in `folder`: model.safetensors, tokenizer.json and the config that comes with the package.

    endless: it never finds the end of a sentence, and goes on to the length that the package allows.
    """
    import safetensors.torch
    from pocket_tts.models.tts_model import TTSModel

    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = _make_tokenizer(folder / "tokenizer.json")
    content = _config(vocabulary, width)
    bare = folder / "bare.yml"  # without weights the package leaves a model as it was made
    table = {**content["flow_lm"]["lookup_table"], "tokenizer_path": str(folder / "tokenizer.json")}
    bare.write_text(yaml.safe_dump({**content, "weights_path": None,
                                    "flow_lm": {**content["flow_lm"], "lookup_table": table}}))  # fmt: skip
    torch.manual_seed(0)
    model = TTSModel.load_model(config=bare)
    bare.unlink()
    torch.nn.init.normal_(model.flow_lm.speaker_proj_weight, std=0.1)
    state = {key: value.contiguous().clone() for key, value in model.state_dict().items()}
    for value in state.values():
        torch.nan_to_num_(value, 0.05)  # what training would have filled
    safetensors.torch.save_file(state, folder / "model.safetensors")
    content["default_eos_threshold"] = 1e9 if endless else -1e9
    (folder / config).write_text(yaml.safe_dump(content))
    return folder


def make_recording(path: Path, seconds: float = 1.5) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    tone = [int(8000 * math.sin(2 * math.pi * 180 * n / RATE)) for n in range(int(seconds * RATE))]
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(b"".join(sample.to_bytes(2, "little", signed=True) for sample in tone))
    return path


def _make_tokenizer(path: Path) -> int:
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = {token: number for number, token in enumerate(["<unk>", *LETTERS, *LETTERS[:33].upper()])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.save(str(path))
    return int(tokenizer.get_vocab_size())


def _config(vocabulary: int, width: int) -> dict[str, Any]:
    seanet = {
        "dimension": 32, "channels": 1, "n_filters": 4, "n_residual_layers": 1, "ratios": [6, 5, 4], "kernel_size": 7,
        "residual_kernel_size": 3, "last_kernel_size": 3, "dilation_base": 2, "pad_mode": "constant", "compress": 2,
    }  # fmt: skip
    transformer = {
        "d_model": 32, "num_heads": 2, "num_layers": 1, "layer_scale": 0.01, "context": 250, "dim_feedforward": 64,
        "input_dimension": 32, "output_dimensions": [32],
    }  # fmt: skip
    return {
        "weights_path": "hf://kyutai/pocket-tts/languages/spanish/model.safetensors@0123456789",
        "weights_path_without_voice_cloning": "hf://kyutai/elsewhere/model.safetensors@0123456789",
        "flow_lm": {
            "insert_bos_before_voice": True,
            "dtype": "float32",
            "flow": {"depth": 1, "dim": 16},
            "transformer": {"d_model": width, "hidden_scale": 2, "max_period": 10000, "num_heads": 2, "num_layers": 1},
            "lookup_table": {
                "dim": width, "n_bins": vocabulary, "tokenizer": "tokenizers",
                "tokenizer_path": "hf://kyutai/elsewhere/languages/spanish/tokenizer.json@0123456789",
            },
        },
        "mimi": {
            "dtype": "float32", "sample_rate": RATE, "inner_dim": 8, "outer_dim": 32, "channels": 1,
            "frame_rate": 12.5, "seanet": seanet, "transformer": transformer,
            "quantizer": {"dimension": 8, "output_dimension": 32},
        },
    }  # fmt: skip
