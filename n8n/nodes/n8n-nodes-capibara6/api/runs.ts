/** Runs as the API tells them, and when to look at one again. Pure. */

export type RunStatus = 'queued' | 'running' | 'completed' | 'failed' | 'cancelled' | 'crashed';

export interface RunFile {
	id: string;
	name: string;
	media_type: string;
	size_bytes: number;
	url: string;
	[key: string]: unknown;
}

export interface Run {
	id: string;
	kind: string;
	status: RunStatus;
	error?: { code: string; detail?: string | null } | null;
	files?: RunFile[];
	n8n?: { execution_id: string | null; workflow_id: string | null } | null;
	[key: string]: unknown;
}

const ENDED: ReadonlySet<string> = new Set(['completed', 'failed', 'cancelled', 'crashed']);

export function hasEnded(status: string): boolean {
	return ENDED.has(status);
}

/** Why a run has no result, in words; null for one that completed. */
export function failureOf(run: Run): string | null {
	if (run.status === 'completed') return null;
	const said = run.error?.detail ?? run.error?.code;
	return said ? `The run ${run.status}: ${said}` : `The run ${run.status}`;
}

/** Milliseconds. most: of waiting for the run, all in all. */
export interface Polling {
	first: number;
	longest: number;
	most: number;
	failuresInARow: number;
}

export const POLLING: Polling = { first: 200, longest: 5_000, most: 600_000, failuresInARow: 5 };

export type Next = { do: 'wait'; milliseconds: number } | { do: 'give up' };

/**
 * What to do after a look at a run that had not ended. looks: so far, at least 1. elapsed: milliseconds since the
 * first. Waits grow by half, and none goes beyond the limit.
 */
export function afterLook(rules: Polling, looks: number, elapsed: number): Next {
	const left = rules.most - elapsed;
	if (left <= 0) return { do: 'give up' };
	const grown = rules.first * 1.5 ** Math.min(looks - 1, 40);
	return { do: 'wait', milliseconds: Math.min(grown, rules.longest, left) };
}

/** Whether a look that failed is worth another: not when the API said that it is our mistake. status: null for none. */
export function worthAnotherLook(rules: Polling, failures: number, status: number | null): boolean {
	const passing = status === null || status === 429 || status >= 500;
	return passing && failures < rules.failuresInARow;
}
