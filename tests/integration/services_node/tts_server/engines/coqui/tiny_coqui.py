"""Models of Coqui with random weights and shapes so small that they load and babble in no time."""

from __future__ import annotations

import json
import math
import struct
import wave
from pathlib import Path
from typing import Any

import torch

RATE = 22_050
LETTERS = "abcdefghijklmnñopqrstuvwxyzáéíóúü"


def make_vits(folder: Path, *, speakers: tuple[str, ...] = (), seed: int = 0, rate: int = RATE, **config: Any) -> Path:
    """model.pth and config.json as Coqui's trainer writes them, and speakers.pth for several speakers. A few MB."""
    from TTS.config.shared_configs import BaseAudioConfig
    from TTS.tts.configs.shared_configs import CharactersConfig
    from TTS.tts.configs.vits_config import VitsArgs, VitsConfig
    from TTS.tts.models.vits import Vits

    folder.mkdir(parents=True, exist_ok=True)
    small = VitsArgs(
        hidden_channels=16,
        hidden_channels_ffn_text_encoder=32,
        num_layers_text_encoder=1,
        num_layers_posterior_encoder=1,
        num_layers_flow=1,
        upsample_initial_channel_decoder=16,
        init_discriminator=False,
        use_sdp=False,
        use_speaker_embedding=bool(speakers),
        speaker_embedding_channels=16,
    )
    characters = CharactersConfig(
        characters_class="TTS.tts.models.vits.VitsCharacters", pad="_", eos="", bos="", blank="",
        characters=LETTERS, punctuations=" .,;:?!", phonemes="",
    )  # fmt: skip
    made = VitsConfig(
        model_args=small, audio=BaseAudioConfig(sample_rate=rate), characters=characters, text_cleaner="basic_cleaners",
        use_phonemes=False, add_blank=True, datasets=[{"language": "es"}],
    )  # fmt: skip
    if speakers:
        torch.save({name: number for number, name in enumerate(speakers)}, folder / "speakers.pth")
        made.model_args.speakers_file = str(folder / "speakers.pth")
    torch.manual_seed(seed)
    model = Vits(made)
    with torch.no_grad():  # some frames a letter, whatever the weights
        model.duration_predictor.proj.bias.fill_(1.5)
    torch.save({"model": model.state_dict()}, folder / "model.pth")
    content = made.to_dict()
    if speakers:  # what a config that was written elsewhere says
        content["model_args"]["speakers_file"] = "/home/somebody/training/speakers.pth"
    (folder / "config.json").write_text(json.dumps(content | config))
    return folder


def make_recording(path: Path, seconds: float = 2.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = [int(8000 * math.sin(2 * math.pi * 180 * n / RATE)) for n in range(int(seconds * RATE))]
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(struct.pack(f"<{len(samples)}h", *samples))
    return path


def make_xtts(folder: Path, *, own_voice: bool = True) -> Path:
    """An XTTS of one layer. Its decoder and its encoder of speakers have but one size: 90 MB or so."""
    from TTS.tts.configs.xtts_config import XttsArgs, XttsConfig
    from TTS.tts.layers.xtts.tokenizer import VoiceBpeTokenizer
    from TTS.tts.models.xtts import Xtts

    folder.mkdir(parents=True, exist_ok=True)
    _make_vocabulary(folder / "vocab.json")
    width = 32
    small = XttsArgs(
        gpt_layers=1, gpt_n_model_channels=width, gpt_n_heads=2, gpt_max_audio_tokens=40, gpt_num_audio_tokens=66,
        gpt_start_audio_token=64, gpt_stop_audio_token=65, gpt_use_perceiver_resampler=True, decoder_input_dim=width,
    )  # fmt: skip
    made = XttsConfig(model_args=small, languages=["en", "es"])
    torch.manual_seed(0)
    model = Xtts(made)
    model.tokenizer = VoiceBpeTokenizer(vocab_file=str(folder / "vocab.json"))
    model.init_models()
    torch.save({"model": model.state_dict()}, folder / "model.pth")
    if own_voice:
        voice = {"gpt_cond_latent": torch.randn(1, 32, width), "speaker_embedding": torch.randn(1, 512, 1)}
        torch.save({"Ana Florencia": voice}, folder / "speakers_xtts.pth")
    (folder / "config.json").write_text(json.dumps(made.to_dict()))
    return folder


def _make_vocabulary(path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokens = ["[STOP]", "[UNK]", "[SPACE]", "[START]", "[es]", "[en]", *LETTERS, *".,;:?!'"]
    tokenizer = Tokenizer(models.BPE({token: n for n, token in enumerate(tokens)}, [], unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(tokens[:6])
    tokenizer.save(str(path))
