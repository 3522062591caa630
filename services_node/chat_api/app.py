"""The chat API as an application: its parts, their life, its routes."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from fastapi import FastAPI

from db.batch_items import BatchItems
from db.batches import Batches
from db.conversations import Conversations
from db.engine import Database
from db.errors import DatabaseUnavailable
from db.files import Files
from db.hooks import Hooks
from db.outbox import Leased, Outbox
from db.queued import QueuedRuns
from db.records import NewRun
from db.runs import Runs
from db.turns import Turns
from db.urls import database_url
from flows.chat import Assistance
from flows.code import CodeTools, ConversationTurns
from flows.code_events import CodeLimits
from flows.conduct import Conductor, Ended, RunLimits
from flows.file_store import FileStore
from flows.known_routes import KnownRoutes
from flows.prefect_settings import client_environment
from flows.prompting import PromptFolder
from flows.runner import FlowRunner, RunnerConfig
from flows.sandboxes import E2BSandboxes, connection
from flows.speaking import Speaking, SpeakLimits
from flows.speech import Narrator, SpeechLimits
from flows.summary import SummaryLimits
from flows.tools.box import ServedTools, ToolLimits
from flows.turn import TurnLimits
from flows.workflows import n8n_url
from services_node.chat_api import chat, code, conversations, files, item_batches, metrics, offered_flows, runs, status
from services_node.chat_api.hooks import routes as hooks
from services_node.chat_api.hooks.addresses import node_addresses, public_or
from services_node.chat_api.hooks.delivering import Delivering, DeliveryLimits
from services_node.chat_api.hooks.events import EventWriter, Pages, secret_of
from services_node.chat_api.hooks.sending import Sender
from services_node.chat_api.openai_door import routes as openai_door
from services_node.chat_api.parts import Parts
from services_node.chat_api.summaries import Summaries
from stack.processes import stack_id
from stack.secrets import Secrets
from stack.settings import Settings
from stack.topology import Topology, keys_needed, load_topology
from wire.addresses import Refusal
from wire.border import install_border
from wire.clients.mcp import McpClient
from wire.clients.models import ModelServerClient
from wire.clients.n8n import WorkflowClient
from wire.clients.smart import SmartToolsClient
from wire.clients.speech import SpeechClient
from wire.health import Readiness
from wire.ids import uuid7

log = logging.getLogger("services_node.chat_api")

SERVICE = "chat-api"
PRINCIPALS = {"frontend", "n8n", "operator", "services"}
ACTING = {"services"}  # the MCP servers ask for those who ask them
SWEEP_RETRY_SECONDS = 2.0
FILE_SWEEP_SECONDS = 3600.0
# Of the time a stop may take: the turns' part, then the flow runs'. What is left closes connections.
TURNS_SHARE = 0.4
FLOWS_SHARE = 0.4
SANDBOXES_SHARE = 0.05
HOOKS_SHARE = 0.1
FORM_BYTES = 64 * 2**10  # what a form may add around its file


def create_app(settings: Settings, secrets: Secrets) -> FastAPI:
    parts = make_parts(settings, secrets)
    app = FastAPI(title="Capibara6 chat", version="0.1.0", lifespan=_life, redoc_url=None)
    app.state.parts = parts
    for routes in (chat, code, conversations, files, hooks, item_batches, offered_flows, openai_door, runs, status):
        app.include_router(routes.router)

    async def readiness() -> Readiness:
        return await status.readiness(parts)

    install_border(
        app,
        service=SERVICE,
        settings=settings,
        secrets=secrets,
        allowed=PRINCIPALS,
        acting_for=ACTING,
        readiness=readiness,
        open_paths=("/health", "/api/health"),
        larger_bodies={"/api/files": settings.max_file_bytes + FORM_BYTES},
    )
    return app


def make_parts(settings: Settings, secrets: Secrets) -> Parts:
    topology = load_topology(settings)
    key = secrets.services_key.get_secret_value() if keys_needed(settings, "model-server") else None
    models = ModelServerClient(topology.url("model-server"), key=key, read_seconds=settings.chat_timeout_seconds)
    database = Database(database_url(settings, secrets))
    this_stack, instance_id = stack_id(settings), uuid7()
    rows, batches = Runs(database), Batches(database)
    flow_runner = FlowRunner(
        RunnerConfig(
            environment=client_environment(settings, secrets),
            stack_id=this_stack,
            instance_id=instance_id,
            watch_seconds=settings.prefect_watch_seconds,
            probe_seconds=settings.prefect_probe_seconds,
        ),
        rows,
        batches,
    )
    turns = Turns(database)
    limits = RunLimits(
        at_once={
            "chat": settings.max_concurrent_turns,
            "code": settings.max_concurrent_code_runs,
            "speech": settings.max_concurrent_speeches,
            "summary": settings.max_concurrent_summaries,
            "workflow": settings.max_concurrent_workflows,
        },
        flow_start_delay_seconds=settings.flow_start_delay_ms / 1000,
        record_retry_seconds=settings.record_retry_seconds,
    )
    summaries = Summaries(
        SummaryLimits(
            context_share=settings.summary_context_share,
            kept_messages=settings.summary_kept_messages,
            timeout_seconds=settings.summary_timeout_seconds,
        )
    )

    def observe(run: NewRun, ended: Ended[Any]) -> None:
        metrics.observe(run, ended)
        summaries.consider(run, ended)
        delivering.run_ended()

    conductor = Conductor(turns, flow_runner, limits, observe)
    metrics.ACTIVE.set_function(lambda: conductor.active("chat"))
    metrics.ACTIVE_CODE.set_function(lambda: conductor.active("code"))
    sandboxes = E2BSandboxes(
        connection(
            os.environ,
            settings,
            secrets.services_key.get_secret_value() if keys_needed(settings, "sandbox-gateway") else None,
        ),
        this_stack,
        settings.code_sandbox_wait_seconds,
    )
    file_rows = Files(database)
    pages = Pages(topology.url("prefect-server"), n8n_url(settings))
    writer = EventWriter(rows, file_rows, turns, pages, settings.hook_response_chars)
    delivering = delivering_of(settings, secrets, topology, Outbox(database, instance_id), writer)
    files = FileStore(settings.home, file_rows, owner_bytes=settings.owner_files_bytes)
    code_tools = CodeTools(sandboxes, files, ConversationTurns(), CodeLimits.of(settings))
    tools = served_tools(settings, secrets, code_tools)
    speech = speech_client(settings, secrets)
    speaking = Speaking(speech, files, speak_limits(settings))
    prompts = PromptFolder(settings.prompts)
    summaries.parts = parts = Parts(
        settings,
        this_stack,
        instance_id,
        database,
        turns,
        rows,
        Conversations(database),
        models,
        flow_runner,
        conductor,
        sandboxes,
        code_tools,
        tools,
        speech,
        Narrator(speech, files, SpeechLimits.of(settings)),
        prompts,
        Assistance(KnownRoutes(models), tools, prompts, turn_limits(settings), speaking),
        summaries,
        file_rows,
        files,
        batches,
        QueuedRuns(database),
        BatchItems(database),
        secrets,
        topology,
        Hooks(database),
        pages,
        delivering,
        workflow_client(settings, secrets),
    )
    return parts


def workflow_client(settings: Settings, secrets: Secrets) -> WorkflowClient:
    """Webhooks of our workflows ask for n8n's key where the services ask for keys."""
    key = secrets.n8n_key.get_secret_value() if keys_needed(settings, "n8n") else None
    return WorkflowClient(n8n_url(settings), answer_bytes=settings.workflow_answer_bytes, key=key)


def delivering_of(
    settings: Settings, secrets: Secrets, topology: Topology, outbox: Outbox, writer: EventWriter
) -> Delivering:
    """What tells hooks and callbacks."""

    async def refusal() -> Refusal:
        return public_or(await node_addresses(topology))

    def secret(leased: Leased) -> str:
        return secret_of(secrets, leased)

    return Delivering(
        outbox, Sender(refusal, settings.hook_try_seconds), writer.body, secret, DeliveryLimits.of(settings)
    )


def served_tools(settings: Settings, secrets: Secrets, code: CodeTools) -> ServedTools:
    """The tools of the node's MCP servers."""
    topology = load_topology(settings)

    def key(service: str) -> str | None:
        return secrets.services_key.get_secret_value() if keys_needed(settings, service) else None

    return ServedTools(
        SmartToolsClient(topology.url("smart-mcp"), key=key("smart-mcp")),
        McpClient(topology.url("mcp-server"), key=key("mcp-server"), read_seconds=settings.chat_timeout_seconds),
        code,
        ToolLimits(
            offered=settings.chat_tools_offered,
            select_seconds=settings.chat_tools_select_seconds,
            result_chars=settings.chat_tool_result_chars,
        ),
    )


def speech_client(settings: Settings, secrets: Secrets) -> SpeechClient:
    key = secrets.services_key.get_secret_value() if keys_needed(settings, "tts-server") else None
    url = load_topology(settings).url("tts-server")
    return SpeechClient(url, key=key, read_seconds=settings.speech_read_seconds)


def speak_limits(settings: Settings) -> SpeakLimits:
    return SpeakLimits(
        answer_chars=settings.speech_answer_chars,
        wait_seconds=settings.speech_wait_seconds,
        file_bytes=settings.max_file_bytes,
    )


def turn_limits(settings: Settings) -> TurnLimits:
    return TurnLimits(
        tool_rounds=settings.chat_tool_rounds,
        calls_at_once=settings.chat_tool_calls_at_once,
        tool_call_tokens=settings.chat_tool_call_tokens,
        answer_tokens=settings.chat_answer_tokens,
    )


@asynccontextmanager
async def _life(app: FastAPI) -> AsyncIterator[None]:
    parts: Parts = app.state.parts
    stopping: asyncio.Event = app.state.stopping
    seconds = parts.settings.graceful_stop_seconds
    sweeping = asyncio.create_task(sweep(parts))
    ageing = asyncio.create_task(sweep_files(parts))
    parts.delivering.start()
    stop = asyncio.create_task(_stop_turns(parts, stopping, seconds * TURNS_SHARE))
    try:
        yield
    finally:
        sweeping.cancel()
        ageing.cancel()
        stopping.set()
        await parts.summaries.stop()
        await asyncio.gather(sweeping, ageing, stop, return_exceptions=True)
        await parts.delivering.stop(seconds * HOOKS_SHARE)
        await parts.sandboxes.stop(seconds * SANDBOXES_SHARE)
        await parts.flows.stop(seconds * FLOWS_SHARE)
        await parts.models.close()
        await parts.tools.close()
        await parts.speech.close()
        await parts.workflows.close()
        await parts.database.close()


async def _stop_turns(parts: Parts, stopping: asyncio.Event, seconds: float) -> None:
    """At the first stop signal, before the server waits for its open streams: they end with a reason."""
    await stopping.wait()
    await parts.conductor.stop(seconds)


async def sweep(parts: Parts) -> None:
    """Closes the runs that earlier processes left open, once Postgres answers; then flow runs may be kept in step."""
    while True:
        try:
            lost = await parts.runs.close_abandoned(parts.stack_id, parts.instance_id)
        except DatabaseUnavailable:
            await asyncio.sleep(SWEEP_RETRY_SECONDS)
            continue
        except Exception:  # whatever it was: flow runs must not stay away for this process's whole life
            log.exception("runs that an earlier process left open could not be closed; trying again")
            await asyncio.sleep(SWEEP_RETRY_SECONDS)
            continue
        if lost:
            log.warning("closed runs that an earlier process left open", extra={"count": len(lost)})
        parts.flows.start()
        return


async def sweep_files(parts: Parts) -> None:
    """Removes files past their time, now and every hour."""
    while True:
        try:
            removed = await parts.files.sweep(timedelta(seconds=parts.settings.file_retention_seconds))
        except Exception as error:  # Postgres is away, or the disk is ill: nothing else waits for this
            log.warning("old files could not be removed", extra={"reason": str(error)})
        else:
            if removed:
                log.info("removed files past their time", extra={"count": removed})
        await asyncio.sleep(FILE_SWEEP_SECONDS)
