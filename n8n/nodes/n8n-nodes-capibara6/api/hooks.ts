/** A trigger's subscription: what of the API's hooks is ours, and whether it still does. Pure. */

export interface Hook {
	id: string;
	url: string;
	events: string[];
	kinds: string[] | null;
}

/** What a trigger keeps of its hook in n8n's static data. The secret is told only once. */
export interface Kept {
	id: string;
	url: string;
	secret: string;
}

export interface Subscription {
	url: string;
	events: string[];
	kinds: string[];
}

export interface Standing {
	/** Whether events come as they are wished, and can be verified. */
	holds: boolean;
	/** Ids of hooks that are in the way: ours of another address, and those whose secret was lost. */
	remove: string[];
}

export function standing(
	hooks: readonly Hook[],
	kept: Kept | null,
	wanted: Subscription,
): Standing {
	const ours = hooks.filter((hook) => hook.url === wanted.url || hook.id === kept?.id);
	const good = ours.find(
		(hook) => kept !== null && hook.id === kept.id && kept.secret !== '' && fits(hook, wanted),
	);
	return {
		holds: good !== undefined,
		remove: ours.filter((hook) => hook !== good).map((hook) => hook.id),
	};
}

/** What the API is asked for. No kinds means all of them. */
export function hookBody(wanted: Subscription, description: string): Record<string, unknown> {
	return {
		url: wanted.url,
		events: wanted.events,
		...(wanted.kinds.length > 0 ? { kinds: wanted.kinds } : {}),
		description: description.replace(/\s+/g, ' ').trim().slice(0, 200) || 'n8n',
	};
}

/** Kept data as it was read from static data, which may hold anything. */
export function keptOf(value: unknown): Kept | null {
	if (typeof value !== 'object' || value === null) return null;
	const { id, url, secret } = value as Record<string, unknown>;
	if (typeof id !== 'string' || typeof url !== 'string' || typeof secret !== 'string') return null;
	return { id, url, secret };
}

function fits(hook: Hook, wanted: Subscription): boolean {
	return (
		hook.url === wanted.url &&
		same(hook.events, wanted.events) &&
		same(hook.kinds ?? [], wanted.kinds)
	);
}

function same(some: readonly string[], others: readonly string[]): boolean {
	return [...new Set(some)].sort().join('\n') === [...new Set(others)].sort().join('\n');
}
