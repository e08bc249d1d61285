/**
 * The revocation feed on a real MongoDB: what it hears of, and more revocations than it can remember.
 */
import { randomBytes } from 'node:crypto'
import mongoose from 'mongoose'
import { MAX_ENTRIES, revocationFeed } from '../../auth/RevocationFeed.ts'
import { revocations } from '../../auth/Revocations.ts'
import { revokeSession, startSession } from '../../auth/Sessions.ts'
import { withDatabase } from '../support/withDatabase.ts'
import { changeUser, createUser, endSessions, newUserId } from '../../user/User.ts'
import type { User } from '../../user/UserModel.ts'
import { dropDatabase, onDatabase } from '../support/database.ts'

const DB = process.env['DB']!
const device = { userAgent: null, address: null }
const now = new Date()
const later = (seconds: number) => new Date(now.getTime() + seconds * 1000)

afterAll(async () => {
  await mongoose.disconnect()
  await dropDatabase(DB)
})

let people = 0
const newUser = (roles = ['user']) =>
  withDatabase(() =>
    createUser(
      { id: newUserId(), name: 'Ann', email: `user${++people}@example.com`, passwordHash: 'v1', roles },
      now,
    ),
  )

/** A user who is signed in, as an access token names her. */
async function signIn(user: User) {
  const { sessionId } = await withDatabase(() => startSession(user, device, randomBytes(32), now))
  return { sid: sessionId, sub: user.id, ver: user.tokenVersion }
}

const { isRevoked, revocationsSince } = revocations(DB)
const feed = () => revocationFeed({ revocationsSince, isRevoked })

test.each<{ name: string; act: (token: { sid: string; sub: string }) => Promise<unknown> }>([
  { name: 'a revoked session', act: ({ sid, sub }) => revokeSession(sid, sub, later(1)) },
  { name: 'a disabled user', act: ({ sub }) => changeUser(sub, { disabled: true }, later(1)) },
  { name: 'changed roles', act: ({ sub }) => changeUser(sub, { roles: [] }, later(1)) },
  { name: 'a user who signed out everywhere', act: ({ sub }) => endSessions(sub, later(1)) },
])('hears of $name, in a container that runs and in a new one, and of nothing else', async ({ act }) => {
  const [victim, bystander] = [await signIn(await newUser()), await signIn(await newUser())]
  const running = feed()
  expect([await running(victim, now), await running(bystander, now)]).toEqual([false, false])
  await withDatabase(() => act(victim))
  for (const container of [running, feed()]) {
    expect(await container(victim, later(6))).toBe(true)
    expect(await container(bystander, later(6))).toBe(false)
  }
})

test('a slow write that carries an older time takes back nothing that was heard of (logout, answered 204)', async () => {
  const token = await signIn(await newUser())
  const running = feed()
  await withDatabase(() => revokeSession(token.sid, token.sub, later(300)))
  await withDatabase(() => revokeSession(token.sid, token.sub, now))
  await running({ ...token, sid: 'another' }, later(299))
  expect(await running(token, later(304))).toBe(true)
})

test('disabling that took long is heard of, though the user’s own logout-all came later and was written first', async () => {
  await newUser(['user', 'admin'])
  const user = await newUser()
  await withDatabase(() => endSessions(user.id, later(2)))
  const token = await signIn({ ...user, tokenVersion: 1, sessionVersion: 1 })
  const running = feed()
  expect(await running(token, later(3))).toBe(false)
  await withDatabase(() => changeUser(user.id, { disabled: true }, later(1)))
  expect(await running(token, later(8))).toBe(true)
})

test('more revocations than can be remembered: tokens are looked up, and those of before are refused too', async () => {
  const [revoked, live] = [await signIn(await newUser()), await signIn(await newUser())]
  await withDatabase(() => revokeSession(revoked.sid, revoked.sub, now))
  await onDatabase(DB, async (database) => {
    const sessions = database.collection<{ _id: string; revokedAt: Date; expiresAt: Date }>('sessions')
    for (let written = 0; written <= MAX_ENTRIES; written += 50_000) {
      await sessions.insertMany(
        Array.from({ length: 50_000 }, (_, index) => ({
          _id: `flood-${written + index}`,
          revokedAt: later(-written / 1000),
          expiresAt: later(3600),
        })),
        { ordered: false },
      )
    }
  })
  const isRefused = feed()
  expect([await isRefused(revoked, now), await isRefused(live, now)]).toEqual([true, false])
  // Looked up: it is heard of at once.
  await withDatabase(() => revokeSession(live.sid, live.sub, now))
  expect(await isRefused(live, now)).toBe(true)
})
