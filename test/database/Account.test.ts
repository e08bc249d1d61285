/**
 * One's own account: name, password, email and its end, and what becomes of the sessions and links of before.
 */
import { type Api, PASSWORD, type Person, startAccounts, withLimits } from '../support/account.ts'
import { HOUR, moveClock, resetClock } from '../support/clock.ts'
import { onDatabase } from '../support/database.ts'

let api: Api
beforeAll(async () => {
  api = await startAccounts(withLimits({ mailsPerEmail: 100, forgotsPerAddress: 1000 }))
})
afterAll(() => api.stop())
afterEach(resetClock)

const NEW = 'another horse on the sun'
const WRONG = 'a wrong horse'

type Users = ReturnType<Parameters<Parameters<typeof onDatabase>[1]>[0]['collection']>
const users = <Result>(work: (users: Users) => Promise<Result>) =>
  onDatabase(process.env['DB']!, (database) => work(database.collection('users')))
const update = ({ email }: { email: string }, change: object) =>
  users((collection) => collection.updateOne({ email }, { $set: change }))
const stored = (email: string) => users((collection) => collection.findOne({ email }))

const login = async (email: string, password = PASSWORD) =>
  (await api.call('login', { email, password })).code
const refresh = async ({ refreshToken }: { refreshToken: string }) =>
  (await api.call('refresh', { refreshToken })).code
const me = async (person: Person) => (await api.call('me', undefined, person)).body

const changePassword = (person: Person, currentPassword: string, newPassword: string) =>
  api.call('changeMyPassword', { currentPassword, newPassword }, person)
const changeEmail = (person: Person, email: string, currentPassword = PASSWORD) =>
  api.call('changeMyEmail', { email, currentPassword }, person)
const remove = (person: Person, currentPassword = PASSWORD) =>
  api.call('deleteMe', { currentPassword }, person)
/** Follows the link that was sent to the new address. */
const confirm = async (person: Person, token: unknown) =>
  (await api.call('confirmMyEmail', { token }, person)).code
const reset = async (token: unknown, password = NEW) =>
  (await api.call('resetMyPassword', { token, password })).code

const subjects = (email: string) =>
  api.smtp.received.filter(({ to }) => to === email).map(({ subject }) => subject)

/** The token in the next mail with a link. */
async function nextToken(email: string): Promise<string> {
  const { token } = await api.smtp.next(email)
  await api.mailFunction.settled()
  return token ?? nextToken(email)
}
async function forget(email: string): Promise<string> {
  await api.call('forgotPassword', { email })
  return nextToken(email)
}

let addresses = 0
const newEmail = () => `new${++addresses}@example.com`

const INVALID = 'invalid_one_time_token'

describe('the name', () => {
  test('is another one, everywhere and at once', async () => {
    const ann = await api.newPerson()
    const { status, body } = await api.call('updateMe', { name: '  Anna  Björk ' }, ann)
    expect([status, body]).toEqual([
      200,
      {
        id: ann.caller.id,
        name: 'Anna  Björk',
        email: ann.email,
        emailVerified: false,
        roles: ['user'],
        createdAt: expect.any(String),
      },
    ])
    expect(await me(ann)).toEqual(body)
    expect(await refresh(ann)).toBe(200)
  })

  test.each([{ disabled: true }, { _id: undefined }])(
    'of an account that is gone is not changed',
    async (change) => {
      const ann = await api.newPerson()
      await ('disabled' in change ? update(ann, change) : remove(ann))
      expect((await api.call('updateMe', { name: 'Eve' }, ann)).code).toBe('invalid_token')
    },
  )
})

describe('a change of the password', () => {
  test('ends all other sessions, and its own goes on with the tokens of the answer', async () => {
    const ann = await api.newPerson()
    const [phone, tablet] = [await api.signIn(ann.email), await api.signIn(ann.email)]
    const { status, body } = await changePassword(ann, PASSWORD, NEW)
    expect(status).toBe(200)
    expect(body).toMatchObject({ auth: true, tokenType: 'Bearer', expiresIn: 900 })
    // Whose refresh token is not replaced keeps that of before.
    const goesOn = { ...ann, ...api.signedIn(ann.email, { refreshToken: ann.refreshToken, ...body }) }

    for (const person of [phone, tablet]) {
      expect(await refresh(person)).toBe('invalid_refresh_token')
      expect(await api.isRevoked(person)).toBe(true)
    }
    // The access token of before says nothing of the new password: it is outdated too.
    expect(await api.isRevoked(ann)).toBe(true)
    expect(await api.isRevoked(goesOn)).toBe(false)
    expect((await api.call('sessions', undefined, goesOn)).body).toEqual([
      expect.objectContaining({ id: goesOn.caller.sessionId, current: true }),
    ])
    const next = await api.call('refresh', { refreshToken: goesOn.refreshToken })
    expect(next.status).toBe(200)
    expect(await api.isRevoked(next.body as { token: string })).toBe(false)
    expect(await refresh(next.body as { refreshToken: string })).toBe(200)

    expect(await login(ann.email, PASSWORD)).toBe('invalid_credentials')
    expect(await login(ann.email, NEW)).toBe(200)
    expect((await api.smtp.next(ann.email)).subject).toBe('Example: your password was changed')
  })

  test('makes a link that resets the password void', async () => {
    const ann = await api.newPerson()
    const token = await forget(ann.email)
    await changePassword(ann, PASSWORD, NEW)
    expect(await reset(token, 'a third horse')).toBe(INVALID)
    expect(await login(ann.email, NEW)).toBe(200)
  })

  test('does not bring a session back that had ended', async () => {
    const ann = await api.newPerson()
    const phone = await api.signIn(ann.email)
    await api.call('logout', undefined, phone)
    await changePassword(ann, PASSWORD, NEW)
    expect(await refresh(phone)).toBe('invalid_refresh_token')
    expect(await api.isRevoked(phone)).toBe(true)
  })

  test('does not bring its own session back, if that had ended', async () => {
    const ann = await api.newPerson()
    const phone = await api.signIn(ann.email)
    await api.call('logoutAll', undefined, ann)
    // For up to five seconds the authorizer lets its access token pass.
    await changePassword(phone, PASSWORD, NEW)
    expect(await refresh(phone)).toBe('invalid_refresh_token')
  })

  test('needs the current one, and changes nothing without', async () => {
    const ann = await api.newPerson()
    const phone = await api.signIn(ann.email)
    expect(await changePassword(ann, WRONG, NEW)).toMatchObject({ status: 403, code: 'wrong_password' })
    expect(await login(ann.email, PASSWORD)).toBe(200)
    expect(await refresh(phone)).toBe(200)
    expect(await api.isRevoked(ann)).toBe(false)
    await api.mailFunction.settled()
    expect(subjects(ann.email)).toHaveLength(1)
  })

  test.each([
    { name: 'too short', password: () => 'short', message: /at least 8/ },
    { name: 'too common', password: () => 'password123', message: /common/ },
    { name: 'made of the email', password: ({ email }: Person) => email, message: /made up of/ },
    { name: 'made of the name of the product', password: () => 'Example2026', message: /made up of/ },
  ])('says under newPassword that it is $name', async ({ password, message }) => {
    const ann = await api.newPerson()
    const { status, body } = await changePassword(ann, PASSWORD, password(ann))
    expect(status).toBe(400)
    expect(body).toMatchObject({
      code: 'invalid_request',
      errors: [{ path: 'newPassword', message: expect.stringMatching(message) }],
    })
    expect(await login(ann.email, PASSWORD)).toBe(200)
  })

  test('is one, should two come at the same time', async () => {
    const ann = await api.newPerson()
    const passwords = ['horse number one', 'horse number two', 'horse number three']
    const answers = await Promise.all(passwords.map((password) => changePassword(ann, PASSWORD, password)))
    const won = passwords.filter((_, index) => answers[index]!.status === 200)
    expect(won).toHaveLength(1)
    expect(await login(ann.email, won[0])).toBe(200)
  })

  test('is refused for a while after five wrong passwords, the right one too, and the sessions go on', async () => {
    const ann = await api.newPerson()
    for (let count = 0; count < 5; count++) expect((await changePassword(ann, WRONG, NEW)).status).toBe(403)
    const answer = await changePassword(ann, PASSWORD, NEW)
    expect(answer).toMatchObject({ status: 429, code: 'too_many_attempts' })
    expect(Number(answer.headers['Retry-After'])).toBeGreaterThan(0)
    // It is one count, whichever way the password is guessed.
    expect((await remove(ann)).status).toBe(429)
    expect((await changeEmail(ann, newEmail())).status).toBe(429)
    expect((await api.call('startTotp', { currentPassword: PASSWORD }, ann)).status).toBe(429)
    expect(await refresh(ann)).toBe(200)
    expect(await me(ann)).toMatchObject({ email: ann.email })
    moveClock(HOUR)
    expect((await changePassword(ann, PASSWORD, NEW)).status).toBe(200)
  })
})

describe('a change of the email', () => {
  test('counts when the new address is confirmed, and is told to the old one twice', async () => {
    const ann = await api.newPerson()
    const email = newEmail()
    const answer = await changeEmail(ann, email.toUpperCase())
    expect(answer.status).toBe(202)
    const confirmation = await nextToken(email)
    expect((await api.smtp.next(ann.email)).subject).toBe('Example: your email address is about to change')

    // Nothing has changed yet.
    expect(await me(ann)).toMatchObject({ email: ann.email, emailVerified: false })
    expect([await login(ann.email), await login(email)]).toEqual([200, 'invalid_credentials'])

    expect(await confirm(ann, confirmation)).toBe(204)
    expect(await me(ann)).toMatchObject({ email, emailVerified: true })
    expect([await login(ann.email), await login(email)]).toEqual(['invalid_credentials', 200])
    expect((await api.smtp.next(ann.email)).subject).toBe('Example: your email address was changed')
    // The sessions go on, with access tokens that know it.
    const { status, body } = await api.call('refresh', { refreshToken: ann.refreshToken })
    expect(status).toBe(200)
    expect(api.verify(body['token']!, new Date()).email_verified).toBe(true)
    // The old address is free again, and nobody's.
    expect((await api.newPerson(ann.email)).caller.id).not.toBe(ann.caller.id)
  })

  test('makes a link void that resets the password and went to the old address', async () => {
    const ann = await api.newPerson()
    const email = newEmail()
    const old = await forget(ann.email)
    await changeEmail(ann, email)
    const confirmation = await nextToken(email)
    expect(await confirm(ann, confirmation)).toBe(204)
    expect(await reset(old)).toBe(INVALID)
    expect(await login(email)).toBe(200)
    expect(await reset(await forget(email))).toBe(204)
  })

  test('voids such a link that is being made meanwhile', async () => {
    const [{ issuePasswordReset }, { findUserById }] = await Promise.all([
      import('../../user/Account.ts'),
      import('../../user/User.ts'),
    ])
    const ann = await api.newPerson()
    const before = (await findUserById(ann.caller.id))!
    const email = newEmail()
    await changeEmail(ann, email)
    expect(await confirm(ann, await nextToken(email))).toBe(204)
    expect(await reset(await issuePasswordReset(before, new Date()))).toBe(INVALID)
    expect(await reset(await forget(email))).toBe(204)
  })

  test('to the same address asks to verify it, and leaves a link that resets the password as it is', async () => {
    const ann = await api.newPerson()
    const token = await forget(ann.email)
    await changeEmail(ann, ann.email)
    const link = await nextToken(ann.email)
    expect(await confirm(ann, link)).toBe(INVALID)
    expect((await api.call('verifyEmail', { token: link, password: PASSWORD })).status).toBe(200)
    expect(await reset(token)).toBe(204)
    expect(subjects(ann.email)).not.toContain('Example: your email address was changed')
  })

  test('is confirmed by nobody but who is signed in to the account: the mailbox alone hands over nothing', async () => {
    const [attacker, other] = [await api.newPerson(), await api.newPerson()]
    const email = newEmail()
    await changeEmail(attacker, email)
    const token = await nextToken(email)
    // What the owner of the mailbox could do with the link, who has no account or another one.
    expect((await api.call('verifyEmail', { token, password: PASSWORD })).code).toBe(INVALID)
    expect(await confirm(other, token)).toBe(INVALID)
    expect(await stored(attacker.email)).toMatchObject({ emailVerified: false })
    expect((await api.call('withdrawEmail', { token })).status).toBe(204)
    expect(await confirm(attacker, token)).toBe(INVALID)
    expect(await me(attacker)).toMatchObject({ email: attacker.email })
  })

  test('is not confirmed in a session that has ended', async () => {
    const ann = await api.newPerson()
    const email = newEmail()
    await changeEmail(ann, email)
    const token = await nextToken(email)
    await api.call('logoutAll', undefined, ann)
    expect(await confirm(ann, token)).toBe('invalid_token')
    expect(await stored(email)).toBeNull()
  })

  test('answers the same for an address that is taken, which the confirmation refuses', async () => {
    const [ann, bo] = [await api.newPerson(), await api.newPerson()]
    const free = await changeEmail(ann, newEmail())
    const taken = await changeEmail(ann, bo.email)
    expect(taken).toEqual(free)
    const confirmation = await nextToken(bo.email)
    expect(await confirm(ann, confirmation)).toBe('email_taken')
    expect(await me(ann)).toMatchObject({ email: ann.email })
    expect(await me(bo)).toMatchObject({ email: bo.email, emailVerified: false })
    expect([await login(ann.email), await login(bo.email)]).toEqual([200, 200])
    // Once it is free, the link is good.
    await remove(bo)
    expect(await confirm(ann, confirmation)).toBe(204)
    expect(await me(ann)).toMatchObject({ email: bo.email })
  })

  test('of 20 users to one address is that of the first who confirms', async () => {
    const email = newEmail()
    const people = await Promise.all(Array.from({ length: 20 }, () => api.newPerson()))
    const tokens: string[] = []
    for (const person of people) {
      await changeEmail(person, email)
      tokens.push(await nextToken(email))
    }
    const answers = await Promise.all(tokens.map((token, index) => confirm(people[index]!, token)))
    expect(answers.filter((answer) => answer !== 'email_taken')).toEqual([204])
    expect(await login(email)).toBe(200)
  })

  test('is the last that was asked for', async () => {
    const ann = await api.newPerson()
    const [first, second] = [newEmail(), newEmail()]
    await changeEmail(ann, first)
    const older = await nextToken(first)
    await changeEmail(ann, second)
    const newer = await nextToken(second)
    expect(await confirm(ann, older)).toBe(INVALID)
    expect(await confirm(ann, newer)).toBe(204)
    expect(await me(ann)).toMatchObject({ email: second })
  })

  test('has 24 hours', async () => {
    const ann = await api.newPerson()
    const email = newEmail()
    moveClock(0)
    await changeEmail(ann, email)
    const confirmation = await nextToken(email)
    moveClock(24 * HOUR)
    expect(await confirm(ann, confirmation)).toBe(INVALID)
    expect(await me(ann)).toMatchObject({ email: ann.email })
  })

  test.each([
    { name: 'deleted', gone: (person: Person) => remove(person) },
    { name: 'disabled', gone: (person: Person) => update(person, { disabled: true }) },
  ])('of an account that was $name meanwhile does nothing', async ({ gone }) => {
    const ann = await api.newPerson()
    const email = newEmail()
    await changeEmail(ann, email)
    const confirmation = await nextToken(email)
    await gone(ann)
    expect(await confirm(ann, confirmation)).toBe('invalid_token')
    expect(await stored(email)).toBeNull()
  })

  test('that was asked for before the password was changed does nothing, even if its mail is late', async () => {
    const ann = await api.newPerson()
    const email = newEmail()
    await changeEmail(ann, email)
    await nextToken(email)
    expect(await reset(await forget(ann.email))).toBe(204)
    // Lambda has tried again: the thief who had asked for it would get the mail only now.
    await api.mail(api.mailFunction.events.findLast((event) => event.mail === 'emailChange')!)
    expect(api.smtp.waiting(email)).toBe(0)
    expect([await login(ann.email, NEW), await login(email, NEW)]).toEqual([200, 'invalid_credentials'])
  })

  test('needs the current password, and sends nothing without', async () => {
    const ann = await api.newPerson()
    const email = newEmail()
    expect(await changeEmail(ann, email, WRONG)).toMatchObject({ status: 403, code: 'wrong_password' })
    await api.mailFunction.settled()
    expect([subjects(email), subjects(ann.email)]).toEqual([[], ['Confirm your email address for Example']])
  })
})

describe('the deletion of an account', () => {
  test('ends its sessions and access tokens, and frees its email', async () => {
    const ann = await api.newPerson()
    const phone = await api.signIn(ann.email)
    const { status, body } = await remove(ann)
    expect([status, body]).toEqual([204, {}])
    for (const person of [ann, phone]) {
      expect(await refresh(person)).toBe('invalid_refresh_token')
      expect(await api.isRevoked(person)).toBe(true)
      expect(await me(person)).toMatchObject({ code: 'invalid_token' })
    }
    // The authorizers hear of each session, since there is no user left to ask for.
    const { sessions } = await api.revocationsSince(new Date(Date.now() - HOUR), 10_000)
    expect(sessions.flatMap(({ ids }) => ids)).toEqual(
      expect.arrayContaining([ann.caller.sessionId, phone.caller.sessionId]),
    )
    expect(await stored(ann.email)).toBeNull()
    expect(await login(ann.email)).toBe('invalid_credentials')
    expect((await api.call('verifyEmail', { token: ann.confirmation, password: PASSWORD })).code).toBe(
      INVALID,
    )
    expect((await api.smtp.next(ann.email)).subject).toBe('Example: your account was deleted')
    const again = await api.newPerson(ann.email)
    expect(again.caller.id).not.toBe(ann.caller.id)
    expect((await api.call('sessions', undefined, again)).body).toHaveLength(1)
  })

  test('needs the current password', async () => {
    const ann = await api.newPerson()
    expect(await remove(ann, WRONG)).toMatchObject({ status: 403, code: 'wrong_password' })
    expect(await me(ann)).toMatchObject({ email: ann.email })
    expect(await refresh(ann)).toBe(200)
  })

  test('leaves its links without a use', async () => {
    const ann = await api.newPerson()
    const token = await forget(ann.email)
    await remove(ann)
    expect(await reset(token)).toBe(INVALID)
    await api.call('resendVerification', { email: ann.email })
    await api.call('forgotPassword', { email: ann.email })
    await api.mailFunction.settled()
    expect(subjects(ann.email).at(-1)).toBe('Example: your account was deleted')
  })

  test('is refused to the last admin, who loses nothing', async () => {
    const [ann, bo] = [await api.newPerson(), await api.newPerson()]
    await update(ann, { roles: ['user', 'admin'] })
    const phone = await api.signIn(ann.email)
    expect(await remove(ann)).toMatchObject({ status: 409, code: 'last_admin' })
    expect(await refresh(phone)).toBe(200)
    expect(await api.isRevoked(phone)).toBe(false)
    await update(bo, { roles: ['user', 'admin'] })
    expect(await remove(ann)).toMatchObject({ status: 204 })
    expect(await remove(bo)).toMatchObject({ status: 409 })
    await update(bo, { roles: ['user'] })
  })

  test('leaves one of two admins who go at the same time', async () => {
    const admins = await Promise.all(Array.from({ length: 4 }, () => api.newPerson()))
    for (const admin of admins) await update(admin, { roles: ['user', 'admin'] })
    await Promise.all(admins.map((admin) => remove(admin)))
    const left = await users((collection) => collection.find({ roles: 'admin' }).toArray())
    expect(left.length).toBeGreaterThanOrEqual(1)
    for (const { email } of left) await update({ email: String(email) }, { roles: ['user'] })
  })

  test('answers who comes twice that the token is no good', async () => {
    const ann = await api.newPerson()
    await remove(ann)
    expect((await remove(ann)).code).toBe('invalid_token')
    expect((await changePassword(ann, PASSWORD, NEW)).code).toBe('invalid_token')
    expect((await changeEmail(ann, newEmail())).code).toBe('invalid_token')
  })
})

describe('a body', () => {
  const TOKEN = `${'f'.repeat(24)}.${'A'.repeat(43)}`
  const ROUTES = {
    verifyEmail: { token: TOKEN, password: PASSWORD },
    withdrawEmail: { token: TOKEN },
    confirmMyEmail: { token: TOKEN },
    resendVerification: { email: 'nobody@example.com' },
    forgotPassword: { email: 'nobody@example.com' },
    resetMyPassword: { token: TOKEN, password: NEW },
    loginMfa: { challenge: 'mfa.x', code: '123456' },
    updateMe: { name: 'Anna' },
    changeMyPassword: { currentPassword: PASSWORD, newPassword: NEW },
    changeMyEmail: { email: 'nobody@example.com', currentPassword: PASSWORD },
    deleteMe: { currentPassword: PASSWORD },
    startTotp: { currentPassword: PASSWORD },
    confirmTotp: { code: '123456' },
    disableTotp: { currentPassword: PASSWORD, code: '123456' },
    newRecoveryCodes: { currentPassword: PASSWORD, code: '123456' },
  } as const
  const ODD: unknown[] = [null, 1, true, [], {}, ['x'], { $ne: null }, { $gt: '' }]

  let ann: Person
  beforeAll(async () => {
    ann = await api.newPerson()
  })

  const routes = Object.entries(ROUTES) as [keyof typeof ROUTES, Record<string, string>][]
  test.each(routes)(
    'of %s with odd types, without a field or with one more is refused',
    async (route, body) => {
      const before = await stored(ann.email)
      const events = api.mailFunction.events.length
      for (const [field, value] of Object.entries(body)) {
        for (const odd of [undefined, [value], ...ODD]) {
          const json = { ...body, [field]: odd }
          const answer = await api.call(route, json, ann)
          expect([json, answer.body]).toEqual([
            json,
            expect.objectContaining({
              code: 'invalid_request',
              errors: [expect.objectContaining({ path: field })],
            }),
          ])
        }
      }
      for (const [field, value] of Object.entries({
        roles: ['admin'],
        emailVerified: true,
        $set: {},
        userId: 'x',
      })) {
        const { body: answer } = await api.call(route, { ...body, [field]: value }, ann)
        expect(answer).toMatchObject({ code: 'invalid_request', errors: [{ path: field }] })
      }
      for (const json of [null, [], 'text', 1, [body]])
        expect((await api.call(route, json, ann)).code).toBe('invalid_request')
      expect((await api.call(route, undefined, ann)).status).toBeGreaterThanOrEqual(400)
      expect((await api.call(route, '', ann)).status).toBe(400)
      // Nothing was counted, changed or sent.
      expect(await stored(ann.email)).toEqual(before)
      expect(api.mailFunction.events.length).toBe(events)
    },
  )
})

test('nothing secret of all this is in the log', () => {
  expect(api.logged().some(({ event }) => event === 'user_deleted')).toBe(true)
  expect(api.secretsInLog()).toEqual([])
})
