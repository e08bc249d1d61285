/**
 * The API over HTTP, as `sls offline` serves it.
 */
import { createPublicKey, verify } from 'node:crypto'
import { jsonOf, send } from '../../support/http.ts'
import { sharedApi, type SharedApi } from '../support/shared.ts'

let api: SharedApi
beforeAll(async () => {
  api = await sharedApi('bareApi')
})

const post = (path: string, json: unknown) => send(api.url + path, { json })
const get = (path: string, headers: Record<string, string> = {}) => send(api.url + path, { headers })
const ann = { name: 'Ann', email: 'ann-of-the-tour@example.com', password: 'a horse on the moon' }

/** Other files register people here as well. */
const everybody = () => jsonOf<{ id: string }[]>(get('/users?limit=100'))

test('register, log in, /me and /users: the tour of the README', async () => {
  const registered = await post('/register', ann)
  expect(registered.status).toBe(201)
  const session = await jsonOf(post('/login', { email: ann.email, password: ann.password }))
  const me = await jsonOf(get('/me', { Authorization: `Bearer ${session['token']}` }))
  expect(me).toMatchObject({ name: 'Ann', email: ann.email, roles: ['user'] })
  // The tutorial's clients send the bare token.
  expect((await get('/me', { Authorization: session['token']! })).status).toBe(200)
  const users = await everybody()
  expect(users.filter(({ id }) => id === me['id'])).toEqual([
    { id: me['id'], name: 'Ann', createdAt: expect.any(String) },
  ])
  for (const user of users) expect(Object.keys(user)).toEqual(['id', 'name', 'createdAt'])
})

test('parallel registrations of one address, each in a container of its own, give one 201', async () => {
  const answers = await Promise.all(
    Array.from({ length: 8 }, () => post('/register', { ...ann, email: 'race@example.com' })),
  )
  const statuses = answers.map(({ status }) => status).toSorted((a, b) => a - b)
  expect(statuses).toEqual([201, ...Array.from({ length: 7 }, () => 409)])
})

test('a service that knows only the discovery document can verify a token', async () => {
  const configuration = await get('/.well-known/openid-configuration')
  expect(configuration.headers.get('cache-control')).toBe('public, max-age=300')
  const { issuer, jwks_uri } = (await jsonOf(configuration)) as { issuer: string; jwks_uri: string }
  expect(issuer).toBe(api.url)
  const jwks = await fetch(jwks_uri)
  expect(jwks.headers.get('cache-control')).toBe('public, max-age=300')
  const { keys } = (await jwks.json()) as { keys: Record<string, string>[] }
  expect(keys.map((key) => Object.keys(key).toSorted())).toEqual([
    ['alg', 'crv', 'kid', 'kty', 'use', 'x', 'y'],
  ])

  const { token } = await jsonOf(post('/login', { email: ann.email, password: ann.password }))
  const [header, payload, signature] = token!.split('.') as [string, string, string]
  const jwk = keys.find(({ kid }) => kid === JSON.parse(Buffer.from(header, 'base64url').toString()).kid)!
  const key = createPublicKey({ key: jwk, format: 'jwk' })
  const signed = Buffer.from(`${header}.${payload}`)
  expect(
    verify('sha256', signed, { key, dsaEncoding: 'ieee-p1363' }, Buffer.from(signature, 'base64url')),
  ).toBe(true)
  expect(JSON.parse(Buffer.from(payload, 'base64url').toString()).iss).toBe(issuer)
})

test('GET /users gives a Link that can be followed to the end', async () => {
  const before = await everybody()
  expect(before.length).toBeGreaterThan(1)
  const seen: string[] = []
  let next: string | undefined = `${api.url}/users?limit=1`
  while (next) {
    const page: Response = await fetch(next)
    seen.push(...(await jsonOf<{ id: string }[]>(page)).map(({ id }) => id))
    next = /^<(.+)>; rel="next"$/.exec(page.headers.get('link') ?? '')?.[1]
  }
  expect([...new Set(seen)]).toEqual(seen)
  expect(seen.slice(0, before.length)).toEqual(before.map(({ id }) => id))
})

const json = { 'Content-Type': 'application/json' }

describe('bad input is a problem document with CORS', () => {
  test.each([
    {
      name: 'no JSON',
      path: '/login',
      init: { headers: json, body: '{"email":' },
      status: 400,
      code: 'invalid_json',
    },
    { name: 'no body', path: '/login', init: { headers: json }, status: 400, code: 'invalid_json' },
    {
      name: 'a form',
      path: '/login',
      init: { body: new URLSearchParams({ email: 'x' }) },
      status: 415,
      code: 'unsupported_media_type',
    },
    {
      name: 'an operator',
      path: '/login',
      init: { headers: json, body: '{"email":{"$ne":null},"password":"x"}' },
      status: 400,
      code: 'invalid_request',
    },
    {
      name: 'a body of 9 KB',
      path: '/register',
      init: { headers: json, body: JSON.stringify({ name: 'x'.repeat(9000) }) },
      status: 413,
      code: 'body_too_large',
    },
    {
      name: 'a body of 11 MB, which the gateway refuses itself',
      path: '/register',
      init: { headers: json, body: 'x'.repeat(11 * 1024 * 1024) },
      status: 413,
      code: 'body_too_large',
    },
    {
      name: 'a wrong password',
      path: '/login',
      init: { headers: json, body: JSON.stringify({ email: ann.email, password: 'x' }) },
      status: 401,
      code: 'invalid_credentials',
    },
    { name: 'no token', path: '/me', init: { method: 'GET' }, status: 401, code: 'invalid_token' },
    {
      name: 'garbage for a token',
      path: '/me',
      init: { method: 'GET', headers: { Authorization: 'Bearer x.y' } },
      status: 401,
      code: 'invalid_token',
    },
    {
      name: 'a token that nobody signed',
      path: '/me',
      init: { method: 'GET', headers: { Authorization: 'Bearer e30.e30.e30' } },
      status: 401,
      code: 'invalid_token',
    },
    {
      name: 'a route that is not there',
      path: '/nothing',
      init: { method: 'GET' },
      status: 404,
      code: 'not_found',
    },
    {
      name: 'a method that is not there',
      path: '/users',
      init: { method: 'DELETE' },
      status: 404,
      code: 'not_found',
    },
  ])('$name: $status $code', async ({ path, init, status, code }) => {
    for (const origin of [{}, { Origin: 'https://app.example.com' }]) {
      const answer = await fetch(api.url + path, {
        method: 'POST',
        ...init,
        headers: { ...(init as { headers?: Record<string, string> }).headers, ...origin },
      })
      expect(answer.status).toBe(status)
      expect(answer.headers.get('content-type')).toMatch(/^application\/problem\+json/)
      expect(answer.headers.get('access-control-allow-origin')).toBe('*')
      expect(answer.headers.get('access-control-allow-credentials')).toBe('true')
      expect(answer.headers.get('cache-control')).toBe('no-store')
      expect(await answer.json()).toMatchObject({
        type: 'about:blank',
        status,
        code,
        requestId: expect.any(String),
      })
    }
  })

  test('a missing token is told how to authenticate (RFC 6750 section 3)', async () => {
    expect((await get('/me')).headers.get('www-authenticate')).toBe('Bearer')
  })
})

test.each([{ path: '/register' }, { path: '/login' }, { path: '/me' }, { path: '/users' }])(
  'a browser of another origin may call $path',
  async ({ path }) => {
    const method = path === '/register' || path === '/login' ? 'POST' : 'GET'
    const preflight = await fetch(api.url + path, {
      method: 'OPTIONS',
      headers: {
        Origin: 'https://app.example.com',
        'Access-Control-Request-Method': method,
        'Access-Control-Request-Headers': 'authorization,content-type',
      },
    })
    expect(preflight.ok).toBe(true)
    expect(preflight.headers.get('access-control-allow-origin')).toBe('*')
    expect(preflight.headers.get('access-control-allow-headers')?.toLowerCase()).toContain('authorization')
  },
)

test('the log holds the two lines of the connection, whose doing each line is, and no password, token or email', async () => {
  const { token } = await jsonOf(post('/login', { email: ann.email, password: ann.password }))
  const [, output] = (await api.output()).split('The API is at')[1]!.split('/users\n') as [string, string]
  // A mail that nobody sends is printed, for who develops here.
  const lines = output.split('\n').filter((line) => !line.startsWith('Mail to '))
  for (const secret of [ann.password, token!, ann.email, '$2b$'])
    expect(lines.join('\n')).not.toContain(secret)

  const log = lines
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as { message: string; service: string })
  const messages = log.map(({ message }) => message)
  expect(messages).toContain('=> using new database connection')
  expect(messages).toContain('=> using existing database connection')
  // The authorizer is told neither the request's id nor its address.
  const ofRequests = log.filter(({ service }) => service !== 'auth-dev-verifyToken')
  expect(ofRequests.length).toBeGreaterThan(10)
  for (const line of ofRequests) {
    expect(line).toMatchObject({ requestId: expect.any(String), address: '127.0.0.1' })
  }
})
