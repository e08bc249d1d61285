/**
 * Refresh tokens against a real MongoDB: rotation, parallel use, theft, and the ends of a session. The time is a
 * parameter of auth/Sessions.ts, so days pass in no time.
 */
import { randomBytes } from 'node:crypto'
import mongoose from 'mongoose'
import {
  listSessions,
  revokeSession,
  revokeSessions,
  rotateRefreshToken,
  startSession,
} from '../../auth/Sessions.ts'
import { withDatabase } from '../support/withDatabase.ts'
import { Problem } from '../../api/Problem.ts'
import type { Device } from '../../api/Route.ts'
import { dropDatabase, onDatabase } from '../support/database.ts'

const DB = process.env['DB']!
const SECOND = 1000
const HOUR = 60 * 60 * SECOND
const DAY = 24 * HOUR
const START = Date.parse('2026-01-01T12:00:00Z')
const at = (milliseconds: number) => new Date(START + milliseconds)
const key = randomBytes(32)
const user = { id: '65f00000000000000000000a', sessionVersion: 0 }
const OTHER = '65f00000000000000000000d'
const laptop = { userAgent: 'Firefox on a laptop', address: '192.0.2.1' }

const start = (owner = user) => withDatabase(() => startSession(owner, laptop, key, at(0)))

/** What comes of a refresh token at a time: its successor, or the code of the problem. */
const rotate = async (token: string, time: number, device: Device = laptop, limit = 100): Promise<string> => {
  try {
    return (await withDatabase(() => rotateRefreshToken(token, device, key, limit, at(time)))).refreshToken
  } catch (error) {
    if (error instanceof Problem) return error.code
    throw error
  }
}

const stored = (sessionId: string) =>
  onDatabase(DB, (database) =>
    database.collection<{ _id: string; expiresAt: Date }>('sessions').findOne({ _id: sessionId }),
  )

const INVALID = 'invalid_refresh_token'
const generationOf = (token: string) => token.split('.')[1]

afterAll(async () => {
  await mongoose.disconnect()
  await dropDatabase(DB)
})

describe('a refresh token', () => {
  test('gives the next one, and so on, in the same session', async () => {
    const { sessionId, refreshToken } = await start()
    let token = refreshToken
    for (const generation of ['1', '2', '3']) {
      token = await rotate(token, Number(generation) * SECOND)
      expect(token.split('.').slice(0, 2)).toEqual([sessionId, generation])
    }
  })

  test('used 20 times at once gives one successor, and leaves the session alive', async () => {
    const { sessionId, refreshToken } = await start()
    const successors = await Promise.all(Array.from({ length: 20 }, () => rotate(refreshToken, SECOND)))
    expect(new Set(successors).size).toBe(1)
    expect(await stored(sessionId)).toMatchObject({ generation: 1 })
    expect(await stored(sessionId)).not.toHaveProperty('revokedAt')
    expect(generationOf(await rotate(successors[0]!, 2 * SECOND))).toBe('2')
  })

  test('the 21st use after the grace ends the session, its newest token with it', async () => {
    const { sessionId, refreshToken } = await start()
    const [successor] = await Promise.all(Array.from({ length: 20 }, () => rotate(refreshToken, SECOND)))
    const refusal = await withDatabase(() =>
      rotateRefreshToken(refreshToken, laptop, key, 100, at(31 * SECOND)),
    ).catch((error: unknown) => error as Problem)
    expect(refusal).toMatchObject({ code: INVALID })
    expect(await stored(sessionId)).toMatchObject({ revokedAt: at(31 * SECOND), generation: 1 })
    expect(await rotate(successor!, 31 * SECOND)).toBe(INVALID)
    const { events } = refusal as Problem
    expect(events).toEqual([
      {
        name: 'authn_token_reuse',
        details: { sessionId, userId: user.id, usedGeneration: 0, currentGeneration: 1 },
      },
      { name: 'session_refused', details: { sessionId, userId: user.id } },
    ])
    // They name the session, and hold nothing that could be used.
    expect(JSON.stringify(events)).not.toContain(refreshToken.split('.')[2])
  })

  test.each([
    { name: 'a moment later', wait: 1, want: 'the successor' },
    { name: '9.999 s later', wait: 10 * SECOND - 1, want: 'the successor' },
    { name: '10 s later', wait: 10 * SECOND, want: 'the end' },
    { name: 'a day later', wait: DAY, want: 'the end' },
  ])('used again $name gets $want', async ({ wait, want }) => {
    const { refreshToken } = await start()
    const successor = await rotate(refreshToken, 10 * SECOND)
    const again = await rotate(refreshToken, 10 * SECOND + wait)
    expect(again).toBe(want === 'the successor' ? successor : INVALID)
    const goesOn = (await rotate(successor, 10 * SECOND + wait)) !== INVALID
    expect(goesOn).toBe(want === 'the successor')
  })

  test.each([
    { name: 'another user agent', device: { ...laptop, userAgent: 'curl/8' } },
    { name: 'no user agent', device: { ...laptop, userAgent: null } },
    { name: 'another network', device: { ...laptop, address: '192.0.3.1' } },
    { name: 'an unknown address', device: { ...laptop, address: null } },
    { name: 'an IPv6 address', device: { ...laptop, address: '2001:db8::1' } },
  ])('shadows no rotation: $name gets no successor, and the session lives on', async ({ device }) => {
    const { sessionId, refreshToken } = await start()
    const successor = await rotate(refreshToken, SECOND)
    expect(await rotate(refreshToken, 2 * SECOND, device)).toBe(INVALID)
    expect(await stored(sessionId)).toMatchObject({ generation: 1, outcome: 'superseded' })
    expect(generationOf(await rotate(successor, 3 * SECOND))).toBe('2')
  })

  test.each([
    { first: '192.0.2.1', second: '192.0.2.254' },
    { first: '2001:db8:1:2::1', second: '2001:db8:1:ff::2' },
  ])('gets its successor again from $second after $first: one network', async ({ first, second }) => {
    const { refreshToken } = await start()
    const successor = await rotate(refreshToken, SECOND, { ...laptop, address: first })
    expect(await rotate(refreshToken, 2 * SECOND, { ...laptop, address: second })).toBe(successor)
  })

  test('of the first grace after an upgrade gives its successor again to the same device only', async () => {
    const { sessionId, refreshToken } = await start()
    const successor = await rotate(refreshToken, SECOND)
    await onDatabase(DB, (database) =>
      database
        .collection<{ _id: string }>('sessions')
        .updateOne({ _id: sessionId }, { $unset: { replacedAt: 1, replacedFor: 1, outcome: 1 } }),
    )
    expect(await rotate(refreshToken, 2 * SECOND)).toBe(successor)
    expect(await rotate(refreshToken, 2 * SECOND, { ...laptop, address: '192.0.2.2' })).toBe(INVALID)
    expect(generationOf(await rotate(successor, 3 * SECOND))).toBe('2')
  })

  test('from two generations ago ends the session at once', async () => {
    const { refreshToken } = await start()
    const second = await rotate(refreshToken, SECOND)
    const third = await rotate(second, 2 * SECOND)
    expect(await rotate(refreshToken, 3 * SECOND)).toBe(INVALID)
    expect(await rotate(third, 3 * SECOND)).toBe(INVALID)
  })

  test('of a generation that is still to come, after a database was restored, ends the session', async () => {
    const { sessionId, refreshToken } = await start()
    const second = await rotate(refreshToken, SECOND)
    const third = await rotate(second, 2 * SECOND)
    await onDatabase(DB, (database) =>
      database
        .collection<{ _id: string }>('sessions')
        .updateOne({ _id: sessionId }, { $set: { generation: 0 } }),
    )
    expect(await rotate(third, 3 * SECOND)).toBe(INVALID)
    expect(await rotate(refreshToken, 3 * SECOND)).toBe(INVALID)
  })
})

describe('a session ends', () => {
  const idle = 7 * DAY
  const absolute = 30 * DAY

  test.each([
    { name: 'just before 7 days without use', uses: [], last: idle - 1, want: 'lives' },
    { name: 'after 7 days without use', uses: [], last: idle, want: 'is over' },
    {
      name: 'after 7 days without use, though it was used before',
      uses: [6 * DAY],
      last: 13 * DAY,
      want: 'is over',
    },
    {
      name: 'just before 30 days, when it is used every 6',
      uses: [6 * DAY, 12 * DAY, 18 * DAY, 24 * DAY],
      last: absolute - 1,
      want: 'lives',
    },
    {
      name: 'after 30 days, when it is used every 6',
      uses: [6 * DAY, 12 * DAY, 18 * DAY, 24 * DAY, absolute - 1],
      last: absolute,
      want: 'is over',
    },
  ])('$name: it $want', async ({ uses, last, want }) => {
    let { refreshToken: token } = await start()
    for (const time of uses) token = await rotate(token, time)
    expect(token).not.toBe(INVALID)
    expect((await rotate(token, last)) === INVALID).toBe(want === 'is over')
  })

  test('and is cleared away: the TTL index sees when', async () => {
    const { sessionId, refreshToken } = await start()
    expect((await stored(sessionId))!.expiresAt).toEqual(at(idle))
    let token = refreshToken
    for (const time of [6 * DAY, 12 * DAY, 18 * DAY]) token = await rotate(token, time)
    expect((await stored(sessionId))!.expiresAt).toEqual(at(18 * DAY + idle))
    await rotate(token, 24 * DAY)
    expect((await stored(sessionId))!.expiresAt).toEqual(at(absolute))
  })

  test('when it is revoked, and is kept for as long as its access tokens could live', async () => {
    const { sessionId, refreshToken } = await start()
    for (const time of [idle - SECOND, idle - 2 * SECOND]) {
      expect(await withDatabase(() => revokeSession(sessionId, user.id, at(time)))).toBe(true)
    }
    expect(await rotate(refreshToken, idle - SECOND)).toBe(INVALID)
    // The later time, should a slow write arrive last.
    expect(await stored(sessionId)).toMatchObject({
      revokedAt: at(idle - SECOND),
      expiresAt: at(idle - SECOND + HOUR),
    })
  })

  test('when it is revoked on its first day, and is not kept for the seven that it had', async () => {
    const [first, second] = [await start(), await start({ id: OTHER, sessionVersion: 0 })]
    await withDatabase(() => revokeSession(first.sessionId, user.id, at(SECOND)))
    // As the deletion of an account does.
    await withDatabase(() => revokeSessions(OTHER, at(SECOND)))
    for (const { sessionId } of [first, second]) {
      expect(await stored(sessionId)).toMatchObject({ revokedAt: at(SECOND), expiresAt: at(SECOND + HOUR) })
    }
  })
})

test('nobody can end the session of another', async () => {
  const { sessionId, refreshToken } = await start()
  expect(await withDatabase(() => revokeSession(sessionId, '65f00000000000000000000b', at(0)))).toBe(false)
  expect(await rotate(refreshToken, SECOND)).not.toBe(INVALID)
})

test('the list of sessions shows where each was last used, and none that has ended', async () => {
  const owner = { id: '65f00000000000000000000c', sessionVersion: 2 }
  const phone = { userAgent: 'Safari on a phone', address: '2001:db8::1' }
  const current = await start(owner)
  const other = await start(owner)
  const revoked = await start(owner)
  await start({ ...owner, sessionVersion: 1 })
  await withDatabase(() => revokeSession(revoked.sessionId, owner.id, at(0)))
  // A thief must not see when to send the token of before.
  await rotate(other.refreshToken, DAY + 1234.567 * SECOND, phone)
  expect(await withDatabase(() => listSessions(owner, at(2 * DAY)))).toEqual([
    { id: other.sessionId, createdAt: at(0), lastUsedAt: at(DAY), expiresAt: at(8 * DAY), ...phone },
    { id: current.sessionId, createdAt: at(0), lastUsedAt: at(0), expiresAt: at(7 * DAY), ...laptop },
  ])
  expect(await withDatabase(() => listSessions(owner, at(7 * DAY)))).toHaveLength(1)
})

test('a use within the grace is counted, and changes nothing of what the list shows', async () => {
  const { sessionId, refreshToken } = await start()
  await rotate(refreshToken, SECOND)
  const before = await stored(sessionId)
  await rotate(refreshToken, 2 * SECOND)
  await rotate(refreshToken, 2 * SECOND, { userAgent: 'another', address: '198.51.100.1' })
  expect(before).toMatchObject({ uses: 1, usesExpireAt: at(SECOND + HOUR), outcome: 'rotated' })
  expect(await stored(sessionId)).toEqual({ ...before, uses: 3, outcome: 'superseded' })
})

test.each(['$userId', '$$ROOT', '$', '{"$literal":1}'])(
  'a user agent of %s is text, and no expression of the database',
  async (userAgent) => {
    const { sessionId, refreshToken } = await start()
    expect(await rotate(refreshToken, SECOND, { userAgent, address: '$userId' })).not.toBe(INVALID)
    expect(await stored(sessionId)).toMatchObject({ userAgent, address: '$userId', generation: 1 })
  },
)

describe('what was not issued here is refused, and ends nothing', () => {
  const other = randomBytes(32)
  test.each([
    { name: 'an empty text', change: () => '' },
    { name: 'a text without dots', change: () => 'token' },
    {
      name: 'another HMAC',
      change: (token: string) => token.replace(/[^.]+$/, (text) => text.split('').toReversed().join('')),
    },
    { name: 'a cut HMAC', change: (token: string) => token.slice(0, -1) },
    { name: 'an HMAC of another generation', change: (token: string) => token.replace('.0.', '.1.') },
    { name: 'a generation spelt otherwise', change: (token: string) => token.replace('.0.', '.00.') },
    { name: 'a part more', change: (token: string) => `${token}.` },
  ])('$name', async ({ change }) => {
    const { sessionId, refreshToken } = await start()
    expect(await rotate(change(refreshToken), SECOND)).toBe(INVALID)
    expect(await stored(sessionId)).toMatchObject({ generation: 0 })
    expect(await rotate(refreshToken, SECOND)).not.toBe(INVALID)
  })

  test('a token of another deployment’s key', async () => {
    const { sessionId, refreshToken } = await start()
    await expect(
      withDatabase(() => rotateRefreshToken(refreshToken, laptop, other, 100, at(SECOND))),
    ).rejects.toMatchObject({ code: INVALID })
    expect(await stored(sessionId)).toMatchObject({ generation: 0 })
  })
})
