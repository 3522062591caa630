"""What the routes work with, made once a process and kept in `app.state.parts`."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from fastapi import Request

from db.batch_items import BatchItems
from db.batches import Batches
from db.conversations import Conversations
from db.engine import Database
from db.files import Files
from db.hooks import Hooks
from db.queued import QueuedRuns
from db.runs import Runs
from db.turns import Turns
from flows.chat import Assistance
from flows.code import CodeTools
from flows.conduct import Conductor
from flows.file_store import FileStore
from flows.prompting import PromptFolder
from flows.runner import FlowRunner
from flows.sandboxes import E2BSandboxes
from flows.speech import Narrator
from flows.tools.box import ServedTools
from services_node.chat_api.hooks.delivering import Delivering
from services_node.chat_api.hooks.events import Pages
from services_node.chat_api.summaries import Summaries
from stack.secrets import Secrets
from stack.settings import Settings
from stack.topology import Topology
from wire.clients.models import ModelServerClient
from wire.clients.n8n import WorkflowClient
from wire.clients.speech import SpeechClient
from wire.context import current


@dataclass(frozen=True, slots=True)
class Parts:
    settings: Settings
    stack_id: str
    instance_id: uuid.UUID
    database: Database
    turns: Turns
    runs: Runs
    conversations: Conversations
    models: ModelServerClient
    flows: FlowRunner
    conductor: Conductor
    sandboxes: E2BSandboxes
    code: CodeTools
    tools: ServedTools
    speech: SpeechClient
    narrator: Narrator
    prompts: PromptFolder
    assistance: Assistance
    summaries: Summaries
    file_rows: Files
    files: FileStore
    batches: Batches
    queued: QueuedRuns
    batch_items: BatchItems
    secrets: Secrets
    topology: Topology
    hooks: Hooks
    pages: Pages
    delivering: Delivering
    workflows: WorkflowClient


def parts_of(request: Request) -> Parts:
    found: Parts = request.app.state.parts
    return found


def owner() -> str:
    """The principal whose request this is."""
    return current().principal.name
