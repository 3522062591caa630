"""What crosses between services: the HTTP border every service shares, and a typed client of each service.

Lives here: keys and principals, run ids and trace contexts, limits, error shapes, health, metrics, JSON logs, the way
a service process is started and stopped, server-sent events. Never here: a decision of the product.
Few dependencies, importable in every environment (FastAPI 0.136 beside vLLM, 0.165 beside Prefect).
"""
