import type {
	IDataObject,
	IHookFunctions,
	INodeType,
	INodeTypeDescription,
	IWebhookFunctions,
	IWebhookResponseData,
} from 'n8n-workflow';
import { NodeConnectionTypes, NodeOperationError } from 'n8n-workflow';

import { getKinds } from '../Capibara6/choices';
import { receive } from './receiving';
import { registered, registration, unregistered } from './subscribing';

/** Starts a workflow when a run of Capibara6 has ended. */
export class Capibara6Trigger implements INodeType {
	description: INodeTypeDescription = {
		displayName: 'Capibara6 Trigger',
		name: 'capibara6Trigger',
		icon: { light: 'file:../../icons/capibara6.svg', dark: 'file:../../icons/capibara6.dark.svg' },
		group: ['trigger'],
		version: 1,
		subtitle: '={{$parameter["events"].join(", ")}}',
		description:
			'Starts the workflow when a run of Capibara6 has completed, failed or was cancelled',
		defaults: { name: 'Capibara6 Trigger' },
		inputs: [],
		outputs: [NodeConnectionTypes.Main],
		credentials: [{ name: 'capibara6Api', required: true }],
		webhooks: [
			{
				name: 'default',
				httpMethod: 'POST',
				responseMode: 'onReceived',
				path: 'webhook',
				rawBody: true,
			},
		],
		properties: [
			{
				displayName: 'Events',
				name: 'events',
				type: 'multiOptions',
				required: true,
				options: [
					{ name: 'Run Cancelled', value: 'run.cancelled', description: 'A run was cancelled' },
					{ name: 'Run Completed', value: 'run.completed', description: 'A run has ended well' },
					{
						name: 'Run Failed',
						value: 'run.failed',
						description: 'A run failed, or its process was lost',
					},
				],
				default: ['run.completed'],
				description: 'Which ends start the workflow',
			},
			{
				displayName: 'Kind Names or IDs',
				name: 'kinds',
				type: 'multiOptions',
				typeOptions: { loadOptionsMethod: 'getKinds' },
				default: [],
				description:
					'Of runs; all where none are chosen. Choose from the list, or specify IDs using an <a href="https://docs.n8n.io/code/expressions/">expression</a>.',
			},
			{
				displayName:
					'Runs that this workflow starts end too: choose kinds so that it does not start itself again and again',
				name: 'loopNotice',
				type: 'notice',
				default: '',
			},
			{
				displayName: 'Options',
				name: 'options',
				type: 'collection',
				placeholder: 'Add option',
				default: {},
				options: [
					{
						displayName: 'Ignore Runs of This Workflow',
						name: 'ignoreOwn',
						type: 'boolean',
						default: true,
						description:
							'Whether runs that were started by executions of this very workflow are passed over',
					},
				],
			},
		],
	};

	methods = { loadOptions: { getKinds } };

	webhookMethods = {
		default: {
			async checkExists(this: IHookFunctions): Promise<boolean> {
				return await registered(this);
			},
			async create(this: IHookFunctions): Promise<boolean> {
				if ((this.getNodeParameter('events') as string[]).length === 0) {
					throw new NodeOperationError(this.getNode(), 'No events are chosen', {
						description: 'Choose at least one: there is nothing to be told of otherwise.',
					});
				}
				return await registration(this);
			},
			async delete(this: IHookFunctions): Promise<boolean> {
				return await unregistered(this);
			},
		},
	};

	async webhook(this: IWebhookFunctions): Promise<IWebhookResponseData> {
		const options = this.getNodeParameter('options', {}) as IDataObject;
		return receive(this, options.ignoreOwn !== false);
	}
}
