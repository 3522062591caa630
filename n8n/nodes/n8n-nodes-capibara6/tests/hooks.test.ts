import { describe, expect, it } from 'vitest';

import { hookBody, keptOf, standing, type Hook } from '../api/hooks';

const wanted = { url: 'http://n/webhook/1', events: ['run.failed', 'run.completed'], kinds: [] };
const hook: Hook = {
	id: 'h',
	url: wanted.url,
	events: ['run.completed', 'run.failed'],
	kinds: null,
};
const kept = { id: 'h', url: wanted.url, secret: 'whsec_x' };
const others: Hook = { id: 'o', url: 'http://elsewhere/', events: ['run.completed'], kinds: null };

describe('a subscription', () => {
	it('that is there as it is wished holds, and nobody else’s is touched', () => {
		expect(standing([others, hook], kept, wanted)).toEqual({ holds: true, remove: [] });
	});

	it('that the API does not have is made', () => {
		expect(standing([others], kept, wanted)).toEqual({ holds: false, remove: [] });
	});

	it('whose secret was lost is made again', () => {
		expect(standing([hook], null, wanted)).toEqual({ holds: false, remove: ['h'] });
		expect(standing([hook], { ...kept, secret: '' }, wanted)).toEqual({
			holds: false,
			remove: ['h'],
		});
	});

	it('of other events or kinds is made again', () => {
		expect(standing([{ ...hook, kinds: ['chat'] }], kept, wanted)).toEqual({
			holds: false,
			remove: ['h'],
		});
		expect(standing([{ ...hook, events: ['run.failed'] }], kept, wanted)).toEqual({
			holds: false,
			remove: ['h'],
		});
	});

	it('at an address that n8n had before is moved', () => {
		expect(standing([{ ...hook, url: 'http://old/' }], kept, wanted)).toEqual({
			holds: false,
			remove: ['h'],
		});
	});

	it('that was made twice is cleaned up', () => {
		expect(standing([{ ...hook, id: 'double' }, hook], kept, wanted)).toEqual({
			holds: true,
			remove: ['double'],
		});
	});
});

it('a hook is asked for without kinds where all are meant', () => {
	expect(hookBody(wanted, ' My\n flow ')).toEqual({
		url: wanted.url,
		events: wanted.events,
		description: 'My flow',
	});
	expect(hookBody({ ...wanted, kinds: ['chat'] }, '')).toMatchObject({
		kinds: ['chat'],
		description: 'n8n',
	});
});

it('what static data holds is not trusted to have its form', () => {
	expect(keptOf(kept)).toEqual(kept);
	for (const value of [undefined, null, 1, 'h', {}, { id: 'h', url: 1, secret: 's' }])
		expect(keptOf(value)).toBeNull();
});
