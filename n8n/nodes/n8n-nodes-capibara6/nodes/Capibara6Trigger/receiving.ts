/** An event that comes: verified, taken once, handed on. */

import type { IDataObject, IWebhookFunctions, IWebhookResponseData } from 'n8n-workflow';

import { taken, verify } from '../../api/signatures';
import { remember, remembered } from './memory';

const OK = 200;
const UNAUTHORIZED = 401;

export function receive(caller: IWebhookFunctions, ignoreOwn: boolean): IWebhookResponseData {
	const request = caller.getRequestObject();
	const memory = remembered(caller);
	if (memory.hook === null) return answered(caller, UNAUTHORIZED, 'this trigger is not registered');
	const body = request.rawBody ?? Buffer.alloc(0);
	const verdict = verify(memory.hook.secret, request.headers, body, Date.now() / 1000);
	if (!verdict.valid) return answered(caller, UNAUTHORIZED, verdict.reason);
	const ids = taken(memory.ids, verdict.id);
	if (ids === null) return answered(caller, OK, 'it had come before');
	remember(caller, { ...memory, ids });
	const event = caller.getBodyData();
	if (ignoreOwn && workflowOf(event) === caller.getWorkflow().id) {
		return answered(caller, OK, 'it is of this workflow itself');
	}
	// Answered here, and not by n8n: before it answers itself it makes the execution, which forgets that the static data
	// has changed, and the id would not be kept.
	return {
		...answered(caller, OK, null),
		workflowData: [[{ json: { id: verdict.id, ...event } }]],
	};
}

/** The workflow whose execution began the run; undefined where there was none. */
export function workflowOf(event: IDataObject): unknown {
	const data = event.data as { run?: { n8n?: { workflow_id?: unknown } | null } } | undefined;
	return data?.run?.n8n?.workflow_id;
}

/** words: why it is not taken; null where it is. */
function answered(
	caller: IWebhookFunctions,
	status: number,
	words: string | null,
): IWebhookResponseData {
	const told = status === OK ? { taken: words === null, reason: words } : { error: words };
	caller.getResponseObject().status(status).json(told);
	return { noWebhookResponse: true };
}
