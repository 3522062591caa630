/** A call that ends the waiting of "Start and Wait": it is verified, and the run is asked for. */

import type { IWebhookDescription, IWebhookFunctions, IWebhookResponseData } from 'n8n-workflow';

import { runRequest } from '../../api/requests';
import { hasEnded, type Run } from '../../api/runs';
import { verify } from '../../api/signatures';
import { call, CREDENTIAL } from '../../api/transport';

/** Where n8n takes such a call, while an execution waits at this node: nothing is registered anywhere. */
export const RESUMING: IWebhookDescription[] = [
	{
		name: 'default',
		httpMethod: 'POST',
		responseMode: 'onReceived',
		responseData: '',
		path: '={{ $nodeId }}',
		restartWebhook: true,
		isFullPath: true,
	},
];

const UNAUTHORIZED = 401;
const CONFLICT = 409;
/** The API tries again. */
const UNAVAILABLE = 503;

export async function resume(this: IWebhookFunctions): Promise<IWebhookResponseData> {
	const { signingSecret } = await this.getCredentials(CREDENTIAL);
	const request = this.getRequestObject();
	// n8n has checked the token of the address; a signature says that it was Capibara6 who called.
	if (typeof signingSecret === 'string' && signingSecret.trim() !== '') {
		const verdict = verify(
			signingSecret,
			request.headers,
			request.rawBody ?? Buffer.alloc(0),
			Date.now() / 1000,
		);
		if (!verdict.valid) return refused(this, UNAUTHORIZED, verdict.reason);
	}
	let run: Run;
	try {
		const event = this.getBodyData() as { data?: { run?: { id?: unknown } } };
		run = await call<Run>(this, runRequest(event.data?.run?.id));
	} catch (error) {
		return refused(this, UNAVAILABLE, (error as Error).message);
	}
	if (!hasEnded(run.status)) return refused(this, CONFLICT, 'the run has not ended');
	const execution = run.n8n?.execution_id;
	if (execution && execution !== this.getExecutionId()) {
		return refused(this, CONFLICT, 'the run belongs to another execution');
	}
	return {
		workflowData: [
			[{ json: { ...run, run_id: run.id, timed_out: false }, pairedItem: { item: 0 } }],
		],
	};
}

function refused(caller: IWebhookFunctions, status: number, reason: string): IWebhookResponseData {
	caller.getResponseObject().status(status).json({ error: reason });
	return { noWebhookResponse: true };
}
