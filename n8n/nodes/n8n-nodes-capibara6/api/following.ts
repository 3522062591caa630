/** Follows a run to its end by asking for it, patiently. */

import type { IExecuteFunctions } from 'n8n-workflow';
import { NodeOperationError, sleep } from 'n8n-workflow';

import { cancelRequest, runRequest } from './requests';
import type { Polling, Run } from './runs';
import { afterLook, hasEnded, worthAnotherLook } from './runs';
import { asNodeError, call, outliving, statusOf } from './transport';

/** How often a wait looks whether the execution was cancelled. */
const SLICE_MILLISECONDS = 500;

/** The run as it ended, or as it is when the limit was over. A cancelled execution cancels the run. */
export async function follow(
	caller: IExecuteFunctions,
	runId: string,
	rules: Polling,
	itemIndex: number,
): Promise<Run> {
	const signal = caller.getExecutionCancelSignal();
	const began = Date.now();
	let failures = 0;
	let last: Run = { id: runId, kind: '', status: 'queued' };
	for (let looks = 1; ; looks += 1) {
		try {
			last = await call<Run>(caller, runRequest(runId), itemIndex);
			failures = 0;
			if (hasEnded(last.status)) return last;
		} catch (error) {
			failures += 1;
			if (!worthAnotherLook(rules, failures, statusOf(error)))
				throw asNodeError(caller, error, itemIndex);
		}
		const next = afterLook(rules, looks, Date.now() - began);
		if (next.do === 'give up') return last;
		await patiently(next.milliseconds, signal);
		if (signal?.aborted) {
			await stopped(caller, runId, itemIndex);
			throw new NodeOperationError(
				caller.getNode(),
				`The execution was cancelled, and run ${runId} asked to stop`,
				{
					itemIndex,
				},
			);
		}
	}
}

async function patiently(milliseconds: number, signal: AbortSignal | undefined): Promise<void> {
	const end = Date.now() + milliseconds;
	for (let left = milliseconds; left > 0 && !signal?.aborted; left = end - Date.now()) {
		await sleep(Math.min(left, SLICE_MILLISECONDS));
	}
}

/** Best effort: a run that has ended meanwhile answers with 409. */
async function stopped(caller: IExecuteFunctions, runId: string, itemIndex: number): Promise<void> {
	try {
		await call(outliving(caller), cancelRequest(runId), itemIndex);
	} catch (error) {
		caller.logger.warn(`Run ${runId} was not cancelled: ${(error as Error).message}`);
	}
}
