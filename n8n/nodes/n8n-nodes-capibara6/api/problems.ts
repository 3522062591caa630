/** What an answer that is an error says to people. Pure. */

export interface Problem {
	status: number;
	code: string | null;
	message: string;
	hint: string;
}

const MOST_CHARS = 500;
/** Of which a field of the request is to blame. */
const FIELDS: ReadonlySet<number> = new Set([400, 413, 422]);

const HINTS: Readonly<Record<number, string>> = {
	401: 'Check the API Key of the credential: ./capibara6 keys lists and makes keys.',
	403: 'The key of the credential may not do this.',
	404: 'Check the ID or name, and that it belongs to the owner of the credential’s key.',
	409: 'It is not in a state in which this can be done; an Idempotency Key stands for one request only.',
	413: 'Send less: the limits stand in the settings that the message names.',
	422: 'Correct the parameter that the message names.',
	429: 'Too much at once: turn on Retry On Fail with a wait between tries, or lower the batch.',
	502: 'A part that Capibara6 needs failed: ./capibara6 status tells which.',
	503: 'Capibara6 is not ready: ./capibara6 status tells why. Retry On Fail helps while it starts.',
	504: 'It took longer than allowed: raise the timeout, or start it as a flow and wait.',
};

/** body: parsed JSON, or text (a proxy's HTML, say). */
export function problemOf(status: number, body: unknown): Problem {
	const told = membersOf(body);
	const said = told.detail ?? `Capibara6 answered with status ${status}${foreign(body)}`;
	const known =
		told.detail === null || told.param === null || !FIELDS.has(status) || names(said, told.param);
	return {
		status,
		code: told.code,
		message: `${said}${known ? '' : ` (${told.param})`}`.slice(0, MOST_CHARS),
		hint:
			HINTS[status] ??
			(status >= 500 ? 'Look into the log of the service: ./capibara6 logs chat-api.' : ''),
	};
}

export interface Told {
	detail: string | null;
	code: string | null;
	param: string | null;
}

/** Of RFC 9457's problems, and of OpenAI's errors. */
function membersOf(body: unknown): Told {
	const whole = record(body);
	const inner = record(whole?.error);
	return {
		detail: text(whole?.detail) ?? text(inner?.message) ?? text(whole?.title),
		code: text(whole?.code) ?? text(inner?.code),
		param: text(whole?.param) ?? text(inner?.param),
	};
}

/** Parsed where it is JSON, else the text as it is. */
export function bodyOf(raw: unknown): unknown {
	if (typeof raw !== 'string') return raw;
	try {
		return JSON.parse(raw) as unknown;
	} catch {
		return raw;
	}
}

/** Whether a message says which field it means, as the API writes it. */
function names(said: string, field: string): boolean {
	return said.startsWith(`${field}:`) || said.includes(`\`${field}\``);
}

function foreign(body: unknown): string {
	if (typeof body !== 'string' || body.trim() === '') return '';
	if (/^\s*</.test(body)) return ' and a page of HTML: is there a proxy before it?';
	return `: ${body.trim().slice(0, 200)}`;
}

function record(value: unknown): Record<string, unknown> | null {
	return typeof value === 'object' && value !== null && !Array.isArray(value)
		? (value as Record<string, unknown>)
		: null;
}

function text(value: unknown): string | null {
	return typeof value === 'string' && value !== '' ? value : null;
}
