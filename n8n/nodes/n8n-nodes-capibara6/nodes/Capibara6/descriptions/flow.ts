import type { INodeProperties } from 'n8n-workflow';

import { options, shownFor } from './shown';

const starts = shownFor('flow', 'start', 'startAndWait');

const idempotencyKey: INodeProperties = {
	displayName: 'Idempotency Key',
	name: 'idempotencyKey',
	type: 'string',
	typeOptions: { password: false },
	default: '',
	description:
		'The same key means the same run. Empty: of execution, node and item, so that a node that is tried again starts nothing twice.',
};

const downloadFiles: INodeProperties = {
	displayName: 'Download Files',
	name: 'downloadFiles',
	type: 'boolean',
	default: false,
	description: "Whether the run's files become binary data: file_0, file_1 and so on, at most 20",
};

export const flowProperties: INodeProperties[] = [
	{
		displayName: 'Operation',
		name: 'operation',
		type: 'options',
		noDataExpression: true,
		displayOptions: shownFor('flow'),
		options: [
			{
				name: 'Cancel Run',
				value: 'cancelRun',
				action: 'Cancel a run',
				description: 'Stop a run that is under way',
			},
			{
				name: 'Get Run',
				value: 'getRun',
				action: 'Get a run',
				description: 'Get how a run stands: its status, steps, files and answer',
			},
			{
				name: 'Start',
				value: 'start',
				action: 'Start a flow',
				description: 'Start a run and go on at once',
			},
			{
				name: 'Start and Wait',
				value: 'startAndWait',
				action: 'Start a flow and wait for its end',
				description: 'Start a run and go on when it has ended, however that was',
			},
		],
		default: 'start',
	},
	{
		displayName: 'Flow',
		name: 'flow',
		type: 'resourceLocator',
		required: true,
		default: { mode: 'list', value: '' },
		displayOptions: starts,
		description: 'What is started',
		modes: [
			{
				displayName: 'From List',
				name: 'list',
				type: 'list',
				typeOptions: { searchListMethod: 'searchFlows', searchable: true },
			},
			{ displayName: 'By Name', name: 'id', type: 'string', placeholder: 'code-batch' },
		],
	},
	{
		displayName: 'Parameters',
		name: 'parameters',
		type: 'json',
		typeOptions: { rows: 5 },
		required: true,
		default: '{}',
		displayOptions: starts,
		description:
			'An object, as the flow\'s parameters_schema of GET /api/flows says; for chat: {"message": "Hello"}',
	},
	{
		displayName: 'Wait By',
		name: 'waitBy',
		type: 'options',
		options: [
			{
				name: 'Callback',
				value: 'callback',
				description:
					'The execution is put aside and takes no place until Capibara6 calls. One item at a time.',
			},
			{
				name: 'Polling',
				value: 'polling',
				description:
					'The run is asked for again and again. Any number of items, one after the other; as a tool always.',
			},
		],
		default: 'callback',
		displayOptions: shownFor('flow', 'startAndWait'),
		description: 'How the end of the run is noticed',
	},
	{
		displayName: 'Wait at Most (Minutes)',
		name: 'waitMinutes',
		type: 'number',
		typeOptions: { minValue: 0.1, maxValue: 43200, numberPrecision: 1 },
		default: 60,
		displayOptions: shownFor('flow', 'startAndWait'),
		description:
			'After which the workflow goes on with "timed_out": true; the run itself goes on too',
	},
	options(shownFor('flow', 'start'), [
		{
			displayName: 'Callback URL',
			name: 'callbackUrl',
			type: 'string',
			default: '',
			placeholder: '={{ $execution.resumeUrl }}',
			description:
				'Told of the end of the run, signed: for a Wait node further on, $execution.resumeUrl',
		},
		idempotencyKey,
	]),
	options(shownFor('flow', 'startAndWait'), [downloadFiles, idempotencyKey]),
	{
		displayName: 'Run ID',
		name: 'runId',
		type: 'string',
		required: true,
		default: '',
		displayOptions: shownFor('flow', 'getRun', 'cancelRun'),
		description: 'As starting it told, or as the trigger tells it',
	},
	options(shownFor('flow', 'getRun'), [downloadFiles]),
];
