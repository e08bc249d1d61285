/**
 * Many at the same time, through the handlers: one of them wins, or the total is right.
 */
import mongoose from 'mongoose'
import { countAttempt, succeed } from '../../throttle/Counters.ts'
import { loginRules } from '../../throttle/Rules.ts'
import { parseSetting } from '../../api/Settings.ts'
import type * as Users from '../../user/User.ts'
import { type Api, PASSWORD, startAccounts } from '../support/account.ts'
import { moveClock } from '../support/clock.ts'
import { onDatabase } from '../support/database.ts'
import { until } from '../../support/until.ts'

const N = 50
const DB = process.env['DB']!

/** What comes from many addresses, or is right, never has to wait; what comes from one waits after twenty. */
const LIMITS = {
  // Fifty at once must all come as far as the code.
  codesPerUser: 100,
  loginFailures: 20,
  loginsPerEmail: 70,
  loginsPerAddress: 1_000_000,
  registrationsPerAddress: 1_000_000,
  confirmationFailures: 1000,
  forgotsPerEmail: 5,
}

let api: Api
let users: typeof Users
beforeAll(async () => {
  api = await startAccounts({ LIMITS: JSON.stringify(LIMITS) })
  users = await import('../../user/User.ts')
})
afterAll(() => api.stop())

type Answer = Awaited<ReturnType<Api['call']>>

/** Does something many times at once. */
const atOnce = <Result>(work: (index: number) => Promise<Result>, count = N): Promise<Result[]> =>
  Promise.all(Array.from({ length: count }, (_, index) => work(index)))

/** How often each code, or status where there is none, was answered. */
function tally(answers: Answer[]): Record<string, number> {
  const result: Record<string, number> = {}
  for (const { code } of answers) result[code] = (result[code] ?? 0) + 1
  return result
}

const addressOf = (index: number) => `198.51.100.${index}`

const collection = <Result>(
  name: string,
  work: (collection: mongoose.mongo.Collection) => Promise<Result>,
): Promise<Result> => onDatabase(DB, (database) => work(database.collection(name)))

const count = (name: string, filter: object) => collection(name, (found) => found.countDocuments(filter))

const logIn = (email: string, password = PASSWORD, address?: string) =>
  api.call('login', { email, password }, address === undefined ? {} : { address })

describe(`${N} at once`, () => {
  test('register one email: one has it, with a password that works, and one mail goes out', async () => {
    const email = 'one@example.com'
    const answers = await atOnce((index) =>
      api.call('register', { name: 'Ann', email, password: `${PASSWORD} no. ${index}` }),
    )
    expect(tally(answers)).toEqual({ 201: 1, email_taken: N - 1 })
    expect(await count('users', { email })).toBe(1)
    const winner = answers.findIndex(({ status }) => status === 201)
    expect(await logIn(email, `${PASSWORD} no. ${winner}`)).toMatchObject({ status: 200 })
    expect(await logIn(email, `${PASSWORD} no. ${(winner + 1) % N}`)).toMatchObject({ status: 401 })
    await api.mailFunction.settled()
    expect(api.smtp.waiting(email)).toBe(1)
  })

  test('register one email in private: one is stored, and no other changes it', async () => {
    const email = 'private@example.com'
    const offer = (index: number) =>
      users.offerUser(
        {
          id: users.newUserId(),
          name: `Ann ${index}`,
          email,
          passwordHash: `hash ${index}`,
          roles: ['user'],
        },
        new Date(),
      )
    const isNew = await atOnce(offer)
    expect(isNew.filter(Boolean)).toHaveLength(1)
    const winner = isNew.findIndex(Boolean)
    expect(await users.findUserByEmail(email)).toMatchObject({
      name: `Ann ${winner}`,
      passwordHash: `hash ${winner}`,
    })
    expect(await count('users', { email })).toBe(1)
  })

  test('reset the password with one token: one does, and one notice goes out', async () => {
    const ann = await api.newPerson()
    await api.call('forgotPassword', { email: ann.email })
    const { token } = await api.smtp.next(ann.email)
    const answers = await atOnce(() => api.call('resetMyPassword', { token, password: 'a horse on the sun' }))
    expect(tally(answers)).toEqual({ 204: 1, invalid_one_time_token: N - 1 })
    await api.mailFunction.settled()
    expect(api.smtp.waiting(ann.email)).toBe(1)
  })

  test('reset it to 20 passwords: one is in force, that of who was told so', async () => {
    const ann = await api.newPerson()
    await api.call('forgotPassword', { email: ann.email })
    const { token } = await api.smtp.next(ann.email)
    const passwordOf = (index: number) => `${PASSWORD} no. ${index}`
    const answers = await atOnce(
      (index) => api.call('resetMyPassword', { token, password: passwordOf(index) }),
      20,
    )
    expect(tally(answers)).toEqual({ 204: 1, invalid_one_time_token: 19 })
    const logins = await atOnce((index) => logIn(ann.email, passwordOf(index), addressOf(index)), 20)
    expect(logins.map(({ status }) => status)).toEqual(
      answers.map(({ status }) => (status === 204 ? 200 : 401)),
    )
    expect(await logIn(ann.email, PASSWORD)).toMatchObject({ status: 401 })
    expect(await api.call('refresh', { refreshToken: ann.refreshToken })).toMatchObject({ status: 401 })
  })

  test('verify an email with one token: one does', async () => {
    const ann = await api.newPerson()
    const answers = await atOnce((index) =>
      api.call('verifyEmail', { token: ann.confirmation, password: PASSWORD }, { address: addressOf(index) }),
    )
    expect(tally(answers)).toEqual({ 200: 1, invalid_one_time_token: N - 1 })
    expect((await api.call('me', undefined, ann)).body).toMatchObject({ emailVerified: true })
    expect(
      await count('sessions', { sessionVersion: 1, userId: new mongoose.Types.ObjectId(ann.caller.id) }),
    ).toBe(1)
  })

  test('confirm one email for two users, 25 each: one user has it, and the other all that was before', async () => {
    const email = 'wanted@example.com'
    const people = [await api.newPerson(), await api.newPerson()]
    const tokens: string[] = []
    for (const person of people) {
      await api.call('changeMyEmail', { email, currentPassword: PASSWORD }, person)
      tokens.push((await api.smtp.next(email)).token!)
    }
    const answers = await atOnce((index) =>
      api.call('confirmMyEmail', { token: tokens[index % 2] }, people[index % 2]),
    )
    const winner = answers.findIndex(({ status }) => status === 204) % 2
    const of = (index: number) => tally(answers.filter((_, each) => each % 2 === index))
    expect(of(winner)).toEqual({ 204: 1, invalid_one_time_token: N / 2 - 1 })
    expect(of(1 - winner)).toEqual({ email_taken: N / 2 })
    expect(await count('users', { email })).toBe(1)
    const [has, lacks] = [people[winner]!, people[1 - winner]!]
    expect((await api.call('me', undefined, has)).body).toMatchObject({ email, emailVerified: true })
    expect((await api.call('me', undefined, lacks)).body).toMatchObject({ email: lacks.email })
    expect(await logIn(email)).toMatchObject({ status: 200 })
    expect(await logIn(lacks.email)).toMatchObject({ status: 200 })
    expect(await logIn(has.email)).toMatchObject({ status: 401 })
  })

  test('change the password: one does, and that one is in force', async () => {
    const ann = await api.newPerson()
    const passwordOf = (index: number) => `${PASSWORD} no. ${index}`
    const answers = await atOnce((index) =>
      api.call('changeMyPassword', { currentPassword: PASSWORD, newPassword: passwordOf(index) }, ann),
    )
    const winners = answers.flatMap(({ status }, index) => (status === 200 ? [index] : []))
    expect(winners).toHaveLength(1)
    // Those that had read the old password before it was changed, those after, and those just before the session
    // is moved on.
    for (const { status } of answers) expect([200, 401, 403, 503]).toContain(status)
    expect(await logIn(ann.email, passwordOf(winners[0]!))).toMatchObject({ status: 200 })
  })

  test('delete an account: it is gone once, and one notice goes out', async () => {
    const ann = await api.newPerson()
    const answers = await atOnce(() => api.call('deleteMe', { currentPassword: PASSWORD }, ann))
    expect(tally(answers)).toMatchObject({ 204: 1 })
    // Those that were on their way when it went, and those after.
    for (const { code } of answers) expect([204, 'unavailable', 'invalid_token']).toContain(code)
    expect(await count('users', { email: ann.email })).toBe(0)
    await api.mailFunction.settled()
    expect(api.smtp.waiting(ann.email)).toBe(1)
  })
})

describe(`${N} wrong passwords at once`, () => {
  // So that no wait is over before the last of them has come.
  beforeEach(() => moveClock(0))
  afterEach(() => jest.useRealTimers())

  test('for one email from one address: as many as allowed are looked at, and the others have to wait', async () => {
    const { email } = await api.newPerson()
    const answers = await atOnce(() => logIn(email, 'wrong'))
    expect(tally(answers)).toEqual({
      invalid_credentials: LIMITS.loginFailures,
      too_many_attempts: N - LIMITS.loginFailures,
    })
    const waits = answers.flatMap(({ headers }) => headers['Retry-After'] ?? [])
    expect(waits).toEqual(Array.from({ length: N - LIMITS.loginFailures }, () => '1'))
    // What had to wait is in no total of the email: as many are left from elsewhere.
    const more = await atOnce((index) => logIn(email, 'wrong', addressOf(index)), 60)
    expect(tally(more)).toEqual({
      invalid_credentials: LIMITS.loginsPerEmail - LIMITS.loginFailures,
      too_many_attempts: 60 - LIMITS.loginsPerEmail + LIMITS.loginFailures,
    })
  })

  test('for an email that nobody has are counted alike', async () => {
    const answers = await atOnce(() => logIn('nobody@example.com', 'wrong'))
    expect(tally(answers)).toEqual({
      invalid_credentials: LIMITS.loginFailures,
      too_many_attempts: N - LIMITS.loginFailures,
    })
  })

  test('for one email from 50 addresses are all counted', async () => {
    const { email } = await api.newPerson()
    const answers = await atOnce((index) => logIn(email, 'wrong', addressOf(index)))
    expect(tally(answers)).toEqual({ invalid_credentials: N })
    const rest = await atOnce((index) => logIn(email, 'wrong', addressOf(100 + index)))
    expect(tally(rest)).toEqual({
      invalid_credentials: LIMITS.loginsPerEmail - N,
      too_many_attempts: 2 * N - LIMITS.loginsPerEmail,
    })
  })

  test('after a wait: one is looked at', async () => {
    const { email } = await api.newPerson()
    await atOnce(() => logIn(email, 'wrong'), LIMITS.loginFailures)
    moveClock(1000)
    const answers = await atOnce(() => logIn(email, 'wrong'))
    expect(tally(answers)).toEqual({ invalid_credentials: 1, too_many_attempts: N - 1 })
  })
})

describe('counters that are counted, taken back and deleted at once', () => {
  const limits = parseSetting(
    'LIMITS',
    JSON.stringify({ loginFailures: 1_000_000, loginsPerEmail: 1_000_000, loginsPerAddress: 1_000_000 }),
  )
  // As a handler does first of all.
  beforeAll(async () => {
    const { withDatabase } = await import('../support/withDatabase.ts')
    await withDatabase(async () => undefined)
  })

  const counts = (ids: string[]) =>
    collection('attempts', (found) =>
      found
        .find({ _id: { $in: ids as never[] } })
        .toArray()
        .then((documents) =>
          ids.map((id) => documents.find(({ _id }) => String(_id) === id)?.['count'] as unknown),
        ),
    )

  test('are made once by all who need them first, and nobody is told to come back', async () => {
    const rules = Array.from({ length: 40 }, (_, index) =>
      loginRules(`new${index}@example.com`, `203.0.113.${100 + index}`, limits),
    )
    await Promise.all(
      rules.flatMap((each) => Array.from({ length: 5 }, () => countAttempt(each, new Date()))),
    )
    const ids = rules.flat().map(({ id }) => id)
    expect(await counts(ids)).toEqual(ids.map(() => 5))
  })

  test('have the right total, and nobody is told to come back', async () => {
    const rules = loginRules('races@example.com', '203.0.113.1', limits)
    await atOnce(async (index) => {
      for (let round = 0; round < 4; round++) {
        await countAttempt(rules, new Date())
        // Every second one has the right password.
        if (index % 2) await succeed(rules, new Date())
      }
    })
    const [address, failures, email] = await counts(rules.map(({ id }) => id))
    expect([address, email]).toEqual([2 * N, 4 * N])
    // Of the failures, those after the last success are left.
    expect(Number(failures ?? 0)).toBeLessThanOrEqual(2 * N)
  })
})

describe('a second factor', () => {
  let ann: Awaited<ReturnType<Api['newPerson']>>
  let app: Awaited<ReturnType<Api['withApp']>>
  let challenge: string | undefined

  beforeEach(async () => {
    ann = await api.newPerson()
    app = await api.withApp(ann)
    challenge = (await logIn(ann.email)).body['challenge']
  })

  const logInWith = (codeOf: (index: number) => string) =>
    atOnce((index) => api.call('loginMfa', { challenge, code: codeOf(index) }, { address: addressOf(index) }))

  test(`lets one of ${N} in with one code of the app, and begins one session`, async () => {
    const userId = new mongoose.Types.ObjectId(ann.caller.id)
    const before = await count('sessions', { userId })
    const code = app.code()
    expect(tally(await logInWith(() => code))).toEqual({ 200: 1, wrong_code: N - 1 })
    expect(await count('sessions', { userId })).toBe(before + 1)
  })

  test(`lets one of ${N} in with one recovery code, however it is written, and the others are left`, async () => {
    const [first, second] = app.recoveryCodes as [string, string]
    const spellings = [first, first.replaceAll('-', ''), first.toUpperCase(), ` ${first} `]
    expect(tally(await logInWith((index) => spellings[index % 4]!))).toEqual({ 200: 1, wrong_code: N - 1 })
    expect(await api.call('loginMfa', { challenge, code: second })).toMatchObject({ status: 200 })
    expect(await api.call('loginMfa', { challenge, code: second })).toMatchObject({ status: 403 })
  })

  test('lets ten in with ten recovery codes at once: none is lost and none works twice', async () => {
    const answers = await logInWith((index) => app.recoveryCodes[index % 10]!)
    expect(tally(answers)).toEqual({ 200: 10, wrong_code: N - 10 })
  })

  test('takes one code for one of two things at once', async () => {
    const code = app.code()
    const answers = await Promise.all([
      api.call('loginMfa', { challenge, code }),
      api.call('newRecoveryCodes', { currentPassword: PASSWORD, code }, ann),
    ])
    expect(tally(answers)).toEqual({ 200: 1, wrong_code: 1 })
  })
})

test(`of ${N} that confirm a second factor at once one is told the recovery codes, and they work`, async () => {
  const ann = await api.newPerson()
  await api.isVerified(ann)
  const { body } = await api.call('startTotp', { currentPassword: PASSWORD }, ann)
  const { TOTP, Secret } = await import('otpauth')
  const code = new TOTP({ secret: Secret.fromBase32(body['secret']!) }).generate()
  const answers = await atOnce(() => api.call('confirmTotp', { code }, ann))
  expect(tally(answers)[200]).toBe(1)
  for (const answer of answers) expect([200, 'wrong_code', 'mfa_enabled']).toContain(answer.code)
  const { recoveryCodes } = answers.find(({ status }) => status === 200)!.body as unknown as {
    recoveryCodes: string[]
  }
  const { challenge } = (await logIn(ann.email)).body
  expect(await api.call('loginMfa', { challenge, code: recoveryCodes[0] })).toMatchObject({ status: 200 })
})

describe(`${N} who ask for a link at once`, () => {
  const ask = (email: string, from: (index: number) => string) =>
    atOnce((index) => api.call('forgotPassword', { email }, { address: from(index) }))

  /** For each mail in the mailbox, the last one last, whether its link is good. */
  async function links(email: string): Promise<boolean[]> {
    await api.mailFunction.settled()
    const good: boolean[] = []
    while (api.smtp.waiting(email) > 0) {
      const { token } = await api.smtp.next(email)
      // Too short, so that the link is not used up.
      const { code } = await api.call('resetMyPassword', { token, password: 'short' })
      good.push(code === 'invalid_request')
    }
    return good
  }

  /** Three mails at the most, and the last one is the one to use. */
  const mailboxes = [[true], [false, true], [false, false, true]]

  test('from one address: as many as allowed are heard', async () => {
    const { email } = await api.newPerson()
    const answers = await ask(email, () => '203.0.113.2')
    expect(tally(answers)).toEqual({
      202: LIMITS.forgotsPerEmail,
      too_many_attempts: N - LIMITS.forgotsPerEmail,
    })
    expect(mailboxes).toContainEqual(await links(email))
  })

  test('from 50 addresses: all are heard, and the link in the last mail is good', async () => {
    const { email } = await api.newPerson()
    expect(tally(await ask(email, addressOf))).toEqual({ 202: N })
    expect(mailboxes).toContainEqual(await links(email))
  })

  test('get one mail: while one is on its way, no other makes its link void', async () => {
    const { email } = await api.newPerson()
    const event = { mail: 'passwordReset' as const, email, origin: {}, time: new Date().toISOString() }
    let held = 0
    api.smtp.hang(true)
    const runs = atOnce(async () => {
      await api.mail(event)
      held++
    })
    await until(() => held === N - 1, 'the end of all but the one that sends')
    expect(api.smtp.waiting(email)).toBe(0)
    api.smtp.hang(false)
    await runs
    expect(await links(email)).toEqual([true])
  })
})
