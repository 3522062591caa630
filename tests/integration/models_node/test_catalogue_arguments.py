"""vLLM itself takes the arguments of the shipped catalogues, and has the tool-call parsers that they name."""

from __future__ import annotations

from pathlib import Path

import pytest

from models_node.catalogue import read_catalogue
from models_node.profiles import profiles
from models_node.residency.command import engine_arguments
from stack.settings import REPOSITORY


@pytest.mark.parametrize("name", ["catalog.local.toml", "catalog.production.toml"])
@pytest.mark.parametrize("profile", ["arm-axion", "x86-cpu", "cuda"])
def test_vllm_parses_every_entrys_arguments(name: str, profile: str, tmp_path: Path) -> None:
    from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
    from vllm.renderers.chat_utils import load_chat_template
    from vllm.tool_parsers import ToolParserManager
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    catalogue = read_catalogue(REPOSITORY / "models_node" / name)
    parser = make_arg_parser(FlexibleArgumentParser())
    for entry in catalogue.models:
        arguments = engine_arguments(entry, catalogue, profiles()[profile], tmp_path, tmp_path / "socket")
        given = parser.parse_args(arguments)
        validate_parsed_serve_args(given)
        assert given.max_model_len == entry.context_length
        assert given.enable_auto_tool_choice or not entry.capabilities.tools
        if entry.capabilities.tools:
            assert given.tool_call_parser in ToolParserManager.list_registered()
        if given.chat_template:
            assert load_chat_template(given.chat_template) == given.chat_template  # itself, not a file's name
        if entry.capabilities.vision:
            assert given.limit_mm_per_prompt == {"image": 4}
