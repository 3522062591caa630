import type {
	ICredentialDataDecryptedObject,
	ICredentialTestRequest,
	ICredentialType,
	IHttpRequestOptions,
	Icon,
	INodeProperties,
} from 'n8n-workflow';

/** Where Capibara6 is, and who asks. */
export class Capibara6Api implements ICredentialType {
	name = 'capibara6Api';

	displayName = 'Capibara6 API';

	icon: Icon = {
		light: 'file:../icons/capibara6.svg',
		dark: 'file:../icons/capibara6.dark.svg',
	};

	documentationUrl =
		'https://github.com/capibara6/capibara6/blob/main/n8n/nodes/n8n-nodes-capibara6/README.md#credential';

	properties: INodeProperties[] = [
		{
			displayName: 'Base URL',
			name: 'baseUrl',
			type: 'string',
			default: 'http://127.0.0.1:5000',
			required: true,
			description: 'Where the chat API answers, without a path',
		},
		{
			displayName: 'API Key',
			name: 'apiKey',
			type: 'string',
			typeOptions: { password: true },
			default: '',
			description:
				'Leave it empty where Capibara6 asks for none (on one machine, in the profile local)',
		},
		{
			displayName: 'Signing Secret',
			name: 'signingSecret',
			type: 'string',
			typeOptions: { password: true },
			default: '',
			placeholder: 'whsec_…',
			description:
				'Verifies callbacks of runs that were started with "Start and Wait": what GET /api/hooks/secret tells. The trigger has a secret of its own.',
		},
		{
			displayName: 'Model Server URL',
			name: 'modelServerUrl',
			type: 'string',
			default: '',
			placeholder: 'http://127.0.0.1:8082',
			description: 'Needed by "Model: Explain Route" alone, which the model server answers',
		},
	];

	/** A service that asks for no key is sent no header: an empty one would be refused. */
	async authenticate(
		credentials: ICredentialDataDecryptedObject,
		options: IHttpRequestOptions,
	): Promise<IHttpRequestOptions> {
		const key = typeof credentials.apiKey === 'string' ? credentials.apiKey.trim() : '';
		if (key === '') return options;
		return { ...options, headers: { ...options.headers, Authorization: `Bearer ${key}` } };
	}

	test: ICredentialTestRequest = {
		request: {
			baseURL: '={{$credentials.baseUrl.trim().replace(/\\/+$/, "")}}',
			url: '/api/models',
			timeout: 15_000,
		},
	};
}
