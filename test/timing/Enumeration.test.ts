/**
 * Whether there is an account shows in no answer and in no time (OWASP Authentication Cheat Sheet, "Authentication and
 * Error Messages"): requests about accounts and about nobody, in random order, over HTTP, with real mail. Their times
 * are compared with each other and with nothing else.
 */
import { randomBytes } from 'node:crypto'
import { EventEmitter, once } from 'node:events'
import { createInterface } from 'node:readline'
import bcrypt from 'bcryptjs'
import { hashPassword } from '../../auth/Passwords.ts'
import { median } from '../../support/measure.ts'
import { databaseUri, dropDatabase, onDatabase } from '../support/database.ts'
import { type SmtpServer, startSmtp } from '../../support/mail.ts'
import { mannWhitney } from '../support/mannWhitney.ts'
import { copyProject, startApi } from '../../support/project.ts'

/** Share of a median. */
const MOST_APART = 0.03
const LEAST_P = 0.01
/** A difference that is found once may be chance: it must be found again, in the same direction, ... */
const ATTEMPTS = 3
/** ... and in all samples together beyond doubt, since on a busy machine medians are apart again and again. */
const DOUBT = 1e-5
const WARM_UP = 10

const PASSWORD = 'a horse on the moon'
const OTHER_PASSWORD = 'a horse on the sun'
/** The least of a deployment: whatever is not bcrypt shows best. */
const COST = 10
const LIFTED = 1_000_000

const DB = databaseUri()
const project = copyProject()
const privateProject = copyProject()
let smtp: SmtpServer
let openApi: Api
let privateApi: Api
let passwordHash: string

beforeAll(async () => {
  smtp = await startSmtp()
  const environment = {
    DB,
    PEPPER: process.env['PEPPER']!,
    BCRYPT_COST: String(COST),
    SMTP_URL: smtp.url,
    MAIL_FROM: 'no-reply@auth.test',
    // All requests come from one address.
    LIMITS: JSON.stringify({
      loginsPerAddress: LIFTED,
      forgotsPerAddress: LIFTED,
      resendsPerAddress: LIFTED,
      registrationsPerAddress: LIFTED,
    }),
  }
  ;[openApi, privateApi] = await Promise.all([
    start(project.folder, environment),
    start(privateProject.folder, { ...environment, REGISTRATION: 'private' }),
  ])
  const pepper = Buffer.from(environment.PEPPER, 'base64url')
  passwordHash = await hashPassword(PASSWORD, { pepper, cost: COST })
}, 120_000)

afterAll(async () => {
  await Promise.all([openApi?.stop(), privateApi?.stop()])
  await smtp?.stop()
  for (const { remove } of [project, privateProject]) remove()
  await dropDatabase(DB)
})

type Api = Awaited<ReturnType<typeof start>>

async function start(folder: string, environment: NodeJS.ProcessEnv) {
  const api = await startApi(folder, { environment })
  const events = new EventEmitter()
  createInterface({ input: api.process.stderr! }).on('line', (line) => {
    if (line.startsWith('(λ: mail)')) events.emit('mail')
  })
  /** Waits until the function that sends mail has run. */
  return { ...api, mailed: () => once(events, 'mail') }
}

/** A kind of request, of which no answer and no time may differ from those of the others. */
interface Kind {
  name: string
  /** Emails for as many requests; each is asked about once, as by who goes through a list of them. */
  emails: (count: number) => string[] | Promise<string[]>
  body: (email: string) => object
  /** Whether somebody gets a mail. */
  mail?: true
}

const strangers = (count: number) =>
  Array.from({ length: count }, () => `${randomBytes(8).toString('hex')}@example.com`)

const accounts =
  (more: object = {}) =>
  async (count: number): Promise<string[]> => {
    const emails = strangers(count)
    const user = { name: 'Ann', passwordHash, roles: ['user'], createdAt: new Date(), ...more }
    await onDatabase(DB, (database) =>
      database.collection('users').insertMany(emails.map((email) => ({ ...user, email }))),
    )
    return emails
  }

test('a login: unknown email, wrong password, disabled account', async () => {
  const right = (email: string) => ({ email, password: PASSWORD })
  const wrong = (email: string) => ({ email, password: OTHER_PASSWORD })
  const found = await differences(openApi, '/login', 200, [
    { name: 'unknown email', emails: strangers, body: right },
    { name: 'wrong password', emails: accounts(), body: wrong },
    // With the cheapest hash of another system.
    {
      name: 'disabled account',
      emails: accounts({ disabled: true, passwordHash: await bcrypt.hash(PASSWORD, 4) }),
      body: right,
    },
  ])
  expect(found).toEqual([])
}, 600_000)

test('a forgotten password: unknown and known email', async () => {
  const body = (email: string) => ({ email })
  const found = await differences(openApi, '/password/forgot', 200, [
    { name: 'unknown email', emails: strangers, body },
    { name: 'known email', emails: accounts(), body, mail: true },
  ])
  expect(found).toEqual([])
}, 600_000)

test('another mail that confirms an email: unknown and known email', async () => {
  const body = (email: string) => ({ email })
  const found = await differences(openApi, '/email/verify/resend', 100, [
    { name: 'unknown email', emails: strangers, body },
    { name: 'known email', emails: accounts(), body, mail: true },
  ])
  expect(found).toEqual([])
}, 600_000)

test('a private registration: new and taken email', async () => {
  const body = (email: string) => ({ email, name: 'Ann', password: PASSWORD })
  const found = await differences(privateApi, '/register', 60, [
    { name: 'new email', emails: strangers, body, mail: true },
    { name: 'taken email', emails: accounts(), body, mail: true },
  ])
  expect(found).toEqual([])
}, 600_000)

// Who registers with somebody's email and then logs in would know whether it was taken.
test('a login after it: new and taken email', async () => {
  const found = await differences(privateApi, '/login', 60, [
    { name: 'new email', emails: accounts(), body: (email) => ({ email, password: PASSWORD }) },
    { name: 'taken email', emails: accounts(), body: (email) => ({ email, password: OTHER_PASSWORD }) },
  ])
  expect(found).toEqual([])
}, 600_000)

/** Two kinds that may differ. */
interface Suspects {
  kinds: [Kind, Kind]
  /** Of the difference between their medians; 0 at the beginning. */
  sign: number
  /** All milliseconds so far. */
  times: [number[], number[]]
}

/**
 * Compares the kinds two by two, and prints each comparison.
 * @param count of the requests of each kind
 * @returns the names of those that differ
 */
async function differences(api: Api, path: string, count: number, kinds: Kind[]): Promise<string[]> {
  await measure(api, path, WARM_UP, kinds)
  let suspects = kinds.flatMap((one, index) =>
    kinds.slice(index + 1).map((other): Suspects => ({ kinds: [one, other], sign: 0, times: [[], []] })),
  )
  for (let attempt = 1; attempt <= ATTEMPTS && suspects.length > 0; attempt++) {
    const involved = kinds.filter((kind) => suspects.some((pair) => pair.kinds.includes(kind)))
    const samples = await measure(api, path, count, involved)
    suspects = suspects.filter((pair) => {
      const [a, b] = pair.kinds.map(({ name }) => samples.get(name)!) as Suspects['times']
      const apart = median(b) / median(a) - 1
      const { p } = mannWhitney(a, b)
      const medians = pair.kinds.map(({ name }) => `${name} ${median(samples.get(name)!).toFixed(2)} ms`)
      const percent = (apart * 100).toFixed(1)
      process.stdout.write(
        `${path}, ${count} each: ${medians.join(', ')}, ${percent} %, p = ${p.toFixed(3)}\n`,
      )
      const isAgain = pair.sign !== -Math.sign(apart)
      pair.sign = Math.sign(apart)
      pair.times = [
        [...pair.times[0], ...a],
        [...pair.times[1], ...b],
      ]
      return isAgain && (Math.abs(apart) > MOST_APART || p < LEAST_P)
    })
  }
  return suspects
    .filter(({ times }) => mannWhitney(...times).p < DOUBT)
    .map(({ kinds }) => kinds.map(({ name }) => name).join(', '))
}

/**
 * Sends requests of all kinds in random order, and expects one and the same answer.
 * @param count of each kind
 * @returns the milliseconds of each request, by the name of its kind
 */
async function measure(api: Api, path: string, count: number, kinds: Kind[]): Promise<Map<string, number[]>> {
  const requests: { kind: Kind; email: string }[] = []
  for (const kind of kinds) {
    for (const email of await kind.emails(count)) requests.push({ kind, email })
  }
  const asksForMail = kinds.some(({ mail }) => mail)
  const samples = new Map<string, number[]>(kinds.map(({ name }) => [name, []]))
  const answers = new Set<string>()
  // Not round by round: what comes before a request must not depend on its kind.
  for (const { kind, email } of shuffled(requests)) {
    const mailed = asksForMail && api.mailed()
    const { time, answer } = await send(api.url + path, kind.body(email))
    samples.get(kind.name)!.push(time)
    answers.add(answer)
    // Sending a mail must not take its time from the next request.
    await mailed
  }
  expect([...answers]).toEqual([expect.anything()])
  for (const { kind, email } of requests) if (kind.mail) await smtp.next(email)
  return samples
}

/** @returns its milliseconds, and the answer without what is of this request alone */
async function send(url: string, body: object): Promise<{ time: number; answer: string }> {
  const began = performance.now()
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(body),
  })
  const text = await response.text()
  const time = performance.now() - began
  const headers = [...response.headers].filter(([name]) => name !== 'date')
  const sameText = text.replace(/(?<="requestId":")[^"]+/, '')
  return { time, answer: JSON.stringify([response.status, headers, sameText]) }
}

const shuffled = <Item>(items: Item[]): Item[] =>
  items
    .map((item) => ({ item, at: Math.random() }))
    .toSorted((a, b) => a.at - b.at)
    .map(({ item }) => item)
