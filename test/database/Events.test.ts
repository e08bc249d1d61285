/**
 * Every event of api/Events.ts, brought about as it is in a deployment: its line says what the catalogue says that it
 * says, and in all that was logged there is nothing secret.
 */
import mongoose from 'mongoose'
import type { EventName, events as catalogue, levels as allLevels } from '../../api/Events.ts'
import { type Api, type Caller, PASSWORD, type Person, startAccounts } from '../support/account.ts'
import { authorizerEvent, request } from '../../support/events.ts'

const NEW = 'another horse on the sun'
const NAME = 'Zaphod Beeblebrox'
const REQUEST = { requestId: 'request-1', address: '192.0.2.1' }

let api: Api
let events: typeof catalogue
let levels: typeof allLevels

beforeAll(async () => {
  api = await startAccounts()
  // The log reads its level when it is loaded.
  ;({ events, levels } = await import('../../api/Events.ts'))
})
afterAll(() => api.stop())

const send = (route: Parameters<Api['call']>[0], json: object, as?: { caller: Caller }) =>
  api.call(route, json, as)
const newPerson = () => api.newPerson(undefined, NAME)
const withApp = (person: Awaited<ReturnType<typeof newPerson>>) => api.withApp(person)

/** The token of the next mail that has one. */
async function nextLink(email: string): Promise<string> {
  const { token } = await api.smtp.next(email)
  return token ?? nextLink(email)
}

const logIn = (email: string, password = PASSWORD) => send('login', { email, password })
const challenge = async ({ email }: Person) => (await logIn(email)).body['challenge']!
const refresh = async (refreshToken: string) =>
  (await send('refresh', { refreshToken })).body['refreshToken']!
const whose = ({ caller }: { caller: Caller }) => ({ userId: caller.id, sessionId: caller.sessionId })
const account = ({ caller }: { caller: Caller }) => ({ userId: caller.id })

async function forgot(email: string) {
  await send('forgotPassword', { email })
  return nextLink(email)
}

/** An admin's request about somebody. */
async function administer(
  route: 'updateUser' | 'endUserSessions' | 'removeUserMfa',
  person: Person,
  json?: object,
) {
  const admin = await newPerson()
  const handlers = await import('../../admin/AdminHandler.ts')
  await handlers[route](
    request({
      json,
      authorizer: { ...admin.caller, roles: 'user admin' },
      pathParameters: { id: person.caller.id },
    }),
  )
  return { ...whose(admin), subjectId: person.caller.id }
}

async function authorize(token: string) {
  const { handler } = await import('../../auth/VerifyToken.ts')
  await handler(authorizerEvent(token), { awsRequestId: 'authorizer-1' }).catch(() => undefined)
}

/** How each comes about, and what its line then holds. */
const rows: { event: EventName; name: string; act: () => Promise<Record<string, unknown>> }[] = [
  { event: 'user_created', name: 'a registration', act: async () => account(await newPerson()) },
  {
    event: 'user_updated',
    name: 'another name',
    act: async () => {
      const person = await newPerson()
      await send('updateMe', { name: `${NAME} II` }, person)
      return whose(person)
    },
  },
  {
    event: 'user_deleted',
    name: 'a deletion',
    act: async () => {
      const person = await newPerson()
      await send('deleteMe', { currentPassword: PASSWORD }, person)
      return whose(person)
    },
  },
  {
    event: 'user_disabled',
    name: 'an admin',
    act: async () => administer('updateUser', await newPerson(), { disabled: true }),
  },
  {
    event: 'user_enabled',
    name: 'an admin',
    act: async () => administer('updateUser', await newPerson(), { disabled: false }),
  },
  {
    event: 'authz_change',
    name: 'an admin',
    act: async () => {
      const roles = ['user', 'admin']
      const person = await newPerson()
      await send('verifyEmail', { token: person.confirmation })
      return { ...(await administer('updateUser', person, { roles })), roles }
    },
  },
  {
    event: 'user_email_verified',
    name: 'a link',
    act: async () => {
      const person = await newPerson()
      await send('verifyEmail', { token: person.confirmation })
      return account(person)
    },
  },
  {
    event: 'user_email_change_requested',
    name: 'another email',
    act: async () => {
      const person = await newPerson()
      await send('changeMyEmail', { email: `new-${person.email}`, currentPassword: PASSWORD }, person)
      return whose(person)
    },
  },
  {
    event: 'user_email_changed',
    name: 'a link',
    act: async () => {
      const person = await newPerson()
      const email = `new-${person.email}`
      await send('changeMyEmail', { email, currentPassword: PASSWORD }, person)
      await send('verifyEmail', { token: await nextLink(email) })
      return account(person)
    },
  },
  {
    event: 'authz_token_refused',
    name: 'a token that was altered',
    act: async () => {
      const { token } = await newPerson()
      await authorize(`Bearer ${token.replace(/[^.]+$/, 'A'.repeat(86))}`)
      return { reason: 'invalid signature' }
    },
  },
  {
    event: 'authz_token_refused',
    name: 'a revoked token',
    act: async () => {
      const person = await newPerson()
      await send('logout', {}, person)
      await authorize(`Bearer ${person.token}`)
      return { reason: 'revoked or outdated', ...whose(person) }
    },
  },
  {
    event: 'authn_login_success',
    name: 'a password',
    act: async () => {
      const { email } = await newPerson()
      return whose(api.signedIn(email, (await logIn(email)).body))
    },
  },
  {
    event: 'authn_login_success',
    name: 'a password and a code',
    act: async () => {
      const person = await newPerson()
      const { code } = await withApp(person)
      const { body } = await send('loginMfa', { challenge: await challenge(person), code: code(1) })
      return { ...whose(api.signedIn(person.email, body)), factor: 'totp' }
    },
  },
  {
    event: 'authn_login_fail',
    name: 'an email that nobody has',
    act: async () => {
      await logIn('nobody@example.com')
      return { reason: 'unknown_email' }
    },
  },
  {
    event: 'authn_login_fail',
    name: 'a wrong password',
    act: async () => {
      const person = await newPerson()
      await logIn(person.email, NEW)
      return { reason: 'wrong_password', ...account(person) }
    },
  },
  {
    event: 'authn_login_fail',
    name: 'a disabled account',
    act: async () => {
      const person = await newPerson()
      await administer('updateUser', person, { disabled: true })
      await logIn(person.email)
      return { reason: 'disabled', ...account(person) }
    },
  },
  {
    event: 'authn_login_fail',
    name: 'a challenge that is none',
    act: async () => {
      await send('loginMfa', { challenge: 'mfa.made.up', code: '123456' })
      return { reason: 'invalid_challenge' }
    },
  },
  {
    event: 'authn_login_fail',
    name: 'a challenge from before all sessions were ended',
    act: async () => {
      const person = await newPerson()
      const { code } = await withApp(person)
      const old = await challenge(person)
      await send('logoutAll', {}, person)
      await send('loginMfa', { challenge: old, code: code(1) })
      return { reason: 'invalid_challenge', ...account(person) }
    },
  },
  {
    event: 'authn_login_fail',
    name: 'a wrong code',
    act: async () => {
      const person = await newPerson()
      await withApp(person)
      await send('loginMfa', { challenge: await challenge(person), code: 'not-a-code' })
      return { reason: 'wrong_code', ...account(person) }
    },
  },
  {
    event: 'authn_mfa_required',
    name: 'a password',
    act: async () => {
      const person = await newPerson()
      await withApp(person)
      await logIn(person.email)
      return account(person)
    },
  },
  {
    event: 'authn_mfa_enabled',
    name: 'an app',
    act: async () => {
      const person = await newPerson()
      await withApp(person)
      return whose(person)
    },
  },
  {
    event: 'authn_mfa_disabled',
    name: 'password and code',
    act: async () => {
      const person = await newPerson()
      const { code } = await withApp(person)
      await send('disableTotp', { currentPassword: PASSWORD, code: code(1) }, person)
      return whose(person)
    },
  },
  {
    event: 'authn_mfa_removed',
    name: 'an admin',
    act: async () => {
      const person = await newPerson()
      await withApp(person)
      return administer('removeUserMfa', person)
    },
  },
  {
    event: 'authn_recovery_code_used',
    name: 'a login',
    act: async () => {
      const person = await newPerson()
      const { recoveryCodes } = await withApp(person)
      await send('loginMfa', { challenge: await challenge(person), code: recoveryCodes[0] })
      return account(person)
    },
  },
  {
    event: 'authn_recovery_code_used',
    name: 'a change that needs a code',
    act: async () => {
      const person = await newPerson()
      const { recoveryCodes } = await withApp(person)
      await send('disableTotp', { currentPassword: PASSWORD, code: recoveryCodes[0] }, person)
      return whose(person)
    },
  },
  {
    event: 'authn_recovery_codes_created',
    name: 'password and code',
    act: async () => {
      const person = await newPerson()
      const { code } = await withApp(person)
      await send('newRecoveryCodes', { currentPassword: PASSWORD, code: code(1) }, person)
      return whose(person)
    },
  },
  {
    event: 'authn_confirmation_fail',
    name: 'a wrong password',
    act: async () => {
      const person = await newPerson()
      await send('deleteMe', { currentPassword: NEW }, person)
      return { reason: 'wrong_password', ...whose(person) }
    },
  },
  {
    event: 'authn_confirmation_fail',
    name: 'a wrong code',
    act: async () => {
      const person = await newPerson()
      await withApp(person)
      await send('disableTotp', { currentPassword: PASSWORD, code: 'not-a-code' }, person)
      return { reason: 'wrong_code', ...whose(person) }
    },
  },
  {
    event: 'authn_password_reset_requested',
    name: 'somebody who is not signed in',
    act: async () => {
      const person = await newPerson()
      await forgot(person.email)
      return account(person)
    },
  },
  {
    event: 'authn_password_reset',
    name: 'a link',
    act: async () => {
      const person = await newPerson()
      await send('resetMyPassword', { token: await forgot(person.email), password: NEW })
      return account(person)
    },
  },
  {
    event: 'authn_password_reset_fail',
    name: 'a link that was replaced',
    act: async () => {
      const { email } = await newPerson()
      const token = await forgot(email)
      await forgot(email)
      await send('resetMyPassword', { token, password: NEW })
      return {}
    },
  },
  {
    event: 'authn_password_change',
    name: 'the password and a new one',
    act: async () => {
      const person = await newPerson()
      await send('changeMyPassword', { currentPassword: PASSWORD, newPassword: NEW }, person)
      return whose(person)
    },
  },
  {
    event: 'authn_token_reuse',
    name: 'a refresh token of two before',
    act: async () => {
      const person = await newPerson()
      await refresh(await refresh(person.refreshToken))
      await refresh(person.refreshToken)
      return { ...whose(person), usedGeneration: 0, currentGeneration: 2 }
    },
  },
  {
    event: 'session_renewed',
    name: 'a refresh token',
    act: async () => {
      const person = await newPerson()
      await refresh(person.refreshToken)
      return whose(person)
    },
  },
  {
    event: 'session_renewal_repeated',
    name: 'a refresh token whose answer was lost',
    act: async () => {
      const person = await newPerson()
      for (let time = 0; time < 2; time++) await refresh(person.refreshToken)
      return whose(person)
    },
  },
  {
    event: 'session_refused',
    name: 'a refresh token that is made up',
    act: async () => {
      await refresh('made.0.up')
      return {}
    },
  },
  {
    event: 'session_refused',
    name: 'the refresh token of a session that was ended',
    act: async () => {
      const person = await newPerson()
      await send('logout', {}, person)
      await refresh(person.refreshToken)
      return { sessionId: person.caller.sessionId }
    },
  },
  {
    event: 'session_refused',
    name: 'a refresh token of somebody who has ended all sessions',
    act: async () => {
      const person = await newPerson()
      await send('logoutAll', {}, person)
      await refresh(person.refreshToken)
      return whose(person)
    },
  },
  {
    event: 'session_revoked',
    name: 'logging out',
    act: async () => {
      const person = await newPerson()
      await send('logout', {}, person)
      return { ...whose(person), revokedSessionId: person.caller.sessionId }
    },
  },
  {
    event: 'sessions_revoked',
    name: 'logging out everywhere',
    act: async () => {
      const person = await newPerson()
      await send('logoutAll', {}, person)
      return { ...whose(person), subjectId: person.caller.id }
    },
  },
  {
    event: 'sessions_revoked',
    name: 'an admin',
    act: async () => administer('endUserSessions', await newPerson()),
  },
  {
    event: 'excess_rate_limit_exceeded',
    name: 'too many logins',
    act: async () => {
      for (let time = 0; time < 6; time++) await logIn('guessed@example.com')
      return { limit: 'loginFailures' }
    },
  },
  {
    event: 'excess_rate_limit_exceeded',
    name: 'too many wrong passwords in a session',
    act: async () => {
      const person = await newPerson()
      for (let time = 0; time < 6; time++) await send('deleteMe', { currentPassword: NEW }, person)
      return { limit: 'confirmationFailures', ...whose(person) }
    },
  },
  {
    event: 'mail_sent',
    name: 'a registration',
    act: async () => ({ mail: 'emailVerification', ...whose(await newPerson()) }),
  },
  {
    event: 'mail_suppressed',
    name: 'a fourth mail of a kind',
    act: async () => {
      const person = await newPerson()
      for (let time = 0; time < 3; time++) await forgot(person.email)
      await send('forgotPassword', { email: person.email })
      return { mail: 'passwordReset', ...account(person) }
    },
  },
  {
    event: 'mail_failed',
    name: 'a server that does not take it, and says to whom',
    act: async () => {
      const person = await newPerson()
      api.smtp.refuse(new Error(`no mailbox <${person.email}> here`))
      await send('forgotPassword', { email: person.email })
      await api.mailFunction.settled()
      api.smtp.refuse(undefined)
      const error = expect.objectContaining({
        message: expect.stringContaining('no mailbox <[redacted]> here'),
      })
      return { mail: 'passwordReset', ...account(person), error }
    },
  },
]

test('each event of the catalogue has a row here', () => {
  expect(new Set(rows.map(({ event }) => event))).toEqual(new Set(Object.keys(events)))
})

test.each(rows)('$event, by $name', async ({ event, act }) => {
  const before = api.logged().length
  const details = await act()
  await api.mailFunction.settled()
  const [, holds] = events[event]
  // API Gateway tells an authorizer nothing of the request.
  const origin = event === 'authz_token_refused' ? { requestId: 'authorizer-1' } : REQUEST
  const lines = api.logged().slice(before)
  expect(lines.findLast((line) => line.event === event)).toEqual({
    level: levels[event].toUpperCase(),
    message: event,
    event,
    service: expect.any(String),
    timestamp: expect.any(String),
    sampling_rate: 0,
    ...origin,
    ...details,
  })
  const held = Object.keys(details)
  const missing = holds.filter((field) => !field.endsWith('?') && !held.includes(field))
  const unsaid = held.filter((field) => !holds.some((name) => name.replace('?', '') === field))
  expect({ missing, unsaid }).toEqual({ missing: [], unsaid: [] })
})

test('no line of all these holds a name, a password, a token, a code, a hash or an email', async () => {
  const stored = [NAME]
  const { users, attempts } = mongoose.connection.collections
  for (const user of await users!.find().toArray()) {
    const {
      email,
      passwordHash,
      recoveryCodes = [],
      totp,
      totpEnrolment,
      passwordReset,
      emailConfirmation,
    } = user
    const hidden = [email, passwordHash, ...recoveryCodes, totp?.secret, totpEnrolment?.secret]
    for (const text of [...hidden, passwordReset?.hash, emailConfirmation?.hash, emailConfirmation?.email]) {
      if (text) stored.push(text as string)
    }
  }
  for (const { _id } of await attempts!.find().toArray()) stored.push(String(_id))
  expect(api.secretsInLog(stored)).toEqual([])
  expect(api.secretCount()).toBeGreaterThan(300)
  // The log is where they are looked for.
  expect(api.secretsInLog([REQUEST.requestId])).toEqual([REQUEST.requestId])
})
