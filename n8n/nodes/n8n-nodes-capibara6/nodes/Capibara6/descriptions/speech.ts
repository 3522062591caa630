import type { INodeProperties } from 'n8n-workflow';

import { AUDIO_FORMATS, LANGUAGE, options, shownFor, SPEED, VOICE } from './shown';

const synthesize = shownFor('speech', 'synthesize');

export const speechProperties: INodeProperties[] = [
	{
		displayName: 'Operation',
		name: 'operation',
		type: 'options',
		noDataExpression: true,
		displayOptions: shownFor('speech'),
		options: [
			{
				name: 'Synthesize',
				value: 'synthesize',
				action: 'Synthesize speech',
				description: 'Speak a text, a message, an answer or a document, into a binary field',
			},
		],
		default: 'synthesize',
	},
	{
		displayName: 'Source',
		name: 'source',
		type: 'options',
		options: [
			{
				name: 'File',
				value: 'file',
				description: 'A document that Capibara6 keeps: text or Markdown',
			},
			{ name: 'Message', value: 'message', description: 'A message of a conversation' },
			{ name: 'Run', value: 'run', description: 'The answer of a chat run' },
			{ name: 'Text', value: 'text' },
		],
		default: 'text',
		displayOptions: synthesize,
		description: 'What is spoken',
	},
	{
		displayName: 'Text',
		name: 'text',
		type: 'string',
		typeOptions: { rows: 4 },
		required: true,
		default: '',
		displayOptions: { show: { resource: ['speech'], operation: ['synthesize'], source: ['text'] } },
		description: 'Spanish, English, or both; Markdown is read as it is meant',
	},
	{
		displayName: 'ID',
		name: 'sourceId',
		type: 'string',
		required: true,
		default: '',
		displayOptions: {
			show: { resource: ['speech'], operation: ['synthesize'], source: ['file', 'message', 'run'] },
		},
		description: 'Of the file, the message or the run',
	},
	{
		displayName: 'Format',
		name: 'format',
		type: 'options',
		options: AUDIO_FORMATS,
		default: 'mp3',
		displayOptions: synthesize,
		description: 'Of the audio',
	},
	{
		displayName: 'Put Output File in Field',
		name: 'binaryField',
		type: 'string',
		required: true,
		default: 'data',
		displayOptions: synthesize,
		hint: 'The name of the output binary field to put the file in',
	},
	options(synthesize, [
		{
			displayName: 'Captions',
			name: 'captions',
			type: 'boolean',
			default: false,
			description: 'Whether the times of the words are kept beside the audio, as a file of the run',
		},
		{
			displayName: 'Engine',
			name: 'engine',
			type: 'string',
			default: '',
			placeholder: 'kokoro',
			description: "An engine of the TTS server; empty for the server's default",
		},
		LANGUAGE,
		SPEED,
		{
			displayName: 'Timeout (Seconds)',
			name: 'timeoutSeconds',
			type: 'number',
			typeOptions: { minValue: 1 },
			default: 600,
			description: 'How long the audio is waited for',
		},
		VOICE,
	]),
];
