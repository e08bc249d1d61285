/**
 * Whether there is an account shows in no answer, and not in the work that is done for it (OWASP Authentication Cheat
 * Sheet, "Authentication and Error Messages"): for every reason of refusal the same bytes, the same rounds of bcrypt,
 * the same commands to the database and the same calls of other functions. `npm run test:timing` measures the times.
 */
import type { mongo } from 'mongoose'
import { randomBytes } from 'node:crypto'
import { databaseUri } from '../support/database.ts'

const PASSWORD = 'a horse on the moon'
const OTHER_PASSWORD = 'a horse on the sun'
/** Above the least of bcrypt, which is that of the cheap hash. */
const [COST, CHEAP] = [7, 4]
const LIFTED = 1_000_000
/** So often for each reason, in turn. */
const ROUNDS = 3

type Route = 'login' | 'forgotPassword' | 'resendVerification' | 'register'

/** What was done for a request, and what came of it. */
interface Work {
  /** The status, the headers and the body. */
  answer: string
  /** Rounds of bcrypt, whatever the number of hashes is. */
  rounds: number
  /** Commands and their collections, with how many statements each has. */
  commands: string[]
  /** Requests to other functions. */
  calls: number
}

/** A container of its own for each deployment, and the work of its requests. */
async function startCounting(settings: Record<string, string>) {
  jest.resetModules()
  const uri = new URL(databaseUri())
  uri.searchParams.set('monitorCommands', 'true')
  const { startAccounts, withLimits } = await import('../support/account.ts')
  const api = await startAccounts({
    DB: uri.href,
    BCRYPT_COST: String(COST),
    ...withLimits({ forgotsPerAddress: LIFTED, resendsPerAddress: LIFTED }),
    ...settings,
  })
  // The function that sends mail is another Lambda: what it does does not count, and here it does nothing.
  api.mailFunction.misbehave(202)

  const { default: bcrypt } = await import('bcryptjs')
  const { default: mongoose } = await import('mongoose')
  const { hashPassword } = await import('../../auth/Passwords.ts')
  const pepper = Buffer.from(process.env['PEPPER']!, 'base64url')
  const passwordHash = await hashPassword(PASSWORD, { pepper, cost: COST })
  const cheapHash = await bcrypt.hash(PASSWORD, CHEAP)

  const hashed = jest.spyOn(bcrypt, 'hash')
  const compared = jest.spyOn(bcrypt, 'compare')
  const fetched = jest.spyOn(globalThis, 'fetch')
  /** 2^cost of each hash; a stored one names its cost. */
  const rounds = () =>
    [
      ...hashed.mock.calls.map(([, cost]) => Number(cost)),
      ...compared.mock.calls.map(([, stored]) => Number(stored.split('$')[2])),
    ].reduce((sum, cost) => sum + 2 ** cost, 0)
  // Connects, after which there is a client.
  await api.call('login', { email: 'nobody@example.com', password: PASSWORD })
  const commands: string[] = []
  mongoose.connection
    .getClient()
    .on('commandStarted', ({ commandName, command }: mongo.CommandStartedEvent) => {
      const statements = ['updates', 'documents', 'deletes', 'pipeline'].flatMap(
        (name) => command[name]?.length ?? [],
      )
      commands.push([commandName, command[commandName], ...statements].join(' '))
    })

  return {
    /** The work of one request. */
    workOf: async (route: Route, json: object): Promise<Work> => {
      for (const spy of [hashed, compared, fetched]) spy.mockClear()
      commands.length = 0
      const { status, headers, body } = await api.call(route, json)
      return {
        answer: JSON.stringify([status, headers, body]),
        rounds: rounds(),
        commands: [...commands],
        calls: fetched.mock.calls.length,
      }
    },
    /** Stores an account, and gives its email. */
    account: async (more: object = {}) => {
      const email = stranger()
      await mongoose.connection.collection('users').insertOne({
        name: 'Ann',
        email,
        passwordHash,
        roles: ['user'],
        createdAt: new Date(),
        ...more,
      })
      return email
    },
    cheapHash,
    stop: async () => {
      jest.restoreAllMocks()
      await api.stop()
    },
  }
}

type Counting = Awaited<ReturnType<typeof startCounting>>
const stranger = () => `${randomBytes(8).toString('hex')}@example.com`

/** A reason of refusal: a new email for which it holds, and the request. */
interface Reason {
  name: string
  email: (counting: Counting) => string | Promise<string>
  body: (email: string) => object
}

const right = (email: string) => ({ email, password: PASSWORD })
const wrong = (email: string) => ({ email, password: OTHER_PASSWORD })
const registration = (email: string) => ({ ...right(email), name: 'Ann' })
const withoutAccount = stranger
const withAccount = ({ account }: Counting) => account()
const registered = (email: Reason['email']) => async (counting: Counting) => {
  const text = await email(counting)
  await counting.workOf('register', { ...wrong(text), name: 'Ann' })
  return text
}

/** For each, whether a password is hashed, and whether the function that sends mail is called. */
const deployments: {
  name: string
  settings: Record<string, string>
  requests: { name: string; route: Route; rounds: number; calls: number; reasons: Reason[] }[]
}[] = [
  {
    name: 'with an open registration',
    settings: {},
    requests: [
      {
        name: 'a login',
        route: 'login',
        rounds: 2 ** COST,
        calls: 0,
        reasons: [
          { name: 'unknown email', email: withoutAccount, body: right },
          { name: 'wrong password', email: withAccount, body: wrong },
          {
            name: 'wrong password of a cheaper hash',
            email: ({ account, cheapHash }) => account({ passwordHash: cheapHash }),
            body: wrong,
          },
          {
            name: 'wrong password of a malformed hash',
            email: ({ account }) => account({ passwordHash: 'x' }),
            body: wrong,
          },
          { name: 'disabled account', email: ({ account }) => account({ disabled: true }), body: right },
          {
            name: 'disabled account and a wrong password',
            email: ({ account }) => account({ disabled: true }),
            body: wrong,
          },
        ],
      },
      {
        name: 'a forgotten password',
        route: 'forgotPassword',
        rounds: 0,
        calls: 1,
        reasons: [
          { name: 'unknown email', email: withoutAccount, body: (email) => ({ email }) },
          { name: 'known email', email: withAccount, body: (email) => ({ email }) },
          {
            name: 'disabled account',
            email: ({ account }) => account({ disabled: true }),
            body: (email) => ({ email }),
          },
        ],
      },
      {
        name: 'another mail that confirms an email',
        route: 'resendVerification',
        rounds: 0,
        calls: 1,
        reasons: [
          { name: 'unknown email', email: withoutAccount, body: (email) => ({ email }) },
          { name: 'known email', email: withAccount, body: (email) => ({ email }) },
          {
            name: 'verified email',
            email: ({ account }) => account({ emailVerified: true }),
            body: (email) => ({ email }),
          },
        ],
      },
    ],
  },
  {
    name: 'with a private registration',
    settings: { REGISTRATION: 'private', EMAIL_VERIFICATION: 'required' },
    requests: [
      {
        name: 'a registration',
        route: 'register',
        rounds: 2 ** COST,
        calls: 1,
        reasons: [
          { name: 'free email', email: withoutAccount, body: registration },
          { name: 'taken email', email: withAccount, body: registration },
        ],
      },
      // Who registers with somebody's email and then logs in would know whether it was taken.
      {
        name: 'a login after it',
        route: 'login',
        rounds: 2 ** COST,
        calls: 0,
        reasons: [
          { name: 'free email', email: registered(withoutAccount), body: wrong },
          { name: 'taken email', email: registered(withAccount), body: wrong },
        ],
      },
    ],
  },
]

describe.each(deployments)('$name', ({ settings, requests }) => {
  let counting: Counting
  beforeAll(async () => {
    counting = await startCounting(settings)
  })
  afterAll(() => counting.stop())

  test.each(requests)('$name', async ({ route, rounds, calls, reasons }) => {
    const works: { name: string; work: Work }[] = []
    for (let round = 0; round < ROUNDS; round++) {
      for (const { name, email, body } of reasons) {
        const text = await email(counting)
        works.push({ name, work: await counting.workOf(route, body(text)) })
      }
    }
    const { work } = works[0]!
    expect(works).toEqual(works.map(({ name }) => ({ name, work })))
    // What is counted was done.
    expect(work).toMatchObject({ rounds, calls })
    expect(work.commands.length).toBeGreaterThan(0)
  })
})
