import type {
	IDisplayOptions,
	INodePropertyCollection,
	INodePropertyOptions,
	INodeProperties,
} from 'n8n-workflow';

export function shownFor(resource: string, ...operations: string[]): IDisplayOptions {
	return {
		show: { resource: [resource], ...(operations.length > 0 ? { operation: operations } : {}) },
	};
}

export const AUDIO_FORMATS: INodePropertyOptions[] = [
	{ name: 'AAC', value: 'aac' },
	{ name: 'FLAC', value: 'flac' },
	{ name: 'MP3', value: 'mp3' },
	{ name: 'Opus (in Ogg)', value: 'opus' },
	{ name: 'PCM (Kept as WAV)', value: 'pcm' },
	{ name: 'WAV', value: 'wav' },
];

export const LANGUAGES: INodePropertyOptions[] = [
	{ name: "Each Sentence's Own", value: '' },
	{ name: 'English', value: 'en' },
	{ name: 'Spanish', value: 'es' },
];

export const LANGUAGE: INodeProperties = {
	displayName: 'Language',
	name: 'language',
	type: 'options',
	options: LANGUAGES,
	default: '',
	description: 'Of what is spoken',
};

export const SPEED: INodeProperties = {
	displayName: 'Speed',
	name: 'speed',
	type: 'number',
	typeOptions: { minValue: 0.25, maxValue: 4, numberPrecision: 2 },
	default: 1,
	description: 'How fast it is spoken: 0.25 to 4',
};

export const VOICE: INodeProperties = {
	displayName: 'Voice',
	name: 'voice',
	type: 'string',
	default: '',
	placeholder: 'ef_dora',
	description: "A voice of the TTS server; empty for the language's own",
};

/** In the order of their names, as the editor shows them. */
export function options(
	displayOptions: IDisplayOptions,
	fields: Array<INodeProperties | INodePropertyOptions | INodePropertyCollection>,
): INodeProperties {
	return {
		displayName: 'Options',
		name: 'options',
		type: 'collection',
		placeholder: 'Add option',
		default: {},
		displayOptions,
		options: fields,
	};
}
