/** Sends requests, and makes n8n's errors of what goes wrong. What is asked and what it means is decided elsewhere. */

import type {
	IBinaryData,
	IExecuteFunctions,
	IHookFunctions,
	IHttpRequestOptions,
	ILoadOptionsFunctions,
	IWebhookFunctions,
	JsonObject,
} from 'n8n-workflow';
import { NodeApiError, NodeOperationError } from 'n8n-workflow';

import { bodyOf, problemOf } from './problems';
import type { ApiRequest } from './requests';
import { baseUrl, executionHeaders, PARENT, parentHeaders, WrongParameter } from './requests';
import type { RunFile } from './runs';

export const CREDENTIAL = 'capibara6Api';
const DOWNLOAD_MILLISECONDS = 600_000;
const WEBHOOK = 'n8n-nodes-base.webhook';

export type Caller = IExecuteFunctions | IHookFunctions | ILoadOptionsFunctions | IWebhookFunctions;

type Stream = Exclude<Parameters<IExecuteFunctions['helpers']['binaryToBuffer']>[0], Buffer>;

interface Answer {
	statusCode: number;
	body: unknown;
}

/** The JSON of the answer. Throws NodeApiError. n8n ends the request with the execution, and so what it asked for. */
export async function call<T>(caller: Caller, request: ApiRequest, itemIndex?: number): Promise<T> {
	const options: IHttpRequestOptions = {
		...(await addressed(caller, request, itemIndex)),
		json: true,
	};
	if (request.body !== undefined) options.body = request.body;
	const answer = await sent(caller, options, itemIndex);
	const body = bodyOf(answer.body);
	if (answer.statusCode >= 400) throw refusal(caller, answer.statusCode, body, itemIndex);
	if (answer.statusCode === 204) return {} as T;
	if (typeof body !== 'object' || body === null) {
		throw refusal(
			caller,
			502,
			'The answer is not JSON. Is the Base URL that of the chat API?',
			itemIndex,
		);
	}
	return body as T;
}

/** A file of the API as n8n's binary data; it is streamed where n8n keeps such data on disk. */
export async function download(
	caller: IExecuteFunctions,
	file: Pick<RunFile, 'id' | 'name' | 'media_type'>,
	itemIndex: number,
): Promise<IBinaryData> {
	const request: ApiRequest = {
		method: 'GET',
		path: `/api/files/${file.id}/content`,
		timeoutMilliseconds: DOWNLOAD_MILLISECONDS,
	};
	const options = await addressed(caller, request, itemIndex);
	const answer = await sent(caller, { ...options, encoding: 'stream', json: false }, itemIndex);
	const stream = answer.body as Stream;
	if (answer.statusCode >= 400) {
		const text = (await caller.helpers.binaryToBuffer(stream)).toString('utf8');
		throw refusal(caller, answer.statusCode, bodyOf(text), itemIndex);
	}
	return await caller.helpers.prepareBinaryData(stream, file.name, file.media_type);
}

/** The same caller for requests that outlive its execution: n8n ends all others when that is stopped. */
export function outliving(caller: IExecuteFunctions): IExecuteFunctions {
	return Object.create(caller, {
		getExecutionCancelSignal: { value: () => undefined },
	}) as IExecuteFunctions;
}

/** As an error of the node, whatever it was. */
export function asNodeError(
	caller: Caller,
	error: unknown,
	itemIndex?: number,
): NodeApiError | NodeOperationError {
	if (error instanceof NodeApiError || error instanceof NodeOperationError) return error;
	if (error instanceof WrongParameter) {
		return new NodeOperationError(caller.getNode(), error.message, {
			description: error.hint,
			itemIndex,
		});
	}
	return new NodeOperationError(caller.getNode(), error as Error, { itemIndex });
}

/** The status that an error carries; null where no answer came. */
export function statusOf(error: unknown): number | null {
	const code = error instanceof NodeApiError ? Number(error.httpCode) : Number.NaN;
	return Number.isInteger(code) && code >= 100 && code < 600 ? code : null;
}

/** The id of the run that began this execution by a webhook, as our flow `workflow` does. */
function beginnerOf(caller: Caller): unknown {
	if (!('evaluateExpression' in caller)) return undefined;
	for (const node of caller.getParentNodes(caller.getNode().name)) {
		if (node.type !== WEBHOOK) continue;
		const name = JSON.stringify(node.name);
		try {
			const told = caller.evaluateExpression(
				`{{ $(${name}).isExecuted ? $(${name}).first().json.headers['${PARENT}'] : '' }}`,
				0,
			);
			if (told) return told;
		} catch {
			// a name that no expression can hold
		}
	}
	return undefined;
}

async function addressed(
	caller: Caller,
	request: ApiRequest,
	itemIndex?: number,
): Promise<IHttpRequestOptions> {
	try {
		const credentials = await caller.getCredentials(CREDENTIAL, itemIndex);
		const base =
			request.at === 'models'
				? baseUrl(credentials.modelServerUrl, 'Model Server URL').replace(/\/v1$/, '')
				: baseUrl(credentials.baseUrl, 'Base URL');
		const headers = {
			...executionHeaders(caller.getExecutionId?.(), caller.getWorkflow?.().id),
			...parentHeaders(beginnerOf(caller)),
		};
		return {
			method: request.method,
			url: `${base}${request.path}`,
			qs: request.query,
			headers: { Accept: 'application/json', ...headers, ...request.headers },
			timeout: request.timeoutMilliseconds,
			returnFullResponse: true,
			ignoreHttpStatusErrors: true,
			disableFollowRedirect: true,
		};
	} catch (error) {
		throw asNodeError(caller, error, itemIndex);
	}
}

async function sent(
	caller: Caller,
	options: IHttpRequestOptions,
	itemIndex?: number,
): Promise<Answer> {
	try {
		return (await caller.helpers.httpRequestWithAuthentication.call(
			caller,
			CREDENTIAL,
			options,
		)) as Answer;
	} catch (error) {
		const cause = error as Error & { code?: string };
		throw new NodeApiError(
			caller.getNode(),
			{ message: cause.message, code: cause.code ?? '' } as JsonObject,
			{
				message: `Capibara6 could not be asked: ${cause.message || cause.code || 'no answer came'}`,
				description: `Does it run (./capibara6 status), and is ${new URL(options.url).origin} its address as seen from n8n? A request that takes long needs a longer timeout.`,
				itemIndex,
			},
		);
	}
}

function refusal(caller: Caller, status: number, body: unknown, itemIndex?: number): NodeApiError {
	const problem = problemOf(status, body);
	const response: JsonObject = {
		message: problem.message,
		statusCode: status,
		code: problem.code ?? '',
	};
	return new NodeApiError(caller.getNode(), response, {
		message: problem.message,
		description: [problem.hint, problem.code ? `(${problem.code})` : ''].filter(Boolean).join(' '),
		httpCode: String(status),
		itemIndex,
	});
}
