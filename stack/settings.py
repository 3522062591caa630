"""Every setting of the stack, in one described table: prefix `CAPIBARA6_`, environment over `$home/settings.env`."""

from __future__ import annotations

import os
import re
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from stack.errors import ConfigurationError

REPOSITORY = Path(__file__).resolve().parent.parent

Profile = Literal["local", "production"]
LogLevel = Literal["debug", "info", "warning", "error"]
EngineStart = Literal["auto", "fork", "spawn"]
Embeddings = Literal["off", "ready", "always"]
SpokenLanguage = Literal["es", "en"]


OFF = "off"  # a schedule that there is none of: an empty variable is one that is not set
# A coarse look, so that a slip is told at once; Prefect reads it exactly.
_CRON_WORD = re.compile(r"(\*|[0-9A-Za-z]+(-[0-9A-Za-z]+)?)(/[0-9]+)?(,(\*|[0-9A-Za-z]+(-[0-9A-Za-z]+)?)(/[0-9]+)?)*")


def default_home() -> Path:
    return Path(os.environ.get("CAPIBARA6_HOME") or REPOSITORY / "var").expanduser().absolute()


class Settings(BaseSettings):
    """Sizes in bytes, times in seconds unless the name says otherwise."""

    model_config = SettingsConfigDict(env_prefix="CAPIBARA6_", env_ignore_empty=True, extra="ignore", frozen=True)

    # the installation
    home: Path = Field(default_factory=default_home, description="Where environments, data, logs and secrets live.")
    profile: Profile = Field(
        "local", description="`local`: loopback, no keys. `production`: keys, no loopback between nodes."
    )
    node: str | None = Field(None, description="The node this machine is; unset: all of them on this machine.")
    without: str = Field(
        "",
        description="Services this machine leaves out, with those that wait for them, comma-separated; "
        "`up --without` sets it.",
    )
    topology: Path | None = Field(None, description="Topology file; unset: `topology.toml` of the repository.")
    port_offset: int = Field(0, ge=0, le=50_000, description="Added to every port, for two stacks on one machine.")
    database_url: str | None = Field(None, description="Your own Postgres; unset: the embedded one.")
    gpu: bool = Field(False, description="The models environment is made for an NVIDIA GPU (`up --gpu` sets it).")
    log_level: LogLevel = Field("info", description="Lowest level that services log.")
    log_file_bytes: int = Field(10 * 2**20, gt=0, description="A service's log is rotated at this size.")
    log_file_backups: int = Field(3, ge=0, description="Rotated logs kept for each service.")
    service_start_timeout_seconds: float = Field(
        600, gt=0, description="How long `up` waits for one service to be ready."
    )
    graceful_stop_seconds: float = Field(10, gt=0, description="What a service may use to finish after a stop signal.")

    # the HTTP border
    max_body_bytes: int = Field(10 * 2**20, gt=0, description="Largest request body a service reads (413 beyond).")
    allowed_origins: str = Field(
        "",
        description="Origins (`https://host` or `https://host:*`, comma-separated) whose pages may call services that "
        "ask for no key, and MCP, and under whose hosts those may be called, beside loopback and the nodes' own "
        "addresses (421 and 403 for others).",
    )

    # models-europe
    catalogue: Path | None = Field(None, description="Model catalogue; unset: the profile's own.")
    models_memory_budget_bytes: int | None = Field(None, gt=0, description="Overrides the catalogue's memory budget.")
    model_queue_limit: int = Field(64, ge=1, description="Requests that may wait for a model (429 beyond).")
    model_queue_timeout_seconds: float = Field(
        300, gt=0, description="Longest wait for a place at a model (503 beyond)."
    )
    stream_status_wait_seconds: float = Field(
        1, ge=0, description="A stream's status waits this long for its model, then it is 200 and comments follow."
    )
    stream_comment_seconds: float = Field(
        5, gt=0, description="How often a stream that waits for its model is sent a comment."
    )
    client_stall_seconds: float = Field(
        60, gt=0, description="A client that reads nothing of its answer for so long is cut off."
    )
    health_queue_age_seconds: float = Field(
        240, gt=0, description="Not ready while a request has waited longer than this for a place."
    )
    model_patience_seconds: float = Field(
        60, ge=0, description="A model without room waits this long before busy ones are drained for it."
    )
    model_batch_ageing_seconds: float = Field(
        60, ge=0, description="A batch request queues as if it had come so much later."
    )
    model_min_residence_seconds: float = Field(
        10, ge=0, description="A loaded model stays at least this long, but never longer than its load took."
    )
    memory_holders_limit: int = Field(
        8, ge=1, description="Services that may hold memory of the models' budget beside them (429 beyond)."
    )
    memory_hold_wait_seconds: float = Field(
        5, ge=0, description="Longest wait of such a service for idle models to make room for it (503 beyond)."
    )
    memory_hold_max_ttl_seconds: float = Field(
        3600, gt=0, description="Longest silence such a service may announce before what it holds is freed."
    )
    engine_quiet_seconds: float = Field(
        15, gt=0, description="An engine with work that says nothing for this long is probed with one token."
    )
    engine_probe_timeout_seconds: float = Field(
        30, gt=0, description="An engine that does not answer its probe in this time is restarted."
    )
    engine_measure_seconds: float = Field(30, gt=0, description="How often a loaded engine's memory is measured.")
    engine_start_timeout_seconds: float = Field(300, gt=0, description="Longest start of one engine.")
    engine_stop_timeout_seconds: float = Field(
        15, gt=0, description="What an engine may use to stop before it is killed."
    )
    engine_sleep_timeout_seconds: float = Field(60, gt=0, description="Longest step of a sleep or waking on a GPU.")
    engine_start: EngineStart = Field(
        "auto",
        description="How engines start. `auto`: forked from the nursery where that was tested, else `spawn`. `fork`: "
        "forked with any vLLM version. `spawn`: each as a program of its own.",
    )
    nursery_start_timeout_seconds: float = Field(
        60, gt=0, description="Longest start of the nursery; meanwhile a load waits for it, then it starts plainly."
    )
    nursery_memory_limit_bytes: int = Field(
        2 * 2**30, gt=0, description="A nursery that grows beyond this is ended; engines of it live on."
    )
    hardware_profile: str | None = Field(
        None, description="`arm-axion`, `x86-cpu` or `cuda`: what engines are started with; unset: detected."
    )
    routing_texts: Path | None = Field(None, description="Folder of a team's own labelled texts, learned beside ours.")
    routing_max_tokens: int = Field(96, ge=16, le=512, description="Tokens of a text that routing looks at.")
    routing_threads: int = Field(2, ge=1, description="Threads of one routing decision.")
    routing_queue_limit: int = Field(64, ge=1, description="Waiting decisions; beyond, facts and the default decide.")
    routing_sticky_margin: float = Field(
        0.25, ge=0, le=1, description="By how much in probability another model must lead for a conversation to change."
    )
    routing_warm_band: float = Field(
        0.2, ge=0, le=1, description="How far behind in probability a model may be that saves much waiting."
    )
    routing_warm_half_seconds: float = Field(
        10, gt=0, description="Waiting saved at which half of that band is allowed."
    )
    routing_warm_least_seconds: float = Field(1, gt=0, description="Savings of waiting below this do not count.")
    routing_language_lead: float = Field(
        0.2, ge=0, le=1, description="Lead over Spanish and English at which a text counts as in another language."
    )
    routing_characters_per_token: float = Field(3.5, gt=0, description="To estimate a request's tokens by its length.")
    routing_least_answer_tokens: int = Field(
        256, ge=0, description="Room for an answer that a model's context must have, where the request names none."
    )

    # models-europe: sandboxes
    sandbox_max_count: int = Field(20, ge=1, description="Sandboxes at once, warm ones included (429 beyond).")
    sandbox_pool_size: int = Field(2, ge=0, description="Warm sandboxes kept ready, as far as memory allows.")
    sandbox_memory_limit_bytes: int = Field(2**30, gt=0, description="Memory one sandbox may use.")
    sandbox_admitted_bytes: int = Field(
        128 * 2**20, gt=0, description="What a new sandbox holds of the node's memory ledger; later what it uses."
    )
    sandbox_total_memory_bytes: int = Field(4 * 2**30, gt=0, description="Memory all sandboxes together may use.")
    sandbox_cpus: float = Field(1, gt=0, description="Processor time one sandbox may use, in cores.")
    sandbox_max_processes: int = Field(128, ge=16, description="Processes and threads of one sandbox.")
    sandbox_home_bytes: int = Field(256 * 2**20, gt=0, description="Size of a sandbox's home.")
    sandbox_tmp_bytes: int = Field(64 * 2**20, gt=0, description="Size of a sandbox's /tmp, and of its /dev/shm.")
    sandbox_max_inodes: int = Field(20_000, gt=0, description="Files and folders in each of those.")
    sandbox_output_bytes: int = Field(10 * 2**20, gt=0, description="Output of one execution or command (cut beyond).")
    sandbox_execution_seconds: float = Field(300, gt=0, description="Longest execution of one piece of code.")
    sandbox_timeout_seconds: float = Field(300, gt=0, description="Life of a sandbox whose creator names none.")
    sandbox_max_timeout_seconds: float = Field(86_400, gt=0, description="Longest life a creator may ask for.")
    sandbox_create_wait_seconds: float = Field(10, gt=0, description="Longest wait of a creation (503 beyond).")
    sandbox_create_queue_limit: int = Field(64, ge=1, description="Creations that may wait (429 beyond).")
    sandbox_upload_bytes: int = Field(100 * 2**20, gt=0, description="Largest upload into a sandbox (413 beyond).")
    sandbox_stall_seconds: float = Field(30, gt=0, description="An upload that brings nothing for so long is cut off.")
    sandbox_egress: str = Field(
        "", description="Hosts (`name`, `.suffix` or `name:port`, comma-separated) sandboxes may reach; empty: none."
    )
    sandbox_accept: str = Field(
        "",
        description="Weaknesses accepted in so many words: `without-limits` (no cgroups), `one-uid` (no root); "
        "comma-separated. Unset: without them the service is unavailable.",
    )
    sandbox_uids: int = Field(61_000, ge=1000, description="First of the user ids that sandboxes run as.")

    # services: what n8n is told
    n8n_locale: str = Field("en", description="Language of n8n's pages, where n8n has it.")
    n8n_executions_at_once: int = Field(
        20, ge=1, description="Executions that triggers and webhooks begin, at once; further ones wait their turn."
    )
    n8n_code_at_once: int = Field(5, ge=1, description="Code nodes that run at once.")
    n8n_executions_kept_hours: int = Field(336, ge=1, description="n8n forgets executions older than this.")
    n8n_executions_kept: int = Field(10_000, ge=0, description="And the oldest beyond this number; 0: by age alone.")
    n8n_database_connections: int = Field(4, ge=1, description="Connections that n8n holds to Postgres.")

    # services: chat API and flows
    max_message_chars: int = Field(32_000, gt=0, description="Longest message of a chat, in characters (422 beyond).")
    history_messages: int = Field(40, ge=0, description="Newest messages of a conversation sent to the model.")
    max_concurrent_turns: int = Field(64, ge=1, description="Chat turns at once (429 beyond).")
    chat_timeout_seconds: float = Field(600, gt=0, description="Longest turn of a chat, waiting and loading included.")
    flow_start_delay_ms: float = Field(
        300, ge=0, description="A turn's flow run starts at its first token, or after this."
    )
    history_chars: int = Field(24_000, ge=0, description="Of those messages, at most this many characters.")
    fork_messages: int = Field(
        2000, ge=1, description="Most messages that a fork of a conversation copies (422 beyond)."
    )
    chat_header_wait_seconds: float = Field(
        2, ge=0, description="A stream's status waits this long for the model's first word, then it is 200."
    )
    chat_keep_alive_seconds: float = Field(10, gt=0, description="A comment goes out on a silent stream this often.")
    record_retry_seconds: float = Field(
        120, ge=0, description="How long a finished turn is tried to be written while the database is away."
    )
    prefect_watch_seconds: float = Field(
        1.5, gt=0, description="How often active flow runs are asked for cancellation."
    )
    prefect_probe_seconds: float = Field(3, gt=0, description="How often a Prefect that is down is looked for.")

    # services: the assistant's tools and what it reads
    chat_tools_offered: int = Field(4, ge=1, le=16, description="Tools told to a model for one question, at most.")
    chat_tools_select_seconds: float = Field(
        0.3, gt=0, description="What choosing the tools of a question may take; then the chat goes on without."
    )
    chat_tool_rounds: int = Field(4, ge=1, description="Model calls of one turn that may ask for tools.")
    chat_tool_calls_at_once: int = Field(8, ge=1, description="Tool calls of one answer that are made (together).")
    chat_tool_call_tokens: int = Field(256, ge=32, description="Tokens that a small model may write for one call.")
    chat_tool_result_chars: int = Field(8000, ge=200, description="Characters of a tool's result that a model reads.")
    chat_answer_tokens: int = Field(
        512, ge=16, description="Tokens kept free for an answer in the model's context, where a request names no limit."
    )
    summary_context_share: float = Field(
        0.6, gt=0, le=1, description="Of its model's context that a turn may read before older turns are summarised."
    )
    summary_kept_messages: int = Field(6, ge=0, description="Newest messages that a summary leaves as they are.")
    summary_timeout_seconds: float = Field(300, gt=0, description="Longest making of a summary.")
    max_concurrent_summaries: int = Field(2, ge=1, description="Summaries made at once; others wait for a later turn.")
    prompts: Path | None = Field(
        None, description="Folder of a team's own prompts, looked into before ours (flows/prompts)."
    )

    # services: code execution and files
    max_concurrent_code_runs: int = Field(16, ge=1, description="Runs of code at once (429 beyond).")
    max_code_chars: int = Field(200_000, gt=0, description="Longest piece of code, in characters (422 beyond).")
    code_timeout_seconds: float = Field(60, gt=0, description="What code may take where its request names no limit.")
    code_max_timeout_seconds: float = Field(300, gt=0, description="Longest limit a request may name (422 beyond).")
    code_sandbox_wait_seconds: float = Field(
        15, gt=0, description="Longest wait for a sandbox, and for each transfer of files to or from it (504 beyond)."
    )
    code_conversation_idle_seconds: float = Field(
        600, gt=0, description="A conversation's sandbox is closed when nothing ran in it for so long."
    )
    code_conversation_queue_limit: int = Field(
        4, ge=0, description="Runs that may wait for the one under way in their conversation (429 beyond)."
    )
    code_conversation_wait_seconds: float = Field(
        60, gt=0, description="Longest wait for the run under way in the same conversation (503 beyond)."
    )
    code_output_bytes: int = Field(2 * 2**20, gt=0, description="Output of a run that its reply carries (cut beyond).")
    code_inline_bytes: int = Field(
        64 * 2**10, gt=0, description="A result's text form larger than this becomes a file of the run."
    )
    code_input_files: int = Field(20, ge=0, description="Files a run may be given (422 beyond).")
    code_input_bytes: int = Field(50 * 2**20, gt=0, description="Their bytes together (413 beyond).")
    code_output_files: int = Field(20, ge=0, description="Files of a run that are kept; the rest is named.")
    code_output_file_bytes: int = Field(50 * 2**20, gt=0, description="Their bytes together; what is beyond is named.")
    code_output_depth: int = Field(4, ge=1, description="How deep a sandbox's home is looked through for new files.")
    code_batch_jobs: int = Field(50, ge=1, description="Jobs of one batch (422 beyond).")
    code_batch_at_once: int = Field(2, ge=1, description="Batches that run at once; Prefect keeps the rest waiting.")
    idempotency_seconds: float = Field(86_400, gt=0, description="How long an Idempotency-Key is remembered.")
    max_file_bytes: int = Field(100 * 2**20, gt=0, description="Largest uploaded file (413 beyond).")
    owner_files_bytes: int = Field(
        10 * 2**30, gt=0, description="Bytes of all files of one owner, uploaded ones and those of runs (413 beyond)."
    )
    file_retention_seconds: float = Field(
        30 * 86_400, gt=0, description="Files older than this are removed, uploaded ones and those of runs."
    )

    # services: who is told of ended runs, and workflows of n8n
    hooks_limit: int = Field(50, ge=0, description="Hooks of one owner (409 beyond).")
    hook_try_seconds: float = Field(10, gt=0, description="Longest try to tell a hook or a callback of a run.")
    hook_retry_seconds: float = Field(
        1, gt=0, description="Wait after the first try that failed; twice as long after each further one."
    )
    hook_retry_most_seconds: float = Field(300, gt=0, description="Longest wait between two tries.")
    hook_retention_days: float = Field(7, gt=0, description="An event that a hook could not be told is kept so long.")
    hook_pending_limit: int = Field(
        100_000, ge=1, description="Events that may wait for one hook; beyond, the oldest are dropped."
    )
    hook_deliveries_at_once: int = Field(32, ge=1, description="Hooks and callbacks that are told at the same time.")
    hook_look_seconds: float = Field(
        2, gt=0, description="How often the database is asked for events; those of this process's runs go out at once."
    )
    hook_response_chars: int = Field(32_000, ge=0, description="Of an answer, so much is told in an event.")
    callback_give_up_seconds: float = Field(
        3600, gt=0, description="A callback that could not be told for so long is given up."
    )
    max_concurrent_workflows: int = Field(16, ge=1, description="Runs of the flow `workflow` at once (429 beyond).")
    workflow_timeout_seconds: float = Field(
        120, gt=0, description="What a workflow of n8n may take to answer where its request names no limit."
    )
    workflow_max_timeout_seconds: float = Field(
        3600, gt=0, description="Longest limit a request may name (422 beyond)."
    )
    workflow_answer_bytes: int = Field(10 * 2**20, gt=0, description="Largest answer of a workflow (an error beyond).")

    # services: speech of chats and documents
    speech_read_seconds: float = Field(
        60, gt=0, description="Longest silence of the TTS server while something is spoken."
    )
    speech_answer_chars: int = Field(
        4000, ge=100, description="Of a chat's answer, at most so many characters are spoken, whole sentences."
    )
    speech_wait_seconds: float = Field(
        180, gt=0, description="How long a chat waits for its speech after its text has ended; then it goes without."
    )
    max_concurrent_speeches: int = Field(
        4, ge=1, description="Runs of the flow `speech` at once beside the chat API (429 beyond)."
    )
    speech_short_chars: int = Field(
        3000,
        ge=0,
        description="Longest text that `speech` speaks beside the chat API; longer ones wait for the worker.",
    )
    speech_run_seconds: float = Field(600, gt=0, description="Longest speaking of such a text.")
    speech_document_chars: int = Field(
        400_000, ge=1, description="Longest document that is spoken, in characters (422 beyond)."
    )
    speech_part_chars: int = Field(
        1500, ge=200, le=4096, description="A text is spoken in parts of at most so many characters."
    )
    speech_part_seconds: float = Field(600, gt=0, description="Longest speaking of a part.")
    speech_part_retries: int = Field(3, ge=0, description="How often a part that failed is spoken again.")
    speech_batch_at_once: int = Field(
        1, ge=1, description="Documents that are spoken at once; Prefect keeps the rest waiting."
    )

    # services: batches of questions, and what is done by the clock
    chat_batch_items: int = Field(2000, ge=1, description="Items of one `chat-batch` (422 beyond).")
    chat_batch_bytes: int = Field(20 * 2**20, gt=0, description="Largest file of items (413 beyond).")
    chat_batch_at_once: int = Field(
        1, ge=1, description="Batches of questions that run at once; Prefect keeps the rest waiting."
    )
    chat_batch_items_at_once: int = Field(
        2,
        ge=1,
        le=64,
        description="Items of one batch that are asked at once, at a batch's place in the models' queue.",
    )
    chat_batch_item_seconds: float = Field(600, gt=0, description="Longest call of a model for one item.")
    chat_batch_item_retries: int = Field(3, ge=0, description="How often a call that broke is made again.")
    chat_batch_wait_seconds: float = Field(
        1800, ge=0, description="How long an item waits, all together, for a model server that is full or away."
    )
    chat_batch_answer_chars: int = Field(100_000, ge=1, description="Characters kept of an item's answer.")
    digest_cron: str = Field(
        "15 2 * * *", description="When the digest of the day before is made (cron, in `time_zone`); `off`: never."
    )
    digest_titles: int = Field(20, ge=0, description="Titles of conversations that a digest names, of each owner.")
    digest_tokens: int = Field(200, ge=0, description="Tokens of a digest's summary by a model; 0: none is asked.")
    schedule_late_seconds: float = Field(
        1800, ge=0, description="What the clock should have begun so long ago is not done any more (digests are)."
    )
    retention_cron: str = Field("45 3 * * *", description="When what is past its time is removed (cron); `off`: never.")
    run_retention_days: int = Field(365, ge=0, description="Ended runs are kept so long; 0: for ever.")
    conversation_retention_days: int = Field(
        0, ge=0, description="Conversations in which nothing was said for so long are removed; 0: none are."
    )
    prefect_retention_days: int = Field(
        30, ge=0, description="Prefect's ended flow runs are kept so long; 0: for ever."
    )
    routing_evaluation_cron: str = Field(
        OFF, description="When recent questions are routed anew, to compare (cron); `off`: never."
    )
    routing_evaluation_messages: int = Field(100, ge=1, le=1000, description="Questions that this looks at.")
    warm_up_cron: str = Field(
        OFF, description="When models are loaded before they are asked (cron, as `30 7 * * 1-5`); `off`: never."
    )
    warm_up_models: str = Field("", description="Models that this loads, in order, comma-separated.")
    warm_up_seconds: float = Field(600, gt=0, description="Longest loading of one of them.")

    # services: the MCP server
    mcp_concurrent_calls: int = Field(32, ge=1, description="Tool calls at once (a tool error beyond).")
    mcp_result_chars: int = Field(20_000, gt=0, description="Text of a tool's result, in characters (cut beyond).")
    mcp_result_binary_bytes: int = Field(
        1_000_000, gt=0, description="An image, sound or file inside a tool's result (named and left out beyond)."
    )
    mcp_resource_bytes: int = Field(2**20, gt=0, description="What reading a resource gives (text is cut beyond).")
    mcp_concurrent_reads: int = Field(16, ge=1, description="Resources read at once; further readings wait.")
    mcp_read_seconds: float = Field(
        15, gt=0, description="Longest reading or listing of resources, rendering of a prompt, completion."
    )
    mcp_cleanup_seconds: float = Field(
        5, gt=0, description="What a tool that is cancelled or out of time may use to clean up before it is left alone."
    )
    mcp_page_items: int = Field(100, ge=1, description="Tools, resources or prompts in one page of a list.")
    mcp_sessions: int = Field(
        256,
        ge=1,
        description="Sessions of MCP 2025-11-25 at once, half of them for one caller; beyond, the one idle for longest "
        "is ended, the caller's own first.",
    )
    mcp_session_idle_seconds: float = Field(900, gt=0, description="A session without requests is ended after this.")
    mcp_subscriptions: int = Field(
        64, ge=1, description="Streams of changes (2026-07-28) open at once, half of them for one caller."
    )
    mcp_contexts: Path | None = Field(
        None, description="Folder of the team's context documents (Markdown); unset: those about Capibara6 itself."
    )
    mcp_context_bytes: int = Field(64 * 2**10, gt=0, description="A longer context document is left out.")
    time_zone: str = Field("UTC", description="The team's time zone, as `Europe/Madrid`: what `now` and `today` mean.")
    fetch_max_bytes: int = Field(2 * 2**20, gt=0, description="What is read of a fetched page (cut beyond).")
    fetch_timeout_seconds: float = Field(20, gt=0, description="Longest fetching of a page, redirects together.")
    fetch_redirects: int = Field(5, ge=0, description="Redirects followed; each one's address is checked again.")
    fetch_ports: str = Field("80,443", description="Ports that pages are fetched from, comma-separated.")
    fetch_readings: int = Field(2, ge=1, description="Fetched pages made into text at once; further ones wait.")
    mcp_servers: Path | None = Field(
        None, description="TOML file of other MCP servers whose tools are offered too (docs/mcp.md); unset: none."
    )
    mcp_external_refresh_seconds: float = Field(
        60, gt=0, description="How often other servers are asked for their tools, and one that is away is tried again."
    )
    mcp_external_connect_seconds: float = Field(
        10, gt=0, description="Longest connecting to one, and listing its tools."
    )

    # services: the smart MCP server
    smart_refresh_seconds: float = Field(
        60, gt=0, description="How often the light MCP server reads the MCP server's tools and contexts anew."
    )
    smart_tools: int = Field(300, ge=1, description="Tools it holds (what is beyond is left out).")
    smart_tool_chars: int = Field(32_000, gt=0, description="Longest descriptor of a tool it holds.")
    smart_contexts: int = Field(32, ge=0, description="Context documents it holds for `/analyze`.")
    smart_context_chars: int = Field(4_000, gt=0, description="Of each, at most this many characters.")
    smart_concurrent_calls: int = Field(64, ge=1, description="Calls it passes on at once (a tool error beyond).")
    smart_call_seconds: float = Field(
        330, gt=0, description="Longest silence of the MCP server in a call; tools have limits of their own."
    )
    smart_embeddings: Embeddings = Field(
        "ready",
        description="Whether choices of tools use embeddings of the model server. `off`: never. `ready`: while the "
        "model is loaded. `always`: a question may load it, and evict another for it.",
    )
    smart_embeddings_model: str = Field("minilm_embeddings", description="The model asked for them.")
    smart_embeddings_ms: float = Field(30, gt=0, description="Longest wait for a question's embedding (words beyond).")
    smart_embeddings_look_seconds: float = Field(
        5, gt=0, description="How often it is looked whether that model is loaded."
    )

    # services: the speech server
    tts_default_engine: str = Field(
        "kokoro", description="The engine that speaks where none is named; it is started with the server."
    )
    tts_default_language: SpokenLanguage = Field(
        "es", description="The language of sentences whose words tell none, where the voice doesn't either."
    )
    tts_input_chars: int = Field(4096, ge=1, description="Longest text of one request, in characters (400 beyond).")
    tts_concurrent: int = Field(2, ge=1, description="Texts spoken at once; further ones wait for their turn.")
    tts_queue: int = Field(32, ge=0, description="Texts that may wait for their turn (429 beyond).")
    tts_queue_seconds: float = Field(30, gt=0, description="Longest wait for it (503 beyond).")
    tts_request_seconds: float = Field(
        600, gt=0, description="Longest request, waiting, speaking and fetching together; beyond, it is broken off."
    )
    tts_engine_silence_seconds: float = Field(
        30, gt=0, description="An engine that gives nothing for so long has failed (504)."
    )
    tts_threads: int = Field(2, ge=1, description="Cores that one engine may use at once.")
    tts_engine_start_seconds: float = Field(120, gt=0, description="Longest start of an engine (502 beyond).")
    tts_engine_stop_seconds: float = Field(
        5, gt=0, description="What an engine may take to stop speaking, or to end; beyond, its process is killed."
    )
    tts_idle_seconds: float = Field(
        600, gt=0, description="An engine other than the default one is ended when nobody has asked for it for so long."
    )
    tts_cache_bytes: int = Field(
        64 * 2**20, ge=0, description="Finished audio kept in memory, an eighth of it for one text at most; 0: none."
    )

    @field_validator("digest_cron", "retention_cron", "routing_evaluation_cron", "warm_up_cron")
    @classmethod
    def _cron(cls, value: str) -> str:
        words = value.split()
        if words != [OFF] and (len(words) != 5 or not all(_CRON_WORD.fullmatch(word) for word in words)):
            raise ValueError("is neither `off` nor a cron of five words, as `30 7 * * 1-5`")
        return " ".join(words)

    @field_validator("home", "topology", "catalogue", "routing_texts", "prompts", "mcp_servers", "mcp_contexts")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        return path.expanduser().absolute() if path is not None else None


def read_settings(home: Path | None = None) -> Settings:
    """Settings from the environment and `$home/settings.env`.

    Raises ConfigurationError naming every wrong variable.
    """
    base = home or default_home()
    values = {"home": base} if home is not None else {}
    try:
        return Settings(_env_file=base / "settings.env", **values)  # type: ignore[arg-type]
    except ValidationError as error:
        faults = "; ".join(
            f"CAPIBARA6_{'_'.join(str(part) for part in fault['loc']).upper()}: {fault['msg']}"
            for fault in error.errors()
        )
        raise ConfigurationError(f"settings: {faults}", "correct the variable, or the line in settings.env") from None


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """The process's settings, read once."""
    return read_settings()
