/**
 * Sessions over HTTP, as `sls offline` serves them: what is revoked is refused by the authorizer within 5 seconds.
 */
import { setTimeout } from 'node:timers/promises'
import { codeOf, jsonOf, send } from '../../support/http.ts'
import { tsx } from '../../support/project.ts'
import { onDatabase } from '../support/database.ts'
import { APP, sharedApi, type SharedApi } from '../support/shared.ts'

const PASSWORD = 'a horse on the moon'
let api: SharedApi

beforeAll(async () => {
  api = await sharedApi('api')
})

interface Session {
  email: string
  id: string
  sessionId: string
  token: string
  refreshToken: string
}

const call = (
  method: string,
  path: string,
  token = '',
  json?: unknown,
  headers: Record<string, string> = {},
) => send(api.url + path, { method, token, json, headers })

async function enter(path: '/register' | '/login', email: string): Promise<Session> {
  const body = { email, password: PASSWORD, ...(path === '/register' && { name: 'Ann' }) }
  const session = await jsonOf<Session>(call('POST', path, '', body))
  const [, payload] = session.token.split('.') as [string, string]
  const { sub, sid } = JSON.parse(Buffer.from(payload, 'base64url').toString()) as {
    sub: string
    sid: string
  }
  return { ...session, email, id: sub, sessionId: sid }
}

let people = 0
const newUser = () => enter('/register', `session-user${++people}@example.com`)

const me = async ({ token }: Session) => codeOf(await call('GET', '/me', token))
const refresh = async ({ refreshToken }: Session) => call('POST', '/refresh', '', { refreshToken })

/** As if the link in the mail had been followed. */
const verify = (email: string) =>
  onDatabase(api.environment['DB']!, (database) =>
    database.collection('users').updateOne({ email }, { $set: { emailVerified: true } }),
  )

async function newAdmin(): Promise<Session> {
  const { email } = await newUser()
  await verify(email)
  const command = tsx(api.folder, ['commands/Admin.ts', 'grant', email], { DB: api.environment['DB']! })
  expect([await command.exit, command.output()]).toEqual([0, expect.stringContaining('is now an admin')])
  return enter('/login', email)
}

let admin: Session
beforeAll(async () => {
  admin = await newAdmin()
}, 60_000)

test('an admin may call the admin routes, and a user gets the gateway’s 403', async () => {
  const user = await newUser()
  for (const [method, path, body, status = 200] of [
    ['GET', '/admin/users'],
    ['GET', `/admin/users/${user.id}`],
    ['PATCH', `/admin/users/${user.id}`, { disabled: false }],
    ['DELETE', `/admin/users/${user.id}/sessions`],
    // Who has none.
    ['DELETE', `/admin/users/${user.id}/mfa`, undefined, 409],
  ] as const) {
    const refused = await call(method, path, user.token, body)
    expect([path, refused.status, await codeOf(refused)]).toEqual([path, 403, 'forbidden'])
    const allowed = await call(method, path, admin.token, body)
    expect([path, allowed.ok || allowed.status]).toEqual([path, status === 200 || status])
  }
})

/** What shuts an access token out, by another who may do it. */
const revocations: {
  name: string
  act: (victim: Session, other: Session) => Promise<Response>
  /** Whether the refresh token goes on working. */
  carriesOn: boolean
}[] = [
  { name: 'logging out', act: ({ token }) => call('POST', '/logout', token), carriesOn: false },
  {
    name: 'logging out everywhere, from another device',
    act: (_, { token }) => call('POST', '/logout-all', token),
    carriesOn: false,
  },
  {
    name: 'ending the session from another device',
    act: ({ sessionId }, { token }) => call('DELETE', `/me/sessions/${sessionId}`, token),
    carriesOn: false,
  },
  {
    name: 'an admin, by disabling the account',
    act: ({ id }) => call('PATCH', `/admin/users/${id}`, admin.token, { disabled: true }),
    carriesOn: false,
  },
  {
    name: 'an admin, by ending all sessions',
    act: ({ id }) => call('DELETE', `/admin/users/${id}/sessions`, admin.token),
    carriesOn: false,
  },
  {
    name: 'an admin, by changing roles',
    act: ({ id }) => call('PATCH', `/admin/users/${id}`, admin.token, { roles: ['admin'] }),
    carriesOn: true,
  },
]

test('an access token is refused within 5 seconds of each way to revoke it, and others go on', async () => {
  const bystander = await newUser()
  const cases = await Promise.all(
    revocations.map(async (revocation) => {
      const victim = await newUser()
      await verify(victim.email)
      return { revocation, victim, other: await enter('/login', victim.email) }
    }),
  )
  // The authorizer has just asked, so it will not ask again before its 5 seconds are over.
  for (const { revocation, victim } of cases)
    expect([revocation.name, await me(victim)]).toEqual([revocation.name, 200])
  for (const { revocation, victim, other } of cases) {
    const { name, act } = revocation
    expect([name, (await act(victim, other)).ok]).toEqual([name, true])
  }
  await setTimeout(5_000)
  for (const { revocation, victim } of cases) {
    const { name, carriesOn } = revocation
    expect([name, await me(victim)]).toEqual([name, 'invalid_token'])
    const refreshed = await refresh(victim)
    expect([name, refreshed.status]).toEqual([name, carriesOn ? 200 : 401])
    // With the new roles, that of an admin.
    const { token } = (await refreshed.json()) as Partial<Session>
    const asAdmin = await call('GET', '/admin/users', token)
    expect([name, asAdmin.status]).toEqual([name, carriesOn ? 200 : 401])
  }
  expect(await me(bystander)).toBe(200)
}, 60_000)

test('a refresh token that comes twice ends the session, and its access token within 5 seconds', async () => {
  const session = await newUser()
  const next = (await (await refresh(session)).json()) as Session
  const afterNext = (await (await refresh(next)).json()) as Session
  expect(await codeOf(await refresh(session))).toBe('invalid_refresh_token')
  expect(await codeOf(await refresh(afterNext))).toBe('invalid_refresh_token')
  await setTimeout(5_000)
  expect(await me(afterNext)).toBe('invalid_token')
  const output = await api.output()
  expect(output).toContain('"event":"authn_token_reuse"')
  expect(output).not.toContain(session.refreshToken)
})

test('a browser can keep its refresh token in a cookie, over plain http on localhost and from another origin', async () => {
  const headers = { 'Refresh-Token-In': 'cookie', Origin: APP }
  const preflight = await fetch(`${api.url}/refresh`, {
    method: 'OPTIONS',
    headers: {
      Origin: APP,
      'Access-Control-Request-Method': 'POST',
      'Access-Control-Request-Headers': 'refresh-token-in',
    },
  })
  expect(preflight.headers.get('access-control-allow-headers')?.toLowerCase()).toContain('refresh-token-in')
  const { email } = await newUser()
  const signedIn = await call('POST', '/login', '', { email, password: PASSWORD }, headers)
  expect(await signedIn.json()).not.toHaveProperty('refreshToken')
  const [cookie] = signedIn.headers.getSetCookie()
  expect(cookie).toMatch(/^__Host-refresh-token=[^;]+;/)
  for (const attribute of ['HttpOnly', 'Secure', 'SameSite=Strict', 'Path=/']) {
    expect(cookie!.split('; ')).toContain(attribute)
  }
  const Cookie = cookie!.split(';')[0]!
  const refreshed = await call('POST', '/refresh', '', undefined, { ...headers, Cookie })
  expect(refreshed.status).toBe(200)
  for (const answer of [preflight, signedIn, refreshed]) {
    expect(answer.headers.get('access-control-allow-origin')).toBe(APP)
    expect(answer.headers.get('access-control-allow-credentials')).toBe('true')
  }
  // What a form on another site could send.
  expect(await codeOf(await call('POST', '/refresh', '', undefined, { Cookie }))).toBe('invalid_request')
})
