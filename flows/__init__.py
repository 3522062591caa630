"""What a request does, step by step: one coroutine a kind of work, which a Prefect flow wraps.

Lives here: the chat turn (`chat`, with `context`, `model_call`, `prompting` and `tools`; its values in `turn`; spoken
by `speaking`), its summaries (`summary`), a run of code (`code`, `sandboxes`) and a batch of them (`code_batch`), texts
that are spoken (`speech`, with `voice`, `audio` and `documents`), long ones too (`speech_batch`), a workflow of n8n
(`workflows`), questions of a file (`chat_batch`, with `item_files` and `item_asking`), what is done by the clock
(`digest`, `retention`, `routing_evaluation`, `warm_up`, on `maintenance`), what all of these share (`batch_runs`) and
show in Prefect's pages (`shown`), their deployments and schedules (`deployments`, written by `deploying`), the one
owner that each run has (`conduct`), the steps it takes (`steps`), the Prefect flows around them (`flow_runs`), the
thread that runs those beside the API (`runner`, `link`), keeping Prefect and our rows in step (`reconcile`), files
(`file_store`), and the processes of Prefect's own server and worker (`prefect_server`, `worker`).
Never here: HTTP routes, SQL, or another service's insides: it calls services by `wire.clients` and rows by `db`.
In: what a run is asked (`TurnRequest`, `CodeRequest`). Out: events, then how it ended. Prefect is imported by
`flow_runs`, `batch_runs`, `code_batch`, `speech_batch`, `chat_batch`, `digest`, `retention`, `routing_evaluation`,
`warm_up`, `maintenance`, `shown`, `deploying`, `runner`, `reconcile`, `prefect_api` and `prefect_server` alone.
"""
