/**
 * What the authorizer remembers of revocations, when it asks for more, and what it does without an answer.
 */
import { setTimeout } from 'node:timers/promises'
import { MAX_ENTRIES, revocationFeed, type Source } from '../../auth/RevocationFeed.ts'

const SECOND = 1000
const MINUTE = 60 * SECOND
const START = Date.parse('2026-01-01T12:00:00Z')
const at = (milliseconds: number) => new Date(START + milliseconds)
const token = { sid: 'session-1', sub: 'user-1', ver: 3 }

/** A database that is told what was revoked, and by whom it was asked. */
class Database implements Source {
  sessions: { id: string; at: Date }[] = []
  users: { id: string; tokenVersion: number; at: Date }[] = []
  asked: Date[] = []
  lookedUp = 0
  /** What happens before an answer. */
  before: () => Promise<void> = async () => undefined

  revocationsSince: Source['revocationsSince'] = async (since, limit) => {
    this.asked.push(since)
    const answer = {
      sessions: this.sessions
        .filter((session) => session.at > since)
        .slice(0, limit)
        .map((session) => ({ ids: [session.id], at: session.at })),
      users: this.users.filter((user) => user.at > since).slice(0, limit),
    }
    await this.before()
    return answer
  }

  isRevoked: Source['isRevoked'] = async ({ sid }) => {
    this.lookedUp++
    await this.before()
    return this.sessions.some(({ id }) => id === sid)
  }
}

const away = async () => {
  throw new Error('the database is away')
}

function setUp() {
  const database = new Database()
  const isRevoked = revocationFeed(database)
  return {
    database,
    /** What becomes of the token at a time, in milliseconds after the start. */
    verdict: async (time: number, claims = token) => {
      try {
        return (await isRevoked(claims, at(time))) ? 'refused' : 'allowed'
      } catch (error) {
        return (error as Error).constructor.name
      }
    },
  }
}

test.each([
  { name: 'nothing was revoked', want: 'allowed' },
  { name: 'its session was revoked', sessions: [{ id: 'session-1', at: at(-1) }], want: 'refused' },
  {
    name: 'its session was revoked 15 minutes ago',
    sessions: [{ id: 'session-1', at: at(-15 * MINUTE) }],
    want: 'refused',
  },
  { name: 'another session was revoked', sessions: [{ id: 'session-2', at: at(-1) }], want: 'allowed' },
  {
    name: 'its user’s tokens were outdated',
    users: [{ id: 'user-1', tokenVersion: 4, at: at(-1) }],
    want: 'refused',
  },
  {
    name: 'its user’s tokens were outdated before it was issued',
    users: [{ id: 'user-1', tokenVersion: 3, at: at(-1) }],
    want: 'allowed',
  },
  {
    name: 'another user’s tokens were outdated',
    users: [{ id: 'user-2', tokenVersion: 4, at: at(-1) }],
    want: 'allowed',
  },
  {
    name: 'a session has the name of its user',
    sessions: [{ id: 'user-1', at: at(-1) }],
    users: [{ id: 'session-1', tokenVersion: 9, at: at(-1) }],
    want: 'allowed',
  },
])('the first token is $want when $name', async ({ sessions = [], users = [], want }) => {
  const { database, verdict } = setUp()
  Object.assign(database, { sessions, users })
  expect(await verdict(0)).toBe(want)
})

describe('asks', () => {
  test('for what can still matter: the life of a token and its skew, and a minute for clocks and slow writes', async () => {
    const { database, verdict } = setUp()
    await verdict(0)
    expect(database.asked).toEqual([at(-(15 * MINUTE + 30 * SECOND + MINUTE))])
  })

  test('at most once in 5 seconds, however many tokens come', async () => {
    const { database, verdict } = setUp()
    for (let time = 0; time < 20 * SECOND; time += 100) await verdict(time)
    expect(database.asked).toHaveLength(4)
  })

  test('once for all tokens that come at the same time', async () => {
    const { database, verdict } = setUp()
    await Promise.all(Array.from({ length: 50 }, () => verdict(0)))
    expect(database.asked).toHaveLength(1)
  })

  test('only for what is newer than the last answer, but for a minute', async () => {
    const { database, verdict } = setUp()
    await verdict(0)
    await verdict(10 * MINUTE)
    expect(database.asked[1]).toEqual(at(-MINUTE))
  })

  test('nothing while no token comes', async () => {
    const { database } = setUp()
    await new Promise(setImmediate)
    expect(database.asked).toEqual([])
  })
})

test.each([0, 1, 4_999, 5_000, 30 * SECOND, 10 * MINUTE])(
  'a session that is revoked %i ms after the first token is refused within 5 seconds',
  async (revokedAt) => {
    const { database, verdict } = setUp()
    expect(await verdict(0)).toBe('allowed')
    database.sessions = [{ id: 'session-1', at: at(revokedAt) }]
    expect(await verdict(revokedAt + 5 * SECOND)).toBe('refused')
    expect(await verdict(revokedAt + 15 * MINUTE)).toBe('refused')
  },
)

test('a revocation whose write was slow is heard of, though it carries an older time', async () => {
  const { database, verdict } = setUp()
  await verdict(10 * SECOND)
  database.sessions = [{ id: 'session-1', at: at(0) }]
  expect(await verdict(15 * SECOND)).toBe('refused')
})

test('a session that is revoked again counts from the later time', async () => {
  const { database, verdict } = setUp()
  database.sessions = [{ id: 'session-1', at: at(0) }]
  await verdict(0)
  database.sessions = [{ id: 'session-1', at: at(10 * MINUTE) }]
  await verdict(10 * MINUTE)
  database.sessions = []
  expect(await verdict(25 * MINUTE)).toBe('refused')
})

test('what has expired by itself is forgotten', async () => {
  const { database, verdict } = setUp()
  database.sessions = [{ id: 'session-1', at: at(0) }]
  await verdict(0)
  database.sessions = []
  await verdict(17 * MINUTE)
  expect(await verdict(17 * MINUTE)).toBe('allowed')
})

describe('without an answer', () => {
  test.each([
    { name: 'what is known holds for a minute', time: MINUTE, want: 'allowed' },
    { name: 'nobody is let in after it', time: MINUTE + 1, want: 'FeedUnavailable' },
    { name: 'nor a day later', time: 24 * 60 * MINUTE, want: 'FeedUnavailable' },
  ])('$name', async ({ time, want }) => {
    const { database, verdict } = setUp()
    await verdict(0)
    database.before = away
    expect(await verdict(time)).toBe(want)
  })

  test('a revoked token stays refused while what is known holds', async () => {
    const { database, verdict } = setUp()
    database.sessions = [{ id: 'session-1', at: at(-1) }]
    await verdict(0)
    database.before = away
    expect(await verdict(30 * SECOND)).toBe('refused')
  })

  test('a container that has just started lets nobody in', async () => {
    const { database, verdict } = setUp()
    database.before = away
    expect(await verdict(0)).toBe('FeedUnavailable')
  })

  test('the next token is let in when the database is back', async () => {
    const { database, verdict } = setUp()
    database.before = away
    await verdict(0)
    database.before = async () => undefined
    expect(await verdict(1)).toBe('allowed')
  })

  test('is asked at most once in 5 seconds while what is known holds', async () => {
    const { database, verdict } = setUp()
    await verdict(0)
    database.before = away
    for (let time = 0; time < 20 * SECOND; time += 100) await verdict(time)
    expect(database.asked).toHaveLength(4)
  })

  test('a token waits a second for the answer while what is known holds, and goes on without it', async () => {
    const { database, verdict } = setUp()
    await verdict(0)
    database.before = () => new Promise(() => undefined)
    const first = verdict(10 * SECOND)
    const isWaiting = setTimeout(SECOND / 2, 'waits')
    expect(await Promise.race([first, isWaiting])).toBe('waits')
    expect(await first).toBe('allowed')
    // The next comes when the question has been open for a second: it does not wait at all.
    expect(await Promise.race([verdict(11 * SECOND), setTimeout(SECOND / 2, 'waits')])).toBe('allowed')
  })
})

test('a question that a frozen container left open is asked again, and its late answer changes nothing', async () => {
  const { database, verdict } = setUp()
  await verdict(0)
  let thaw = () => {}
  database.before = () => new Promise((resolve) => (thaw = resolve))
  await verdict(10 * SECOND)
  database.before = async () => undefined
  database.sessions = [{ id: 'session-1', at: at(30 * SECOND) }]
  expect(await verdict(40 * SECOND)).toBe('refused')
  thaw()
  await new Promise(setImmediate)
  expect(await verdict(41 * SECOND)).toBe('refused')
  expect(database.asked).toHaveLength(3)
})

test.each([
  { name: 'an earlier time, from a clock that is behind or a request that took long', time: -3_000 },
  { name: 'the same time', time: 0 },
])('a newer version of a user counts, though it carries $name', async ({ time }) => {
  const { database, verdict } = setUp()
  database.users = [{ id: 'user-1', tokenVersion: 3, at: at(0) }]
  expect(await verdict(0)).toBe('allowed')
  database.users = [{ id: 'user-1', tokenVersion: 4, at: at(time) }]
  expect(await verdict(5 * SECOND)).toBe('refused')
  // An older one that is heard of once more takes nothing back.
  database.users = [{ id: 'user-1', tokenVersion: 3, at: at(6 * SECOND) }]
  expect(await verdict(10 * SECOND)).toBe('refused')
})

test('a clock that was set back a little, as clocks are all the time, takes nothing away', async () => {
  const { database, verdict } = setUp()
  await verdict(10 * SECOND)
  database.before = away
  expect(await verdict(10 * SECOND - 1)).toBe('allowed')
  expect(database.asked).toHaveLength(1)
})

test('a clock that was set back makes nothing fresh', async () => {
  const { database, verdict } = setUp()
  await verdict(60 * MINUTE)
  database.sessions = [{ id: 'session-1', at: at(0) }]
  expect(await verdict(1)).toBe('refused')
})

describe('more revocations than can be remembered', () => {
  const many = (time: number) =>
    Array.from({ length: MAX_ENTRIES + 1 }, (_, index) => ({ id: `s${index}`, at: at(time) }))

  test('are looked up one by one until they have expired', async () => {
    const { database, verdict } = setUp()
    database.sessions = [...many(-1), { id: 'session-1', at: at(0) }]
    expect(await verdict(0)).toBe('refused')
    expect(await verdict(15 * MINUTE, { ...token, sid: 'session-2' })).toBe('allowed')
    expect(database.lookedUp).toBe(2)
    expect(database.asked).toHaveLength(1)
    database.sessions = []
    expect(await verdict(16 * MINUTE)).toBe('allowed')
    expect([database.asked.length, database.lookedUp]).toEqual([2, 2])
  })

  test('let nobody in when they cannot be looked up', async () => {
    const { database, verdict } = setUp()
    database.sessions = many(-1)
    await verdict(0)
    database.before = away
    expect(await verdict(1)).toBe('FeedUnavailable')
  })
})
