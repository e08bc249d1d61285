/**
 * Registration where a login needs a verified email (EMAIL_VERIFICATION=required), and where nobody shall learn which
 * emails have an account (REGISTRATION=private).
 */
import type * as Support from '../support/account.ts'
import { onDatabase } from '../support/database.ts'

type Api = Support.Api
const PASSWORD = 'a horse on the moon'
const OTHER = 'another horse on the sun'

let api: Api
/** Loads everything anew, with other settings. */
async function start(settings: Record<string, string>): Promise<void> {
  jest.resetModules()
  const { startAccounts, withLimits } = await import('../support/account.ts')
  const limits = withLimits({
    mailsPerEmail: 100,
    forgotsPerAddress: 1000,
    resendsPerAddress: 1000,
    loginFailures: 20,
  })
  api = await startAccounts({ ...limits, ...settings })
}
afterAll(() => api.stop())

let people = 0
const newEmail = () => `person${++people}@example.com`

const register = (email: string, password = PASSWORD, name = 'Ann', headers = {}) =>
  api.call('register', { name, email, password }, { headers })
const login = (email: string, password = PASSWORD) => api.call('login', { email, password })
const verify = (token: string | undefined) => api.call('verifyEmail', { token, password: PASSWORD })

const count = (name: string) =>
  onDatabase(process.env['DB']!, (database) => database.collection(name).countDocuments())
const stored = (email: string) =>
  onDatabase(process.env['DB']!, (database) => database.collection('users').findOne({ email }))

/** How an answer looks to somebody who is looking for a difference; each has an id of its own in a deployment. */
const seen = ({ status, body, headers }: Awaited<ReturnType<Api['call']>>) => ({ status, body, headers })

describe('where a login needs a verified email', () => {
  beforeAll(() => start({ EMAIL_VERIFICATION: 'required', REGISTRATION: 'open' }))
  afterAll(() => api.stop())

  test('registration answers 202 and begins no session', async () => {
    const email = newEmail()
    const sessions = await count('sessions')
    const { status, body, headers } = await register(email, PASSWORD, 'Ann', { 'Refresh-Token-In': 'cookie' })
    expect([status, body]).toEqual([202, { message: expect.stringContaining('mail') }])
    expect(headers).not.toHaveProperty('Set-Cookie')
    expect(await count('sessions')).toBe(sessions)
  })

  test('a login is refused until then, and only who knows the password hears why', async () => {
    const email = newEmail()
    await register(email)
    const { token } = await api.smtp.next(email)
    expect(await login(email)).toMatchObject({ status: 403, code: 'email_not_verified' })
    const wrong = await login(email, OTHER)
    expect(wrong).toMatchObject({ status: 401, code: 'invalid_credentials' })
    expect(seen(wrong)).toEqual(seen(await login('nobody@example.com', OTHER)))
    expect(await count('sessions')).toBe(0)

    expect(await verify(token)).toMatchObject({ status: 200 })
    const { status, body } = await login(email)
    expect(status).toBe(200)
    expect(api.verify(body['token']!, new Date()).email_verified).toBe(true)
  })

  test('a new link comes at request', async () => {
    const email = newEmail()
    await register(email)
    await api.smtp.next(email)
    await api.call('resendVerification', { email })
    expect(await verify((await api.smtp.next(email)).token)).toMatchObject({ status: 200 })
    expect(await login(email)).toMatchObject({ status: 200 })
  })

  test('a link that resets the password verifies the email too', async () => {
    const email = newEmail()
    await register(email)
    await api.smtp.next(email)
    await api.call('forgotPassword', { email })
    const { token } = await api.smtp.next(email)
    expect((await api.call('resetMyPassword', { token, password: OTHER })).status).toBe(204)
    expect(await login(email, OTHER)).toMatchObject({ status: 200 })
  })

  test('an email that is taken is a 409, as elsewhere', async () => {
    const email = newEmail()
    await register(email)
    expect(await register(email)).toMatchObject({ status: 409, code: 'email_taken' })
  })

  test('a disabled account hears nothing of its email', async () => {
    const email = newEmail()
    await register(email)
    await onDatabase(process.env['DB']!, (database) =>
      database.collection('users').updateOne({ email }, { $set: { disabled: true } }),
    )
    expect(await login(email)).toMatchObject({ code: 'invalid_credentials' })
  })

  test('nothing secret of all this is in the log', () => {
    expect(api.logged().some(({ reason }) => reason === 'email_not_verified')).toBe(true)
    expect(api.secretsInLog()).toEqual([])
  })
})

describe('private registration', () => {
  beforeAll(() => start({ EMAIL_VERIFICATION: 'optional', REGISTRATION: 'private' }))

  /** An account whose email is verified. */
  const newAccount = async () => {
    const email = newEmail()
    await register(email)
    await verify((await api.smtp.next(email)).token)
    return email
  }

  test('answers the same for a new email, one that waits and one that is taken, and mails its owner', async () => {
    const [taken, fresh] = [await newAccount(), newEmail()]
    const answers = [await register(fresh), await register(fresh), await register(taken)]
    expect(answers[0]!.status).toBe(202)
    for (const answer of answers) expect(seen(answer)).toEqual(seen(answers[0]!))
    await api.mailFunction.settled()
    const mails = [await api.smtp.next(fresh), await api.smtp.next(fresh), await api.smtp.next(taken)]
    expect(mails.map(({ subject }) => subject).toSorted()).toEqual([
      'Confirm your email address for Example',
      'You already have an account with Example',
      'You already have an account with Example',
    ])
    // No link in it does anything.
    expect(mails.filter(({ token }) => token)).toHaveLength(1)
  })

  test.each([
    { name: 'a bad password', json: { password: 'short' } },
    { name: 'a common password', json: { password: 'password123' } },
    { name: 'an empty name', json: { name: '' } },
    { name: 'an unknown field', json: { roles: ['admin'] } },
  ])('answers the same to $name, whosoever the email is', async ({ json }) => {
    const [taken, fresh] = [await newAccount(), newEmail()]
    const answers = []
    for (const email of [taken, fresh])
      answers.push(await api.call('register', { name: 'Ann', email, password: PASSWORD, ...json }))
    expect(answers[0]).toMatchObject({ status: 400 })
    expect(seen(answers[1]!)).toEqual(seen(answers[0]!))
  })

  test('sets no cookie and begins no session', async () => {
    const before = await count('sessions')
    const { headers } = await register(newEmail(), PASSWORD, 'Ann', { 'Refresh-Token-In': 'cookie' })
    expect(headers).not.toHaveProperty('Set-Cookie')
    expect(await count('sessions')).toBe(before)
  })

  test('refuses a login before the email is verified as it refuses a wrong password', async () => {
    const email = newEmail()
    await register(email)
    const { token } = await api.smtp.next(email)
    const answers = [
      await login(email),
      await login(email, OTHER),
      await login(newEmail()),
      await login(await newAccount(), OTHER),
    ]
    expect(answers[0]).toMatchObject({ status: 401, code: 'invalid_credentials' })
    for (const answer of answers) expect(seen(answer)).toEqual(seen(answers[0]!))
    expect(await verify(token)).toMatchObject({ status: 200 })
    expect(await login(email)).toMatchObject({ status: 200 })
  })

  test('keeps what the first has chosen, however often others register the email', async () => {
    const email = newEmail()
    await register(email)
    const { token } = await api.smtp.next(email)
    await api.mailFunction.settled()
    const before = await stored(email)
    await register(email, OTHER, 'Eve')
    await register(email.toUpperCase(), OTHER, 'Eve')
    await api.mailFunction.settled()
    expect(await stored(email)).toEqual({ ...before, registrationTriedAt: expect.any(Date) })
    expect(await verify(token)).toMatchObject({ status: 200 })
    expect(await login(email, OTHER)).toMatchObject({ status: 401 })
    const person = api.signedIn(email, (await login(email)).body)
    expect((await api.call('me', undefined, person)).body['name']).toBe('Ann')
  })

  test('leaves an account that is in use as it is', async () => {
    const email = await newAccount()
    const person = api.signedIn(email, (await login(email)).body)
    await register(email, OTHER, 'Eve')
    expect(await login(email, OTHER)).toMatchObject({ status: 401 })
    expect((await api.call('refresh', { refreshToken: person.refreshToken })).status).toBe(200)
    expect((await api.call('me', undefined, person)).body).toMatchObject({ name: 'Ann', emailVerified: true })
  })

  test('lets the owner of an email that somebody else has registered in, by a new password', async () => {
    const email = newEmail()
    await register(email, 'the password of Eve', 'Eve')
    await register(email)
    await api.mailFunction.settled()
    await api.call('forgotPassword', { email })
    await api.mailFunction.settled()
    const { token } = api.smtp.received.findLast(({ to }) => to === email)!
    expect((await api.call('resetMyPassword', { token, password: OTHER })).status).toBe(204)
    expect(await login(email, 'the password of Eve')).toMatchObject({ status: 401 })
    expect(await login(email, OTHER)).toMatchObject({ status: 200 })
  })

  test('of 20 at the same time makes one account, and answers all alike', async () => {
    const email = newEmail()
    const answers = await Promise.all(Array.from({ length: 20 }, () => register(email)))
    for (const answer of answers) expect(seen(answer)).toEqual(seen(answers[0]!))
    expect(answers[0]!.status).toBe(202)
    await api.mailFunction.settled()
    const subjects = api.smtp.received.filter(({ to }) => to === email).map(({ subject }) => subject)
    expect(subjects.filter((subject) => subject.startsWith('Confirm'))).toHaveLength(1)
    expect(subjects).toContain('You already have an account with Example')
  })

  test('shows nobody in the public list before the email is verified', async () => {
    const [taken, fresh] = [await newAccount(), newEmail()]
    for (const email of [taken, fresh]) await register(email, PASSWORD, `Mallory ${email}`)
    const names = async () =>
      (
        (await api.call('users', undefined, { query: { limit: '100' } })).body as unknown as {
          name: string
        }[]
      ).map(({ name }) => name)
    expect(await names()).not.toContain(`Mallory ${fresh}`)
    await verify((await api.smtp.next(fresh)).token)
    expect(await names()).toContain(`Mallory ${fresh}`)
  })

  test('nothing secret of all this is in the log', () => {
    expect(api.logged().some(({ event }) => event === 'user_created')).toBe(true)
    expect(api.secretsInLog()).toEqual([])
  })
})
