import type {
	IExecuteFunctions,
	INodeExecutionData,
	INodeType,
	INodeTypeDescription,
	IWebhookFunctions,
	IWebhookResponseData,
} from 'n8n-workflow';
import { NodeConnectionTypes, NodeOperationError } from 'n8n-workflow';

import { asNodeError } from '../../api/transport';
import { getModels, searchFlows } from './choices';
import { chatProperties } from './descriptions/chat';
import { codeProperties } from './descriptions/code';
import { flowProperties } from './descriptions/flow';
import { modelProperties } from './descriptions/model';
import { speechProperties } from './descriptions/speech';
import { OPERATIONS } from './operations';
import { resume, RESUMING } from './resuming';

/** Chat, code, speech, flows and models of Capibara6. */
export class Capibara6 implements INodeType {
	description: INodeTypeDescription = {
		displayName: 'Capibara6',
		name: 'capibara6',
		icon: { light: 'file:../../icons/capibara6.svg', dark: 'file:../../icons/capibara6.dark.svg' },
		group: ['transform'],
		version: 1,
		subtitle: '={{$parameter["operation"] + ": " + $parameter["resource"]}}',
		description:
			'Chat with your own models, run code in a sandbox, make speech, start flows and wait for them',
		defaults: { name: 'Capibara6' },
		inputs: [NodeConnectionTypes.Main],
		outputs: [NodeConnectionTypes.Main],
		usableAsTool: true,
		credentials: [{ name: 'capibara6Api', required: true }],
		waitingNodeTooltip: 'The execution goes on when the run has ended',
		webhooks: RESUMING,
		properties: [
			{
				displayName: 'Resource',
				name: 'resource',
				type: 'options',
				noDataExpression: true,
				options: [
					{ name: 'Chat', value: 'chat' },
					{ name: 'Code', value: 'code' },
					{ name: 'Flow', value: 'flow' },
					{ name: 'Model', value: 'model' },
					{ name: 'Speech', value: 'speech' },
				],
				default: 'chat',
			},
			...chatProperties,
			...codeProperties,
			...flowProperties,
			...modelProperties,
			...speechProperties,
		],
	};

	methods = { listSearch: { searchFlows }, loadOptions: { getModels } };

	async execute(this: IExecuteFunctions): Promise<INodeExecutionData[][]> {
		const results: INodeExecutionData[] = [];
		const count = this.getInputData().length;
		for (let i = 0; i < count; i += 1) {
			try {
				const resource = this.getNodeParameter('resource', i) as string;
				const operation = this.getNodeParameter('operation', i) as string;
				const act = OPERATIONS[resource]?.[operation];
				if (act === undefined) {
					throw new NodeOperationError(
						this.getNode(),
						`There is no operation ${operation} of ${resource}`,
						{
							itemIndex: i,
						},
					);
				}
				results.push(...(await act.call(this, i)));
			} catch (error) {
				const known = asNodeError(this, error, i);
				if (!this.continueOnFail()) throw known;
				// These two alone are what n8n knows for an error item: it keeps both, and finds its error output.
				results.push({
					json: { error: known.message, message: known.description ?? '' },
					pairedItem: { item: i },
				});
			}
		}
		return [results];
	}

	async webhook(this: IWebhookFunctions): Promise<IWebhookResponseData> {
		return await resume.call(this);
	}
}
