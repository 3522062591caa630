import type { IDataObject, IExecuteFunctions } from 'n8n-workflow';

import { codeRequest, list, text, type GivenFile } from '../../../api/requests';
import type { RunFile } from '../../../api/runs';
import { call } from '../../../api/transport';
import { filesAsBinary, result, type Operation } from './results';

const run: Operation = async function (i) {
	const options = this.getNodeParameter('options', i, {}) as IDataObject;
	const request = codeRequest({
		language: this.getNodeParameter('language', i) as string,
		code: text(this.getNodeParameter('code', i)),
		timeoutSeconds: options.timeoutSeconds as number | undefined,
		conversationId: options.conversationId as string | undefined,
		files: await filesOf(this, options.inputBinaryFields as string | undefined, i),
	});
	const reply = await call<IDataObject & { files?: RunFile[] }>(this, request, i);
	const wished = options.downloadFiles === true;
	return [
		result(reply, i, wished ? await filesAsBinary(this, reply.files ?? [], 'file_', i) : undefined),
	];
};

/** Binary data of the item, by the names of its fields. */
async function filesOf(
	caller: IExecuteFunctions,
	fields: string | undefined,
	i: number,
): Promise<GivenFile[]> {
	const files: GivenFile[] = [];
	for (const field of list(fields)) {
		const data = caller.helpers.assertBinaryData(i, field);
		const bytes = await caller.helpers.getBinaryDataBuffer(i, field);
		files.push({ name: data.fileName ?? field, content_base64: bytes.toString('base64') });
	}
	return files;
}

export const code: Record<string, Operation> = { run };
