import type { INodeProperties } from 'n8n-workflow';

import { options, shownFor } from './shown';

const run = shownFor('code', 'run');

export const codeProperties: INodeProperties[] = [
	{
		displayName: 'Operation',
		name: 'operation',
		type: 'options',
		noDataExpression: true,
		displayOptions: shownFor('code'),
		options: [
			{
				name: 'Run',
				value: 'run',
				action: 'Run code',
				description: 'Run code in a sandbox: what it says, shows and makes comes back',
			},
		],
		default: 'run',
	},
	{
		displayName: 'Language',
		name: 'language',
		type: 'options',
		options: [
			{ name: 'Bash', value: 'bash' },
			{ name: 'JavaScript', value: 'javascript' },
			{ name: 'Python', value: 'python' },
			{ name: 'TypeScript', value: 'typescript' },
		],
		default: 'python',
		displayOptions: run,
		description: 'Of the code',
	},
	{
		displayName: 'Code',
		name: 'code',
		type: 'string',
		typeOptions: { rows: 10 },
		required: true,
		default: '',
		displayOptions: run,
		description: 'What is run. Files that it writes into its home are kept.',
	},
	options(run, [
		{
			displayName: 'Conversation ID',
			name: 'conversationId',
			type: 'string',
			default: '',
			description: "To run in a conversation's own sandbox, whose variables and files live on",
		},
		{
			displayName: 'Download Files',
			name: 'downloadFiles',
			type: 'boolean',
			default: false,
			description:
				'Whether files that the code made become binary data: file_0, file_1 and so on, at most 20',
		},
		{
			displayName: 'Input Binary Fields',
			name: 'inputBinaryFields',
			type: 'string',
			default: 'data',
			hint: 'Names of binary fields with commas between them',
			description: "Files that lie in the sandbox's home, by their own names, when the code begins",
		},
		{
			displayName: 'Timeout (Seconds)',
			name: 'timeoutSeconds',
			type: 'number',
			typeOptions: { minValue: 1 },
			default: 60,
			description: 'After which the code is stopped',
		},
	]),
];
