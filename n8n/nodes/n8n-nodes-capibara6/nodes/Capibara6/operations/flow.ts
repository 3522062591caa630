import type { IDataObject, IExecuteFunctions, INodeExecutionData } from 'n8n-workflow';
import { NodeOperationError } from 'n8n-workflow';

import { follow } from '../../../api/following';
import { cancelRequest, flowRequest, jsonObject, runRequest } from '../../../api/requests';
import { hasEnded, POLLING, type Run } from '../../../api/runs';
import { call } from '../../../api/transport';
import { callbackUrlOf, keyOf } from './place';
import { filesAsBinary, result, type Operation } from './results';

interface Begun extends IDataObject {
	run_id: string;
	status: string;
}

const start: Operation = async function (i) {
	const options = this.getNodeParameter('options', i, {}) as IDataObject;
	return [result(await begin(this, i, options.callbackUrl as string | undefined), i)];
};

const startAndWait: Operation = async function (i) {
	const minutes = this.getNodeParameter('waitMinutes', i, 60) as number;
	// A tool's answer is wanted at once: its agent cannot be put aside.
	if (this.getNodeParameter('waitBy', i, 'callback') === 'polling' || this.isToolExecution()) {
		const begun = await begin(this, i);
		const run = await follow(this, begun.run_id, { ...POLLING, most: minutes * 60_000 }, i);
		return [await told(this, run, i, !hasEnded(run.status))];
	}
	const items = this.getInputData();
	if (items.length > 1) {
		throw new NodeOperationError(
			this.getNode(),
			`Waiting by callback takes one item, and there are ${items.length}`,
			{
				description: 'Put a Loop Over Items node before, or wait by polling. Nothing was started.',
			},
		);
	}
	const begun = await begin(this, i, callbackUrlOf(this));
	if (hasEnded(begun.status)) {
		return [await told(this, await call<Run>(this, runRequest(begun.run_id), i), i, false)];
	}
	// What the node hands on if nobody calls in time: n8n then takes the item that it waits with.
	const waiting = { ...begun, timed_out: true };
	items[0].json = waiting;
	delete items[0].binary;
	await this.putExecutionToWait(new Date(Date.now() + minutes * 60_000));
	return [result(waiting, i)];
};

async function begin(caller: IExecuteFunctions, i: number, callbackUrl?: string): Promise<Begun> {
	const options = caller.getNodeParameter('options', i, {}) as IDataObject;
	const request = flowRequest({
		flow: caller.getNodeParameter('flow', i, '', { extractValue: true }) as string,
		parameters: jsonObject(caller.getNodeParameter('parameters', i), 'Parameters'),
		key: (options.idempotencyKey as string | undefined) || keyOf(caller, i),
		callbackUrl,
	});
	return await call<Begun>(caller, request, i);
}

const getRun: Operation = async function (i) {
	return [
		await told(this, await call<Run>(this, runRequest(this.getNodeParameter('runId', i)), i), i),
	];
};

const cancelRun: Operation = async function (i) {
	return [result(await call(this, cancelRequest(this.getNodeParameter('runId', i)), i), i)];
};

/** timedOut: where somebody waited for the run. */
async function told(
	caller: IExecuteFunctions,
	run: Run,
	i: number,
	timedOut?: boolean,
): Promise<INodeExecutionData> {
	const options = caller.getNodeParameter('options', i, {}) as IDataObject;
	const json = timedOut === undefined ? run : { ...run, run_id: run.id, timed_out: timedOut };
	const wished = options.downloadFiles === true;
	return result(
		json,
		i,
		wished ? await filesAsBinary(caller, run.files ?? [], 'file_', i) : undefined,
	);
}

export const flow: Record<string, Operation> = { start, startAndWait, getRun, cancelRun };
