import type { INodeProperties } from 'n8n-workflow';

import { shownFor } from './shown';

export const modelProperties: INodeProperties[] = [
	{
		displayName: 'Operation',
		name: 'operation',
		type: 'options',
		noDataExpression: true,
		displayOptions: shownFor('model'),
		options: [
			{
				name: 'Explain Route',
				value: 'explainRoute',
				action: 'Explain which model would answer',
				description: 'Which model would answer a text and why, without running it',
			},
			{
				name: 'Get Many',
				value: 'getAll',
				action: 'Get many models',
				description: 'List the models',
			},
		],
		default: 'getAll',
	},
	{
		displayName: 'Text',
		name: 'text',
		type: 'string',
		typeOptions: { rows: 3 },
		required: true,
		default: '',
		displayOptions: shownFor('model', 'explainRoute'),
		description: 'What would be asked. The credential needs the Model Server URL.',
	},
	{
		displayName: 'Asked Before',
		name: 'before',
		type: 'string',
		default: '',
		displayOptions: shownFor('model', 'explainRoute'),
		description: 'The question before it in the conversation, if there was one',
	},
	{
		displayName: 'Return All',
		name: 'returnAll',
		type: 'boolean',
		default: false,
		displayOptions: shownFor('model', 'getAll'),
		description: 'Whether to return all results or only up to a given limit',
	},
	{
		displayName: 'Limit',
		name: 'limit',
		type: 'number',
		typeOptions: { minValue: 1 },
		default: 50,
		displayOptions: { show: { resource: ['model'], operation: ['getAll'], returnAll: [false] } },
		description: 'Max number of results to return',
	},
];
