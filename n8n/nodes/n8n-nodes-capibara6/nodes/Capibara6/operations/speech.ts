/** Speech is made by the flow `speech` of the chat API: documents as well as sentences, kept as files of a run. */

import type { IDataObject } from 'n8n-workflow';
import { NodeOperationError } from 'n8n-workflow';

import { follow } from '../../../api/following';
import { flowRequest, given, text, uuid, WrongParameter, type Json } from '../../../api/requests';
import { failureOf, hasEnded, POLLING } from '../../../api/runs';
import { call, download } from '../../../api/transport';
import { keyOf } from './place';
import { result, type Operation } from './results';

const SOURCES: Readonly<Record<string, [field: string, what: string]>> = {
	message: ['message_id', 'Message ID'],
	run: ['run_id', 'Run ID'],
	file: ['file_id', 'File ID'],
};

const synthesize: Operation = async function (i) {
	const options = this.getNodeParameter('options', i, {}) as IDataObject;
	const parameters = given({
		...sourceOf(this.getNodeParameter('source', i, 'text') as string, (name) =>
			this.getNodeParameter(name, i, ''),
		),
		format: this.getNodeParameter('format', i, 'mp3'),
		voice: options.voice,
		language: options.language,
		speed: options.speed,
		model: options.engine,
		captions: options.captions === true ? true : undefined,
	});
	const most = ((options.timeoutSeconds as number | undefined) ?? 600) * 1000;
	const begun = await call<{ run_id: string }>(
		this,
		flowRequest({ flow: 'speech', parameters, key: keyOf(this, i) }),
		i,
	);
	const run = await follow(this, begun.run_id, { ...POLLING, most }, i);
	if (!hasEnded(run.status)) {
		throw new NodeOperationError(
			this.getNode(),
			`Run ${run.id} still speaks after ${most / 1000} seconds`,
			{
				description: 'Raise the timeout, or fetch it later with "Flow: Get Run".',
				itemIndex: i,
			},
		);
	}
	const failure = failureOf(run);
	if (failure !== null) throw new NodeOperationError(this.getNode(), failure, { itemIndex: i });
	const audio = (run.files ?? []).find((file) => file.media_type.startsWith('audio/'));
	if (audio === undefined) {
		throw new NodeOperationError(this.getNode(), `Run ${run.id} kept no audio`, { itemIndex: i });
	}
	const field = (this.getNodeParameter('binaryField', i, 'data') as string).trim() || 'data';
	const told = { run_id: run.id, kind: run.kind, file: audio, files: run.files };
	return [result(told, i, { [field]: await download(this, audio, i) })];
};

function sourceOf(source: string, parameter: (name: string) => unknown): Json {
	const known = SOURCES[source];
	if (known !== undefined) return { [known[0]]: uuid(parameter('sourceId'), known[1]) };
	const spoken = text(parameter('text'));
	if (spoken.trim() === '')
		throw new WrongParameter('The text is empty', 'Write what is to be spoken.');
	return { text: spoken };
}

export const speech: Record<string, Operation> = { synthesize };
