"""The five real models: their sums hold, and what is commented out would be read as well."""

from __future__ import annotations

import json
import re

import pytest
from transformers.utils.chat_template_utils import render_jinja_template

from models_node.catalogue import Catalogue, ModelEntry, parse_catalogue, read_catalogue
from models_node.planning.room import room
from models_node.residency.measuring import kv_cache_bytes
from stack.settings import REPOSITORY

PATH = REPOSITORY / "models_node" / "catalog.production.toml"
GIB = 2**30
ENGINE_BYTES = 2 * GIB
STEP_BYTES = GIB // 2
PARAMETERS = {
    "phi4_fast": 3.84e9,
    "mistral_balanced": 7.25e9,
    "qwen_coder": 1.54e9,
    "gemma3_multimodal": 27.4e9,
    "aya_expanse_multilingual": 8.03e9,
}
# Of their published configurations: layers, key and value heads, size of a head.
SHAPES = {
    "phi4_fast": (32, 8, 128),
    "mistral_balanced": (32, 8, 128),
    "qwen_coder": (28, 2, 128),
    "gemma3_multimodal": (62, 16, 128),
    "aya_expanse_multilingual": (32, 8, 128),
}
CATALOGUE = read_catalogue(PATH)
TEXT = PATH.read_text(encoding="utf-8")


def kv_cache(entry: ModelEntry) -> int:
    return kv_cache_bytes(entry.engine_arguments, entry.environment)


def argument(entry: ModelEntry, name: str) -> str | None:
    given = [*CATALOGUE.engine.arguments, *entry.engine_arguments]
    return given[given.index(name) + 1] if name in given else None


@pytest.mark.parametrize("entry", CATALOGUE.models, ids=CATALOGUE.ids)
def test_the_estimate_is_weights_kv_cache_and_engine_to_the_next_half_gib(entry: ModelEntry) -> None:
    assert entry.weights_size == pytest.approx(PARAMETERS[entry.id] * 2)
    total = PARAMETERS[entry.id] * 2 + kv_cache(entry) + ENGINE_BYTES
    assert 0 <= entry.memory_bytes - total < STEP_BYTES
    assert entry.memory_bytes % STEP_BYTES == 0


@pytest.mark.parametrize("entry", CATALOGUE.models, ids=CATALOGUE.ids)
def test_the_kv_cache_holds_at_least_one_full_context(entry: ModelEntry) -> None:
    layers, heads, size = SHAPES[entry.id]
    assert kv_cache(entry) >= 2 * layers * heads * size * 2 * entry.context_length
    assert argument(entry, "--max-model-len") == str(entry.context_length)


def test_every_model_runs_in_bfloat16_and_can_be_fetched() -> None:
    for entry in CATALOGUE.models:
        assert argument(entry, "--dtype") == "bfloat16"
        assert entry.source
    gemma = CATALOGUE.get("gemma3_multimodal")
    assert gemma is not None
    assert "bfloat16" in gemma.engine_arguments
    assert gemma.capabilities.vision
    assert gemma.context_length == 24576


def test_which_fit_together_is_as_its_heading_says() -> None:
    found = room(CATALOGUE.models, CATALOGUE.limits.memory_budget)
    phi, mistral, qwen, gemma, aya = CATALOGUE.ids
    assert {frozenset(fitting.models) for fitting in found.sets} == {
        frozenset({gemma, phi, qwen, mistral}),
        frozenset({gemma, phi, qwen, aya}),
        frozenset({gemma, mistral, aya}),
        frozenset({phi, mistral, qwen, aya}),
    }
    assert not found.never


def commented() -> list[str]:
    """Each entry that is commented out, as TOML, without the end-of-line notes."""
    lines = [line.removeprefix("#").removeprefix(" ") for line in TEXT.splitlines() if line.startswith("#")]
    blocks = re.split(r"^(?=\[\[models\]\])", "\n".join(lines), flags=re.MULTILINE)[1:]
    return ["\n".join(line for line in block.splitlines() if re.match(r"\[\[|\w+ = ", line)) for block in blocks]


def with_entry(block: str) -> Catalogue:
    """The catalogue with one entry in the place of the one of that id."""
    active = re.split(r"^(?=\[\[models\]\])", TEXT, flags=re.MULTILINE)
    wanted = re.search(r'^id = ".*"$', block, re.MULTILINE)
    assert wanted
    kept = [part for part in active if f"\n{wanted[0]}\n" not in part]
    return parse_catalogue("\n".join([*kept, block]), "x.toml")


def test_the_int4_entry_makes_all_five_fit() -> None:
    int4, _ = commented()
    catalogue = with_entry(int4)
    assert set(catalogue.ids) == set(CATALOGUE.ids)
    gemma = catalogue.get("gemma3_multimodal")
    assert gemma is not None
    assert gemma.weights_size is not None
    total = gemma.weights_size + kv_cache(gemma) + ENGINE_BYTES
    assert 0 <= gemma.memory_bytes - total < STEP_BYTES
    assert room(catalogue.models, catalogue.limits.memory_budget).all_fit


def test_the_remote_entry_takes_no_memory() -> None:
    _, remote = commented()
    coder = with_entry(remote).get("qwen_coder")
    assert coder is not None
    assert coder.remote
    assert coder.memory_bytes == 0


TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


def prompt(messages: list[dict[str, object]], tools: list[dict[str, object]] | None = None) -> str:
    phi = CATALOGUE.get("phi4_fast")
    assert phi is not None
    template = argument(phi, "--chat-template")
    rendered, _ = render_jinja_template([messages], chat_template=template, tools=tools, add_generation_prompt=True)
    [text] = rendered
    return str(text)


def test_phis_template_without_tools_is_its_makers() -> None:
    messages: list[dict[str, object]] = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Hola"},
        {"role": "assistant", "content": "¡Hola!"},
        {"role": "user", "content": "¿Y tú?"},
    ]
    assert prompt(messages) == (
        "<|system|>Be kind.<|end|><|user|>Hola<|end|><|assistant|>¡Hola!<|end|><|user|>¿Y tú?<|end|><|assistant|>"
    )


def test_phis_template_tells_tools_calls_and_results() -> None:
    call = {"function": {"name": "weather", "arguments": {"city": "Lugo"}}}
    text = prompt(
        [
            {"role": "user", "content": "Rain in Lugo?"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "content": "yes"},
        ],
        [TOOL],
    )
    assert json.loads(text.split("<|tool|>")[1].split("<|/tool|>")[0]) == [TOOL]
    calls = re.findall(r"<tool_call>(.*?)</tool_call>", text.split("<|assistant|>")[1])
    assert [json.loads(one) for one in calls] == [call["function"]]
    assert text.endswith("<|user|><tool_response>yes</tool_response><|end|><|assistant|>")
