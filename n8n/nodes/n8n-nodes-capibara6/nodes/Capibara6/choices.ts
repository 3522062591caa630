/** What the editor offers to choose from. */

import type {
	ILoadOptionsFunctions,
	INodeListSearchResult,
	INodePropertyOptions,
} from 'n8n-workflow';

import { read } from '../../api/requests';
import { call } from '../../api/transport';

interface Flows {
	flows: Array<{ name: string; description: string }>;
}

export async function searchFlows(
	this: ILoadOptionsFunctions,
	filter?: string,
): Promise<INodeListSearchResult> {
	const { flows } = await call<Flows>(this, read('/api/flows'));
	const wanted = filter?.toLowerCase() ?? '';
	return {
		results: flows
			.filter((flow) => `${flow.name} ${flow.description}`.toLowerCase().includes(wanted))
			.map((flow) => ({ name: flow.name, value: flow.name, description: flow.description })),
	};
}

export async function getModels(this: ILoadOptionsFunctions): Promise<INodePropertyOptions[]> {
	const { data } = await call<{ data: Array<{ id: string }> }>(this, read('/api/models'));
	const named = data
		.map(({ id }) => ({ name: id, value: id }))
		.filter(({ value }) => value !== 'auto');
	return [{ name: 'Auto (the Router Chooses)', value: 'auto' }, ...named];
}

/** Runs of flows, and of the long texts that another process speaks. */
export async function getKinds(this: ILoadOptionsFunctions): Promise<INodePropertyOptions[]> {
	const { flows } = await call<Flows>(this, read('/api/flows'));
	const names = new Set([...flows.map((flow) => flow.name), 'speech-batch']);
	return [...names].sort().map((name) => ({ name, value: name }));
}
