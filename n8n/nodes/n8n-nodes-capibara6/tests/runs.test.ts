import { describe, expect, it } from 'vitest';

import { afterLook, failureOf, hasEnded, POLLING, worthAnotherLook, type Run } from '../api/runs';

describe('looking at a run', () => {
	it('is done less and less often, and never beyond the limit', () => {
		const rules = { ...POLLING, first: 200, longest: 5_000, most: 60_000 };
		expect(afterLook(rules, 1, 0)).toEqual({ do: 'wait', milliseconds: 200 });
		expect(afterLook(rules, 2, 200)).toEqual({ do: 'wait', milliseconds: 300 });
		expect(afterLook(rules, 100, 30_000)).toEqual({ do: 'wait', milliseconds: 5_000 });
		expect(afterLook(rules, 1e6, 59_999)).toEqual({ do: 'wait', milliseconds: 1 });
		expect(afterLook(rules, 3, 60_000)).toEqual({ do: 'give up' });
	});

	it('goes on when the API is away for a moment, but not when it says no', () => {
		expect(worthAnotherLook(POLLING, 1, null)).toBe(true);
		expect(worthAnotherLook(POLLING, 4, 503)).toBe(true);
		expect(worthAnotherLook(POLLING, 1, 429)).toBe(true);
		expect(worthAnotherLook(POLLING, 5, 503)).toBe(false);
		expect(worthAnotherLook(POLLING, 1, 404)).toBe(false);
	});
});

describe('a run', () => {
	const run = (fields: Partial<Run>): Run => ({
		id: 'r',
		kind: 'chat',
		status: 'completed',
		...fields,
	});

	it('has ended in four ways', () => {
		expect(['completed', 'failed', 'cancelled', 'crashed'].every(hasEnded)).toBe(true);
		expect(['queued', 'running', ''].some(hasEnded)).toBe(false);
	});

	it('says why it has no result', () => {
		expect(failureOf(run({}))).toBeNull();
		expect(failureOf(run({ status: 'cancelled' }))).toBe('The run cancelled');
		expect(failureOf(run({ status: 'failed', error: { code: 'c', detail: 'no voice' } }))).toBe(
			'The run failed: no voice',
		);
		expect(failureOf(run({ status: 'crashed', error: { code: 'lost', detail: null } }))).toBe(
			'The run crashed: lost',
		);
	});
});
