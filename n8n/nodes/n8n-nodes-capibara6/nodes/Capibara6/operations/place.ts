/** Where in a workflow the node is, for keys and callbacks. */

import type { IExecuteFunctions } from 'n8n-workflow';

import { idempotencyKey, resumeUrl } from '../../../api/requests';

export function keyOf(caller: IExecuteFunctions, itemIndex: number): string {
	const runIndex = Number(caller.evaluateExpression('{{ $runIndex }}', itemIndex));
	return idempotencyKey({
		executionId: caller.getExecutionId(),
		nodeId: caller.getNode().id,
		runIndex: Number.isInteger(runIndex) ? runIndex : 0,
		itemIndex,
	});
}

export function callbackUrlOf(caller: IExecuteFunctions): string {
	return resumeUrl(
		String(caller.evaluateExpression('{{ $execution.resumeUrl }}', 0)),
		caller.getNode().id,
	);
}
