/**
 * The second factor, with the vectors of RFC 6238 and through all routes: enrolment, login, recovery codes, its end.
 */
import { createCipheriv, createHmac, randomBytes } from 'node:crypto'
import { Secret, TOTP, URI } from 'otpauth'
import type { User } from '../../user/UserModel.ts'
import { type Api, PASSWORD, type Person, startAccounts, withLimits } from '../support/account.ts'
import { HOUR, MINUTE, moveClock, resetClock, stopClock } from '../support/clock.ts'
import { onDatabase } from '../support/database.ts'

const PRODUCT = 'Müller & Söhne 100% / "auth"'
const STEP = 30_000

let api: Api
beforeAll(async () => {
  api = await startAccounts({
    PRODUCT_NAME: PRODUCT,
    ...withLimits({ mailsPerEmail: 100, forgotsPerAddress: 1000, loginFailures: 5, confirmationFailures: 5 }),
  })
})
afterAll(() => api.stop())
/** In the middle of a step, and there it stays until a test moves it. */
beforeEach(() => stopClock(Math.floor(Date.now() / STEP) * STEP + STEP / 2))
afterEach(resetClock)

const PEPPER = Buffer.from(process.env['PEPPER']!, 'base64url')
const NEW = 'another horse on the sun'
const WRONG = 'a wrong horse'

type Users = ReturnType<Parameters<Parameters<typeof onDatabase>[1]>[0]['collection']>
const users = <Result>(work: (users: Users) => Promise<Result>) =>
  onDatabase(process.env['DB']!, (database) => work(database.collection('users')))
const stored = (email: string) => users((collection) => collection.findOne({ email }))
const update = (email: string, change: object) =>
  users((collection) => collection.updateOne({ email }, { $set: change }))

const login = (email: string, password = PASSWORD) => api.call('login', { email, password })
const mfa = (challenge: unknown, code: unknown, options = {}) =>
  api.call('loginMfa', { challenge, code }, options)
const refresh = async (refreshToken: unknown) => (await api.call('refresh', { refreshToken })).code

/** Logs in as far as the password goes. */
async function challengeOf(email: string, password = PASSWORD): Promise<string> {
  const { body } = await login(email, password)
  if (body['code'] !== 'mfa_required') throw new Error(`login answers ${body['code']}`)
  return body['challenge']!
}

/** Logs in; the status, or the code of the problem. */
const enter = async (email: string, code: unknown, password = PASSWORD) =>
  (await mfa(await challengeOf(email, password), code)).code

const start = (person: Person, currentPassword = PASSWORD) =>
  api.call('startTotp', { currentPassword }, person)
const confirm = (person: Person, code: string) => api.call('confirmTotp', { code }, person)
const disable = (person: Person, code: string, currentPassword = PASSWORD) =>
  api.call('disableTotp', { currentPassword, code }, person)
const replace = (person: Person, code: string, currentPassword = PASSWORD) =>
  api.call('newRecoveryCodes', { currentPassword, code }, person)

/** Somebody with an app that is set up. The first code that works is that of this moment. */
async function newOwner() {
  const person = await api.newPerson()
  return { ...person, ...(await api.withApp(person)) }
}

const subjects = (email: string) =>
  api.smtp.received.filter(({ to }) => to === email).map(({ subject }) => subject.replace(`${PRODUCT}: `, ''))

/** A code that is not right, whatever the time. */
const wrongCode = (code: (later?: number) => string) =>
  ['000000', '000001', '000002', '000003', '000004', '000005'].find(
    (text) => ![-2, -1, 0, 1, 2].some((later) => code(later) === text),
  )!

describe('codes of an app', () => {
  /** Stores a secret as user/SecondFactor.ts does. */
  function encrypted(base32: string, userId: string): string {
    const key = createHmac('sha256', PEPPER).update('second factor').digest()
    const nonce = randomBytes(12)
    const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(Buffer.from(userId))
    const text = Buffer.concat([cipher.update(base32, 'utf8'), cipher.final()])
    return Buffer.concat([nonce, cipher.getAuthTag(), text]).toString('base64url')
  }

  /** The user of RFC 6238, appendix B, who has used no code yet. */
  async function newUser(): Promise<User> {
    const { createUser, findUserById, newUserId } = await import('../../user/User.ts')
    const email = `vector${++vectors}@example.com`
    const ann = { id: newUserId(), name: 'Ann', email, passwordHash: 'none', roles: ['user'] }
    const { id } = await createUser(ann, new Date())
    const secret = encrypted(Secret.fromUTF8('12345678901234567890').base32, id)
    await update(email, { totp: { secret, lastStep: -1 } })
    return (await findUserById(id))!
  }
  let vectors = 0
  // The first request connects.
  beforeAll(() => login('nobody@example.com'))
  const use = async (user: User, code: string, seconds: number, pepper = PEPPER) => {
    const { useCode } = await import('../../user/SecondFactor.ts')
    return useCode(user, code, pepper, new Date(seconds * 1000))
  }

  test.each([
    { seconds: 59, code: '94287082' },
    { seconds: 1_111_111_109, code: '07081804' },
    { seconds: 1_111_111_111, code: '14050471' },
    { seconds: 1_234_567_890, code: '89005924' },
    { seconds: 2_000_000_000, code: '69279037' },
    { seconds: 20_000_000_000, code: '65353130' },
  ])(
    'are those of RFC 6238, appendix B, at $seconds s, and one step before and after',
    async ({ seconds, code }) => {
      // The vectors have eight digits: six are the end of them (RFC 4226 section 5.3).
      const digits = code.slice(2)
      for (const [steps, want] of [
        [-2, undefined],
        [-1, 'totp'],
        [0, 'totp'],
        [1, 'totp'],
        [2, undefined],
      ] as const) {
        const user = await newUser()
        expect([steps, await use(user, digits, Math.max(0, seconds + 30 * steps))]).toEqual([
          steps,
          // There is nothing two steps before 59 s.
          seconds + 30 * steps < 0 ? 'totp' : want,
        ])
      }
      const user = await newUser()
      expect(await use(user, digits, seconds)).toBe('totp')
      expect(await use(user, digits, seconds)).toBeUndefined()
      for (const other of [code, digits.slice(1), `${digits}0`, digits.split('').toReversed().join(''), ''])
        expect(await use(await newUser(), other, seconds)).toBeUndefined()
    },
  )

  test('of a secret that was copied to another user, or under another pepper, cannot be used', async () => {
    const [owner, thief] = [await newUser(), await newUser()]
    const { hashPassword } = await import('../../auth/Passwords.ts')
    await update(thief.email, { passwordHash: await hashPassword(PASSWORD, { pepper: PEPPER, cost: 4 }) })
    const copied = { ...thief, totp: owner.totp }
    await update(thief.email, { totp: owner.totp })
    await expect(use(copied, '287082', 59)).rejects.toThrow('authenticate')
    await expect(use(owner, '287082', 59, randomBytes(32))).rejects.toThrow('authenticate')
    const challenge = await challengeOf(thief.email)
    expect((await mfa(challenge, '287082')).status).toBe(500)
    expect(await use(owner, '287082', 59)).toBe('totp')
  })
})

describe('the enrolment', () => {
  const newPerson = async (email?: string) => {
    const person = await api.newPerson(email)
    await api.call('verifyEmail', { token: person.confirmation })
    return person
  }

  test('needs a verified email: who has registered with another’s could lock that person out for good', async () => {
    const ann = await api.newPerson()
    expect(await start(ann)).toMatchObject({ status: 403, code: 'email_not_verified' })
  })

  test('gives a secret and a URI that authenticator apps read', async () => {
    const ann = await newPerson("o'neil+tag@example.com")
    const { status, body } = await start(ann)
    expect(status).toBe(200)
    expect(Object.keys(body).toSorted()).toEqual(['secret', 'uri'])
    const totp = URI.parse(body['uri']!)
    expect(totp).toBeInstanceOf(TOTP)
    expect(totp).toMatchObject({
      issuer: PRODUCT,
      label: ann.email,
      algorithm: 'SHA1',
      digits: 6,
      period: 30,
    })
    expect(totp.secret.base32).toBe(body['secret'])
    // RFC 4226 section 4, R6: 160 bits.
    expect(totp.secret.bytes).toHaveLength(20)
    expect((await confirm(ann, (totp as TOTP).generate())).status).toBe(200)
  })

  test('asks nothing of a login before it is confirmed, and ends no session', async () => {
    const ann = await newPerson()
    const { body } = await start(ann)
    expect((await login(ann.email)).status).toBe(200)
    const totp = URI.parse(body['uri']!) as TOTP
    const answer = await confirm(ann, totp.generate())
    expect(answer.status).toBe(200)
    const codes = answer.body['recoveryCodes'] as unknown as string[]
    expect(new Set(codes).size).toBe(10)
    // 120 bits each.
    for (const code of codes) expect(code).toMatch(/^([a-z0-9]{6}-){3}[a-z0-9]{6}$/)
    expect((await login(ann.email)).code).toBe('mfa_required')
    expect(await refresh(ann.refreshToken)).toBe(200)
    await api.mailFunction.settled()
    expect(subjects(ann.email)).toContain('a second factor was set up')
  })

  test('uses up the code that confirms it, and those before', async () => {
    const ann = await newPerson()
    const totp = URI.parse((await start(ann)).body['uri']!) as TOTP
    const code = (later: number) => totp.generate({ timestamp: Date.now() + later * STEP })
    expect((await confirm(ann, code(0))).status).toBe(200)
    for (const later of [-1, 0]) expect(await enter(ann.email, code(later))).toBe('wrong_code')
    expect(await enter(ann.email, code(1))).toBe(200)
  })

  test.each([
    { name: 'just before ten minutes are over', later: 10 * MINUTE - 1, want: 200 },
    { name: 'after ten minutes', later: 10 * MINUTE, want: 'wrong_code' },
  ])('$name answers $want', async ({ later, want }) => {
    const ann = await newPerson()
    const totp = URI.parse((await start(ann)).body['uri']!) as TOTP
    moveClock(later)
    expect((await confirm(ann, totp.generate())).code).toBe(want)
    expect((await login(ann.email)).code).toBe(want === 200 ? 'mfa_required' : 200)
  })

  test('begun anew makes the secret of before void', async () => {
    const ann = await newPerson()
    const older = URI.parse((await start(ann)).body['uri']!) as TOTP
    const newer = URI.parse((await start(ann)).body['uri']!) as TOTP
    expect((await confirm(ann, older.generate())).code).toBe('wrong_code')
    expect((await confirm(ann, newer.generate())).status).toBe(200)
  })

  test('needs the password, and a code of the app', async () => {
    const ann = await newPerson()
    expect(await start(ann, WRONG)).toMatchObject({ status: 403, code: 'wrong_password' })
    expect(await confirm(ann, '123456')).toMatchObject({ status: 403, code: 'wrong_code' })
    const totp = URI.parse((await start(ann)).body['uri']!) as TOTP
    const code = (later = 0) => totp.generate({ timestamp: Date.now() + later * STEP })
    for (const wrong of [wrongCode(code), code(2), code(-2), ''])
      expect((await confirm(ann, wrong)).code).toBe('wrong_code')
    expect((await login(ann.email)).status).toBe(200)
    expect((await confirm(ann, code())).status).toBe(200)
  })

  test('is of whoever has begun it', async () => {
    const [ann, bo] = [await newPerson(), await newPerson()]
    const appOf = async (person: Person) => URI.parse((await start(person)).body['uri']!) as TOTP
    const [anns, bos] = [await appOf(ann), await appOf(bo)]
    // Three in a million codes are right for both.
    const isRightForBo = bos.validate({ token: anns.generate(), window: 1 }) !== null
    expect((await confirm(bo, anns.generate())).code).toBe(isRightForBo ? 200 : 'wrong_code')
  })

  test('is refused while there is a second factor', async () => {
    const owner = await newOwner()
    expect(await start(owner)).toMatchObject({ status: 409, code: 'mfa_enabled' })
    expect(await confirm(owner, owner.code())).toMatchObject({ status: 409, code: 'mfa_enabled' })
    expect(await enter(owner.email, owner.code())).toBe(200)
  })

  test('confirmed 5 times at once gives recovery codes once, and these work', async () => {
    const ann = await newPerson()
    const totp = URI.parse((await start(ann)).body['uri']!) as TOTP
    const answers = await Promise.all(Array.from({ length: 5 }, () => confirm(ann, totp.generate())))
    const won = answers.filter(({ status }) => status === 200)
    expect(won).toHaveLength(1)
    moveClock(HOUR)
    expect(await enter(ann.email, won[0]!.body['recoveryCodes']![0])).toBe(200)
  })

  test('leaves nothing in the database that could be used', async () => {
    const ann = await newPerson()
    const { body } = await start(ann)
    expect(JSON.stringify(await stored(ann.email))).not.toContain(body['secret'])
    const totp = URI.parse(body['uri']!) as TOTP
    const codes = (await confirm(ann, totp.generate())).body['recoveryCodes'] as unknown as string[]
    const document = (await stored(ann.email))!
    expect(document).toMatchObject({ totp: { secret: expect.any(String) }, recoveryCodes: { length: 10 } })
    expect(document).not.toHaveProperty('totpEnrolment')
    const text = JSON.stringify(document)
    for (const secret of [
      body['secret']!,
      totp.secret.hex,
      Buffer.from(totp.secret.bytes).toString('base64url'),
    ])
      expect(text).not.toContain(secret)
    for (const code of codes) expect(text).not.toMatch(new RegExp(code.replaceAll('-', '-?')))
  })
})

describe('a login', () => {
  test('answers 401 and a challenge that gives a session for a code', async () => {
    const owner = await newOwner()
    const first = await api.call(
      'login',
      { email: owner.email, password: PASSWORD },
      { headers: { 'Refresh-Token-In': 'cookie' } },
    )
    expect(first.status).toBe(401)
    expect(first.body).toEqual({
      type: 'about:blank',
      title: 'Unauthorized',
      status: 401,
      detail: expect.any(String),
      code: 'mfa_required',
      requestId: 'request-1',
      challenge: expect.any(String),
      expiresIn: 300,
    })
    expect(first.headers).not.toHaveProperty('Set-Cookie')
    const sessions = async () => (await api.call('sessions', undefined, owner)).body
    expect(await sessions()).toHaveLength(1)

    const { status, body } = await mfa(first.body['challenge'], owner.code())
    expect(status).toBe(200)
    expect(body).toMatchObject({ auth: true, tokenType: 'Bearer', expiresIn: 900 })
    expect(await sessions()).toHaveLength(2)
    const person = api.signedIn(owner.email, body)
    expect((await api.call('me', undefined, person)).status).toBe(200)
    expect(await refresh(person.refreshToken)).toBe(200)
  })

  test('puts the refresh token into the cookie at its end', async () => {
    const owner = await newOwner()
    const headers = { 'Refresh-Token-In': 'cookie' }
    const answer = await mfa(await challengeOf(owner.email), owner.code(), { headers })
    expect(answer.body).not.toHaveProperty('refreshToken')
    expect(answer.headers['Set-Cookie']).toMatch(/^__Host-refresh-token=\S+; .*HttpOnly/)
  })

  test('asks for a code only where the password is right and the account is enabled', async () => {
    const owner = await newOwner()
    expect((await login(owner.email, WRONG)).code).toBe('invalid_credentials')
    await update(owner.email, { disabled: true })
    expect((await login(owner.email)).code).toBe('invalid_credentials')
  })

  test.each([
    { later: -2, want: 'wrong_code' },
    // It has confirmed the enrolment.
    { later: -1, want: 'wrong_code' },
    { later: 0, want: 200 },
    { later: 1, want: 200 },
    { later: 2, want: 'wrong_code' },
  ])('with the code of $later steps later answers $want', async ({ later, want }) => {
    const owner = await newOwner()
    expect(await enter(owner.email, owner.code(later))).toBe(want)
  })

  test('takes the code of a phone that is a step behind', async () => {
    const owner = await newOwner()
    moveClock(HOUR)
    expect(await enter(owner.email, owner.code(-1))).toBe(200)
  })

  test('takes a code once', async () => {
    const owner = await newOwner()
    const challenge = await challengeOf(owner.email)
    expect((await mfa(challenge, owner.code())).code).toBe(200)
    expect((await mfa(challenge, owner.code())).code).toBe('wrong_code')
    expect(await enter(owner.email, owner.code())).toBe('wrong_code')
    // Nor elsewhere.
    expect((await disable(owner, owner.code())).code).toBe('wrong_code')
    moveClock(STEP)
    expect(await enter(owner.email, owner.code())).toBe(200)
  })

  test('takes no code of a step before that of the last', async () => {
    const owner = await newOwner()
    moveClock(HOUR)
    expect(await enter(owner.email, owner.code(1))).toBe(200)
    for (const later of [0, -1]) expect(await enter(owner.email, owner.code(later))).toBe('wrong_code')
    moveClock(2 * STEP)
    expect(await enter(owner.email, owner.code())).toBe(200)
  })

  test('takes a code as people type it', async () => {
    const owner = await newOwner()
    const code = owner.code()
    expect(await enter(owner.email, ` ${code.slice(0, 3)} ${code.slice(3)}\n`)).toBe(200)
  })

  test('with one code at 20 places at the same time is one login', async () => {
    const { startTogether, owner } = await manyAttempts()
    expect(await startTogether(owner.code())).toBe(1)
  })

  test('with one recovery code at 20 places at the same time is one login', async () => {
    const { startTogether, owner } = await manyAttempts()
    expect(await startTogether(owner.recoveryCodes[3]!)).toBe(1)
  })

  /** From as many networks, so that no limit is in the way. */
  async function manyAttempts() {
    const owner = await newOwner()
    const challenge = await challengeOf(owner.email)
    const startTogether = async (code: string) => {
      const answers = await Promise.all(
        Array.from({ length: 20 }, (_, index) => mfa(challenge, code, { address: `198.51.100.${index}` })),
      )
      expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200, 403]))
      return answers.filter(({ status }) => status === 200).length
    }
    return { owner, startTogether }
  }
})

describe('a challenge', () => {
  test.each([
    { name: 'just before five minutes are over', later: 5 * MINUTE - 1000, want: 200 },
    { name: 'after five minutes', later: 5 * MINUTE, want: 'invalid_challenge' },
  ])('$name answers $want', async ({ later, want }) => {
    const owner = await newOwner()
    const challenge = await challengeOf(owner.email)
    moveClock(later)
    expect((await mfa(challenge, owner.code())).code).toBe(want)
  })

  /** The parts: `mfa`, user, sessionVersion, end, HMAC. */
  const with_ = (index: number, change: (part: string) => string) => (challenge: string) =>
    challenge
      .split('.')
      .map((part, at) => (at === index ? change(part) : part))
      .join('.')
  const ALTERED: { name: string; alter: (challenge: string, another: string) => string }[] = [
    { name: 'another kind', alter: with_(0, () => 'mfb') },
    {
      name: 'another user',
      alter: (challenge, another) => with_(1, () => another.split('.')[1]!)(challenge),
    },
    { name: 'another number of the sessions', alter: with_(2, (version) => String(Number(version) + 1)) },
    { name: 'a number in another spelling', alter: with_(2, (version) => `0${version}`) },
    { name: 'a later end', alter: with_(3, (end) => String(Number(end) + 60)) },
    {
      name: 'the HMAC of another',
      alter: (challenge, another) => with_(4, () => another.split('.')[4]!)(challenge),
    },
    { name: 'an altered HMAC', alter: with_(4, (mac) => (mac.startsWith('A') ? 'B' : 'A') + mac.slice(1)) },
    {
      name: 'another spelling of the HMAC',
      alter: with_(4, (mac) => {
        const letters = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
        return mac.slice(0, -1) + letters[letters.indexOf(mac.at(-1)!) ^ 1]!
      }),
    },
    { name: 'an HMAC without a key', alter: with_(4, () => 'A'.repeat(43)) },
    { name: 'a key of nobody', alter: (challenge) => signedBy(randomBytes(32), challenge) },
    { name: 'an empty key', alter: (challenge) => signedBy(Buffer.alloc(0), challenge) },
    { name: 'no HMAC', alter: (challenge) => challenge.slice(0, challenge.lastIndexOf('.')) },
    { name: 'a line break at its end', alter: (challenge) => `${challenge}\n` },
    { name: 'nothing in it', alter: () => '' },
    { name: '8,000 characters', alter: (challenge) => challenge.padEnd(8000, 'A') },
  ]
  const signedBy = (key: Buffer, challenge: string) => {
    const text = challenge.slice(0, challenge.lastIndexOf('.'))
    return `${text}.${createHmac('sha256', key).update(text).digest('base64url')}`
  }

  test.each(ALTERED)('with $name is refused, and no code is used up', async ({ alter }) => {
    const [owner, other] = [await newOwner(), await newOwner()]
    const challenge = await challengeOf(owner.email)
    const altered = alter(challenge, await challengeOf(other.email))
    for (const code of [owner.code(), other.code(), owner.recoveryCodes[0]])
      expect((await mfa(altered, code)).code).toBe('invalid_challenge')
    expect((await mfa(challenge, owner.code())).status).toBe(200)
  })

  test.each([
    { name: 'logging out everywhere', change: (owner: Person) => api.call('logoutAll', undefined, owner) },
    {
      name: 'a change of the password',
      change: (owner: Person) =>
        api.call('changeMyPassword', { currentPassword: PASSWORD, newPassword: NEW }, owner),
    },
    {
      name: 'a reset of the password',
      change: async ({ email }: Person) => {
        await api.mailFunction.settled()
        await api.call('forgotPassword', { email })
        await api.mailFunction.settled()
        const { token } = api.smtp.received.findLast(({ to }) => to === email)!
        return api.call('resetMyPassword', { token, password: NEW })
      },
    },
    {
      name: 'the end of the account',
      change: (owner: Person) => api.call('deleteMe', { currentPassword: PASSWORD }, owner),
    },
    {
      name: 'the end of the second factor',
      change: (owner: Awaited<ReturnType<typeof newOwner>>) => disable(owner, owner.recoveryCodes[9]!),
    },
  ])('is void after $name', async ({ change }) => {
    const owner = await newOwner()
    const challenge = await challengeOf(owner.email)
    expect((await change(owner)).status).toBeLessThan(300)
    expect((await mfa(challenge, owner.code())).code).toBe('invalid_challenge')
  })

  test('is void for an account that is disabled', async () => {
    const owner = await newOwner()
    const challenge = await challengeOf(owner.email)
    await update(owner.email, { disabled: true })
    expect((await mfa(challenge, owner.code())).code).toBe('invalid_challenge')
  })

  test('is no token of another kind, nor is one of these a challenge', async () => {
    const owner = await newOwner()
    const challenge = await challengeOf(owner.email)
    const { handler } = await import('../../auth/VerifyToken.ts')
    const methodArn = 'arn:aws:execute-api:eu-central-1:123456789012:abcdef1234/dev/GET/me'
    for (const authorizationToken of [challenge, `Bearer ${challenge}`]) {
      await expect(handler({ type: 'TOKEN', authorizationToken, methodArn })).rejects.toBe('Unauthorized')
    }
    expect(await refresh(challenge)).toBe('invalid_refresh_token')
    const cookie = await api.call('refresh', undefined, {
      headers: { Cookie: `__Host-refresh-token=${challenge}`, 'Refresh-Token-In': 'cookie' },
    })
    expect(cookie.code).toBe('invalid_refresh_token')
    expect((await api.call('verifyEmail', { token: challenge })).code).toBe('invalid_one_time_token')
    const reset = await api.call('resetMyPassword', { token: challenge, password: NEW })
    expect(reset.code).toBe('invalid_one_time_token')
    for (const token of [owner.token, owner.refreshToken, owner.confirmation])
      expect((await mfa(token, owner.code())).code).toBe('invalid_challenge')
    expect((await mfa(challenge, owner.code())).status).toBe(200)
  })
})

describe('a recovery code', () => {
  test('stands in for the app: all ten, each once, each with a notice', async () => {
    const owner = await newOwner()
    expect(owner.recoveryCodes).toHaveLength(10)
    for (const code of owner.recoveryCodes.toReversed()) {
      expect(await enter(owner.email, code)).toBe(200)
      expect(await enter(owner.email, code)).toBe('wrong_code')
    }
    expect(await stored(owner.email)).toMatchObject({ recoveryCodes: [] })
    await api.mailFunction.settled()
    expect(subjects(owner.email).filter((subject) => subject === 'a recovery code was used')).toHaveLength(10)
    // The app still works.
    expect(await enter(owner.email, owner.code())).toBe(200)
  })

  test.each([
    { name: 'in capitals', spell: (code: string) => code.toUpperCase() },
    { name: 'without dashes', spell: (code: string) => code.replaceAll('-', '') },
    { name: 'with blanks', spell: (code: string) => ` ${code.replaceAll('-', ' ')}\t` },
  ])('is taken $name', async ({ spell }) => {
    const owner = await newOwner()
    expect(await enter(owner.email, spell(owner.recoveryCodes[0]!))).toBe(200)
  })

  test('of another user, or what is stored of one, is none', async () => {
    const [owner, other] = [await newOwner(), await newOwner()]
    const [hash] = (await stored(owner.email))!['recoveryCodes'] as string[]
    for (const code of [other.recoveryCodes[0], hash, owner.recoveryCodes[0]!.slice(0, -1)])
      expect(await enter(owner.email, code)).toBe('wrong_code')
    expect(await enter(other.email, other.recoveryCodes[0])).toBe(200)
  })

  test('of before is void once there are new ones, for which password and code are needed', async () => {
    const owner = await newOwner()
    const [old] = owner.recoveryCodes
    expect((await replace(owner, owner.code(), WRONG)).code).toBe('wrong_password')
    expect((await replace(owner, wrongCode(owner.code))).code).toBe('wrong_code')
    const { status, body } = await replace(owner, owner.code())
    expect(status).toBe(200)
    const codes = body['recoveryCodes'] as unknown as string[]
    expect(new Set([...codes, ...owner.recoveryCodes]).size).toBe(20)
    expect(await enter(owner.email, old)).toBe('wrong_code')
    for (const code of codes) expect(await enter(owner.email, code)).toBe(200)
    await api.mailFunction.settled()
    expect(subjects(owner.email)).toContain('you have new recovery codes')
  })

  test('is not made for who has no second factor', async () => {
    const ann = await api.newPerson()
    expect(await replace(ann, '123456')).toMatchObject({ status: 409, code: 'mfa_not_enabled' })
    expect(await stored(ann.email)).not.toHaveProperty('recoveryCodes')
  })
})

describe('the second factor', () => {
  test('is turned off by password and code together, and then a login needs the password alone', async () => {
    const owner = await newOwner()
    expect(await disable(owner, owner.code(), WRONG)).toMatchObject({ status: 403, code: 'wrong_password' })
    expect(await disable(owner, wrongCode(owner.code))).toMatchObject({ status: 403, code: 'wrong_code' })
    expect((await login(owner.email)).code).toBe('mfa_required')
    // The wrong password has not used the code up.
    expect((await disable(owner, owner.code())).status).toBe(204)
    expect((await login(owner.email)).status).toBe(200)
    const document = await stored(owner.email)
    for (const field of ['totp', 'totpEnrolment', 'recoveryCodes']) expect(document).not.toHaveProperty(field)
    expect(await disable(owner, owner.code(1))).toMatchObject({ status: 409, code: 'mfa_not_enabled' })
    await api.mailFunction.settled()
    expect(subjects(owner.email)).toContain('the second factor was turned off')
  })

  test('is turned off by password and recovery code, for who has lost the app', async () => {
    const owner = await newOwner()
    expect((await disable(owner, owner.recoveryCodes[0]!)).status).toBe(204)
    expect((await login(owner.email)).status).toBe(200)
  })

  test('set up again knows neither the secret nor the recovery codes of before', async () => {
    const owner = await newOwner()
    await disable(owner, owner.code())
    moveClock(HOUR)
    const again = await api.withApp(owner)
    expect(await enter(owner.email, owner.code())).toBe('wrong_code')
    expect(await enter(owner.email, owner.recoveryCodes[1])).toBe('wrong_code')
    expect(await enter(owner.email, again.code())).toBe(200)
  })

  test('is asked for after a recovery by mail, which gives no session', async () => {
    const owner = await newOwner()
    await api.call('forgotPassword', { email: owner.email })
    await api.mailFunction.settled()
    const { token } = api.smtp.received.findLast(({ to }) => to === owner.email)!
    expect((await api.call('resetMyPassword', { token, password: NEW })).status).toBe(204)
    expect((await login(owner.email, NEW)).code).toBe('mfa_required')
    expect(await enter(owner.email, wrongCode(owner.code), NEW)).toBe('wrong_code')
    expect(await enter(owner.email, owner.code(), NEW)).toBe(200)
  })
})

describe('wrong codes', () => {
  test('count as failed logins, which the right password alone does not forgive', async () => {
    const owner = await newOwner()
    const wrong = wrongCode(owner.code)
    const first = await challengeOf(owner.email)
    for (let count = 0; count < 3; count++) expect((await mfa(first, wrong)).code).toBe('wrong_code')
    const second = await challengeOf(owner.email)
    for (let count = 0; count < 2; count++) expect((await mfa(second, wrong)).code).toBe('wrong_code')
    // Those were five attempts: no more of them, however right they are.
    const refused = await mfa(second, owner.code())
    expect(refused).toMatchObject({ status: 429, code: 'too_many_attempts' })
    expect(Number(refused.headers['Retry-After'])).toBeGreaterThan(0)
    expect((await login(owner.email)).status).toBe(429)
    expect((await mfa(second, owner.recoveryCodes[0])).status).toBe(429)
    // What was refused was not used up.
    moveClock(MINUTE)
    expect(await enter(owner.email, owner.recoveryCodes[0])).toBe(200)
  })

  test('make each next one wait, but not the code that follows a right password', async () => {
    const owner = await newOwner()
    const wrong = wrongCode(owner.code)
    let waited = 0
    for (let count = 0; count < 16; count++) {
      const challenge = await challengeOf(owner.email)
      expect((await mfa(challenge, wrong)).code).toBe('wrong_code')
      const seconds = Number((await login(owner.email)).headers['Retry-After'] ?? 0)
      moveClock(1000 * seconds)
      waited = seconds
    }
    // Longer than a challenge lives.
    expect(waited).toBe(15 * 60)
    expect(await enter(owner.email, owner.code())).toBe(200)
  })

  test('are forgotten after a login', async () => {
    const owner = await newOwner()
    for (let round = 0; round < 3; round++) {
      moveClock(HOUR)
      const challenge = await challengeOf(owner.email)
      for (let count = 0; count < 3; count++)
        expect((await mfa(challenge, wrongCode(owner.code))).code).toBe('wrong_code')
      expect((await mfa(challenge, owner.code())).status).toBe(200)
    }
    // At once, too: nothing is left of the count.
    const challenge = await challengeOf(owner.email)
    for (let count = 0; count < 3; count++)
      expect((await mfa(challenge, wrongCode(owner.code))).code).toBe('wrong_code')
  })

  test('of who is signed in count as wrong passwords do', async () => {
    const owner = await newOwner()
    for (let count = 0; count < 3; count++)
      expect((await disable(owner, wrongCode(owner.code))).code).toBe('wrong_code')
    for (let count = 0; count < 2; count++)
      expect((await disable(owner, owner.code(), WRONG)).code).toBe('wrong_password')
    expect((await disable(owner, owner.code())).status).toBe(429)
    expect((await replace(owner, owner.code())).status).toBe(429)
    expect((await login(owner.email)).code).toBe('mfa_required')
    moveClock(HOUR)
    expect((await disable(owner, owner.code())).status).toBe(204)
  })
})

test('nothing secret of all this is in the log', () => {
  const factors = new Set(api.logged().map(({ factor }) => factor))
  expect(factors).toEqual(new Set([undefined, 'totp', 'recovery_code']))
  expect(api.secretsInLog()).toEqual([])
})
