"""The nine tools of 5003 as a client sees them: descriptions, parameters and keywords as its registry gives them."""

from __future__ import annotations

from typing import Any


def described(
    name: str, description: str, properties: dict[str, Any], es: tuple[str, ...], en: tuple[str, ...]
) -> dict[str, Any]:
    return {
        "name": name,
        "title": name.replace("_", " ").capitalize(),
        "description": description,
        "inputSchema": {"type": "object", "properties": properties, "additionalProperties": False},
        "annotations": {"readOnlyHint": True},
        "_meta": {"capibara6/timeout_seconds": 5, "capibara6/cost": "cheap",
                  "capibara6/keywords": {"es": list(es), "en": list(en)}},
    }  # fmt: skip


TEXT = {"type": "string"}
NINE_TOOLS: list[dict[str, Any]] = [
    described(
        "run_python", "Runs Python code in a sandbox and returns what it prints, its result and the files it makes.",
        {"code": TEXT, "files": {"type": "array", "items": TEXT}, "timeout_seconds": {"type": "number"}},
        ("ejecuta código", "python", "gráfica", "script"), ("run code", "python", "plot", "script"),
    ),
    described(
        "calculate", "Calculates an expression exactly: arithmetic, functions, units, percentages and dates.",
        {"expression": TEXT}, ("calcula", "cuánto es", "convierte"), ("calculate", "how much is", "convert"),
    ),
    described(
        "current_datetime", "Tells the current date and time, in a time zone of the caller's choice.",
        {"time_zone": TEXT}, ("qué hora es", "fecha de hoy", "hoy"), ("what time is it", "today's date", "today"),
    ),
    described(
        "search_conversations", "Searches the user's earlier conversations for words and returns the passages found.",
        {"query": TEXT, "limit": {"type": "integer"}}, ("busca en conversaciones", "historial"),
        ("search conversations", "history"),
    ),
    described(
        "get_run", "Tells the story of a run by its id: status, model, steps with timings, tool calls and errors.",
        {"run_id": TEXT}, ("ejecución", "pasos"), ("run", "steps"),
    ),
    described(
        "list_models", "Lists the models that this installation offers, with their context lengths and whether loaded.",
        {}, ("modelos disponibles", "lista de modelos"), ("available models", "list models"),
    ),
    described(
        "start_flow", "Starts a flow by name with parameters, in the background, and returns the id of its run.",
        {"flow": TEXT, "parameters": {"type": "object"}}, ("inicia flujo", "lanza flujo"), ("start flow", "launch"),
    ),
    described(
        "flow_status", "Tells how a flow that was started stands, by the id of its run.",
        {"run_id": TEXT}, ("estado del flujo",), ("flow status", "status of the flow"),
    ),
    described(
        "fetch_url", "Fetches the text of a public web page by its address.",
        {"url": TEXT}, ("abre la página", "lee la web", "enlace"), ("open the page", "read the website", "link"),
    ),
]  # fmt: skip
