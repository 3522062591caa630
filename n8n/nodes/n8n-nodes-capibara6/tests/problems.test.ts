import { expect, it } from 'vitest';

import { bodyOf, problemOf } from '../api/problems';

it('a problem says its detail, its field and what to do', () => {
	const problem = problemOf(422, {
		title: 'Unprocessable',
		status: 422,
		detail: 'There is no model of this name.',
		code: 'unknown_model',
		param: 'model',
	});
	expect(problem.message).toBe('There is no model of this name. (model)');
	expect(problem.code).toBe('unknown_model');
	expect(problem.hint).toContain('parameter');
});

it('a field is named once, and only where it is to blame', () => {
	expect(problemOf(422, { detail: '`url` is none.', param: 'url' }).message).toBe('`url` is none.');
	expect(problemOf(409, { detail: 'It has ended.', param: 'run_id' }).message).toBe(
		'It has ended.',
	);
});

it('an error of OpenAI’s shape is read too', () => {
	expect(problemOf(429, { error: { message: 'Too many', code: 'queue_full' } })).toMatchObject({
		message: 'Too many',
		code: 'queue_full',
	});
});

it.each([
	['<!doctype html><h1>Bad gateway</h1>', 'status 502 and a page of HTML'],
	['upstream gone', 'status 502: upstream gone'],
	['', 'answered with status 502'],
	[null, 'answered with status 502'],
	[['a'], 'answered with status 502'],
])('%j is no problem of ours, and told as what it is', (body, words) => {
	expect(problemOf(502, body).message).toContain(words);
});

it('no message is endless', () => {
	expect(problemOf(500, { detail: 'x'.repeat(9_000) }).message.length).toBeLessThanOrEqual(500);
});

it('a body is JSON where it can be read as such', () => {
	expect(bodyOf('{"a":1}')).toEqual({ a: 1 });
	expect(bodyOf('{a')).toBe('{a');
	expect(bodyOf({ a: 1 })).toEqual({ a: 1 });
});
