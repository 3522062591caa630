/** Registering a trigger's address with the API, and taking it back. */

import type { IHookFunctions } from 'n8n-workflow';
import { NodeOperationError } from 'n8n-workflow';

import { hookBody, standing, type Hook, type Subscription } from '../../api/hooks';
import { READ_MILLISECONDS, read, type ApiRequest } from '../../api/requests';
import { asNodeError, call, statusOf } from '../../api/transport';
import { remember, remembered } from './memory';

const GONE = 404;

/** Whether the API has this trigger's hook as it is wished. Hooks that are in the way are removed. */
export async function registered(caller: IHookFunctions): Promise<boolean> {
	const { hooks } = await call<{ hooks: Hook[] }>(caller, read('/api/hooks'));
	const found = standing(hooks, remembered(caller).hook, wanted(caller));
	for (const id of found.remove) await removed(caller, id);
	return found.holds;
}

export async function registration(caller: IHookFunctions): Promise<boolean> {
	const subscription = wanted(caller);
	const name = `n8n: ${caller.getWorkflow().name ?? caller.getWorkflow().id}`;
	const request: ApiRequest = {
		method: 'POST',
		path: '/api/hooks',
		body: hookBody(subscription, name),
		timeoutMilliseconds: READ_MILLISECONDS,
	};
	const made = await call<Hook & { secret: string }>(caller, request);
	const hook = { id: made.id, url: subscription.url, secret: made.secret };
	remember(caller, { hook, ids: remembered(caller).ids });
	return true;
}

export async function unregistered(caller: IHookFunctions): Promise<boolean> {
	const { hook, ids } = remembered(caller);
	if (hook !== null) await removed(caller, hook.id);
	remember(caller, { hook: null, ids });
	return true;
}

function wanted(caller: IHookFunctions): Subscription {
	const url = caller.getNodeWebhookUrl('default');
	if (url === undefined)
		throw new NodeOperationError(caller.getNode(), 'n8n tells no address of this trigger');
	return {
		url,
		events: caller.getNodeParameter('events') as string[],
		kinds: (caller.getNodeParameter('kinds', []) as string[] | undefined) ?? [],
	};
}

/** One that is gone already is gone. */
async function removed(caller: IHookFunctions, id: string): Promise<void> {
	try {
		await call(caller, {
			method: 'DELETE',
			path: `/api/hooks/${id}`,
			timeoutMilliseconds: READ_MILLISECONDS,
		});
	} catch (error) {
		if (statusOf(error) !== GONE) throw asNodeError(caller, error);
	}
}
