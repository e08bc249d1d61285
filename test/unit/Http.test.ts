/**
 * From event to answer: api/Route.ts, with routes made for the test.
 */
import { gzipSync } from 'node:zlib'
import type { APIGatewayProxyEvent } from 'aws-lambda'
import * as z from 'zod/mini'
import { type Caller, type Device, route, routes } from '../../api/Route.ts'
import { Problem } from '../../api/Problem.ts'
import type { SettingName } from '../../api/Settings.ts'
import { log } from '../../lib/Log.ts'
import { request } from '../../support/events.ts'

/** Calls a handler and reads its answer. */
async function call(handler: ReturnType<typeof route>, event: APIGatewayProxyEvent) {
  const { statusCode, headers, body } = await handler(event)
  const json = (body === '' ? undefined : JSON.parse(body)) as { code?: string; errors?: unknown } | undefined
  return { status: statusCode, code: json?.code, errors: json?.errors, headers: headers!, json, body }
}

/** Answers with the body that it was given. */
const echo = route({ body: z.strictObject({ text: z.string() }) }, async ({ body }) => ({
  status: 200,
  body,
}))
/** Sends bytes as the body. */
const send = (body: string | null, headers: Record<string, string> = {}, isBase64Encoded = false) =>
  call(echo, request({ body, headers: { 'Content-Type': 'application/json', ...headers }, isBase64Encoded }))
const base64 = (bytes: string | Buffer) => send(Buffer.from(bytes).toString('base64'), {}, true)

describe('a body of 8 KiB', () => {
  const fits = { status: 200, code: undefined }
  const tooLarge = { status: 413, code: 'body_too_large' }
  /** JSON of so many bytes. */
  const ofBytes = (bytes: number, filler = 'x') => {
    const room = bytes - Buffer.byteLength('{"text":""}')
    const many = Math.floor(room / Buffer.byteLength(filler))
    return `{"text":"${filler.repeat(many)}${'x'.repeat(room - many * Buffer.byteLength(filler))}"}`
  }

  test.each([
    { name: '8,192 bytes', body: ofBytes(8192), want: fits },
    { name: '8,193 bytes', body: ofBytes(8193), want: tooLarge },
    { name: '8,192 bytes in 4,000 characters', body: ofBytes(8192, 'é'), want: fits },
    { name: '8,193 bytes in 4,000 characters', body: ofBytes(8193, 'é'), want: tooLarge },
    { name: '8,193 bytes of emoji', body: ofBytes(8193, '🔑'), want: tooLarge },
    { name: '8,193 bytes of which all are spaces but two', body: '{}'.padStart(8193), want: tooLarge },
    { name: 'a megabyte', body: ofBytes(1_000_000), want: tooLarge },
  ])('is counted in bytes, plain and in base64: $name', async ({ body, want }) => {
    const answers = [await send(body), await base64(body)]
    expect(answers.map(({ status, code }) => ({ status, code }))).toEqual([want, want])
  })

  test('that is too large is not parsed, whatever its type', async () => {
    expect((await send('x'.repeat(8193), { 'Content-Type': 'text/plain' })).code).toBe('body_too_large')
  })
})

describe('a body', () => {
  test('is given to the route', async () => {
    expect((await send('{"text":"hé"}')).json).toEqual({ text: 'hé' })
  })

  test('in base64 is the same', async () => {
    expect((await base64('{"text":"hé"}')).json).toEqual({ text: 'hé' })
  })

  test.each([
    { name: 'absent', answer: send(null) },
    { name: 'empty', answer: send('') },
    { name: 'not JSON', answer: send('text=x') },
    { name: 'cut off', answer: send('{"text":"x"') },
    { name: 'two values', answer: send('{"text":"x"}{"text":"y"}') },
    { name: 'JSON with comments', answer: send('{"text":"x"} // y') },
    { name: 'single quotes', answer: send("{'text':'x'}") },
    { name: 'NaN', answer: send('{"text":NaN}') },
    { name: 'a raw line break in a string', answer: send('{"text":"a\nb"}') },
    { name: 'base64 that is not marked so', answer: send(Buffer.from('{"text":"x"}').toString('base64')) },
    {
      name: 'a lone byte of UTF-8 (RFC 8259 section 8.1)',
      answer: base64(Buffer.from('{"text":"\xe9"}', 'latin1')),
    },
    {
      name: 'an overlong slash (CVE-2000-0884)',
      answer: base64(Buffer.from('{"text":"\xc0\xaf"}', 'latin1')),
    },
    { name: 'half of a pair in UTF-8', answer: base64(Buffer.from('{"text":"\xed\xa0\x80"}', 'latin1')) },
    { name: 'UTF-16', answer: base64(Buffer.from('{"text":"x"}', 'utf16le')) },
    { name: '4,000 open brackets', answer: send('['.repeat(4000)) },
  ])('that is $name is 400 invalid_json', async ({ answer }) => {
    expect(await answer).toMatchObject({ status: 400, code: 'invalid_json' })
  })

  test.each([
    { name: 'an array', body: '[]' },
    { name: 'an array of arrays, as deep as 8 KiB allow', body: '['.repeat(4096) + ']'.repeat(4096) },
    { name: 'text', body: '"text"' },
    { name: 'a number', body: '7' },
    { name: 'null', body: 'null' },
    { name: 'true', body: 'true' },
  ])('that is $name is no object: 400 invalid_request', async ({ body }) => {
    expect(await send(body)).toMatchObject({
      status: 400,
      code: 'invalid_request',
      errors: [{ path: '', message: 'must be of type object' }],
    })
  })

  test('that nests objects very deep is 400 and nothing breaks', async () => {
    const body = `{"text":${'{"a":'.repeat(1300)}1${'}'.repeat(1300)}}`
    expect(await send(body)).toMatchObject({ status: 400, errors: [{ path: 'text' }] })
  })

  test('is not read by a route that takes none', async () => {
    const handler = route({}, async ({ body }) => ({ status: 200, body: { got: body ?? null } }))
    expect((await call(handler, request({ body: 'x'.repeat(9000) }))).json).toEqual({ got: null })
  })
})

describe('the media type', () => {
  test.each([
    { headers: { 'Content-Type': 'application/json' } },
    { headers: { 'content-type': 'application/json' } },
    { headers: { 'CONTENT-TYPE': 'application/json' } },
    { headers: { 'content-type': 'Application/JSON' } },
    { headers: { 'content-type': 'application/json; charset=utf-8' } },
    { headers: { 'content-type': 'application/json;charset=UTF-8' } },
    { headers: { 'content-type': 'application/json; charset="utf-8"' } },
    { headers: { 'content-type': 'application/json', 'Content-Encoding': 'Identity' } },
  ])('$headers is read', async ({ headers }: { headers: object }) => {
    expect((await call(echo, request({ body: '{"text":"x"}', headers: { ...headers } }))).status).toBe(200)
  })

  test.each([
    { headers: {} },
    { headers: { 'Content-Type': '' } },
    { headers: { 'Content-Type': 'text/plain' } },
    // What a form of another site can send without a preflight (CWE-352).
    { headers: { 'Content-Type': 'application/x-www-form-urlencoded' } },
    { headers: { 'Content-Type': 'multipart/form-data; boundary=x' } },
    { headers: { 'Content-Type': 'text/plain; application/json' } },
    { headers: { 'Content-Type': 'application/jsonp' } },
    { headers: { 'Content-Type': 'application/json-patch+json' } },
    { headers: { 'Content-Type': 'application/json, text/plain' } },
    { headers: { 'Content-Type': 'application/json; charset=iso-8859-1' } },
    { headers: { 'Content-Type': 'application/json; charset=utf-16' } },
    { headers: { 'Content-Type': 'application/json', 'Content-Encoding': 'gzip' } },
    { headers: { 'Content-Type': 'application/json', 'content-encoding': 'br' } },
  ])('$headers is 415', async ({ headers }: { headers: object }) => {
    const event = request({ body: '{"text":"x"}', headers: { ...headers } })
    expect(await call(echo, event)).toMatchObject({ status: 415, code: 'unsupported_media_type' })
  })

  test('gzip is not unpacked (CWE-409)', async () => {
    const body = gzipSync(Buffer.alloc(1_000_000, ' ')).toString('base64')
    expect((await send(body, { 'Content-Encoding': 'gzip' }, true)).status).toBe(415)
  })

  test('a request without headers is 415', async () => {
    const event = request({ body: '{}', headers: null as unknown as APIGatewayProxyEvent['headers'] })
    expect((await call(echo, event)).status).toBe(415)
  })
})

const UNKNOWN = 'is not a field of this request'

describe('bad fields are listed', () => {
  const schema = z.strictObject({
    text: z.string().check(z.minLength(2, 'must have 2 characters')),
    list: z.array(z.string()),
    inner: z.strictObject({ number: z.number() }),
  })
  const handler = route({ body: schema }, async () => ({ status: 204 }))
  const good = { text: 'text', list: ['x'], inner: { number: 7 } }

  test('but at most 20 of them: an answer is not many times its request', async () => {
    const json = Object.fromEntries(Array.from({ length: 1000 }, (_, index) => [index, 0]))
    const { body } = await handler(request({ json }))
    expect((JSON.parse(body) as { errors: unknown[] }).errors).toHaveLength(20)
  })

  test.each([
    { name: 'none', json: good, want: undefined },
    {
      name: 'all missing',
      json: {},
      want: ['text', 'list', 'inner'].map((path) => ({ path, message: 'is required' })),
    },
    {
      name: 'wrong types',
      json: { text: { $ne: null }, list: null, inner: [] },
      want: [
        { path: 'text', message: 'must be of type string' },
        { path: 'list', message: 'must be of type array' },
        { path: 'inner', message: 'must be of type object' },
      ],
    },
    {
      name: 'a rule broken',
      json: { ...good, text: 'x' },
      want: [{ path: 'text', message: 'must have 2 characters' }],
    },
    {
      name: 'in a list',
      json: { ...good, list: ['x', 7] },
      want: [{ path: 'list.1', message: 'must be of type string' }],
    },
    {
      name: 'in an object',
      json: { ...good, inner: {} },
      want: [{ path: 'inner.number', message: 'is required' }],
    },
    {
      name: 'unknown ones, by name (CWE-915, mass assignment)',
      json: { ...good, roles: ['admin'], emailVerified: true, inner: { number: 7, extra: 1 } },
      want: [
        { path: 'inner.extra', message: UNKNOWN },
        { path: 'roles', message: UNKNOWN },
        { path: 'emailVerified', message: UNKNOWN },
      ],
    },
    {
      name: 'a name in other case',
      json: { ...good, Text: 'x' },
      want: [{ path: 'Text', message: UNKNOWN }],
    },
    {
      name: 'a very long name, shortened',
      json: { ...good, ['x'.repeat(5000)]: 1 },
      want: [{ path: 'x'.repeat(100), message: UNKNOWN }],
    },
  ])('$name', async ({ json, want }) => {
    const answer = await call(handler, request({ json }))
    expect(answer).toMatchObject(want ? { status: 400, code: 'invalid_request' } : { status: 204 })
    expect(answer.errors).toEqual(want)
  })

  test.each([
    { key: '__proto__', value: '{"admin":true}' },
    { key: '__proto__', value: '"x"' },
    { key: 'constructor', value: '{"prototype":{"admin":true}}' },
    { key: 'prototype', value: '{}' },
    { key: 'toString', value: '"x"' },
    { key: 'hasOwnProperty', value: '1' },
  ])('$key: $value, and pollutes nothing (CWE-1321)', async ({ key, value }) => {
    const body = `${JSON.stringify(good).slice(0, -1)},"${key}":${value}}`
    const answer = await call(handler, request({ body, headers: { 'Content-Type': 'application/json' } }))
    expect(answer.errors).toEqual([{ path: key, message: UNKNOWN }])
    expect(({} as { admin?: boolean }).admin).toBeUndefined()
  })

  test('without the value that was sent: it may be a password', async () => {
    const { body } = await call(
      handler,
      request({ json: { ...good, text: { secret: 'hunter2' }, pin: 'hunter2' } }),
    )
    expect(body).not.toContain('hunter2')
  })
})

describe('the query', () => {
  const schema = z.strictObject({ limit: z._default(z.string(), 'default'), after: z.optional(z.string()) })
  const handler = route({ query: schema }, async ({ query }) => ({ status: 200, body: query }))

  test.each([
    { name: 'absent', query: {}, want: { limit: 'default' } },
    { name: 'given', query: { limit: '5', after: 'x' }, want: { limit: '5', after: 'x' } },
    { name: 'given without a value', query: { limit: '' }, want: { limit: '' } },
  ])('$name is read', async ({ query, want }) => {
    expect((await call(handler, request({ query }))).json).toEqual(want)
  })

  test('null, as API Gateway sends it, is read', async () => {
    const { json } = await call(handler, request({ multiValueQueryStringParameters: null }))
    expect(json).toEqual({ limit: 'default' })
  })

  test.each<{ name: string; query: Record<string, string | string[]>; path: string; message: string }>([
    {
      name: 'twice (CWE-235)',
      query: { limit: ['1', '100'] },
      path: 'limit',
      message: 'must be of type string',
    },
    {
      name: 'twice the same',
      query: { after: ['x', 'x'] },
      path: 'after',
      message: 'must be of type string',
    },
    { name: 'unknown', query: { offset: '5' }, path: 'offset', message: UNKNOWN },
    { name: 'with an operator', query: { 'after[$ne]': 'x' }, path: 'after[$ne]', message: UNKNOWN },
    { name: 'constructor', query: { constructor: 'x' }, path: 'constructor', message: UNKNOWN },
    { name: '__proto__', query: { ['__proto__']: 'x' }, path: '__proto__', message: UNKNOWN },
  ])('parameter $name is refused', async ({ query, path, message }) => {
    const answer = await call(handler, request({ query }))
    expect(answer).toMatchObject({ status: 400, code: 'invalid_request' })
    expect(answer.errors).toEqual([{ path, message }])
  })
})

describe('an event that API Gateway would not send', () => {
  const optional = route({ body: z.optional(z.strictObject({ text: z.string() })) }, async ({ body }) => ({
    status: 200,
    body,
  }))

  test.each([
    { name: 'the number 0', body: 0 },
    { name: 'false', body: false },
    { name: 'the number 1', body: 1 },
    { name: 'true', body: true },
  ])('a JSON body that was parsed before, $name, is refused like its text', async ({ body }) => {
    const headers = { 'Content-Type': 'application/json' }
    for (const handler of [echo, optional]) {
      const answers = [body, JSON.stringify(body)].map((sent) =>
        call(handler, request({ body: sent as never, headers })),
      )
      const [parsed, text] = await Promise.all(answers)
      expect(parsed).toMatchObject({ status: 400, code: 'invalid_request' })
      expect(parsed).toEqual(text)
    }
  })

  test('without a requestContext gets its answer', async () => {
    const event = { body: '{"text":"a"}', headers: { 'Content-Type': 'application/json' } }
    expect(await call(echo, event as never)).toMatchObject({ status: 200, json: { text: 'a' } })
    expect(await call(echo, {} as never)).toMatchObject({
      status: 415,
      json: { code: 'unsupported_media_type', requestId: '' },
    })
  })
})

describe('a handler of several routes', () => {
  const named = (name: string) => route({}, async () => ({ status: 200, body: { name } }))
  const handler = routes({ 'GET /things': named('list'), 'GET /things/{id}': named('one') })
  const at = async (httpMethod: string, resource: string) => {
    const { statusCode, body } = await handler(request({ httpMethod, resource }))
    const { name, code } = JSON.parse(body) as { name?: string; code?: string }
    return name ?? [statusCode, code]
  }

  test('calls the one of the method and the resource', async () => {
    expect(await at('GET', '/things')).toBe('list')
    expect(await at('GET', '/things/{id}')).toBe('one')
  })

  test.each([
    ['POST', '/things'],
    ['GET', '/things/1'],
    ['GET', 'constructor'],
    ['', ''],
  ])('knows nothing of %s %s', async (method, resource) => {
    expect(await at(method, resource)).toEqual([404, 'not_found'])
  })
})

describe('a handler gets what it declares', () => {
  test('and no other setting, though its function has more', async () => {
    const seen = route({ settings: ['ISSUER'] }, async ({ settings }) => ({ status: 200, body: settings }))
    const { json } = await call(seen, request())
    expect(json).toEqual({ ISSUER: 'https://auth.test' })
  })

  test('using another one does not compile', () => {
    const declared = route({ settings: ['ISSUER'] }, async ({ settings }) => {
      // @ts-expect-error -- not declared
      return { status: 200, body: settings.PEPPER }
    })
    expect(declared.declaration.settings).toEqual(['CORS_ORIGIN', 'ISSUER'])
    // @ts-expect-error -- a list that could hold any of them
    route({ settings: ['ISSUER'] as SettingName[] }, async () => ({ status: 200 }))
    // @ts-expect-error -- not a setting
    route({ settings: ['PAPER'] }, async () => ({ status: 200 }))
    route({}, async ({ database, caller }) => {
      // @ts-expect-error -- no database is declared
      await database(async () => undefined)
      // @ts-expect-error -- a public route has no caller
      return { status: 200, body: caller.id }
    })
  })

  test('a setting that is missing is a 500 that the log names, and the other routes answer', async () => {
    const warn = jest.spyOn(log, 'error').mockImplementation()
    const { MAIL_FUNCTION_URL } = process.env
    delete process.env['MAIL_FUNCTION_URL']
    const broken = route({ settings: ['MAIL_FUNCTION_URL'] }, async () => ({ status: 200 }))
    process.env['MAIL_FUNCTION_URL'] = MAIL_FUNCTION_URL
    expect(await call(broken, request())).toMatchObject({ status: 500, code: 'internal' })
    expect(JSON.stringify(warn.mock.calls)).toContain('Setting MAIL_FUNCTION_URL is missing.')
    warn.mockRestore()
  })
})

describe('the route is told', () => {
  const seen = async (event: APIGatewayProxyEvent, role?: 'user' | 'admin') => {
    const handler = route({ role }, async ({ caller, device }) => ({ status: 200, body: { caller, device } }))
    return (await call(handler, event)).json as { caller?: Caller; device: Device }
  }

  test.each([
    {
      name: 'the caller of the authorizer',
      authorizer: { id: 'u1', sessionId: 's1', roles: 'user admin' },
      want: { id: 'u1', sessionId: 's1', roles: ['user', 'admin'] },
    },
    {
      name: 'no role for an empty text',
      authorizer: { id: 'u1', sessionId: 's1', roles: '' },
      want: { id: 'u1', sessionId: 's1', roles: [] },
    },
  ])('who calls: $name', async ({ authorizer, want }) => {
    expect((await seen(request({ authorizer }), 'user')).caller).toEqual(want)
  })

  test('nobody on a public route', async () => {
    const authorizer = { id: 'u1', sessionId: 's1', roles: 'user' }
    expect((await seen(request({ authorizer }))).caller).toBeUndefined()
  })

  test.each([
    { name: 'a protected route without a caller', role: 'user', roles: undefined, want: 'invalid_token' },
    { name: 'an admin route without the role', role: 'admin', roles: 'user', want: 'forbidden' },
    { name: 'an admin route without a caller', role: 'admin', roles: undefined, want: 'forbidden' },
  ] as const)('$name stays closed, should the gateway let it through', async ({ role, roles, want }) => {
    const handler = route({ role }, async () => ({ status: 200 }))
    const authorizer = roles && { id: 'u1', sessionId: 's1', roles }
    expect((await call(handler, request({ ...(authorizer && { authorizer }) }))).code).toBe(want)
  })

  test('the address of the connection, never that of a header (CWE-348)', async () => {
    const headers = { 'X-Forwarded-For': '6.6.6.6', Forwarded: 'for=6.6.6.6', 'X-Real-IP': '6.6.6.6' }
    expect((await seen(request({ headers }))).device.address).toBe('192.0.2.1')
  })

  test('the user agent, whatever the case of the header’s name', async () => {
    expect((await seen(request({ headers: { 'USER-agent': 'curl/8' } }))).device.userAgent).toBe('curl/8')
    expect((await seen(request())).device.userAgent).toBeNull()
  })
})

const usual = {
  'Cache-Control': 'no-store',
  'X-Content-Type-Options': 'nosniff',
  'Access-Control-Allow-Origin': '*',
  'Access-Control-Allow-Credentials': 'true',
  'Access-Control-Expose-Headers': 'Link, Retry-After, WWW-Authenticate',
}

describe('an answer', () => {
  test.each([
    { name: '200', answer: { status: 200, body: { a: 1 } }, want: { statusCode: 200, body: '{"a":1}' } },
    { name: '201 with a list', answer: { status: 201, body: [] }, want: { statusCode: 201, body: '[]' } },
    { name: '204 without a body', answer: { status: 204 }, want: { statusCode: 204, body: '' } },
  ])('of $name carries the usual headers', async ({ answer, want }) => {
    const result = await route({}, async () => answer)(request())
    expect(result).toEqual({ ...want, headers: { ...usual, 'Content-Type': 'application/json' } })
  })

  test('may add headers and replace them', async () => {
    const headers = { Link: '<x>; rel="next"', 'Cache-Control': 'public, max-age=300' }
    const result = await route({}, async () => ({ status: 200, headers }))(request())
    expect(result.headers).toEqual({ ...usual, 'Content-Type': 'application/json', ...headers })
  })
})

describe('an error', () => {
  const failing = (error: unknown) =>
    route({}, () => {
      throw error
    })

  test('that is a Problem is its answer (RFC 9457 section 3)', async () => {
    const errors = [{ path: 'email', message: 'must be an email address' }]
    const answer = await call(
      failing(new Problem('invalid_request', { errors, headers: { 'Retry-After': '5' } })),
      request(),
    )
    expect(answer.status).toBe(400)
    expect(answer.headers).toEqual({
      ...usual,
      'Retry-After': '5',
      'Content-Type': 'application/problem+json',
    })
    expect(answer.json).toEqual({
      type: 'about:blank',
      title: 'Bad Request',
      status: 400,
      detail: 'The request is not valid.',
      code: 'invalid_request',
      requestId: 'request-1',
      errors,
    })
  })

  const SECRET = 'mongodb://root:hunter2@db.test'
  const cyclic: { self?: object } = {}
  cyclic.self = cyclic

  test.each([
    { name: 'ordinary', handler: failing(new Error(SECRET)) },
    { name: 'with a cause', handler: failing(new Error('outer', { cause: new Error(SECRET) })) },
    {
      name: 'with a status of its own',
      handler: failing(Object.assign(new Error(SECRET), { status: 200, code: SECRET, expose: true })),
    },
    { name: 'text', handler: failing(SECRET) },
    { name: 'undefined', handler: failing(undefined) },
    { name: 'null', handler: failing(null) },
    { name: 'a rejected promise', handler: route({}, () => Promise.reject(new TypeError(SECRET))) },
    { name: 'a Problem by shape only', handler: failing({ name: 'Problem', status: 418, message: SECRET }) },
    { name: 'an answer that is not JSON', handler: route({}, async () => ({ status: 200, body: cyclic })) },
    { name: 'an answer of a BigInt', handler: route({}, async () => ({ status: 200, body: { n: 1n } })) },
    { name: 'internal, whose cause is secret', handler: failing(new Problem('internal', { cause: SECRET })) },
  ])('that is $name is 500 and says nothing (CWE-209)', async ({ handler }) => {
    const answer = await call(handler, request())
    expect(answer.json).toEqual({
      type: 'about:blank',
      title: 'Internal Server Error',
      status: 500,
      detail: 'Something went wrong on our side.',
      code: 'internal',
      requestId: 'request-1',
    })
    expect(answer.headers).toEqual({ ...usual, 'Content-Type': 'application/problem+json' })
  })
})
