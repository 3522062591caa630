/** Requests of each operation, as plain values. Pure; `transport` sends them. */

export type Json = Record<string, unknown>;

export interface ApiRequest {
	method: 'GET' | 'POST' | 'DELETE';
	path: string;
	query?: Record<string, string | number>;
	body?: Json;
	headers?: Record<string, string>;
	timeoutMilliseconds: number;
	/** Which of the credential's addresses. */
	at?: 'api' | 'models';
}

/** A request that cannot be made of these parameters. */
export class WrongParameter extends Error {
	constructor(
		message: string,
		readonly hint: string,
	) {
		super(message);
		this.name = 'WrongParameter';
	}
}

export const READ_MILLISECONDS = 30_000;
const WORD = /^[A-Za-z0-9_-]{1,64}$/;
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
const KEY_CHARS = 255;
export const PARENT = 'x-capibara6-parent-run-id';

/** By which a run knows the execution that asked for it. Empty outside of one. */
export function executionHeaders(
	executionId: unknown,
	workflowId: unknown,
): Record<string, string> {
	const execution = typeof executionId === 'string' ? executionId : '';
	const workflow = typeof workflowId === 'string' ? workflowId : '';
	if (!WORD.test(execution) || !WORD.test(workflow) || execution.startsWith('__')) return {};
	return { 'x-capibara6-n8n-execution': execution, 'x-capibara6-n8n-workflow': workflow };
}

/** By which a run becomes the child of the one that began the execution. Empty where none did. */
export function parentHeaders(runId: unknown): Record<string, string> {
	return typeof runId === 'string' && UUID.test(runId) ? { [PARENT]: runId } : {};
}

/** An address without the slashes at its end. Throws WrongParameter. */
export function baseUrl(value: unknown, field: string): string {
	const text = typeof value === 'string' ? value.trim().replace(/\/+$/, '') : '';
	if (!/^https?:\/\/[^\s/?#]+(\/[^\s?#]*)?$/i.test(text)) {
		throw new WrongParameter(
			text === ''
				? `The credential has no ${field}`
				: `The ${field} of the credential is not an http address`,
			'Write it as http://127.0.0.1:5000, in the credential "Capibara6 API".',
		);
	}
	return text;
}

/** Throws WrongParameter. */
export function uuid(value: unknown, what: string): string {
	const text = typeof value === 'string' ? value.trim() : '';
	if (!UUID.test(text)) {
		throw new WrongParameter(
			`${what} is not an ID of Capibara6`,
			'It looks like 018f4c3e-1b2a-7c3d-8e4f-5a6b7c8d9e0f.',
		);
	}
	return text;
}

/** A JSON object, given as such or written. Throws WrongParameter. */
export function jsonObject(value: unknown, what: string): Json {
	const { read, wrong } = parsed(value);
	if (wrong !== null)
		throw new WrongParameter(
			`${what} is not JSON: ${wrong}`,
			'Write an object, as {"message": "Hello"}.',
		);
	if (typeof read !== 'object' || read === null || Array.isArray(read)) {
		throw new WrongParameter(
			`${what} is not a JSON object`,
			'Write an object, as {"message": "Hello"}.',
		);
	}
	return read as Json;
}

function parsed(value: unknown): { read: unknown; wrong: string | null } {
	if (typeof value !== 'string') return { read: value, wrong: null };
	if (value.trim() === '') return { read: {}, wrong: null };
	try {
		return { read: JSON.parse(value) as unknown, wrong: null };
	} catch (error) {
		return { read: null, wrong: (error as Error).message };
	}
}

/** Text of a parameter; empty for what an expression did not find, which is no word to be sent. */
export function text(value: unknown): string {
	return value === undefined || value === null ? '' : String(value);
}

/** Without what was left empty. */
export function given(fields: Json): Json {
	return Object.fromEntries(
		Object.entries(fields).filter(
			([, value]) => value !== undefined && value !== null && value !== '',
		),
	);
}

export interface ChatAsked {
	message: string;
	conversationId?: string;
	model?: string;
	/** 'some' with toolNames. */
	tools?: 'default' | 'none' | 'some';
	toolNames?: string;
	speak?: boolean;
	voice?: Json;
	temperature?: number;
	maxTokens?: number;
	extra?: Json;
	timeoutSeconds: number;
}

export function chatRequest(asked: ChatAsked): ApiRequest {
	if (asked.message.trim() === '')
		throw new WrongParameter('The message is empty', 'Write what is asked.');
	const conversation = asked.conversationId?.trim();
	const body = given({
		...asked.extra,
		message: asked.message,
		conversation_id: conversation ? uuid(conversation, 'Conversation ID') : undefined,
		model: asked.model === 'auto' ? undefined : asked.model,
		tools: toolsOf(asked.tools, asked.toolNames),
		speak: asked.speak ? speakOf(asked.voice) : undefined,
		temperature: asked.temperature,
		max_tokens: asked.maxTokens,
	});
	return {
		method: 'POST',
		path: '/api/chat',
		body: { ...body, stream: false },
		timeoutMilliseconds: asked.timeoutSeconds * 1000,
	};
}

export function toolsOf(
	which: ChatAsked['tools'],
	names: string | undefined,
): boolean | string[] | undefined {
	if (which === 'none') return false;
	if (which !== 'some') return undefined;
	const named = list(names);
	if (named.length === 0) {
		throw new WrongParameter(
			'No tools are named',
			'Write their names, with commas between them, or choose other tools.',
		);
	}
	return named;
}

/** True, or how it is wished. */
export function speakOf(voice: Json | undefined): true | Json {
	const wished = given(voice ?? {});
	return Object.keys(wished).length > 0 ? wished : true;
}

export interface GivenFile {
	name: string;
	content_base64: string;
}

export interface CodeAsked {
	language: string;
	code: string;
	timeoutSeconds?: number;
	conversationId?: string;
	files: GivenFile[];
}

/** Code's own time, and what a sandbox may take to start. */
const CODE_AROUND_SECONDS = 120;
const CODE_LONGEST_SECONDS = 3_600;

export function codeRequest(asked: CodeAsked): ApiRequest {
	if (asked.code.trim() === '')
		throw new WrongParameter('The code is empty', 'Write what is to be run.');
	const conversation = asked.conversationId?.trim();
	const seconds = (asked.timeoutSeconds || CODE_LONGEST_SECONDS) + CODE_AROUND_SECONDS;
	return {
		method: 'POST',
		path: '/api/code/run',
		body: given({
			language: asked.language,
			code: asked.code,
			timeout_seconds: asked.timeoutSeconds || undefined,
			conversation_id: conversation ? uuid(conversation, 'Conversation ID') : undefined,
			files: asked.files.length > 0 ? asked.files : undefined,
		}),
		timeoutMilliseconds: seconds * 1000,
	};
}

/** Where in a workflow a run is started: by this it is started once, however often the node is tried. */
export interface Place {
	executionId: string;
	nodeId: string;
	runIndex: number;
	itemIndex: number;
}

export function idempotencyKey(place: Place): string {
	return `n8n:${place.executionId}:${place.nodeId}:${place.runIndex}:${place.itemIndex}`.slice(
		0,
		KEY_CHARS,
	);
}

export interface FlowAsked {
	flow: string;
	parameters: Json;
	key: string;
	callbackUrl?: string;
}

export function flowRequest(asked: FlowAsked): ApiRequest {
	const flow = asked.flow.trim();
	if (!/^[A-Za-z0-9_-]{1,100}$/.test(flow)) {
		throw new WrongParameter('The name of the flow is not one', 'Choose one from the list.');
	}
	// A header holds Latin letters only, and any other key would be refused without a word of why.
	if (!/^[\x20-\x7e]{1,255}$/.test(asked.key)) {
		throw new WrongParameter(
			'The Idempotency Key cannot be sent',
			'Use at most 255 Latin letters, digits and signs.',
		);
	}
	return {
		method: 'POST',
		path: `/api/flows/${flow}/runs`,
		body: given({ parameters: asked.parameters, callback_url: asked.callbackUrl }),
		headers: { 'Idempotency-Key': asked.key },
		timeoutMilliseconds: READ_MILLISECONDS,
	};
}

/** The address at which n8n's waiting ends: $execution.resumeUrl, for this node alone. */
export function resumeUrl(executionResumeUrl: string, nodeId: string): string {
	const url = new URL(executionResumeUrl);
	url.pathname = `${url.pathname.replace(/\/+$/, '')}/${encodeURIComponent(nodeId)}`;
	return url.toString();
}

export function read(path: string, query?: Record<string, string | number>): ApiRequest {
	return { method: 'GET', path, query, timeoutMilliseconds: READ_MILLISECONDS };
}

export function runRequest(id: unknown): ApiRequest {
	return read(`/api/runs/${uuid(id, 'Run ID')}`);
}

export function cancelRequest(id: unknown): ApiRequest {
	return { ...runRequest(id), method: 'POST', path: `/api/runs/${uuid(id, 'Run ID')}/cancel` };
}

export function conversationRequest(id: unknown, messages: number): ApiRequest {
	return read(`/api/conversations/${uuid(id, 'Conversation ID')}`, { messages });
}

export function routeRequest(text: string, before: string): ApiRequest {
	if (text.trim() === '')
		throw new WrongParameter('The text is empty', 'Write what would be asked.');
	const earlier = before.trim() === '' ? [] : [{ role: 'user', content: before }];
	return {
		method: 'POST',
		path: '/v1/route',
		body: { model: 'auto', messages: [...earlier, { role: 'user', content: text }] },
		timeoutMilliseconds: READ_MILLISECONDS,
		at: 'models',
	};
}

/** Names with commas between them. */
export function list(text: string | undefined): string[] {
	return (text ?? '')
		.split(',')
		.map((name) => name.trim())
		.filter((name) => name !== '');
}
