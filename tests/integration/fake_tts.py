"""A TTS server for tests: samples of a tone for a text, a tenth of a second for each word.

Words of the text say what should go wrong: `refuse:CODE` (refused), `breaks` (the connection breaks after the first
samples), `breaks_once:WORD` (the first call with this word breaks so), `mute` (there is nothing to say),
`hold:WORD` (waits for `POST /watch/gate/WORD` after the first samples).
"""

from __future__ import annotations

import asyncio
import base64
import math
import re
import struct
import sys
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

RATE = 24_000
WORD_SAMPLES = RATE // 10
TONE = b"".join(
    struct.pack("<h", round(8000 * math.sin(2 * math.pi * 440 * index / RATE))) for index in range(WORD_SAMPLES)
)
seen: list[dict[str, Any]] = []
state = {"open": 0}
broken: set[str] = set()
gates: dict[str, asyncio.Event] = defaultdict(asyncio.Event)


def refusal(text: str) -> Response | None:
    found = re.search(r"refuse:(\d+)", text)
    status, code = (int(found[1]), "refused") if found else (400, "nothing_to_say") if "mute" in text else (0, "")
    if not status:
        return None
    detail = {"message": f"refused with {status}", "type": "invalid_request_error", "param": "input", "code": code}
    return JSONResponse({"error": detail}, status)


async def speech(request: Request) -> Response:
    body = await request.json()
    seen.append({"body": body, "headers": dict(request.headers)})
    refused = refusal(body["input"])
    if refused is not None:
        return refused
    headers = {
        "x-capibara6-engine": body.get("model") or "kokoro", "x-capibara6-voice": body.get("voice") or "ef_dora",
        "x-capibara6-sample-rate": str(RATE), "x-capibara6-cache": "miss",
    }  # fmt: skip
    return StreamingResponse(samples(body["input"]), media_type="audio/pcm", headers=headers)


async def samples(text: str) -> AsyncIterator[bytes]:
    state["open"] += 1
    try:
        yield TONE
        once = re.search(r"breaks_once:(\w+)", text)
        if once and once[1] not in broken:
            broken.add(once[1])
            raise ConnectionError
        if re.search(r"breaks\b(?!_)", text):
            raise ConnectionError
        gate = re.search(r"hold:(\w+)", text)
        if gate:
            await gates[gate[1]].wait()
        for _ in text.split()[1:]:
            yield TONE
    finally:
        state["open"] -= 1


async def captions(request: Request) -> Response:
    body = await request.json()
    seen.append({"body": body, "headers": dict(request.headers)})
    text = body["input"]
    refused = refusal(text)
    if refused is not None:
        return refused
    words = [{"word": word, "start": at / 10, "end": (at + 1) / 10} for at, word in enumerate(text.split())]
    seconds = len(words) / 10
    segment = {"text": text, "spoken": text, "language": "es", "start": 0.0, "end": seconds}
    audio = base64.b64encode(TONE * len(words)).decode()
    return JSONResponse(
        {"audio": audio, "format": "pcm", "sample_rate": RATE, "duration_seconds": seconds, "engine": "kokoro",
         "voice": "ef_dora", "words": words, "segments": [segment]}
    )  # fmt: skip


async def ready(_: Request) -> Response:
    return JSONResponse({"status": "ready"})


async def open_gate(request: Request) -> Response:
    gates[request.path_params["word"]].set()
    return Response(status_code=204)


async def watch(_: Request) -> Response:
    return JSONResponse({"seen": seen, **state})


app = Starlette(
    routes=[
        Route("/v1/audio/speech", speech, methods=["POST"]),
        Route("/v1/audio/captions", captions, methods=["POST"]),
        Route("/health/ready", ready),
        Route("/health/live", ready),
        Route("/watch", watch),
        Route("/watch/gate/{word}", open_gate, methods=["POST"]),
    ]
)

if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
