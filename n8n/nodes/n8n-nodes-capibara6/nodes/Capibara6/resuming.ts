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

const OK = 200;
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
		if (!verdict.valid) return answered(this, UNAUTHORIZED, { error: verdict.reason });
	}
	const event = this.getBodyData() as { data?: { run?: { id?: unknown } } };
	const told = event.data?.run?.id;
	// The item that the node waits with tells for which run: in a loop, a call of an earlier turn may come again.
	const awaited = this.evaluateExpression('{{ $json.run_id }}', 0);
	if (typeof awaited === 'string' && typeof told === 'string' && told !== awaited) {
		return answered(this, OK, { ignored: 'another run is waited for' });
	}
	let run: Run;
	try {
		run = await call<Run>(this, runRequest(told));
	} catch (error) {
		return answered(this, UNAVAILABLE, { error: (error as Error).message });
	}
	if (!hasEnded(run.status)) return answered(this, CONFLICT, { error: 'the run has not ended' });
	const execution = run.n8n?.execution_id;
	if (execution && execution !== this.getExecutionId()) {
		return answered(this, CONFLICT, { error: 'the run belongs to another execution' });
	}
	return {
		workflowData: [
			[{ json: { ...run, run_id: run.id, timed_out: false }, pairedItem: { item: 0 } }],
		],
	};
}

/** The execution goes on waiting. */
function answered(
	caller: IWebhookFunctions,
	status: number,
	body: { error: string } | { ignored: string },
): IWebhookResponseData {
	caller.getResponseObject().status(status).json(body);
	return { noWebhookResponse: true };
}
