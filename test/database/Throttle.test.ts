/**
 * Limits over time, through the handlers. Their clock is set by hand and stands still meanwhile, so hours pass in no
 * time and a wait is exact to the millisecond.
 */
import type { APIGatewayProxyEvent } from 'aws-lambda'
import { countAttempt } from '../../throttle/Counters.ts'
import { loginRules, mailRules, type Rule } from '../../throttle/Rules.ts'
import { log } from '../../lib/Log.ts'
import { Problem } from '../../api/Problem.ts'
import { type Limits, limits as allLimits, parseSetting } from '../../api/Settings.ts'
import { type Api, type Caller, PASSWORD, type Person, startAccounts } from '../support/account.ts'
import { moveClock } from '../support/clock.ts'
import { onDatabase } from '../support/database.ts'
import { request } from '../../support/events.ts'
import { type Proxy, startProxy } from '../../support/proxy.ts'

const SECOND = 1000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE
const NEW = 'another horse on the sun'

/** Mostly other numbers than the defaults, so that it is the setting that counts. */
const LIMITS = {
  loginsPerEmail: 30,
  loginsPerAddress: 60,
  confirmationFailures: 6,
  registrationsPerAddress: 12,
  forgotsPerEmail: 4,
  forgotsPerAddress: 9,
  resendsPerEmail: 3,
  resendsPerAddress: 8,
  emailChangesPerUser: 7,
  refreshesPerSession: 11,
}
const limits = parseSetting('LIMITS', JSON.stringify(LIMITS))

const DIRECT = process.env['DB']!
/** A proxy is no way to a server found by SRV or reached by TLS. */
const isPlain = !DIRECT.startsWith('mongodb+srv') && !/tls=|ssl=|,/.test(DIRECT)

let api: Api
let proxy: Proxy | undefined
let login: (event: APIGatewayProxyEvent) => Promise<{ statusCode: number }>

beforeAll(async () => {
  if (isPlain) {
    proxy = await startProxy(DIRECT)
    process.env['DB'] = proxy.uri
  }
  api = await startAccounts({ LIMITS: JSON.stringify(LIMITS) })
  ;({ login } = await import('../../auth/AuthHandler.ts'))
})

// Every window of the test before is over.
beforeEach(() => pass(2 * HOUR))
afterEach(() => jest.restoreAllMocks())

afterAll(async () => {
  await api.stop()
  await proxy?.stop()
})

/** Moves the clock on; not while a mail is under way, or it would be so for hours. */
async function pass(milliseconds: number): Promise<void> {
  await api.mailFunction.settled()
  moveClock(milliseconds)
}

let addresses = 0
/** Nobody has come from it yet. */
const newAddress = () => {
  addresses++
  return `10.${addresses >> 16}.${(addresses >> 8) & 255}.${addresses & 255}`
}

type Answer = Awaited<ReturnType<Api['call']>>

/** What came of it: the status, or the seconds to wait. */
const outcome = ({ status, headers }: Answer): number | string =>
  status === 429 ? `wait ${headers['Retry-After']}` : status

const attempt = async (email: string, address: string, password = 'a wrong password') =>
  outcome(await api.call('login', { email, password }, { address }))

/** One after the other. */
async function times<Result>(count: number, work: (index: number) => Promise<Result>): Promise<Result[]> {
  const results: Result[] = []
  for (let index = 0; index < count; index++) results.push(await work(index))
  return results
}

const all = <Result>(count: number, result: Result): Result[] => Array.from({ length: count }, () => result)

/** Names of the limits that were exceeded from here on, as the audit trail has them. */
function exceeded(): () => string[] {
  const warn = jest.spyOn(log, 'warn').mockImplementation()
  return () =>
    warn.mock.calls
      .filter(([event]) => event === 'excess_rate_limit_exceeded')
      .map(([, details]) => (details as { limit: string }).limit)
}

describe('failed logins with one email from one address', () => {
  test('wait after the fifth for 1 s, 2 s, 4 s and so on up to 15 min, exactly as long as Retry-After says', async () => {
    const { email } = await api.newPerson()
    const address = newAddress()
    expect(await times(5, () => attempt(email, address))).toEqual(all(5, 401))
    for (const wait of [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900]) {
      expect(await attempt(email, address)).toBe(`wait ${wait}`)
      await pass(wait * SECOND - 1)
      // The right password as little as a wrong one, and what is refused does not prolong the wait.
      expect(await attempt(email, address, PASSWORD)).toBe('wait 1')
      await pass(1)
      expect(await attempt(email, address)).toBe(401)
    }
  })

  test('are forgotten an hour after the last', async () => {
    const { email } = await api.newPerson()
    const address = newAddress()
    await times(5, () => attempt(email, address))
    await pass(1 * SECOND)
    expect(await attempt(email, address)).toBe(401)
    await pass(HOUR - 1)
    // An hour after the fifth, but not after the sixth.
    expect([await attempt(email, address), await attempt(email, address)]).toEqual([401, 'wait 4'])
    await pass(HOUR)
    expect(await times(6, () => attempt(email, address))).toEqual([...all(5, 401), 'wait 1'])
  })

  test('are forgotten with the right password', async () => {
    const { email } = await api.newPerson()
    const address = newAddress()
    for (const password of [...all(4, 'wrong'), PASSWORD, ...all(4, 'wrong'), PASSWORD]) {
      expect(await attempt(email, address, password)).toBe(password === PASSWORD ? 200 : 401)
    }
    expect(await times(6, () => attempt(email, address))).toEqual([...all(5, 401), 'wait 1'])
  })

  test('are those of this address: the owner logs in from another, and opens only that', async () => {
    const { email } = await api.newPerson()
    const address = newAddress()
    await times(5, () => attempt(email, address))
    expect(await attempt(email, newAddress(), PASSWORD)).toBe(200)
    expect(await attempt(email, address, PASSWORD)).toBe('wait 1')
  })

  test('are those of this email', async () => {
    const [ann, bob] = [await api.newPerson(), await api.newPerson()]
    const address = newAddress()
    await times(5, () => attempt(ann.email, address))
    expect(await attempt(bob.email, address, PASSWORD)).toBe(200)
    expect(await attempt(ann.email, address, PASSWORD)).toBe('wait 1')
  })

  test.each([
    { name: 'spaces and capitals', spelling: (email: string) => ` ${email.toUpperCase()} ` },
    { name: 'full-width letters', spelling: (email: string) => email.replace('p', '\uff50') },
  ])('are the same however the email is spelt: $name', async ({ spelling }) => {
    const { email } = await api.newPerson()
    const address = newAddress()
    await times(5, (index) => attempt(index % 2 ? email : spelling(email), address))
    expect(await attempt(email, address)).toBe('wait 1')
    expect(await attempt(spelling(email), address)).toBe('wait 1')
  })

  test('are those of a whole IPv6 network of 64 bits, and of no other', async () => {
    const { email } = await api.newPerson()
    expect(await times(6, (index) => attempt(email, `2001:db8:0:1::${index}`))).toEqual([
      ...all(5, 401),
      'wait 1',
    ])
    expect(await attempt(email, '2001:db8:0:2::1', PASSWORD)).toBe(200)
    expect(await attempt(email, '2001:db8:0:1:ffff::', PASSWORD)).toBe('wait 1')
  })

  test('are counted from the address of the connection, whatever the headers say', async () => {
    const { email } = await api.newPerson()
    const address = newAddress()
    const statuses = await times(6, async (index) => {
      const another = `198.51.100.${index}`
      const event = request({
        json: { email, password: 'a wrong password' },
        headers: {
          'Content-Type': 'application/json',
          'X-Forwarded-For': another,
          'X-Real-IP': another,
          Forwarded: `for=${another}`,
          'CF-Connecting-IP': another,
          'True-Client-IP': another,
        },
      })
      event.requestContext.identity = { sourceIp: address } as never
      return (await login(event)).statusCode
    })
    expect(statuses).toEqual([...all(5, 401), 429])
    expect(await attempt(email, '198.51.100.0', PASSWORD)).toBe(200)
  })

  test('wait for 15 min at the most, also after thousands of them', async () => {
    const { email } = await api.newPerson()
    const address = newAddress()
    await attempt(email, address)
    const [, failures] = loginRules(email, address, limits)
    await counters((collection) => collection.updateOne({ _id: failures!.id }, { $set: { count: 5000 } }))
    expect(await attempt(email, address)).toBe(401)
    expect(await attempt(email, address)).toBe('wait 900')
  })
})

describe('with a second factor', () => {
  /** The answer to a code, with the password right before it. */
  const tryCode = async (email: string, address: string, code: string) => {
    const first = await api.call('login', { email, password: PASSWORD }, { address })
    if (first.status === 429) return outcome(first)
    const { challenge } = first.body
    return outcome(await api.call('loginMfa', { challenge, code }, { address }))
  }

  test('the right password alone forgives no failure: who has it guesses no more codes than others passwords', async () => {
    const ann = await api.newPerson()
    await api.withApp(ann)
    const address = newAddress()
    expect(await times(5, () => tryCode(ann.email, address, '000000'))).toEqual(all(5, 403))
    expect(await tryCode(ann.email, address, '000000')).toBe('wait 1')
    expect(await attempt(ann.email, address, PASSWORD)).toBe('wait 1')
  })

  test('the code forgives them all', async () => {
    const ann = await api.newPerson()
    const { code } = await api.withApp(ann)
    const address = newAddress()
    expect(await times(3, () => attempt(ann.email, address))).toEqual(all(3, 401))
    expect(await tryCode(ann.email, address, code())).toBe(200)
    expect(await times(6, () => attempt(ann.email, address))).toEqual([...all(5, 401), 'wait 1'])
  })

  test('codes count with passwords, and one challenge is good for no more guesses than others', async () => {
    const ann = await api.newPerson()
    await api.withApp(ann)
    const address = newAddress()
    const { body } = await api.call('login', { email: ann.email, password: PASSWORD }, { address })
    const guess = async () =>
      outcome(await api.call('loginMfa', { challenge: body['challenge'], code: '000000' }, { address }))
    expect(await times(6, guess)).toEqual([...all(5, 403), 'wait 1'])
  })

  test('twenty codes an hour are all from anywhere, with one challenge from many addresses too', async () => {
    const ann = await api.newPerson()
    await api.withApp(ann)
    const { body } = await api.call('login', { email: ann.email, password: PASSWORD })
    const guess = async () =>
      outcome(
        await api.call(
          'loginMfa',
          { challenge: body['challenge'], code: '000000' },
          { address: newAddress() },
        ),
      )
    expect(await times(21, guess)).toEqual([...all(20, 403), 'wait 3600'])
  })
})

describe('logins with one email from anywhere', () => {
  test('are thirty an hour, right and wrong, and then nobody logs in until the hour is over', async () => {
    const { email } = await api.newPerson()
    const hits = exceeded()
    expect(await times(15, () => attempt(email, newAddress()))).toEqual(all(15, 401))
    await pass(10 * MINUTE)
    expect(await times(5, () => attempt(email, newAddress(), PASSWORD))).toEqual(all(5, 200))
    expect(await times(11, () => attempt(email, newAddress()))).toEqual([...all(10, 401), 'wait 3000'])
    expect(hits()).toEqual(['loginsPerEmail'])
    await pass(50 * MINUTE - 1)
    expect(await attempt(email, newAddress(), PASSWORD)).toBe('wait 1')
    await pass(1)
    expect(await times(31, () => attempt(email, newAddress()))).toEqual([...all(30, 401), 'wait 3600'])
  })

  test('leave out those that had to wait: one address alone cannot use them up', async () => {
    const { email } = await api.newPerson()
    const address = newAddress()
    expect((await times(59, () => attempt(email, address))).filter((status) => status === 401)).toHaveLength(
      5,
    )
    expect(await attempt(email, newAddress(), PASSWORD)).toBe(200)
    expect(await times(25, () => attempt(email, newAddress()))).toEqual([...all(24, 401), 'wait 3600'])
  })
})

describe('failed logins from one address', () => {
  test('are limited over all emails, an IPv6 network of 64 bits being one', async () => {
    const { email } = await api.newPerson()
    const guess = (index: number) => attempt(`nobody${index}@example.com`, `2001:db8:1:1::${index}`)
    const hits = exceeded()
    expect(await times(61, guess)).toEqual([...all(60, 401), 'wait 3600'])
    expect(hits()).toEqual(['loginsPerAddress'])
    expect(await attempt(email, '2001:db8:1:1:a::', PASSWORD)).toBe('wait 3600')
    expect(await attempt(email, '2001:db8:1:2::1', PASSWORD)).toBe(200)
    await pass(HOUR)
    expect(await attempt(email, '2001:db8:1:1::1', PASSWORD)).toBe(200)
  })

  test('leave no counters of the emails that are refused: the database cannot be filled', async () => {
    const address = newAddress()
    await times(60, (index) => attempt(`nobody${index}@example.com`, address))
    const before = await counters((collection) => collection.countDocuments())
    await times(20, (index) => attempt(`somebody${index}@example.com`, address))
    expect(await counters((collection) => collection.countDocuments())).toBe(before)
  })

  test('leave out those that succeed, with a second factor or without', async () => {
    const [ann, bob] = [await api.newPerson(), await api.newPerson()]
    const { code } = await api.withApp(bob)
    const address = newAddress()
    await times(58, (index) => attempt(`nobody${index}@example.com`, address))
    expect(await times(20, () => attempt(ann.email, address, PASSWORD))).toEqual(all(20, 200))
    const { status, body } = await api.call('login', { email: bob.email, password: PASSWORD }, { address })
    expect([status, body['code']]).toEqual([401, 'mfa_required'])
    expect(
      await api.call('loginMfa', { challenge: body['challenge'], code: code() }, { address }),
    ).toMatchObject({ status: 200 })
    expect(await times(3, (index) => attempt(`somebody${index}@example.com`, address))).toEqual([
      401,
      401,
      'wait 3600',
    ])
  })
})

test('whether there is an account shows in no 429: not by its status, its body, its headers or its time', async () => {
  const [known, disabled, withApp] = [await api.newPerson(), await api.newPerson(), await api.newPerson()]
  await api.withApp(withApp)
  await onDatabase(DIRECT, (database) =>
    database.collection('users').updateOne({ email: disabled.email }, { $set: { disabled: true } }),
  )
  const emails = [known.email, disabled.email, withApp.email, 'nobody@example.com']
  const traces = emails.map((): unknown[] => [])
  const addresses_ = Array.from({ length: 3 }, () => emails.map(() => newAddress()))
  // An hour and more of attempts from three addresses: every kind of wait comes and ends.
  const intervals = [...all(60, 20 * SECOND), ...all(9, 5 * MINUTE), ...all(9, 20 * SECOND)]
  for (const [step, interval] of intervals.entries()) {
    await pass(interval)
    for (const [index, email] of emails.entries()) {
      const address = addresses_[step % 3]![index]!
      const { status, headers, body } = await api.call('login', { email, password: 'wrong' }, { address })
      traces[index]!.push({ status, headers, body })
    }
  }
  const [first, ...others] = traces
  const waits = first!.map((answer) => outcome(answer as Answer))
  // Of the address, and of the email, after which it goes on.
  expect(waits).toContainEqual(expect.stringMatching(/^wait \d{1,2}$/))
  expect(waits).toContainEqual(expect.stringMatching(/^wait [12]\d{3}$/))
  expect(waits.lastIndexOf(401)).toBeGreaterThan(
    waits.findLastIndex((wait) => /^wait [12]\d{3}$/.test(String(wait))),
  )
  for (const trace of others) expect(trace).toEqual(first)
})

describe('the owner of an email that is guessed from a thousand addresses', () => {
  /** Until nobody can log in any more, from the owner's address too. */
  async function flood(email: string, address: string) {
    await times(6, () => attempt(email, address))
    await times(30, () => attempt(email, newAddress()))
    expect(await attempt(email, newAddress(), PASSWORD)).toBe('wait 3600')
    expect(await attempt(email, address, PASSWORD)).toMatch(/^wait/)
  }

  let ann: Person
  let address: string
  const as = (caller: Caller) => ({ caller, address })

  beforeEach(async () => {
    ann = await api.newPerson()
    address = newAddress()
    await flood(ann.email, address)
  })

  test('goes on in the sessions that are open, and can change the password in them', async () => {
    expect(await api.call('me', undefined, as(ann.caller))).toMatchObject({ status: 200 })
    expect(await api.call('refresh', { refreshToken: ann.refreshToken }, { address })).toMatchObject({
      status: 200,
    })
    const passwords = { currentPassword: PASSWORD, newPassword: NEW }
    expect(await api.call('changeMyPassword', passwords, as(ann.caller))).toMatchObject({ status: 200 })
    const body = { email: `new-${ann.email}`, currentPassword: NEW }
    expect(await api.call('changeMyEmail', body, as(ann.caller))).toMatchObject({ status: 202 })
    expect(await api.call('deleteMe', { currentPassword: NEW }, as(ann.caller))).toMatchObject({
      status: 204,
    })
  })

  test('can reset the password, and then log in, from the guessed address and from any other', async () => {
    expect(await api.call('forgotPassword', { email: ann.email }, { address })).toMatchObject({ status: 202 })
    const { token } = await api.smtp.next(ann.email)
    expect(await api.call('resetMyPassword', { token, password: NEW }, { address })).toMatchObject({
      status: 204,
    })
    expect(await attempt(ann.email, address, NEW)).toBe(200)
    expect(await attempt(ann.email, newAddress(), NEW)).toBe(200)
  })

  test('asks for a link all the same when others ask for a thousand, and the last one in the mailbox is good', async () => {
    await times(40, () => api.call('forgotPassword', { email: ann.email }, { address: newAddress() }))
    expect(await api.call('forgotPassword', { email: ann.email }, { address })).toMatchObject({ status: 202 })
    await api.mailFunction.settled()
    const tokens = await times(
      api.smtp.waiting(ann.email),
      async () => (await api.smtp.next(ann.email)).token,
    )
    const body = { token: tokens.at(-1), password: NEW }
    expect(await api.call('resetMyPassword', body, { address })).toMatchObject({ status: 204 })
    expect(await attempt(ann.email, address, NEW)).toBe(200)
  })
})

describe('every limit of the setting', () => {
  /** How to use it up, each attempt once, and for how long it then says no, in seconds. */
  interface Scenario {
    attempts: () => Promise<(index: number) => Promise<Answer>>
    wait: number
  }

  const inHour = 3600
  const scenarios: Record<keyof Limits, Scenario> = {
    loginFailures: {
      attempts: async () => {
        const address = newAddress()
        return () => api.call('login', { email: 'nobody@example.com', password: 'wrong' }, { address })
      },
      wait: 1,
    },
    loginsPerEmail: {
      attempts: async () => () =>
        api.call('login', { email: 'nobody@example.com', password: 'wrong' }, { address: newAddress() }),
      wait: inHour,
    },
    loginsPerAddress: {
      attempts: async () => {
        const address = newAddress()
        return (index) =>
          api.call('login', { email: `nobody${index}@example.com`, password: 'wrong' }, { address })
      },
      wait: inHour,
    },
    confirmationFailures: {
      attempts: async () => {
        const { caller } = await api.newPerson()
        const routes = [
          ['changeMyPassword', { currentPassword: 'wrong', newPassword: NEW }],
          ['changeMyEmail', { currentPassword: 'wrong', email: 'new@example.com' }],
          ['deleteMe', { currentPassword: 'wrong' }],
          ['startTotp', { currentPassword: 'wrong' }],
          ['confirmTotp', { code: '000000' }],
          ['disableTotp', { currentPassword: 'wrong', code: '000000' }],
          ['newRecoveryCodes', { currentPassword: 'wrong', code: '000000' }],
        ] as const
        // All routes together, and wherever the thief of a session is.
        return (index) => {
          const [route, body] = routes[index % routes.length]!
          return api.call(route, body, { caller, address: newAddress() })
        }
      },
      wait: 1,
    },
    codesPerUser: {
      attempts: async () => {
        const ann = await api.newPerson()
        await api.withApp(ann)
        const { caller } = ann
        const change = { currentPassword: PASSWORD, code: '000000' }
        // At a login and for a change together, and a right password forgets none of them.
        return async (index) => {
          if (index % 2 === 0) {
            const { body } = await api.call('login', { email: ann.email, password: PASSWORD })
            const login = { challenge: body['challenge'], code: '000000' }
            return api.call('loginMfa', login, { address: newAddress() })
          }
          await api.call('startTotp', { currentPassword: PASSWORD }, { caller })
          return api.call('disableTotp', change, { caller })
        }
      },
      wait: inHour,
    },
    registrationsPerAddress: {
      attempts: async () => {
        const address = newAddress()
        const user = { name: 'Ann', password: PASSWORD }
        return (index) =>
          api.call('register', { ...user, email: `new${index}-${address}@example.com` }, { address })
      },
      wait: inHour,
    },
    forgotsPerEmail: {
      attempts: async () => {
        const address = newAddress()
        return () => api.call('forgotPassword', { email: 'nobody@example.com' }, { address })
      },
      wait: inHour,
    },
    forgotsPerAddress: {
      attempts: async () => {
        const address = newAddress()
        return (index) => api.call('forgotPassword', { email: `nobody${index}@example.com` }, { address })
      },
      wait: inHour,
    },
    resendsPerEmail: {
      attempts: async () => {
        const address = newAddress()
        return () => api.call('resendVerification', { email: 'nobody@example.com' }, { address })
      },
      wait: inHour,
    },
    resendsPerAddress: {
      attempts: async () => {
        const address = newAddress()
        return (index) => api.call('resendVerification', { email: `nobody${index}@example.com` }, { address })
      },
      wait: inHour,
    },
    emailChangesPerUser: {
      attempts: async () => {
        const { caller } = await api.newPerson()
        const { email } = await api.newPerson()
        return (index) =>
          api.call('changeMyEmail', { currentPassword: PASSWORD, email: `${index}${email}` }, { caller })
      },
      wait: inHour,
    },
    refreshesPerSession: {
      attempts: async () => {
        let { refreshToken } = await api.newPerson()
        return async () => {
          const answer = await api.call('refresh', { refreshToken }, { address: newAddress() })
          refreshToken = answer.body['refreshToken'] ?? refreshToken
          return answer
        }
      },
      wait: inHour,
    },
    mailsPerEmail: {
      attempts: async () => {
        const { email } = await api.newPerson()
        return async () => {
          await api.call('forgotPassword', { email }, { address: newAddress() })
          await api.mailFunction.settled()
          // Nobody hears of it, or they would know that there is an account.
          const sent = api.smtp.waiting(email) > 0
          if (sent) await api.smtp.next(email)
          return { status: sent ? 202 : 429, headers: { 'Retry-After': 60 } } as unknown as Answer
        }
      },
      wait: 60,
    },
  }

  test('has a scenario here', () => {
    expect(Object.keys(scenarios).toSorted()).toEqual(Object.keys(allLimits).toSorted())
  })

  test.each(Object.entries(scenarios) as [keyof Limits, Scenario][])(
    '%s: so often and no more, which the audit trail names it by, and then again',
    async (limit, { attempts, wait }) => {
      const next = await attempts()
      const names = exceeded()
      // Some attempts ask for mails, which have a limit of their own.
      const hits = () => names().filter((name) => name === limit || name !== 'mailsPerEmail')
      const before = await times(limits[limit], next)
      expect(before.filter(({ status }) => status === 429)).toEqual([])
      expect(hits()).toEqual([])
      expect(outcome(await next(limits[limit]))).toBe(`wait ${wait}`)
      expect(hits()).toEqual([limit])
      await pass(wait * SECOND - 1)
      expect(await next(limits[limit])).toMatchObject({ status: 429 })
      await pass(1)
      expect(await next(limits[limit])).toMatchObject({ status: before[0]!.status })
    },
  )

  test('is what the documents say when the setting says nothing', () => {
    const { loginFailures, loginsPerEmail, loginsPerAddress, mailsPerEmail } = parseSetting('LIMITS', '{}')
    expect({ loginFailures, loginsPerEmail, loginsPerAddress, mailsPerEmail }).toEqual({
      loginFailures: 5,
      loginsPerEmail: 100,
      loginsPerAddress: 300,
      mailsPerEmail: 3,
    })
  })
})

describe('a thief of a session', () => {
  test('guesses no more from many addresses, and does not keep the owner from changing the password', async () => {
    const ann = await api.newPerson()
    const guess = async () => {
      const passwords = { currentPassword: 'wrong', newPassword: NEW }
      return outcome(
        await api.call('changeMyPassword', passwords, { caller: ann.caller, address: newAddress() }),
      )
    }
    expect(await times(7, guess)).toEqual([...all(6, 403), 'wait 1'])
    const again = await api.signIn(ann.email)
    const passwords = { currentPassword: PASSWORD, newPassword: NEW }
    expect(await api.call('changeMyPassword', passwords, again)).toMatchObject({ status: 200 })
  })

  test('who has the password as well guesses no more codes: a code that is right is what forgives', async () => {
    const ann = await api.newPerson()
    const { code } = await api.withApp(ann)
    const disable = async (body: object) => outcome(await api.call('disableTotp', body, ann))
    expect(await times(6, () => disable({ currentPassword: PASSWORD, code: '000000' }))).toEqual(all(6, 403))
    expect(await disable({ currentPassword: PASSWORD, code: code() })).toBe('wait 1')
    await pass(1 * SECOND)
    expect(await disable({ currentPassword: PASSWORD, code: code() })).toBe(204)
  })
})

describe('a refresh token that came too often', () => {
  test('is good when the hour is over: nobody is signed out', async () => {
    let { refreshToken } = await api.newPerson()
    const refresh = async () => {
      const answer = await api.call('refresh', { refreshToken })
      refreshToken = answer.body['refreshToken'] ?? refreshToken
      return outcome(answer)
    }
    expect(await times(13, refresh)).toEqual([...all(11, 200), 'wait 3600', 'wait 3600'])
    await pass(HOUR)
    expect(await times(12, refresh)).toEqual([...all(11, 200), 'wait 3600'])
  })

  test('does not take the limit of anybody else', async () => {
    const [ann, bob] = [await api.newPerson(), await api.newPerson()]
    const again = await api.signIn(ann.email)
    await times(12, () => api.call('refresh', { refreshToken: ann.refreshToken }))
    for (const { refreshToken } of [bob, again]) {
      expect(await api.call('refresh', { refreshToken })).toMatchObject({ status: 200 })
    }
  })
})

describe('mails of one kind to one email', () => {
  /** Asks for a link, each time from another address; how many mails have come of it. */
  const ask = async (email: string) => {
    const before = api.smtp.waiting(email)
    await api.call('forgotPassword', { email }, { address: newAddress() })
    await api.mailFunction.settled()
    return api.smtp.waiting(email) - before
  }
  const lastToken = async (email: string) => {
    const tokens = await times(api.smtp.waiting(email), async () => (await api.smtp.next(email)).token)
    return tokens.at(-1)
  }
  /** Whether a link would reset the password; it is not used up, since the password is too short. */
  const isGood = async (token: string | undefined) => {
    const { code } = await api.call('resetMyPassword', { token, password: 'short' })
    return code === 'invalid_request'
  }

  test('are three at once, and then one after 1, 2, 4, 8 and every 15 min', async () => {
    const { email } = await api.newPerson()
    expect(await times(4, () => ask(email))).toEqual([1, 1, 1, 0])
    for (const wait of [1, 2, 4, 8, 15, 15, 15]) {
      await pass(wait * MINUTE - 1)
      expect(await ask(email)).toBe(0)
      await pass(1)
      expect([await ask(email), await ask(email)]).toEqual([1, 0])
    }
  })

  test('leave a link in the mailbox that is good, at any time and however often others ask for one', async () => {
    const { email } = await api.newPerson()
    let token: string | undefined
    for (let minute = 0; minute < 50; minute++) {
      await ask(email)
      token = (await lastToken(email)) ?? token
      expect(await isGood(token)).toBe(true)
      await pass(MINUTE)
    }
  })

  test('are three at once again after an hour of peace', async () => {
    const { email } = await api.newPerson()
    await times(4, () => ask(email))
    await pass(HOUR)
    expect(await times(4, () => ask(email))).toEqual([1, 1, 1, 0])
  })

  test('follow at once on the link that was used', async () => {
    const { email } = await api.newPerson()
    expect(await times(4, () => ask(email))).toEqual([1, 1, 1, 0])
    await api.call('resetMyPassword', { token: await lastToken(email), password: NEW })
    expect((await api.smtp.next(email)).subject).toContain('was reset')
    expect(await ask(email)).toBe(1)
  })

  test('leave out those that could not be sent: when the server is back, Lambda’s next try sends it', async () => {
    const { email } = await api.newPerson()
    await times(3, () => ask(email))
    await pass(1 * MINUTE)
    api.smtp.refuse(new Error('down'))
    await ask(email)
    expect(await isGood(await lastToken(email))).toBe(false)
    const event = api.mailFunction.events.at(-1)!
    await expect(api.mail(event)).rejects.toThrow('could not be sent')
    api.smtp.refuse(undefined)
    await api.mail(event)
    expect(await isGood(await lastToken(email))).toBe(true)
    // And that one counts, as the fourth does.
    await pass(2 * MINUTE - 1)
    expect(await ask(email)).toBe(0)
    await pass(1)
    expect(await ask(email)).toBe(1)
  })

  test('go on after a function that ended while it was sending: Lambda’s next try comes a minute later', async () => {
    const { email } = await api.newPerson()
    await times(3, () => ask(email))
    await pass(1 * MINUTE)
    expect(await result(mailRules('passwordReset', email, limits), new Date())).toBe('counted')
    await pass(1 * MINUTE)
    expect(await ask(email)).toBe(1)
  })

  test('do not hold up those of another kind, nor those to somebody else', async () => {
    const { email } = await api.newPerson()
    await times(4, () => ask(email))
    await api.call('resendVerification', { email })
    expect((await api.smtp.next(email)).subject).toContain('Reset')
    await api.mailFunction.settled()
    const subjects = await times(api.smtp.waiting(email), async () => (await api.smtp.next(email)).subject)
    expect(subjects.at(-1)).toContain('Confirm')
    expect(await ask((await api.newPerson()).email)).toBe(1)
  })

  test('are limited too when they tell of a change: an account under somebody else’s address fills no mailbox', async () => {
    const ann = await api.newPerson()
    await times(10, (index) =>
      api.call(
        'changeMyPassword',
        { currentPassword: index % 2 ? NEW : PASSWORD, newPassword: index % 2 ? PASSWORD : NEW },
        ann,
      ),
    )
    await api.mailFunction.settled()
    expect(api.smtp.waiting(ann.email)).toBe(3)
    // Of each kind, so that they cannot hide another change.
    await api.call('deleteMe', { currentPassword: PASSWORD }, ann)
    await api.mailFunction.settled()
    expect(api.smtp.waiting(ann.email)).toBe(4)
  })
})

describe('the counters', () => {
  test('are cleared by the database when they no longer count', async () => {
    const indexes = await counters((collection) => collection.indexes())
    expect(indexes).toContainEqual(expect.objectContaining({ key: { expiresAt: 1 }, expireAfterSeconds: 0 }))
    const documents = await counters((collection) => collection.find().toArray())
    expect(documents.length).toBeGreaterThan(100)
    for (const { expiresAt, opensAt } of documents) {
      expect(expiresAt.getTime()).toBeLessThanOrEqual(Date.now() + HOUR)
      // Not while it keeps somebody waiting.
      expect(opensAt.getTime()).toBeLessThanOrEqual(expiresAt.getTime())
    }
  })

  test('hold nothing that was typed, and no address', async () => {
    const [email, password, address] = ['hunter2@example.com', 'my-secret-password', '203.0.113.77']
    const collections = ['login', 'forgotPassword', 'resendVerification', 'register'] as const
    for (const route of collections) {
      const body = {
        email,
        ...(/login|register/.test(route) && { password }),
        ...(route === 'register' && { name: 'Ann' }),
      }
      await api.call(route, body, { address })
    }
    const documents = await counters((collection) => collection.find().toArray())
    for (const document of documents) {
      expect(Object.keys(document).toSorted()).toEqual(['_id', 'count', 'expiresAt', 'opensAt'])
      expect(document._id).toMatch(/^[\w-]{43}$/)
    }
    const text = JSON.stringify(documents)
    for (const secret of [email, 'hunter2', password, address]) expect(text).not.toContain(secret)
  })

  test('take containers whose clocks differ: none gets more guesses, and none is kept out for long', async () => {
    const rules = loginRules('clocks@example.com', newAddress(), limits)
    const at = (milliseconds: number) => result(rules, new Date(Date.now() + milliseconds))
    expect(await at(2000)).toBe('counted')
    expect(await at(-2000)).toBe('counted')
    expect([await at(2000), await at(0), await at(-2000)]).toEqual(all(3, 'counted'))
    // Closed for a second by a clock that is behind, or by the wait and the difference at the most.
    expect([await at(-2000), await at(-1001)]).toEqual(['wait 1', 'wait 1'])
    expect([await at(-1000), await at(-1000)]).toEqual(['counted', 'wait 2'])
    expect([await at(1000), await at(0), await at(2999), await at(3000)]).toEqual([
      'counted',
      'wait 5',
      'wait 3',
      'wait 2',
    ])
  })
})

/** What comes of an attempt at a time. */
async function result(rules: Rule[], now: Date): Promise<string> {
  try {
    await countAttempt(rules, now)
    return 'counted'
  } catch (error) {
    if (!(error instanceof Problem)) throw error
    return error.status === 429 ? `wait ${String(error.headers['Retry-After'])}` : error.code
  }
}

interface Counter {
  _id: string
  count: number
  opensAt: Date
  expiresAt: Date
}

/** The stored counters of this file. */
const counters = <Result>(
  work: (collection: import('mongoose').mongo.Collection<Counter>) => Promise<Result>,
): Promise<Result> => onDatabase(DIRECT, (database) => work(database.collection<Counter>('attempts')))

test('without a counter that can be written nobody guesses, though the users can be read', async () => {
  const { email } = await api.newPerson()
  const validate = (validator: object) =>
    onDatabase(DIRECT, (database) => database.command({ collMod: 'attempts', validator }))
  await validate({ never: true })
  expect(await attempt(email, newAddress(), PASSWORD)).toBe(503)
  await validate({})
  expect(await attempt(email, newAddress(), PASSWORD)).toBe(200)
})

const describeIfPlain = isPlain ? describe : describe.skip

describeIfPlain('when the database is away', () => {
  test('nobody guesses for free: every attempt is a 503, and counting goes on where it was', async () => {
    const { email } = await api.newPerson()
    const address = newAddress()
    expect(await times(4, () => attempt(email, address))).toEqual(all(4, 401))
    const info = jest.spyOn(log, 'info')
    await proxy!.stop()
    const statuses = await Promise.all(all(10, PASSWORD).map((password) => attempt(email, address, password)))
    expect(statuses).toEqual(all(10, 503))
    // Not even in the log: no password was looked at.
    expect(info.mock.calls.map(([message]) => message)).not.toContain('authn_login_fail')
    await proxy!.start()
    expect(await times(2, () => attempt(email, address))).toEqual([401, 'wait 1'])
  })
})
