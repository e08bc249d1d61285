/**
 * A database that accepts connections and never answers, or takes its time: every route says so before its client, or
 * the gateway, gives up.
 */
import { createHmac } from 'node:crypto'
import mongoose from 'mongoose'
import { readRoutes } from '../../commands/Routes.ts'
import type { DeclaredRoute } from '../../plugin/Functions.ts'
import type { Route } from '../../api/Route.ts'
import { newChallenge } from '../../auth/MfaChallenge.ts'
import { request } from '../../support/events.ts'
import { type Proxy, startProxy } from '../../support/proxy.ts'
import { dropDatabase } from '../support/database.ts'

const DIRECT = process.env['DB']!
/** A proxy is no way to a server found by SRV or reached by TLS. */
const isPlain = !DIRECT.startsWith('mongodb+srv') && !/tls=|ssl=|,/.test(DIRECT)

const ID = '65f000000000000000000001'
const SID = 'AAAAAAAAAAAAAAAAAAAAAA'
const key = Buffer.from(process.env['REFRESH_TOKEN_KEY']!, 'base64url')
const [email, password, code] = ['ann@example.com', 'a horse on the moon', '123456']
const currentPassword = password
const refreshToken = `${SID}.0.${createHmac('sha256', key).update(`${SID}.0`).digest('base64url')}`
const linkToken = `${ID}.${'A'.repeat(43)}`

/** Input that is good enough to need the database, for every route that has one. */
const inputs: Record<string, { json?: object; id?: string }> = {
  'POST /register': { json: { name: 'Ann', email, password } },
  'POST /login': { json: { email, password } },
  'POST /login/mfa': {
    json: { challenge: newChallenge({ id: ID, sessionVersion: 0 }, key, new Date()), code },
  },
  'POST /refresh': { json: { refreshToken } },
  'POST /logout': {},
  'POST /logout-all': {},
  'GET /me': {},
  'PATCH /me': { json: { name: 'Ann' } },
  'DELETE /me': { json: { currentPassword } },
  'POST /me/password': { json: { currentPassword, newPassword: 'a horse on the sun' } },
  'POST /me/email': { json: { email: 'bea@example.com', currentPassword } },
  'GET /me/sessions': {},
  'DELETE /me/sessions/{id}': { id: SID },
  'GET /me/mfa': {},
  'POST /me/mfa/totp': { json: { currentPassword } },
  'POST /me/mfa/totp/confirm': { json: { code } },
  'DELETE /me/mfa/totp': { json: { currentPassword, code } },
  'POST /me/mfa/recovery-codes': { json: { currentPassword, code } },
  'POST /password/forgot': { json: { email } },
  'POST /password/reset': { json: { token: linkToken, password } },
  'POST /email/verify': { json: { token: linkToken } },
  'POST /email/verify/resend': { json: { email } },
  'GET /users': {},
  'GET /admin/users': {},
  'GET /admin/users/{id}': { id: ID },
  'PATCH /admin/users/{id}': { id: ID, json: { disabled: true } },
  'DELETE /admin/users/{id}/sessions': { id: ID },
  'DELETE /admin/users/{id}/mfa': { id: ID.replace(/.$/, 'e') },
}

let proxy: Proxy | undefined
let routes: DeclaredRoute[] = []

beforeAll(async () => {
  if (isPlain) {
    proxy = await startProxy(DIRECT)
    process.env['DB'] = proxy.uri
  }
  // Loads the handlers, which read their settings meanwhile.
  routes = readRoutes().filter(({ declaration }) => declaration.settings.includes('DB'))
})

afterAll(async () => {
  await proxy?.stop()
  await mongoose.disconnect()
  await dropDatabase(DIRECT)
})

test('there is an input for every route that uses the database', () => {
  expect(Object.keys(inputs).toSorted()).toEqual(routes.map(({ key: name }) => name).toSorted())
})

const describeIfPlain = isPlain ? describe : describe.skip
describeIfPlain('when the database says nothing', () => {
  const call = async (name: string) => {
    const { json, id } = inputs[name]!
    const authorizer = { id: ID, sessionId: SID, roles: 'user admin' }
    const event = request({ json, authorizer, pathParameters: id === undefined ? null : { id } })
    const { handler } = routes.find(({ key: other }) => other === name)!
    const start = performance.now()
    const { statusCode, headers, body } = await (handler as Route)(event)
    return {
      status: statusCode,
      code: body ? (JSON.parse(body) as { code?: string }).code : undefined,
      retryAfter: headers!['Retry-After'],
      isInTime: performance.now() - start < 6_000,
    }
  }
  const callAll = async () =>
    Object.fromEntries(
      await Promise.all(routes.map(async ({ key: name }) => [name, await call(name)] as const)),
    )
  const unavailable = (name: string) => ({
    status: 503,
    code: 'unavailable',
    // A client that waits for longer than the old refresh token is good would look like a thief.
    retryAfter: name === 'POST /refresh' ? '1' : '5',
    isInTime: true,
  })
  const everywhere = () => Object.fromEntries(routes.map(({ key: name }) => [name, unavailable(name)]))
  const thaw = async () => {
    await proxy!.stop()
    await proxy!.start()
    expect((await call('GET /users')).status).toBe(200)
  }

  test('every route of a new container answers 503 unavailable within 6 s', async () => {
    proxy!.freeze()
    expect(await callAll()).toEqual(everywhere())
  })

  test('every route of a warm container too', async () => {
    await thaw()
    proxy!.freeze()
    expect(await callAll()).toEqual(everywhere())
  })

  test('waits that are bearable one by one are a 503 once they add up', async () => {
    await thaw()
    // Its indexes are there from here on.
    expect((await call('POST /login/mfa')).status).toBe(401)
    proxy!.delay(900)
    expect((await call('GET /users')).status).toBe(200)
    expect((await call('POST /login/mfa')).status).toBe(401)
    proxy!.delay(1_400)
    expect(await call('DELETE /me')).toEqual(unavailable('DELETE /me'))
    proxy!.delay(0)
  })
})
