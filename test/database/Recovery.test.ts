/**
 * Mails with a link, from the request to the end of what the link does: real SMTP, real database.
 */
import { type Api, PASSWORD, type Person, startAccounts, withLimits } from '../support/account.ts'
import { HOUR, MINUTE, moveClock, resetClock } from '../support/clock.ts'
import { onDatabase } from '../support/database.ts'

let api: Api
beforeAll(async () => {
  api = await startAccounts(
    withLimits({
      forgotsPerAddress: 1000,
      resendsPerAddress: 1000,
      mailsPerEmail: 100,
      forgotsPerEmail: 100,
    }),
  )
})
afterAll(() => api.stop())
afterEach(resetClock)

const NEW = 'another horse on the sun'
const INVALID = 'invalid_one_time_token'

const users = <Result>(work: (users: UserCollection) => Promise<Result>) =>
  onDatabase(process.env['DB']!, (database) => work(database.collection('users')))
type UserCollection = ReturnType<Parameters<Parameters<typeof onDatabase>[1]>[0]['collection']>

const stored = (email: string) => users((collection) => collection.findOne({ email }))
const disable = (email: string) =>
  users((collection) => collection.updateOne({ email }, { $set: { disabled: true } }))

/** The token in the next mail with a link. */
async function nextToken(email: string): Promise<string> {
  const { token } = await api.smtp.next(email)
  await api.mailFunction.settled()
  return token ?? nextToken(email)
}

/** Asks for a link, and gives its token. */
async function askFor(route: 'forgotPassword' | 'resendVerification', email: string): Promise<string> {
  await api.call(route, { email })
  return nextToken(email)
}
const forget = (email: string) => askFor('forgotPassword', email)
const resend = (email: string) => askFor('resendVerification', email)

const verify = async (token: unknown, password = PASSWORD, address = '192.0.2.1') =>
  (await api.call('verifyEmail', { token, password }, { address })).code
const reset = async (token: unknown, password = NEW) =>
  (await api.call('resetMyPassword', { token, password })).code
const login = async (email: string, password: string) => (await api.call('login', { email, password })).code
const verified = async (person: Person) => (await api.call('me', undefined, person)).body['emailVerified']

/** Tokens that are no good, made of good ones. */
const ALTERED: { name: string; alter: (token: string, another: string) => unknown }[] = [
  { name: 'another user', alter: (token, another) => `${another.split('.')[0]}.${token.split('.')[1]}` },
  { name: 'a user who is not there', alter: (token) => token.replace(/^\w{24}/, 'f'.repeat(24)) },
  {
    name: 'the secret of another user',
    alter: (token, another) => `${token.split('.')[0]}.${another.split('.')[1]}`,
  },
  {
    name: 'another first character',
    alter: (token) => token.replace(/\.(.)/, (_, c: string) => (c === 'A' ? '.B' : '.A')),
  },
  { name: 'another last character', alter: (token) => token.replace(/.$/, (c) => (c === 'A' ? 'B' : 'A')) },
  {
    // Two bits of the last character say nothing.
    name: 'another spelling of the last character',
    alter: (token) => {
      const bytes = Buffer.from(token.split('.')[1]!, 'base64url')
      const letters = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
      const last = letters.indexOf(token.at(-1)!)
      const other = token.slice(0, -1) + letters[last ^ 1]
      expect(Buffer.from(other.split('.')[1]!, 'base64url')).toEqual(bytes)
      return other
    },
  },
  { name: 'no secret', alter: (token) => token.split('.')[0] },
  { name: 'an empty secret', alter: (token) => `${token.split('.')[0]}.` },
  { name: 'no user', alter: (token) => token.split('.')[1] },
  { name: 'the user in capitals', alter: (token) => token.replace(/^\w{24}/, (id) => `${id.slice(1)}A`) },
  { name: 'a line break at its end', alter: (token) => `${token}\n` },
  { name: 'a character more', alter: (token) => `${token}A` },
  { name: 'a character less', alter: (token) => token.slice(0, -1) },
  { name: 'padding', alter: (token) => `${token}=` },
  { name: 'a third part', alter: (token) => `${token}.x` },
  { name: 'nothing at all', alter: () => '' },
  { name: 'an access token', alter: () => 'eyJhbGciOiJFUzI1NiJ9.e30.AAAA' },
]

describe('an email', () => {
  test('is verified by the link in the mail and the password, once, which signs in and ends what was before', async () => {
    const ann = await api.newPerson()
    expect(await verified(ann)).toBe(false)
    expect(api.verify(ann.token, new Date()).email_verified).toBe(false)

    const answer = await api.call('verifyEmail', { token: ann.confirmation, password: PASSWORD })
    expect(answer).toMatchObject({ status: 200, body: { auth: true, tokenType: 'Bearer', expiresIn: 900 } })
    const now = api.signedIn(ann.email, answer.body)
    expect(await verified(now)).toBe(true)
    expect(api.verify(now.token, new Date()).email_verified).toBe(true)
    expect(await api.isRevoked(now)).toBe(false)
    // The sessions of before may be those of a stranger who has registered.
    expect(await api.isRevoked(ann)).toBe(true)
    expect((await api.call('refresh', { refreshToken: ann.refreshToken })).code).toBe('invalid_refresh_token')
    expect((await api.call('sessions', undefined, now)).body).toHaveLength(1)
    expect(api.verify((await api.signIn(ann.email)).token, new Date()).email_verified).toBe(true)

    expect(await verify(ann.confirmation)).toBe(INVALID)
  })

  test('somebody else’s address that an attacker has registered is not verified by its owner’s click', async () => {
    const { email, ...attacker } = await api.newPerson()
    const link = await resend(email)
    expect(await verify(link, 'what its owner would choose')).toBe('invalid_credentials')
    expect(await stored(email)).toMatchObject({ emailVerified: false })
    // With a new password the account starts over: nothing that was prepared is left.
    await users((collection) =>
      collection.updateOne(
        { email },
        {
          $set: {
            roles: ['user', 'admin'],
            totp: { secret: 'of the attacker', lastStep: 1 },
            totpEnrolment: { secret: 'of the attacker', expiresAt: new Date() },
            recoveryCodes: ['of the attacker'],
          },
        },
      ),
    )
    expect(await reset(await forget(email))).toBe(204)
    const now = await stored(email)
    expect(now).toMatchObject({ emailVerified: true, roles: ['user'] })
    for (const field of ['totp', 'totpEnrolment', 'recoveryCodes', 'emailConfirmation'])
      expect(now).not.toHaveProperty(field)
    expect(await login(email, PASSWORD)).toBe('invalid_credentials')
    expect((await api.call('refresh', { refreshToken: attacker.refreshToken })).code).toBe(
      'invalid_refresh_token',
    )
    expect(await login(email, NEW)).toBe(200)
  })

  test('is verified after a wrong password too, which counts as a failed login', async () => {
    const { email, confirmation } = await api.newPerson()
    for (let count = 0; count < 5; count++)
      expect(await verify(confirmation, 'a wrong horse')).toBe('invalid_credentials')
    expect(await login(email, PASSWORD)).toBe('too_many_attempts')
    expect(await verify(confirmation)).toBe('too_many_attempts')
    moveClock(MINUTE)
    expect(await verify(confirmation)).toBe(200)
  })

  test('that somebody else has registered can be withdrawn by its owner, and then everything is gone', async () => {
    const ann = await api.newPerson()
    expect((await api.call('withdrawEmail', { token: ann.confirmation })).status).toBe(204)
    expect(await stored(ann.email)).toBeNull()
    expect((await api.call('refresh', { refreshToken: ann.refreshToken })).code).toBe('invalid_refresh_token')
    expect(await api.isRevoked(ann)).toBe(true)
    expect((await api.call('withdrawEmail', { token: ann.confirmation })).code).toBe(INVALID)
    expect((await api.newPerson(ann.email)).caller.id).not.toBe(ann.caller.id)
  })

  test('is not withdrawn by opening the link, nor once it is verified', async () => {
    const ann = await api.newPerson()
    expect(await verify(ann.confirmation)).toBe(200)
    expect((await api.call('withdrawEmail', { token: ann.confirmation })).code).toBe(INVALID)
    expect(await stored(ann.email)).toMatchObject({ emailVerified: true })
  })

  test.each([
    { name: 'just before 24 hours are over', later: 24 * HOUR - MINUTE, want: 200 },
    { name: 'after 24 hours', later: 24 * HOUR, want: INVALID },
  ])('$name its link answers $want', async ({ later, want }) => {
    const ann = await api.newPerson()
    moveClock(later)
    expect(await verify(ann.confirmation)).toBe(want)
    expect(await stored(ann.email)).toMatchObject({ emailVerified: want === 200 })
  })

  test('can be verified by the newest link only', async () => {
    const ann = await api.newPerson()
    const second = await resend(ann.email)
    const third = await resend(ann.email)
    for (const token of [ann.confirmation, second]) expect(await verify(token)).toBe(INVALID)
    expect(await verified(ann)).toBe(false)
    expect(await verify(third)).toBe(200)
  })

  test.each(ALTERED)('is not verified by a token with $name', async ({ alter }) => {
    const [ann, bo] = [await api.newPerson(), await api.newPerson()]
    expect(await verify(alter(ann.confirmation, bo.confirmation))).toBe(INVALID)
    for (const person of [ann, bo]) expect(await verified(person)).toBe(false)
    expect(await verify(ann.confirmation)).toBe(200)
  })

  test('is not verified by a link that resets a password, which stays good', async () => {
    const ann = await api.newPerson()
    const token = await forget(ann.email)
    expect(await verify(token)).toBe(INVALID)
    expect(await verified(ann)).toBe(false)
    expect(await reset(token)).toBe(204)
  })

  test('of a disabled account is not verified', async () => {
    const ann = await api.newPerson()
    await disable(ann.email)
    expect(await verify(ann.confirmation)).toBe(INVALID)
    expect(await stored(ann.email)).toMatchObject({ emailVerified: false })
  })

  test('asked for a new link, says the same of every email, and mails only where one is missing', async () => {
    const [waiting, verified_, disabled] = [
      await api.newPerson(),
      await api.newPerson(),
      await api.newPerson(),
    ]
    await verify(verified_.confirmation)
    await disable(disabled.email)
    const before = api.smtp.received.length
    const answers = []
    for (const email of [waiting.email, verified_.email, disabled.email, 'nobody@example.com'])
      answers.push(await api.call('resendVerification', { email }))
    await api.mailFunction.settled()
    expect(answers[0]).toMatchObject({ status: 202 })
    for (const answer of answers) expect(answer).toEqual(answers[0])
    expect(api.smtp.received.slice(before).map(({ to }) => to)).toEqual([waiting.email])
  })

  test('of 20 who follow one link at the same time, one is told that it was good', async () => {
    const { confirmation } = await api.newPerson()
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, index) => verify(confirmation, PASSWORD, `192.0.2.${index}`)),
    )
    expect(answers.filter((answer) => answer !== INVALID)).toEqual([200])
  })
})

describe('a forgotten password', () => {
  test('is replaced by the link in the mail, which ends all sessions and begins none', async () => {
    const ann = await api.newPerson()
    const phone = await api.signIn(ann.email)
    expect(await api.call('forgotPassword', { email: ann.email })).toMatchObject({ status: 202 })
    const { token } = await api.smtp.next(ann.email)
    // Asking for a link changes nothing: anybody can.
    expect(await login(ann.email, PASSWORD)).toBe(200)
    expect(await api.isRevoked(ann)).toBe(false)

    const answer = await api.call('resetMyPassword', { token, password: NEW })
    expect([answer.status, answer.body, answer.headers['Set-Cookie']]).toEqual([204, {}, undefined])
    for (const { refreshToken } of [ann, phone])
      expect((await api.call('refresh', { refreshToken })).code).toBe('invalid_refresh_token')
    for (const person of [ann, phone]) expect(await api.isRevoked(person)).toBe(true)
    expect(await login(ann.email, PASSWORD)).toBe('invalid_credentials')
    const back = await api.signIn(ann.email, NEW)
    expect((await api.call('sessions', undefined, back)).body).toHaveLength(1)
    expect((await api.smtp.next(ann.email)).subject).toBe('Example: your password was reset')
  })

  test('asked for, says the same of every email, and mails only to enabled accounts', async () => {
    const [verified_, waiting, disabled] = [
      await api.newPerson(),
      await api.newPerson(),
      await api.newPerson(),
    ]
    await verify(verified_.confirmation)
    await disable(disabled.email)
    const before = api.smtp.received.length
    const answers = []
    for (const email of [verified_.email, waiting.email, disabled.email, 'nobody@example.com'])
      answers.push(await api.call('forgotPassword', { email }))
    await api.mailFunction.settled()
    expect(answers[0]).toMatchObject({ status: 202 })
    for (const answer of answers) expect(answer).toEqual(answers[0])
    const recipients = api.smtp.received.slice(before).map(({ to }) => to)
    expect(recipients.toSorted()).toEqual([verified_.email, waiting.email].toSorted())
  })

  test('is found by the email in any spelling', async () => {
    const ann = await api.newPerson()
    await api.call('forgotPassword', { email: `  ${ann.email.toUpperCase()} ` })
    expect(await reset(await nextToken(ann.email))).toBe(204)
  })

  test.each([
    { name: 'just before 30 minutes are over', later: 30 * MINUTE - 1000, want: 204 },
    { name: 'after 30 minutes', later: 30 * MINUTE, want: INVALID },
  ])('$name its link answers $want', async ({ later, want }) => {
    const ann = await api.newPerson()
    moveClock(0)
    const token = await forget(ann.email)
    moveClock(later)
    expect(await reset(token)).toBe(want)
    expect(await login(ann.email, NEW)).toBe(want === 204 ? 200 : 'invalid_credentials')
  })

  test('is replaced once by one link', async () => {
    const ann = await api.newPerson()
    const token = await forget(ann.email)
    expect(await reset(token)).toBe(204)
    expect(await reset(token, 'a third horse on a star')).toBe(INVALID)
    expect(await login(ann.email, NEW)).toBe(200)
  })

  test('is replaced by the newest link only', async () => {
    const ann = await api.newPerson()
    const older = await forget(ann.email)
    const newer = await forget(ann.email)
    expect(await reset(older)).toBe(INVALID)
    expect(await login(ann.email, PASSWORD)).toBe(200)
    expect(await reset(newer)).toBe(204)
  })

  test('is replaced by one of 20 who come with one link at the same time', async () => {
    const ann = await api.newPerson()
    const token = await forget(ann.email)
    const passwords = Array.from({ length: 20 }, (_, index) => `horse number ${index} on the moon`)
    const answers = await Promise.all(passwords.map((password) => reset(token, password)))
    expect(answers.filter((answer) => answer !== INVALID)).toEqual([204])
    expect(await login(ann.email, passwords[answers.indexOf(204)]!)).toBe(200)
    await api.mailFunction.settled()
    expect(
      api.smtp.received.filter(({ to, subject }) => to === ann.email && /was reset/.test(subject)),
    ).toHaveLength(1)
  })

  test.each([
    { name: 'too short', password: () => 'short' },
    { name: 'too common', password: () => 'password123' },
    { name: 'made of the email', password: ({ email }: Person) => email },
    { name: 'the name of the product', password: () => 'Example2026' },
    { name: 'of another type', password: () => ({ $ne: null }) },
  ])('is not replaced by one that is $name, and the link stays good', async ({ password }) => {
    const ann = await api.newPerson()
    const token = await forget(ann.email)
    const { body } = await api.call('resetMyPassword', { token, password: password(ann) })
    expect(body).toMatchObject({ code: 'invalid_request', errors: [{ path: 'password' }] })
    expect(await login(ann.email, PASSWORD)).toBe(200)
    expect(await reset(token)).toBe(204)
  })

  test('of nobody is not judged: a bad link with a bad password is a bad link', async () => {
    expect(await reset(`${'f'.repeat(24)}.${'A'.repeat(43)}`, 'short')).toBe(INVALID)
  })

  test.each(ALTERED)('is not replaced by a token with $name', async ({ alter }) => {
    const [ann, bo] = [await api.newPerson(), await api.newPerson()]
    const [token, another] = [await forget(ann.email), await forget(bo.email)]
    expect(await reset(alter(token, another))).toBe(INVALID)
    for (const { email } of [ann, bo]) expect(await login(email, PASSWORD)).toBe(200)
    expect(await reset(token)).toBe(204)
  })

  test('is not replaced by a link that verifies an email, which stays good', async () => {
    const ann = await api.newPerson()
    expect(await reset(ann.confirmation)).toBe(INVALID)
    expect(await login(ann.email, PASSWORD)).toBe(200)
    expect(await verify(ann.confirmation)).toBe(200)
  })

  test('is not replaced once the account is disabled', async () => {
    const ann = await api.newPerson()
    const token = await forget(ann.email)
    await disable(ann.email)
    expect(await reset(token)).toBe(INVALID)
    await users((collection) => collection.updateOne({ email: ann.email }, { $set: { disabled: false } }))
    expect(await login(ann.email, PASSWORD)).toBe(200)
  })

  test('replaced, leaves the second factor as it is', async () => {
    const ann = await api.newPerson()
    const { code } = await api.withApp(ann)
    expect(await reset(await forget(ann.email))).toBe(204)
    const { body } = await api.call('login', { email: ann.email, password: NEW })
    expect(body['code']).toBe('mfa_required')
    expect(await api.call('loginMfa', { challenge: body['challenge'], code: code() })).toMatchObject({
      status: 200,
    })
  })

  test('replaced, verifies the email that the link was sent to', async () => {
    const ann = await api.newPerson()
    await reset(await forget(ann.email))
    expect(await verified(ann)).toBe(true)
    expect(api.verify((await api.signIn(ann.email, NEW)).token, new Date()).email_verified).toBe(true)
  })

  test('replaced, opens the door for its owner where others have guessed too often', async () => {
    const ann = await api.newPerson()
    for (let count = 0; count < 5; count++) await login(ann.email, 'a wrong horse')
    expect(await login(ann.email, PASSWORD)).toBe('too_many_attempts')
    expect(await reset(await forget(ann.email))).toBe(204)
    expect(await login(ann.email, NEW)).toBe(200)
  })

  test('and an email to verify: their tokens are not in the database', async () => {
    const ann = await api.newPerson()
    const tokens = [ann.confirmation, await forget(ann.email)]
    const text = JSON.stringify(await stored(ann.email))
    expect(text).toMatch(/emailConfirmation.*passwordReset/)
    for (const token of tokens) expect(text).not.toContain(token.split('.')[1])
  })
})

test('nothing secret of all this is in the log', () => {
  expect(api.logged().some(({ event }) => event === 'authn_password_reset')).toBe(true)
  expect(api.secretsInLog()).toEqual([])
})
