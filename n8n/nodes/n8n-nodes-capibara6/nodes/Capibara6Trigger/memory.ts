/** What a trigger remembers in n8n's static data: its hook and the ids it has taken, of tests apart from the real ones. */

import type { IDataObject, IHookFunctions, IWebhookFunctions } from 'n8n-workflow';

import { keptOf, type Kept } from '../../api/hooks';

export interface Memory {
	hook: Kept | null;
	ids: string[];
}

function place(caller: IHookFunctions | IWebhookFunctions): string {
	return caller.getMode() === 'manual' ? 'test' : 'production';
}

export function remembered(caller: IHookFunctions | IWebhookFunctions): Memory {
	const held = caller.getWorkflowStaticData('node')[place(caller)] as IDataObject | undefined;
	const ids = Array.isArray(held?.ids)
		? held.ids.filter((id): id is string => typeof id === 'string')
		: [];
	return { hook: keptOf(held?.hook), ids };
}

export function remember(caller: IHookFunctions | IWebhookFunctions, memory: Memory): void {
	const data = caller.getWorkflowStaticData('node');
	data[place(caller)] = { hook: memory.hook, ids: memory.ids } as unknown as IDataObject;
}
