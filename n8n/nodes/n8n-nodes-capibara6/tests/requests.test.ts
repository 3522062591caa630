import { describe, expect, it } from 'vitest';

import {
	baseUrl,
	cancelRequest,
	chatRequest,
	codeRequest,
	executionHeaders,
	flowRequest,
	idempotencyKey,
	jsonObject,
	parentHeaders,
	resumeUrl,
	routeRequest,
	runRequest,
	text,
	WrongParameter,
} from '../api/requests';

const ID = '018f4c3e-1b2a-7c3d-8e4f-5a6b7c8d9e0f';

describe('a chat', () => {
	it('sends only what was set', () => {
		const request = chatRequest({
			message: 'Hola',
			model: 'auto',
			tools: 'default',
			timeoutSeconds: 60,
		});
		expect(request.body).toEqual({ message: 'Hola', stream: false });
		expect(request.timeoutMilliseconds).toBe(60_000);
	});

	it('sends all that was set, and the extra fields do not go before it', () => {
		const request = chatRequest({
			message: 'Hola',
			conversationId: ` ${ID} `,
			model: 'phi4_fast',
			tools: 'none',
			speak: true,
			voice: { voice: 'ef_dora', format: '' },
			temperature: 0,
			maxTokens: 10,
			extra: { seed: 1, message: 'other', stream: true },
			timeoutSeconds: 1,
		});
		expect(request.body).toEqual({
			message: 'Hola',
			conversation_id: ID,
			model: 'phi4_fast',
			tools: false,
			speak: { voice: 'ef_dora' },
			temperature: 0,
			max_tokens: 10,
			seed: 1,
			stream: false,
		});
	});

	it.each([
		[{ message: ' ' }, 'The message is empty'],
		[{ message: 'a', conversationId: '../runs' }, 'Conversation ID is not an ID of Capibara6'],
		[{ message: 'a', tools: 'some' as const, toolNames: ' , ' }, 'No tools are named'],
	])('refuses %j', (asked, words) => {
		expect(() => chatRequest({ timeoutSeconds: 1, ...asked })).toThrow(words);
	});

	it('names tools', () => {
		const request = chatRequest({
			message: 'a',
			tools: 'some',
			toolNames: 'one, two,',
			timeoutSeconds: 1,
		});
		expect(request.body?.tools).toEqual(['one', 'two']);
	});
});

describe('code', () => {
	it('waits longer than the code may take', () => {
		const request = codeRequest({ language: 'python', code: '1', timeoutSeconds: 30, files: [] });
		expect(request.body).toEqual({ language: 'python', code: '1', timeout_seconds: 30 });
		expect(request.timeoutMilliseconds).toBeGreaterThan(30_000);
	});
});

describe('a flow', () => {
	it('carries its key and its callback', () => {
		const request = flowRequest({
			flow: 'chat',
			parameters: { message: 'a' },
			key: 'k',
			callbackUrl: 'http://n/',
		});
		expect(request.path).toBe('/api/flows/chat/runs');
		expect(request.headers).toEqual({ 'Idempotency-Key': 'k' });
		expect(request.body).toEqual({ parameters: { message: 'a' }, callback_url: 'http://n/' });
	});

	it.each(['', '../hooks', 'a/b', 'a b'])('refuses the name %j', (flow) => {
		expect(() => flowRequest({ flow, parameters: {}, key: 'k' })).toThrow(WrongParameter);
	});

	it.each(['', 'ñ', 'a\nb', 'x'.repeat(256)])('refuses the key %j', (key) => {
		expect(() => flowRequest({ flow: 'chat', parameters: {}, key })).toThrow('Idempotency Key');
	});

	it('has a key of its place: the same for another try, another for another item and another turn of a loop', () => {
		const place = { executionId: '7', nodeId: 'n', runIndex: 0, itemIndex: 0 };
		expect(idempotencyKey(place)).toBe('n8n:7:n:0:0');
		expect(idempotencyKey({ ...place, itemIndex: 1 })).not.toBe(idempotencyKey(place));
		expect(idempotencyKey({ ...place, runIndex: 1 })).not.toBe(idempotencyKey(place));
	});

	it('is waited for at an address of the node, with n8n’s token', () => {
		expect(resumeUrl('http://127.0.0.1:5678/webhook-waiting/7?signature=abc', 'node 1')).toBe(
			'http://127.0.0.1:5678/webhook-waiting/7/node%201?signature=abc',
		);
	});
});

describe('parameters', () => {
	it('are an object, written or given', () => {
		expect(jsonObject('{"a": 1}', 'P')).toEqual({ a: 1 });
		expect(jsonObject({ a: 1 }, 'P')).toEqual({ a: 1 });
		expect(jsonObject('', 'P')).toEqual({});
		expect(() => jsonObject('{', 'P')).toThrow('P is not JSON');
		expect(() => jsonObject('[1]', 'P')).toThrow('P is not a JSON object');
		expect(() => jsonObject(null, 'P')).toThrow('P is not a JSON object');
	});

	it('that are IDs cannot lead to another path', () => {
		expect(runRequest(ID).path).toBe(`/api/runs/${ID}`);
		expect(cancelRequest(ID)).toMatchObject({ method: 'POST', path: `/api/runs/${ID}/cancel` });
		expect(() => runRequest('x/../../hooks')).toThrow('Run ID');
		expect(() => runRequest(undefined)).toThrow('Run ID');
	});
});

describe('the base URL', () => {
	it('loses its slashes', () => {
		expect(baseUrl(' http://a:5000// ', 'Base URL')).toBe('http://a:5000');
		expect(baseUrl('https://a/capibara6/', 'Base URL')).toBe('https://a/capibara6');
	});

	it.each(['', 'a:5000', 'ftp://a', 'http://', 'http://a?x=1', undefined])('is not %j', (value) => {
		expect(() => baseUrl(value, 'Base URL')).toThrow(WrongParameter);
	});
});

describe('headers of an execution', () => {
	it('are both there, or none', () => {
		expect(executionHeaders('12', 'wF_1')).toEqual({
			'x-capibara6-n8n-execution': '12',
			'x-capibara6-n8n-workflow': 'wF_1',
		});
		expect(executionHeaders(undefined, 'w')).toEqual({});
		expect(executionHeaders('1', 'a b')).toEqual({});
		expect(executionHeaders('__UNKNOWN__', 'w')).toEqual({});
		expect(executionHeaders('1'.repeat(65), 'w')).toEqual({});
	});
});

it('a run that began the execution is named as parent, nothing else is', () => {
	expect(parentHeaders(ID)).toEqual({ 'x-capibara6-parent-run-id': ID });
	for (const other of [undefined, '', 'x', `${ID}\r\nx: y`, 7]) {
		expect(parentHeaders(other)).toEqual({});
	}
});

it('an expression that finds nothing is no text', () => {
	expect([undefined, null, '', 0, false, 'a'].map(text)).toEqual(['', '', '', '0', 'false', 'a']);
});

it('a route is explained by the model server, with the question before', () => {
	expect(routeRequest('and in Python?', 'Sort a list in C')).toMatchObject({
		path: '/v1/route',
		at: 'models',
		body: {
			model: 'auto',
			messages: [{ content: 'Sort a list in C' }, { content: 'and in Python?' }],
		},
	});
});
