"""The OpenAI door of the assistant: `/v1/models`, `/v1/chat/completions`, `/v1/responses` (docs/openai-door.md).

Lives here: what OpenAI's clients send (`schemas`), what it means as a turn (`reading`, `items`: pure), where the turn
goes on (`places`), and how it is told in both of their forms (`completions`, `responses`, `events`: pure). Never here:
the turn itself (`flows`), which is the one that `/api/chat` has too, or SQL (`db`).
In: HTTP requests of a principal. Out: OpenAI's objects, or their streams; errors in their shape.
"""
