/** Verifying events as Standard Webhooks (https://www.standardwebhooks.com) signs them, and taking each once. Pure. */

import { createHmac, timingSafeEqual } from 'node:crypto';

export const TOLERANCE_SECONDS = 300;
export const IDS_REMEMBERED = 1_000;
const PREFIX = 'whsec_';
const MOST_SIGNATURES = 20;

export type Headers = Readonly<Record<string, string | string[] | undefined>>;

export type Verdict = { valid: true; id: string } | { valid: false; reason: string };

/** body: the bytes as they came. now: seconds since 1970. */
export function verify(secret: string, headers: Headers, body: Buffer, now: number): Verdict {
	const id = one(headers, 'webhook-id');
	const timestamp = one(headers, 'webhook-timestamp');
	const signatures = one(headers, 'webhook-signature');
	if (!id || !timestamp || !signatures) return refused('a header of the signature is missing');
	if (id.length > 256 || !/^\d{1,12}$/.test(timestamp))
		return refused('a header of the signature is malformed');
	if (Math.abs(now - Number(timestamp)) > TOLERANCE_SECONDS)
		return refused('the timestamp is too far from now');
	const key = keyOf(secret);
	if (key === null) return refused('the secret is malformed');
	const wanted = createHmac('sha256', key).update(`${id}.${timestamp}.`).update(body).digest();
	const given = signatures.split(' ').slice(0, MOST_SIGNATURES);
	// All are looked at, so that the time taken tells nothing.
	const matches = given.map((signature) => equal(wanted, signature)).filter(Boolean);
	return matches.length > 0 ? { valid: true, id } : refused('the signature is wrong');
}

/** The key in `whsec_…`; null for what is none. */
export function keyOf(secret: string): Buffer | null {
	const trimmed = secret.trim();
	if (!trimmed.startsWith(PREFIX)) return null;
	const encoded = trimmed.slice(PREFIX.length);
	if (!/^[A-Za-z0-9+/]+={0,2}$/.test(encoded)) return null;
	const key = Buffer.from(encoded, 'base64');
	return key.length >= 16 ? key : null;
}

/** The ids with this one; null if it had been taken. The oldest are forgotten. */
export function taken(ids: readonly string[], id: string, most = IDS_REMEMBERED): string[] | null {
	if (ids.includes(id)) return null;
	return [...ids, id].slice(-most);
}

function equal(wanted: Buffer, signature: string): boolean {
	const [version, encoded] = signature.split(',', 2);
	if (version !== 'v1' || !encoded) return false;
	const given = Buffer.from(encoded, 'base64');
	return given.length === wanted.length && timingSafeEqual(given, wanted);
}

function one(headers: Headers, name: string): string | undefined {
	const value = headers[name];
	return Array.isArray(value) ? undefined : value;
}

function refused(reason: string): Verdict {
	return { valid: false, reason };
}
