/**
 * Sessions: one document for each sign-in. Its id is the `sid` of the access tokens, and its generation
 * counts the refresh tokens handed out. A refresh token is `sid.generation.HMAC-SHA-256(key, sid.generation)`:
 * nothing secret is stored, so a leaked database gives no session away.
 *
 * Each refresh token works once (rotation, RFC 9700 section 4.14.2). One that comes again later was stolen, from
 * the client or by it: nobody can tell which of the two is asking, so the session ends.
 */
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import mongoose from 'mongoose'
import { type AuditEvent, event } from '../api/Events.ts'
import type { Device } from '../api/Route.ts'
import { Problem } from '../api/Problem.ts'
import { tooMany } from '../throttle/Counters.ts'

const SECOND = 1000
const HOUR = 60 * 60 * SECOND
const DAY = 24 * HOUR
/** A session ends when it was not used for so long, in milliseconds. */
export const IDLE_LIFETIME = 7 * DAY
/** A session ends so long after it began, used or not. */
const ABSOLUTE_LIFETIME = 30 * DAY
/** For so long the refresh token before the last answers with the same successor: a lost answer, a second tab. */
const GRACE = 30 * SECOND
/** For so long a revoked session is kept: longer than any access token of it lives. */
const REVOKED_LIFETIME = HOUR

const schema = new mongoose.Schema(
  {
    _id: { type: String, required: true },
    userId: { type: mongoose.Schema.Types.ObjectId, required: true, index: true },
    /** The user's sessionVersion when the session began: with another one it has ended. */
    sessionVersion: { type: Number, required: true },
    generation: { type: Number, required: true },
    createdAt: { type: Date, required: true },
    /** When it began or was last refreshed, and from where. */
    lastUsedAt: { type: Date, required: true },
    userAgent: { type: String, default: null },
    address: { type: String, default: null },
    expiresAt: { type: Date, required: true, index: { expireAfterSeconds: 0 } },
    revokedAt: { type: Date, index: { sparse: true } },
    /** How often its refresh tokens were used within an hour, and until when that hour lasts. */
    uses: { type: Number },
    usesExpireAt: { type: Date },
  },
  { versionKey: false, autoIndex: false, autoCreate: false },
)

export const SessionModel = mongoose.model('Session', schema)

/** A session as its owner sees it. */
export interface Session extends Device {
  id: string
  createdAt: Date
  lastUsedAt: Date
  expiresAt: Date
}

/**
 * Starts a session: one database operation.
 * @param key HMAC key of the refresh tokens
 * @returns the session's id and its first refresh token
 */
export async function startSession(
  user: { id: string; sessionVersion: number },
  device: Device,
  key: Buffer,
  now: Date,
): Promise<{ sessionId: string; refreshToken: string }> {
  const sessionId = randomBytes(16).toString('base64url')
  await SessionModel.create({
    _id: sessionId,
    userId: user.id,
    sessionVersion: user.sessionVersion,
    generation: 0,
    createdAt: now,
    lastUsedAt: now,
    expiresAt: new Date(now.getTime() + IDLE_LIFETIME),
    ...shortened(device),
  })
  return { sessionId, refreshToken: refreshToken(sessionId, 0, key) }
}

/**
 * Takes a refresh token and gives its successor: one atomic database operation, so that of many requests with the same
 * token one moves the session on and the others get the very same successor.
 * @param key HMAC key of the refresh tokens
 * @param limit how often a session's tokens may be used within an hour, counted by the same operation
 * @returns the session, which belongs to `userId` and has ended if that user's sessionVersion is another one
 * @throws Problem `invalid_refresh_token` (401) for what was not issued here, has expired, is revoked, or was used
 *   before; the last of these revokes the session. `too_many_attempts` (429): the token is good, but not yet
 */
export async function rotateRefreshToken(
  token: string,
  device: Device,
  key: Buffer,
  limit: number,
  now: Date,
): Promise<{ sessionId: string; userId: string; sessionVersion: number; refreshToken: string }> {
  const [sessionId = '', digits] = token.split('.', 2)
  const generation = Number(digits)
  if (!equal(token, refreshToken(sessionId, generation, key))) throw refused()

  const session = await SessionModel.findOneAndUpdate(
    { _id: sessionId, revokedAt: null, expiresAt: mongoose.trusted({ $gt: now }) },
    rotation(generation, device, limit, now),
    { returnDocument: 'after', updatePipeline: true },
  ).lean()
  if (!session) throw refused({ sessionId })
  const userId = session.userId.toHexString()
  if (session.revokedAt) {
    const reuse = { sessionId, userId, usedGeneration: generation, currentGeneration: session.generation }
    throw refused({ userId, sessionId }, event('authn_token_reuse', reuse))
  }
  if (session.uses! > limit) {
    throw tooMany('refreshesPerSession', session.usesExpireAt!.getTime() - now.getTime(), {
      userId,
      sessionId,
    })
  }
  return {
    sessionId,
    userId,
    sessionVersion: session.sessionVersion,
    refreshToken: refreshToken(sessionId, session.generation, key),
  }
}

/** The update that takes the refresh token of a generation: it counts the use, and then one of four branches applies. */
function rotation(generation: number, device: Device, limit: number, now: Date): mongoose.PipelineStage[] {
  const isCounting = { $gt: ['$usesExpireAt', now] }
  const countedUse = {
    uses: { $cond: [isCounting, { $add: ['$uses', 1] }, 1] },
    usesExpireAt: { $cond: [isCounting, '$usesExpireAt', new Date(now.getTime() + HOUR)] },
  }
  const isCurrent = { $eq: ['$generation', generation] }
  const isJustReplaced = {
    $and: [
      { $eq: ['$generation', generation + 1] },
      { $gt: ['$lastUsedAt', new Date(now.getTime() - GRACE)] },
    ],
  }
  const unchanged = '$$ROOT'
  const changed = (change: object) => ({ $mergeObjects: [unchanged, change] })

  // oxlint-disable-next-line no-thenable -- MongoDB's word, and nothing awaits it
  const branch = (when: object, then: object | string) => ({ case: when, then })
  const tooOften = branch({ $and: [isCurrent, { $gt: ['$uses', limit] }] }, unchanged)
  const moveOn = branch(
    isCurrent,
    changed({
      generation: generation + 1,
      lastUsedAt: now,
      expiresAt: {
        $min: [new Date(now.getTime() + IDLE_LIFETIME), { $add: ['$createdAt', ABSOLUTE_LIFETIME] }],
      },
      // A text that begins with $ would name a field here.
      userAgent: { $literal: shortened(device).userAgent },
      address: { $literal: device.address },
    }),
  )
  /** A lost answer, or a second tab: it gets the same successor. */
  const answerAgain = branch(isJustReplaced, unchanged)
  const endAsStolen = changed(revoked(now))
  return [
    { $set: countedUse },
    { $replaceWith: { $switch: { branches: [tooOften, moveOn, answerAgain], default: endAsStolen } } },
  ] as mongoose.PipelineStage[]
}

/** Makes the refusal of a refresh token, with what it reports. */
const refused = (whose: { userId?: string; sessionId?: string } = {}, ...before: AuditEvent[]): Problem =>
  new Problem('invalid_refresh_token', { events: [...before, event('session_refused', whose)] })

/**
 * Ends a session of a user: its refresh token at once, its access tokens when the authorizers hear of it.
 * @returns whether the user has such a session
 */
export async function revokeSession(sessionId: string, userId: string, now: Date): Promise<boolean> {
  // Again if it was revoked before: a client that was told 503 comes again, and the authorizers look at the time. The
  // later one stays, should a slow write come after it.
  const { matchedCount } = await SessionModel.updateOne({ _id: sessionId, userId }, { $max: revoked(now) })
  return matchedCount > 0
}

/**
 * Lets one session go on after all sessions of its user were ended, with its next refresh token: one that was stolen
 * before is of the past, as after a refresh (OWASP ASVS 5.0, 7.2.4).
 * @param user as after that
 * @returns the refresh token, or undefined when the session has ended by itself
 */
export async function keepSession(
  sessionId: string,
  user: { id: string; sessionVersion: number },
  key: Buffer,
  now: Date,
): Promise<{ refreshToken: string } | undefined> {
  const session = await SessionModel.findOneAndUpdate(
    { _id: sessionId, userId: user.id, sessionVersion: user.sessionVersion - 1, revokedAt: null },
    { $set: { sessionVersion: user.sessionVersion, lastUsedAt: now }, $inc: { generation: 1 } },
    { returnDocument: 'after' },
  ).lean()
  return session ? { refreshToken: refreshToken(sessionId, session.generation, key) } : undefined
}

/** Removes a session whose tokens nobody has got. */
export async function removeSession(sessionId: string): Promise<void> {
  await SessionModel.deleteOne({ _id: sessionId })
}

/** Ends all sessions of a user who is about to be deleted, and has no counter any more. */
export async function revokeSessions(userId: string, now: Date): Promise<void> {
  await SessionModel.updateMany({ userId }, { $max: revoked(now) })
}

/** The live sessions of a user, the last used first; 100 at the most. */
export async function listSessions(
  user: { id: string; sessionVersion: number },
  now: Date,
): Promise<Session[]> {
  const found = await SessionModel.find({
    userId: user.id,
    sessionVersion: user.sessionVersion,
    revokedAt: null,
    expiresAt: mongoose.trusted({ $gt: now }),
  })
    .sort({ lastUsedAt: -1 })
    .limit(100)
    .lean()
  return found.map(({ _id, createdAt, lastUsedAt, expiresAt, userAgent = null, address = null }) => ({
    id: _id,
    createdAt,
    lastUsedAt,
    expiresAt,
    userAgent,
    address,
  }))
}

/** The sessionVersion of a user's session; undefined where it is over. */
export async function versionOfSession(sessionId: string, userId: string): Promise<number | undefined> {
  const session = await SessionModel.findOne({ _id: sessionId, userId, revokedAt: null }).lean()
  return session?.sessionVersion
}

/** Whether a session is there and not revoked. */
export const isNotRevoked = async (sessionId: string): Promise<boolean> =>
  (await SessionModel.exists({ _id: sessionId, revokedAt: null })) !== null

/**
 * The ids of sessions that were revoked after a time, in groups of a minute, the first revoked first: 100,000 in
 * groups take a tenth of the time that they take as documents.
 * @param limit of the ids of all groups
 * @returns each with the time of the last revocation in it
 */
export const revokedSessions = (since: Date, limit: number): Promise<{ ids: string[]; at: Date }[]> =>
  SessionModel.aggregate<{ ids: string[]; at: Date }>([
    { $match: { revokedAt: { $gt: since } } },
    { $sort: { revokedAt: 1 } },
    { $limit: limit },
    {
      $group: {
        _id: { $dateTrunc: { date: '$revokedAt', unit: 'minute' } },
        ids: { $push: '$_id' },
        at: { $last: '$revokedAt' },
      },
    },
    { $sort: { _id: 1 } },
  ]).exec()

const revoked = (now: Date) => ({
  revokedAt: now,
  expiresAt: new Date(now.getTime() + REVOKED_LIFETIME),
})

function refreshToken(sessionId: string, generation: number, key: Buffer): string {
  const text = `${sessionId}.${generation}`
  return `${text}.${createHmac('sha256', key).update(text).digest('base64url')}`
}

/** In the same time wherever the two differ: the right HMAC of a sid cannot be guessed byte by byte. */
function equal(one: string, other: string): boolean {
  const [a, b] = [Buffer.from(one), Buffer.from(other)]
  return a.length === b.length && timingSafeEqual(a, b)
}

const shortened = ({ userAgent, address }: Device): Device => ({
  userAgent: userAgent && userAgent.slice(0, 256),
  address,
})
