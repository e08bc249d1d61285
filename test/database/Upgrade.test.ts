/**
 * An upgrade signs nobody out and loses no password: what commit a59160d wrote into the database and handed to its
 * clients (test/fixtures/a59160d.json) is understood, and replaced at its next use.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import mongoose from 'mongoose'
import { Secret, TOTP } from 'otpauth'
import { type Api, type Person, startAccounts } from '../support/account.ts'
import { onDatabase } from '../support/database.ts'

const { EJSON } = mongoose.mongo.BSON

interface Fixture {
  writtenAt: string
  password: string
  /** What the clients hold: tokens, links, a cookie, an authenticator app. */
  people: {
    refreshed: { email: string; used: string; refreshToken: string }
    withApp: { email: string; secret: string; recoveryCodes: string[]; refreshToken: string }
    unverified: { email: string; confirmation: string; refreshToken: string }
    forgetful: { email: string; reset: string }
    inBrowser: { email: string; setCookie: string }
    admin: { email: string; refreshToken: string }
    moving: { email: string; newEmail: string; confirmation: string; refreshToken: string }
  }
  settings: Record<string, string>
  collections: Record<string, Record<string, unknown>[]>
}

const fixture = EJSON.parse(
  readFileSync(join(__dirname, '..', 'fixtures', 'a59160d.json'), 'utf8'),
) as Fixture
const { people, password } = fixture
const NEW = 'another horse on the sun'

/** Moves every date on, as if all of it had been written so many milliseconds ago. */
function writtenAgo(value: unknown, milliseconds: number): unknown {
  if (value instanceof Date) {
    return new Date(value.getTime() - Date.parse(fixture.writtenAt) + Date.now() - milliseconds)
  }
  if (Array.isArray(value)) return value.map((each) => writtenAgo(each, milliseconds))
  if (!value || typeof value !== 'object' || value instanceof mongoose.mongo.ObjectId) return value
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, writtenAgo(each, milliseconds)]))
}

let api: Api
beforeAll(async () => {
  await onDatabase(process.env['DB']!, async (database) => {
    for (const [name, documents] of Object.entries(fixture.collections)) {
      await database.collection(name).insertMany(writtenAgo(documents, 0) as object[])
    }
  })
  // One more than that commit hashed with.
  api = await startAccounts({ ...fixture.settings, BCRYPT_COST: '5' })
})
afterAll(() => api.stop())

const stored = (email: string) =>
  onDatabase(process.env['DB']!, (database) => database.collection('users').findOne({ email }))
const refresh = (refreshToken: unknown) => api.call('refresh', { refreshToken })

/** Somebody with the refresh token of a session, which it uses. */
async function signedIn({ email, refreshToken }: { email: string; refreshToken: string }): Promise<Person> {
  const { status, body } = await refresh(refreshToken)
  if (status !== 200) throw new Error(`refresh answers ${status}`)
  return api.signedIn(email, body)
}

test('a refresh token still works, its session goes on, and a lost answer is given again', async () => {
  const { email, used, refreshToken } = people.refreshed
  expect((await refresh(used)).body['refreshToken']).toBe(refreshToken)
  const person = await signedIn({ email, refreshToken })
  expect((await api.call('me', undefined, person)).body).toMatchObject({ email, name: 'Ann' })
  expect((await refresh(person.refreshToken)).status).toBe(200)
})

test('a refresh token that was used before is theft', async () => {
  const { email, refreshToken } = people.unverified
  const { refreshToken: next } = await signedIn({ email, refreshToken })
  await refresh(next)
  expect((await refresh(refreshToken)).code).toBe('invalid_refresh_token')
  expect((await refresh(next)).code).toBe('invalid_refresh_token')
})

test('the cookie of a browser still works', async () => {
  const [cookie] = people.inBrowser.setCookie.split(';') as [string]
  const { status, body } = await api.call('refresh', undefined, {
    headers: { 'Refresh-Token-In': 'cookie', Cookie: cookie },
  })
  expect([status, body['auth'], body['refreshToken']]).toEqual([200, true, undefined])
})

test('a password still works, and its hash is replaced', async () => {
  const { email } = people.refreshed
  const before = await stored(email)
  expect((await api.call('login', { email, password })).status).toBe(200)
  const after = await stored(email)
  expect(after!['passwordHash']).not.toBe(before!['passwordHash'])
  expect((await api.call('login', { email, password: 'a wrong horse' })).code).toBe('invalid_credentials')
  expect((await api.call('login', { email, password })).status).toBe(200)
})

test('an authenticator app and its recovery codes still work', async () => {
  const { email, secret, recoveryCodes, refreshToken } = people.withApp
  const totp = new TOTP({ secret: Secret.fromBase32(secret) })
  for (const code of [totp.generate({ timestamp: Date.now() + 30_000 }), recoveryCodes[0]]) {
    const { body } = await api.call('login', { email, password })
    expect((await api.call('loginMfa', { challenge: body['challenge'], code })).status).toBe(200)
  }
  const person = await signedIn({ email, refreshToken })
  expect((await api.call('mfa', undefined, person)).body).toEqual({ totp: true, recoveryCodesLeft: 9 })
})

test('the links of mails still work', async () => {
  const { forgetful, moving } = people
  expect((await api.call('resetMyPassword', { token: forgetful.reset, password: NEW })).status).toBe(204)
  expect((await api.call('login', { email: forgetful.email, password: NEW })).status).toBe(200)
  expect((await api.call('verifyEmail', { token: people.unverified.confirmation })).status).toBe(204)
  expect((await api.call('verifyEmail', { token: moving.confirmation })).status).toBe(204)
  expect((await stored(moving.newEmail))!['emailVerified']).toBe(true)
})

test('an admin is still one', async () => {
  const admin = await signedIn(people.admin)
  expect(admin.caller.roles).toBe('user admin')
  expect((await api.call('adminUsers', undefined, admin)).status).toBe(200)
})
