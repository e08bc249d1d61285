/**
 * The routes of a session, called as API Gateway calls them, against a real MongoDB.
 */
import type { APIGatewayProxyResult } from 'aws-lambda'
import mongoose from 'mongoose'
import { changeMyPassword } from '../../account/AccountHandler.ts'
import { login, register } from '../../auth/AuthHandler.ts'
import { endSession, logout, logoutAll, refresh, sessions } from '../../auth/SessionHandler.ts'
import { startSession } from '../../auth/Sessions.ts'
import { verifier } from '../../auth/Tokens.ts'
import { withDatabase } from '../support/withDatabase.ts'
import { settingsOf } from '../../api/Environment.ts'
import { changeUser, endSessions, findUserByEmail } from '../../user/User.ts'
import { dropDatabase, onDatabase } from '../support/database.ts'
import { request } from '../../support/events.ts'

const DB = process.env['DB']!
const PASSWORD = 'a horse on the moon'
const COOKIE = { 'refresh-token-in': 'cookie' }
const settings = settingsOf(['VERIFICATION_KEYS', 'ISSUER', 'AUDIENCE', 'REFRESH_TOKEN_KEY'])
const verify = verifier(settings.VERIFICATION_KEYS, {
  issuer: settings.ISSUER,
  audience: settings.AUDIENCE,
})

afterAll(async () => {
  await mongoose.disconnect()
  await dropDatabase(DB)
})

let people = 0

/** A new user who has just registered. */
async function newUser(headers: Record<string, string> = {}) {
  const email = `user${++people}@example.com`
  const json = { name: 'Ann', email, password: PASSWORD }
  return { email, ...signedIn(await register(withHeaders(headers, json))) }
}

const signIn = async (email: string, headers: Record<string, string> = {}) =>
  signedIn(await login(withHeaders(headers, { email, password: PASSWORD })))

function signedIn({ body, headers = {} }: APIGatewayProxyResult) {
  const { token, refreshToken } = JSON.parse(body) as { token: string; refreshToken: string }
  const { sub, sid, roles, ver } = verify(token, new Date())
  return {
    id: sub,
    sessionId: sid,
    ver,
    refreshToken,
    cookie: String(headers['Set-Cookie']),
    authorizer: { id: sub, sessionId: sid, roles: roles.join(' ') },
  }
}

const withHeaders = (headers: Record<string, string>, json: unknown) =>
  request({ body: JSON.stringify(json), headers: { 'Content-Type': 'application/json', ...headers } })

const refreshWith = (refreshToken: string) => refresh(request({ json: { refreshToken } }))
const codeOf = ({ statusCode, body }: APIGatewayProxyResult) =>
  statusCode < 300 ? statusCode : (JSON.parse(body) as { code: string }).code

describe('POST /refresh', () => {
  test('answers 200 with a session whose tokens are new, of the same session', async () => {
    const before = await newUser()
    const answer = await refreshWith(before.refreshToken)
    expect(answer.statusCode).toBe(200)
    expect(JSON.parse(answer.body)).toEqual({
      auth: true,
      token: expect.stringMatching(/^eyJ/),
      tokenType: 'Bearer',
      expiresIn: 900,
      refreshToken: expect.stringMatching(/^[\w-]{22}\.1\.[\w-]{43}$/),
    })
    expect(signedIn(answer)).toMatchObject({ id: before.id, sessionId: before.sessionId })
  })

  test('carries on with changed roles', async () => {
    const before = await newUser()
    await onDatabase(DB, (database) =>
      database.collection('users').updateOne({ email: before.email }, { $set: { emailVerified: true } }),
    )
    await withDatabase(() => changeUser(before.id, { roles: ['user', 'admin'] }, new Date()))
    const after = signedIn(await refreshWith(before.refreshToken))
    expect(after.authorizer.roles).toBe('user admin')
    expect(after.ver).toBe(before.ver + 1)
  })

  test.each([
    {
      name: 'is disabled',
      change: (id: string) => changeUser(id, { disabled: true }, new Date()),
    },
    {
      name: 'was disabled and enabled again',
      change: async (id: string) => {
        await changeUser(id, { disabled: true }, new Date())
        await changeUser(id, { disabled: false }, new Date())
      },
    },
    { name: 'signed out everywhere', change: (id: string) => endSessions(id, new Date()) },
    {
      name: 'was deleted',
      change: (id: string) =>
        onDatabase(DB, (database) =>
          database.collection('users').deleteOne({ _id: new mongoose.Types.ObjectId(id) }),
        ),
    },
  ])('is refused when the user $name', async ({ change }) => {
    const { id, refreshToken } = await newUser()
    await withDatabase<unknown>(() => change(id))
    expect(codeOf(await refreshWith(refreshToken))).toBe('invalid_refresh_token')
  })

  test('is refused when the session began while the user was being disabled', async () => {
    const { email, id } = await newUser()
    const session = await withDatabase(async () => {
      // What a login does: it reads the user, takes its time for the password, and starts the session.
      const user = (await findUserByEmail(email))!
      await changeUser(id, { disabled: true }, new Date())
      await changeUser(id, { disabled: false }, new Date())
      const device = { userAgent: null, address: null }
      return startSession(user, device, settings.REFRESH_TOKEN_KEY, new Date())
    })
    expect(codeOf(await refreshWith(session.refreshToken))).toBe('invalid_refresh_token')
  })

  test.each([
    { name: 'no body', event: request(), path: 'refreshToken' },
    { name: 'an empty object', event: request({ json: {} }), path: 'refreshToken' },
    { name: 'an operator', event: request({ json: { refreshToken: { $ne: null } } }), path: 'refreshToken' },
    { name: 'a field more', event: request({ json: { refreshToken: 'x', userId: 'x' } }), path: 'userId' },
    {
      name: 'an empty token',
      event: request({ json: { refreshToken: '' } }),
      path: 'refreshToken',
    },
    {
      name: 'another place than the cookie',
      event: request({ headers: { 'Refresh-Token-In': 'storage' } }),
      path: 'Refresh-Token-In',
    },
  ])('with $name is 400, and says what is missing', async ({ event, path }) => {
    const answer = await refresh(event)
    expect(JSON.parse(answer.body)).toMatchObject({ status: 400, errors: [{ path }] })
  })
})

describe('the cookie', () => {
  const cookieOf = (setCookie: string) => setCookie.split(';')[0]!

  test('is what register, login, refresh and a new password give who asks for it, and no script can read it', async () => {
    const registered = await newUser(COOKIE)
    const loggedIn = await signIn(registered.email, COOKIE)
    const refreshed = signedIn(
      await refresh(request({ headers: { ...COOKIE, Cookie: cookieOf(loggedIn.cookie) } })),
    )
    const change = { currentPassword: PASSWORD, newPassword: 'another horse on the sun' }
    const changed = signedIn(
      await changeMyPassword({
        ...withHeaders(COOKIE, change),
        requestContext: request({ authorizer: loggedIn.authorizer }).requestContext,
      }),
    )
    for (const { refreshToken, cookie } of [registered, loggedIn, refreshed, changed]) {
      expect(refreshToken).toBeUndefined()
      expect(cookie).toMatch(
        /^__Host-refresh-token=[\w-]{22}\.\d\.[\w-]{43}; Path=\/; Max-Age=604800; HttpOnly; Secure; SameSite=Strict$/,
      )
    }
    expect(refreshed.sessionId).toBe(loggedIn.sessionId)
  })

  test.each([{ Cookie: '' }, { Cookie: '__Host-refresh-token=' }, { Cookie: 'a=1' }, {}])(
    'is missed with a 401, since a page cannot see whether it has one: %j',
    async (headers) => {
      const answer = await refresh(request({ headers: { ...COOKIE, ...headers } }))
      expect(codeOf(answer)).toBe('invalid_refresh_token')
    },
  )

  test('is not there for who did not ask', async () => {
    expect((await newUser()).cookie).toBe('undefined')
  })

  test('without the header is no refresh token: a page of another site could have sent it (CSRF)', async () => {
    const { cookie } = await newUser(COOKIE)
    const answer = await refresh(request({ headers: { Cookie: cookieOf(cookie) } }))
    expect(codeOf(answer)).toBe('invalid_request')
  })

  test('is found among others', async () => {
    const { cookie } = await newUser(COOKIE)
    const cookies = `a=1; refresh-token=x; x__Host-refresh-token=y; ${cookieOf(cookie)};b=2`
    const answer = await refresh(request({ headers: { ...COOKIE, cookie: cookies } }))
    expect(answer.statusCode).toBe(200)
  })

  test('beside a token in the body is 400: which of the two is meant?', async () => {
    const { cookie, refreshToken } = { ...(await newUser()), ...(await newUser(COOKIE)) }
    const answer = await refresh(
      withHeaders({ ...COOKIE, Cookie: cookieOf(cookie) }, { refreshToken: refreshToken ?? 'x' }),
    )
    expect(codeOf(answer)).toBe('invalid_request')
  })

  test('is taken away when it is good for nothing, and when its owner signs out', async () => {
    const { authorizer } = await newUser(COOKIE)
    const gone = [
      expect.stringMatching(/^__Host-refresh-token=; Path=\/; Max-Age=0; /),
      expect.stringMatching(/^__Secure-refresh-token=; Path=\/refresh; Max-Age=0; /),
    ]
    const stale = await refresh(request({ headers: { ...COOKIE, Cookie: '__Host-refresh-token=a.0.b' } }))
    expect(stale).toMatchObject({ statusCode: 401, multiValueHeaders: { 'Set-Cookie': gone } })
    for (const route of [logout, logoutAll]) {
      expect(await route(request({ headers: COOKIE, authorizer }))).toMatchObject({
        statusCode: 204,
        multiValueHeaders: { 'Set-Cookie': gone },
      })
    }
  })

  describe('planted by a neighbouring subdomain', () => {
    const planted = '__Secure-refresh-token'
    const withCookies = (...cookies: string[]) =>
      refresh(request({ headers: { ...COOKIE, Cookie: cookies.join('; ') } }))
    const asOlder = ({ sessionId }: { sessionId: string }) =>
      onDatabase(DB, (database) =>
        database
          .collection<{ _id: string }>('sessions')
          .updateOne({ _id: sessionId }, { $unset: { hasHostCookie: 1 } }),
      )

    test('signs nobody in: the session of an attacker began after the upgrade', async () => {
      const { refreshToken } = await newUser()
      expect(codeOf(await withCookies(`${planted}=${refreshToken}`))).toBe('invalid_refresh_token')
    })

    test('signs nobody in beside the cookie of an older session, and locks nobody out', async () => {
      const [victim, attacker] = [await newUser(), await newUser()]
      for (const { sessionId } of [victim, attacker]) await asOlder({ sessionId })
      const [own, foreign] = [victim, attacker].map(({ refreshToken }) => `${planted}=${refreshToken}`)
      expect(codeOf(await withCookies(own!, foreign!))).toBe('invalid_refresh_token')
      // Signed in again, and from then on the planted one is not looked at.
      const { cookie, sessionId } = await signIn(victim.email, COOKIE)
      const refreshed = signedIn(await withCookies(foreign!, `${planted}=x`, cookieOf(cookie)))
      expect(refreshed.sessionId).toBe(sessionId)
    })

    test('is replaced where it is the cookie of an older session, for two tabs at once', async () => {
      const { sessionId, refreshToken } = await newUser()
      await asOlder({ sessionId })
      const answers = await Promise.all([1, 2].map(() => withCookies(`${planted}=${refreshToken}`)))
      const cookies = answers.map(({ multiValueHeaders }) => multiValueHeaders!['Set-Cookie'])
      expect(cookies[0]).toEqual([
        expect.stringMatching(/^__Host-refresh-token=.+\.1\..+; Path=\/; /),
        expect.stringMatching(/^__Secure-refresh-token=; Path=\/refresh; Max-Age=0; /),
      ])
      expect(cookies[1]).toEqual(cookies[0])
      expect((await withCookies(cookieOf(String(cookies[0]![0])))).statusCode).toBe(200)
    })
  })

  test('another place than the cookie is refused before anything is written', async () => {
    const email = 'typo@example.com'
    const answer = await register(
      withHeaders({ 'Refresh-Token-In': 'cookies' }, { name: 'Ann', email, password: PASSWORD }),
    )
    expect(codeOf(answer)).toBe('invalid_request')
    expect(await withDatabase(() => findUserByEmail(email))).toBeUndefined()
  })
})

describe('POST /logout', () => {
  test('ends this session and no other, and may be said twice', async () => {
    const first = await newUser()
    const second = await signIn(first.email)
    for (let time = 0; time < 2; time++) {
      const answer = await logout(request({ authorizer: first.authorizer }))
      expect([answer.statusCode, answer.body]).toEqual([204, ''])
    }
    expect(codeOf(await refreshWith(first.refreshToken))).toBe('invalid_refresh_token')
    expect(codeOf(await refreshWith(second.refreshToken))).toBe(200)
  })
})

describe('POST /logout-all', () => {
  test('ends all sessions of this user and of no other, and a new one can begin', async () => {
    const [first, neighbour] = [await newUser(), await newUser()]
    const second = await signIn(first.email)
    expect((await logoutAll(request({ authorizer: second.authorizer }))).statusCode).toBe(204)
    for (const { refreshToken } of [first, second]) {
      expect(codeOf(await refreshWith(refreshToken))).toBe('invalid_refresh_token')
    }
    expect(codeOf(await refreshWith(neighbour.refreshToken))).toBe(200)
    expect(codeOf(await refreshWith((await signIn(first.email)).refreshToken))).toBe(200)
  })
})

describe('GET /me/sessions', () => {
  test('lists the live sessions for a person to understand, and says which is this one', async () => {
    const first = await newUser({ 'User-Agent': 'Firefox' })
    const second = await signIn(first.email, { 'user-agent': 'curl/8' })
    const answer = await sessions(request({ authorizer: first.authorizer }))
    expect(answer.statusCode).toBe(200)
    const time = expect.stringMatching(/^\d{4}-\d\d-\d\dT.*Z$/)
    const common = { createdAt: time, lastUsedAt: time, expiresAt: time, address: '192.0.2.1' }
    expect(JSON.parse(answer.body)).toEqual([
      { id: second.sessionId, ...common, userAgent: 'curl/8', current: false },
      { id: first.sessionId, ...common, userAgent: 'Firefox', current: true },
    ])
    await logoutAll(request({ authorizer: first.authorizer }))
    const third = await signIn(first.email)
    const rest = JSON.parse((await sessions(request({ authorizer: third.authorizer }))).body)
    expect(rest).toEqual([expect.objectContaining({ id: third.sessionId, current: true })])
  })
})

describe('DELETE /me/sessions/{id}', () => {
  const end = (authorizer: Record<string, string>, id: string) =>
    endSession(request({ authorizer, pathParameters: { id } }))

  test('ends another session of one’s own', async () => {
    const first = await newUser()
    const second = await signIn(first.email)
    expect(codeOf(await end(first.authorizer, second.sessionId))).toBe(204)
    expect(codeOf(await refreshWith(second.refreshToken))).toBe('invalid_refresh_token')
    expect(codeOf(await refreshWith(first.refreshToken))).toBe(200)
  })

  test('of somebody else is 404, as if it was not there, and ends nothing', async () => {
    const [ann, bea] = [await newUser(), await newUser()]
    expect(codeOf(await end(ann.authorizer, bea.sessionId))).toBe('not_found')
    expect(codeOf(await end(ann.authorizer, 'A'.repeat(22)))).toBe('not_found')
    expect(codeOf(await refreshWith(bea.refreshToken))).toBe(200)
  })

  test.each(['', '*', '..', 'A'.repeat(23), '{"$ne":null}'])('of "%s" is 400', async (id) => {
    const { authorizer } = await newUser()
    expect(codeOf(await end(authorizer, id))).toBe('invalid_request')
  })
})
