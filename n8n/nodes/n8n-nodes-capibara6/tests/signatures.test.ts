import { createHmac } from 'node:crypto';

import { describe, expect, it } from 'vitest';

import { keyOf, taken, verify } from '../api/signatures';

const KEY = Buffer.alloc(32, 7);
const SECRET = `whsec_${KEY.toString('base64')}`;
const BODY = Buffer.from('{"type":"run.completed","text":"¿Qué?"}');
const NOW = 1_800_000_000;

function signed(body = BODY, timestamp = NOW, key = KEY, id = 'evt'): Record<string, string> {
	const signature = createHmac('sha256', key)
		.update(`${id}.${timestamp}.`)
		.update(body)
		.digest('base64');
	return {
		'webhook-id': id,
		'webhook-timestamp': String(timestamp),
		'webhook-signature': `v1,${signature}`,
	};
}

describe('a signature', () => {
	it('that is right is taken', () => {
		expect(verify(SECRET, signed(), BODY, NOW)).toEqual({ valid: true, id: 'evt' });
	});

	it('agrees with the example of the specification', () => {
		// https://www.standardwebhooks.com: the values that its libraries are tested with.
		const published = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw';
		const headers = {
			'webhook-id': 'msg_p5jXN8AQM9LWM0D4loKWxJek',
			'webhook-timestamp': '1614265330',
			'webhook-signature': 'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=',
		};
		expect(verify(published, headers, Buffer.from('{"test": 2432232314}'), 1614265330).valid).toBe(
			true,
		);
	});

	it('may stand among others, of a new key and of versions to come', () => {
		const headers = signed();
		headers['webhook-signature'] = `v1a,xyz v1,AAAA ${headers['webhook-signature']}`;
		expect(verify(SECRET, headers, BODY, NOW).valid).toBe(true);
	});

	it('of another body, key or id is refused', () => {
		expect(verify(SECRET, signed(), Buffer.from('{}'), NOW)).toEqual({
			valid: false,
			reason: 'the signature is wrong',
		});
		expect(verify(SECRET, signed(BODY, NOW, Buffer.alloc(32, 8)), BODY, NOW).valid).toBe(false);
		expect(verify(SECRET, { ...signed(), 'webhook-id': 'other' }, BODY, NOW).valid).toBe(false);
	});

	it('is good for five minutes, before and after', () => {
		expect(verify(SECRET, signed(BODY, NOW - 299), BODY, NOW).valid).toBe(true);
		expect(verify(SECRET, signed(BODY, NOW + 299), BODY, NOW).valid).toBe(true);
		expect(verify(SECRET, signed(BODY, NOW - 301), BODY, NOW).valid).toBe(false);
		expect(verify(SECRET, signed(BODY, NOW + 301), BODY, NOW).valid).toBe(false);
	});

	it.each(['webhook-id', 'webhook-timestamp', 'webhook-signature'])(
		'without %s is refused',
		(name) => {
			expect(verify(SECRET, { ...signed(), [name]: undefined }, BODY, NOW).valid).toBe(false);
		},
	);

	it.each(['1e9', 'now', '-1', ' 1', '9'.repeat(13)])(
		'with the timestamp %j is refused',
		(timestamp) => {
			expect(verify(SECRET, { ...signed(), 'webhook-timestamp': timestamp }, BODY, NOW).valid).toBe(
				false,
			);
		},
	);

	it.each(['', 'v1', 'v1,', 'v2,AAAA', 'v1,%%%'])('written %j is refused', (signature) => {
		expect(verify(SECRET, { ...signed(), 'webhook-signature': signature }, BODY, NOW).valid).toBe(
			false,
		);
	});

	it.each(['', 'whsec_', 'whsec_ñ', 'whsec_AAAA', KEY.toString('base64')])(
		'by the secret %j is refused',
		(secret) => {
			expect(verify(secret, signed(), BODY, NOW)).toMatchObject({
				valid: false,
				reason: 'the secret is malformed',
			});
			expect(keyOf(secret)).toBeNull();
		},
	);
});

describe('an id', () => {
	it('is taken once', () => {
		expect(taken(['a'], 'b')).toEqual(['a', 'b']);
		expect(taken(['a', 'b'], 'a')).toBeNull();
	});

	it('is forgotten when there are too many', () => {
		expect(taken(['a', 'b'], 'c', 2)).toEqual(['b', 'c']);
	});
});
