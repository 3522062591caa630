/** What an operation hands on: JSON, and files as binary data. */

import type {
	IBinaryKeyData,
	IDataObject,
	IExecuteFunctions,
	INodeExecutionData,
} from 'n8n-workflow';

import type { RunFile } from '../../../api/runs';
import { download } from '../../../api/transport';

export type Operation = (
	this: IExecuteFunctions,
	itemIndex: number,
) => Promise<INodeExecutionData[]>;

/** At most so many files of a run become binary data; all stand in its JSON. */
export const MOST_FILES = 20;

export function result(
	json: unknown,
	itemIndex: number,
	binary?: IBinaryKeyData,
): INodeExecutionData {
	const item: INodeExecutionData = { json: json as IDataObject, pairedItem: { item: itemIndex } };
	return binary && Object.keys(binary).length > 0 ? { ...item, binary } : item;
}

/** The files as `<prefix>0`, `<prefix>1`, …; a single wish for one field is met by a prefix that ends there. */
export async function filesAsBinary(
	caller: IExecuteFunctions,
	files: readonly RunFile[],
	prefix: string,
	itemIndex: number,
): Promise<IBinaryKeyData> {
	const binary: IBinaryKeyData = {};
	for (const [number, file] of files.slice(0, MOST_FILES).entries()) {
		binary[`${prefix}${number}`] = await download(caller, file, itemIndex);
	}
	return binary;
}
