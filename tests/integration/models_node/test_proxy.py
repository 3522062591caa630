"""The model server's HTTP side over real sockets, with a small engine that does as the test says."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from aiohttp import web

from tests.integration.models_node.scripted import (
    CHAT,
    LIMIT_SECONDS,
    ScriptedEngine,
    chunk,
    error_of,
    never_ends,
    serving,
    streamed,
    tells_three_words,
)


async def test_a_streams_bytes_come_untouched_with_model_and_route_in_the_headers(tmp_path: Path) -> None:
    async with serving(tmp_path, tells_three_words) as (client, launcher, _):
        reply = await client.post("/v1/chat/completions", json={**CHAT, "model": "a", "stream": True})
        assert reply.content == chunk("one") + chunk("two") + chunk("three") + b"data: [DONE]\n\n"
        assert reply.headers["x-capibara6-model"] == "a"
        assert reply.headers["x-capibara6-route"] == "asked"
        assert float(reply.headers["x-capibara6-load-ms"]) > 0
        assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"
        headers, body = launcher.engines[0].seen[0]
        assert body == {**CHAT, "stream": True, "model": "a"}
        assert headers["x-capibara6-run-id"] == reply.headers["x-capibara6-run-id"]
        assert headers["traceparent"].split("-")[1] == reply.headers["traceparent"].split("-")[1]
        assert "authorization" not in {name.lower() for name in headers}


async def test_the_first_event_is_not_held_back_for_the_rest(tmp_path: Path) -> None:
    release = asyncio.Event()

    async def waits(_: ScriptedEngine, request: web.Request) -> web.StreamResponse:
        reply = await streamed(request)
        await reply.write(chunk("first"))
        await release.wait()
        await reply.write(b"data: [DONE]\n\n")
        return reply

    async with serving(tmp_path, waits) as (client, _, _), client.stream(
        "POST", "/v1/chat/completions", json={**CHAT, "stream": True}
    ) as reply:  # fmt: skip
        pieces = reply.aiter_raw()
        assert await anext(pieces) == chunk("first")
        release.set()
        assert b"".join([piece async for piece in pieces]) == b"data: [DONE]\n\n"


async def test_a_whole_reply_passes_with_its_status_and_an_error_in_openais_shape_is_kept(tmp_path: Path) -> None:
    told = {"error": {"message": "too many tokens", "type": "BadRequestError", "param": "max_tokens", "code": 400}}

    async def refuses(_: ScriptedEngine, request: web.Request) -> web.StreamResponse:
        return web.json_response(told, status=400)

    async with serving(tmp_path, refuses) as (client, _, _):
        reply = await client.post("/v1/chat/completions", json={**CHAT, "model": "b", "max_tokens": 10**9})
        assert (reply.status_code, reply.json()) == (400, told)
        assert reply.headers["x-capibara6-route"] == "asked"


async def test_a_route_the_engine_does_not_serve_is_told_in_openais_shape(tmp_path: Path) -> None:
    async with serving(tmp_path, tells_three_words) as (client, _, _):
        reply = await client.post("/v1/responses", json={"input": "x"})
        assert reply.status_code == 404
        assert error_of(reply)["code"] == "not_served"


async def test_a_client_that_goes_away_ends_the_engines_work(tmp_path: Path) -> None:
    async with serving(tmp_path, never_ends) as (client, launcher, _):
        async with client.stream("POST", "/v1/chat/completions", json={**CHAT, "stream": True}) as reply:
            await anext(reply.aiter_raw())
        async with asyncio.timeout(LIMIT_SECONDS):
            await launcher.engines[0].gone.wait()
            while (await client.get("/stats")).json()["engines"][0]["in_flight"]:  # noqa: ASYNC110
                await asyncio.sleep(0.005)


async def test_a_client_that_goes_away_before_the_first_byte_ends_the_engines_work(tmp_path: Path) -> None:
    begun = asyncio.Event()

    async def thinks(_: ScriptedEngine, request: web.Request) -> web.StreamResponse:
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError

    async with serving(tmp_path, thinks) as (client, launcher, _):
        asking = asyncio.create_task(client.post("/v1/chat/completions", json=CHAT))
        await begun.wait()
        asking.cancel()
        async with asyncio.timeout(LIMIT_SECONDS):
            await launcher.engines[0].gone.wait()


async def test_an_engine_that_dies_in_the_middle_ends_the_stream_with_an_error_and_no_done(tmp_path: Path) -> None:
    async def dies(engine: ScriptedEngine, request: web.Request) -> web.StreamResponse:
        reply = await streamed(request)
        await reply.write(chunk("one"))
        await reply.write(chunk("two")[:-5])  # in the middle of an event
        await asyncio.sleep(0)
        engine.die(request)
        return reply

    async with serving(tmp_path, dies) as (client, launcher, _):
        reply = await client.post("/v1/chat/completions", json={**CHAT, "stream": True})
        assert reply.status_code == 200
        *before, last, end = reply.content.split(b"\n\n")
        assert (before, end) == ([chunk("one").strip()], b"")
        assert json.loads(last.removeprefix(b"data: "))["error"]["code"] == "engine_died"
        launcher.script = tells_three_words
        again = await client.post("/v1/chat/completions", json={**CHAT, "stream": True})
        assert again.content.endswith(b"data: [DONE]\n\n")
        assert len(launcher.engines) == 2


async def test_vllms_own_word_of_its_cores_death_becomes_the_same_error_without_done(tmp_path: Path) -> None:
    async def core_dies(_: ScriptedEngine, request: web.Request) -> web.StreamResponse:
        reply = await streamed(request)
        await reply.write(chunk("one"))
        told = {"error": {"message": "EngineCore encountered an issue.", "type": "InternalServerError", "code": 500}}
        await reply.write(b"data: " + json.dumps(told).encode() + b"\n\ndata: [DONE]\n\n")
        return reply

    async with serving(tmp_path, core_dies) as (client, _, _):
        reply = await client.post("/v1/chat/completions", json={**CHAT, "stream": True})
        assert reply.content.startswith(chunk("one"))
        assert b'"code":"engine_died"' in reply.content
        assert b"[DONE]" not in reply.content


async def test_an_error_that_the_model_talks_about_is_no_error(tmp_path: Path) -> None:
    async def quotes(_: ScriptedEngine, request: web.Request) -> web.StreamResponse:
        reply = await streamed(request)
        await reply.write(chunk('data: {"error": EngineDeadError}'))
        await reply.write(b"data: [DONE]\n\n")
        return reply

    async with serving(tmp_path, quotes) as (client, _, _):
        reply = await client.post("/v1/chat/completions", json={**CHAT, "stream": True})
        assert reply.content.endswith(b"data: [DONE]\n\n")


async def test_an_engine_that_dies_before_its_first_byte_is_a_502(tmp_path: Path) -> None:
    async def dies(engine: ScriptedEngine, request: web.Request) -> web.StreamResponse:
        engine.die(request)
        return web.Response()

    async with serving(tmp_path, dies) as (client, _, _):
        for stream in (True, False):
            reply = await client.post("/v1/chat/completions", json={**CHAT, "stream": stream})
            assert (reply.status_code, error_of(reply)["code"]) == (502, "engine_died")


@pytest.mark.parametrize("stream", [True, False])
async def test_at_the_stop_signal_answers_that_take_too_long_end_with_an_error(tmp_path: Path, stream: bool) -> None:
    async def slow(engine: ScriptedEngine, request: web.Request) -> web.StreamResponse:
        if stream:
            return await never_ends(engine, request)
        await asyncio.Event().wait()
        raise AssertionError

    async with serving(tmp_path, slow, graceful_stop_seconds=2.1) as (client, launcher, stopping):
        asking = asyncio.create_task(client.post("/v1/chat/completions", json={**CHAT, "stream": stream}))
        async with asyncio.timeout(LIMIT_SECONDS):
            while not (launcher.engines and launcher.engines[0].seen):  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        stopping.set()
        reply = await asking
        assert b'"code":"server_stopping"' in reply.content
        assert reply.status_code == (200 if stream else 503)
        late = await client.post("/v1/chat/completions", json=CHAT)
        assert (late.status_code, error_of(late)["code"]) == (503, "server_stopping")


async def test_wrong_requests_never_reach_an_engine(tmp_path: Path) -> None:
    async with serving(tmp_path, tells_three_words) as (client, launcher, _):
        for body, status, code in (
            ({**CHAT, "model": "nope"}, 404, "model_not_found"),
            ({"messages": "hi"}, 422, "invalid_field"),
            ({**CHAT, "stream": "yes"}, 422, "invalid_field"),
            ([], 400, "invalid_body"),
        ):
            reply = await client.post("/v1/chat/completions", json=body)
            assert (reply.status_code, error_of(reply)["code"]) == (status, code)
        reply = await client.post("/v1/chat/completions", content=b"{oops")
        assert (reply.status_code, error_of(reply)["code"]) == (400, "malformed_json")
        assert not launcher.engines


async def test_operators_load_and_unload_and_stats_name_the_engines(tmp_path: Path) -> None:
    async with serving(tmp_path, tells_three_words) as (client, _, _):
        for model in "ab":
            assert (await client.post(f"/models/{model}/load")).json()["status"] == "loaded"
        engines = (await client.get("/stats")).json()["engines"]
        assert [engine["model"] for engine in engines] == ["a", "b"]
        assert {"pid", "state", "socket", "memory_bytes", "in_flight", "last_used", "loads"} <= set(engines[0])
        assert (await client.post("/models/a/unload")).json() == {"model": "a", "status": "available"}
        assert (await client.get("/stats")).json()["models_loaded"] == ["b"]
        assert (await client.post("/models/x/load")).status_code == 404
        listed = (await client.get("/v1/models")).json()["data"]
        assert [(model["id"], model["status"]) for model in listed] == [
            ("a", "available"),
            ("b", "loaded"),
            ("c", "available"),
        ]


async def test_a_load_is_given_up_when_the_operator_who_asked_for_it_goes_away(tmp_path: Path) -> None:
    async with serving(tmp_path, tells_three_words) as (client, launcher, _):
        launcher.slow_start = True
        asking = asyncio.create_task(client.post("/models/a/load"))
        async with asyncio.timeout(LIMIT_SECONDS):
            while not launcher.engines:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
            asking.cancel()
            while not launcher.engines[0].stopped:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        assert (await client.get("/stats")).json()["engines"] == []


async def test_readiness_asks_whether_any_model_could_answer(tmp_path: Path) -> None:
    async with serving(tmp_path, tells_three_words) as (client, _, _):
        reply = await client.get("/health/ready")
        assert reply.status_code == 503
        assert reply.json()["checks"]["a"].startswith("no weights in ")
        (tmp_path / "weights" / "c").mkdir(parents=True)
        (tmp_path / "weights" / "c" / "config.json").write_text("{}")
        assert (await client.get("/health/ready")).status_code == 200


async def test_ollamas_generate_answers_whole_or_line_by_line(tmp_path: Path) -> None:
    async with serving(tmp_path, tells_three_words) as (client, launcher, _):
        whole = (await client.post("/api/generate", json={"prompt": "hi", "max_tokens": 3})).json()
        assert (whole["response"], whole["done"], whole["model"]) == ("onetwothree", True, "a")
        assert whole["total_duration"] > 0
        assert launcher.engines[0].seen[0][1]["max_tokens"] == 3
        reply = await client.post("/api/generate", json={"prompt": "hi", "stream": True})
        lines = [json.loads(line) for line in reply.text.splitlines()]
        assert [line["response"] for line in lines] == ["one", "two", "three", ""]
        assert [line["done"] for line in lines] == [False, False, False, True]
        assert (await client.post("/api/generate", json={"prompt": 3})).status_code == 422
        assert (await client.post("/api/generate", json={"prompt": "hi", "model": "x"})).status_code == 404


async def test_metrics_tell_first_tokens_durations_and_residency(tmp_path: Path) -> None:
    async with serving(tmp_path, tells_three_words) as (client, _, _):
        await client.post("/v1/chat/completions", json={**CHAT, "stream": True})
        text = (await client.get("/metrics")).text
        for name in (
            "gen_ai_server_time_to_first_token_seconds_count",
            "gen_ai_server_request_duration_seconds_count",
            "capibara6_models_loaded 1.0",
            "capibara6_model_load_seconds_count",
        ):
            assert name in text
