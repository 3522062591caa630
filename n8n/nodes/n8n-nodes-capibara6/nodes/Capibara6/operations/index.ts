import { chat } from './chat';
import { code } from './code';
import { flow } from './flow';
import { model } from './model';
import type { Operation } from './results';
import { speech } from './speech';

/** By resource, then by operation, as the node's parameters name them. */
export const OPERATIONS: Readonly<Record<string, Readonly<Record<string, Operation>>>> = {
	chat,
	code,
	flow,
	model,
	speech,
};
