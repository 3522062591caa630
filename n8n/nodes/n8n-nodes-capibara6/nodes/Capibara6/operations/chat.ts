import type { IDataObject, IExecuteFunctions, INodeExecutionData } from 'n8n-workflow';

import {
	chatRequest,
	conversationRequest,
	jsonObject,
	read,
	text,
	type ChatAsked,
	type Json,
} from '../../../api/requests';
import { call, download } from '../../../api/transport';
import { result, type Operation } from './results';

const PAGE = 200;
/** Of conversations, whatever is asked for. */
const MOST_LISTED = 10_000;

interface ChatReply extends IDataObject {
	audio_url?: string | null;
	audio?: { file_id?: string; media_type?: string; format?: string };
}

const send: Operation = async function (i) {
	const options = this.getNodeParameter('options', i, {}) as IDataObject;
	const speak = this.getNodeParameter('speak', i, false) as boolean;
	const asked: ChatAsked = {
		message: text(this.getNodeParameter('message', i)),
		conversationId: text(this.getNodeParameter('conversationId', i, '')),
		model: text(this.getNodeParameter('model', i, 'auto')) || 'auto',
		tools: this.getNodeParameter('tools', i, 'default') as ChatAsked['tools'],
		toolNames: this.getNodeParameter('toolNames', i, '') as string,
		speak,
		voice: {
			voice: options.voice,
			format: options.audioFormat,
			language: options.language,
			speed: options.speed,
		},
		temperature: options.temperature as number | undefined,
		maxTokens: options.maxTokens as number | undefined,
		extra: jsonObject(options.extra ?? {}, 'Extra Fields'),
		timeoutSeconds: (options.timeoutSeconds as number | undefined) ?? 600,
	};
	const reply = await call<ChatReply>(this, chatRequest(asked), i);
	const shown = options.fullReply ? reply : brief(reply);
	return [
		result(
			shown,
			i,
			speak && options.downloadAudio !== false ? await spoken(this, reply, i) : undefined,
		),
	];
};

/** Without what older clients look for, and what is in the conversation. */
function brief(reply: ChatReply): Json {
	const known = [
		'response',
		'conversation_id',
		'run_id',
		'model',
		'route',
		'usage',
		'tool_calls',
		'audio_url',
		'audio',
	];
	return Object.fromEntries(Object.entries(reply).filter(([name]) => known.includes(name)));
}

async function spoken(caller: IExecuteFunctions, reply: ChatReply, i: number) {
	const audio = reply.audio;
	if (!audio?.file_id) return undefined;
	const type = audio.media_type ?? 'application/octet-stream';
	const file = {
		id: audio.file_id,
		name: `answer.${audio.format === 'pcm' ? 'wav' : (audio.format ?? 'mp3')}`,
		media_type: type,
	};
	return { audio: await download(caller, file, i) };
}

const getConversation: Operation = async function (i) {
	const most = this.getNodeParameter('messageLimit', i, 200) as number;
	return [
		result(
			await call(this, conversationRequest(this.getNodeParameter('conversationId', i), most), i),
			i,
		),
	];
};

const getAllConversations: Operation = async function (i) {
	const all = this.getNodeParameter('returnAll', i, false) as boolean;
	const most = all ? MOST_LISTED : (this.getNodeParameter('limit', i, 50) as number);
	const title = (this.getNodeParameter('title', i, '') as string).trim();
	const found: INodeExecutionData[] = [];
	let cursor: string | null = null;
	do {
		const query: Record<string, string | number> = { limit: Math.min(PAGE, most - found.length) };
		if (title) query.q = title;
		if (cursor) query.cursor = cursor;
		const page: { conversations: IDataObject[]; next_cursor: string | null } = await call(
			this,
			read('/api/conversations', query),
			i,
		);
		found.push(...page.conversations.map((one) => result(one, i)));
		cursor = page.conversations.length > 0 ? page.next_cursor : null;
	} while (cursor && found.length < most);
	return found;
};

export const chat: Record<string, Operation> = { send, getConversation, getAllConversations };
