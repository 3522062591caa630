import type { IDataObject } from 'n8n-workflow';

import { read, routeRequest, text } from '../../../api/requests';
import { call } from '../../../api/transport';
import { result, type Operation } from './results';

const getAll: Operation = async function (i) {
	const models = await call<{ data: IDataObject[] }>(this, read('/api/models'), i);
	const all = this.getNodeParameter('returnAll', i, true) as boolean;
	const most = all ? models.data.length : (this.getNodeParameter('limit', i, 50) as number);
	return models.data.slice(0, most).map((model) => result(model, i));
};

const explainRoute: Operation = async function (i) {
	const asked = text(this.getNodeParameter('text', i));
	return [
		result(
			await call(this, routeRequest(asked, text(this.getNodeParameter('before', i, ''))), i),
			i,
		),
	];
};

export const model: Record<string, Operation> = { getAll, explainRoute };
