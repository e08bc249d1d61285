/**
 * Sessions: one document per sign-in. Its id is the `sid` of the access tokens, and its generation counts the
 * refresh tokens handed out. A refresh token is `sid.generation.HMAC-SHA-256(key, sid.generation)`. Nothing
 * secret is stored, so a leaked database reveals no session.
 *
 * Each refresh token works once (rotation, RFC 9700 section 4.14.2). If one is used again later, it was
 * stolen. The second use may come from the thief or from the victim, and nobody can tell which, so the
 * session ends.
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
/** A session ends after this long without a refresh, in milliseconds. */
export const IDLE_LIFETIME = 7 * DAY
/** A session ends this long after it began, even if it is in use, in milliseconds. */
const ABSOLUTE_LIFETIME = 30 * DAY
/**
 * How long a used refresh token still gives the same successor, in milliseconds. The answer may have been
 * lost, or a second tab may have sent the same token.
 */
const GRACE = 30 * SECOND
/**
 * How long a revoked session is kept, in milliseconds. This is longer than any of its access tokens lives.
 */
const REVOKED_LIFETIME = HOUR

const schema = new mongoose.Schema(
  {
    _id: { type: String, required: true },
    userId: { type: mongoose.Schema.Types.ObjectId, required: true, index: true },
    /**
     * The user's sessionVersion when the session began. Once the user has a different one, the session is
     * over.
     */
    sessionVersion: { type: Number, required: true },
    generation: { type: Number, required: true },
    createdAt: { type: Date, required: true },
    /** When it began or was last refreshed. The two fields below say from where. */
    lastUsedAt: { type: Date, required: true },
    userAgent: { type: String, default: null },
    address: { type: String, default: null },
    expiresAt: { type: Date, required: true, index: { expireAfterSeconds: 0 } },
    revokedAt: { type: Date, index: { sparse: true } },
    /** How often its refresh tokens were used within an hour, and when that hour ends. */
    uses: { type: Number },
    usesExpireAt: { type: Date },
  },
  { versionKey: false, autoIndex: false, autoCreate: false },
)

export const SessionModel = mongoose.model('Session', schema)

/** What users see of their sessions. */
export interface Session extends Device {
  id: string
  createdAt: Date
  lastUsedAt: Date
  expiresAt: Date
}

/**
 * Starts a session, in one database operation.
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
 * Uses a refresh token and returns its successor, in one atomic database operation. Of many requests with the
 * same token, one moves the session on, and the others get the same successor.
 * @param key HMAC key of the refresh tokens
 * @param limit how often the tokens of a session may be used within an hour. The same operation counts it
 * @returns the session. The caller must check it against the user: it has ended if the user's sessionVersion
 *   differs
 * @throws Problem `invalid_refresh_token` (401) for a token that is forged, expired, revoked or already used.
 *   A used one also revokes the session. `too_many_attempts` (429) for a valid token that must wait
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

/**
 * The update that uses the refresh token of a generation: it counts the use, and then takes one of four
 * branches.
 */
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
      // Without $literal, text that starts with $ would name a field.
      userAgent: { $literal: shortened(device).userAgent },
      address: { $literal: device.address },
    }),
  )
  /** The answer was lost, or a second tab sent the same token. It gets the same successor. */
  const answerAgain = branch(isJustReplaced, unchanged)
  const endAsStolen = changed(revoked(now))
  return [
    { $set: countedUse },
    { $replaceWith: { $switch: { branches: [tooOften, moveOn, answerAgain], default: endAsStolen } } },
  ] as mongoose.PipelineStage[]
}

/** Creates the refusal of a refresh token, with its events. */
const refused = (whose: { userId?: string; sessionId?: string } = {}, ...before: AuditEvent[]): Problem =>
  new Problem('invalid_refresh_token', { events: [...before, event('session_refused', whose)] })

/**
 * Ends a session of a user: the refresh token immediately, the access tokens once the authorizers learn of
 * it.
 * @returns whether the user has such a session
 */
export async function revokeSession(sessionId: string, userId: string, now: Date): Promise<boolean> {
  // This also updates a session that is already revoked. A client retries after a 503, and the authorizers go
  // by the time. $max keeps the later time if a slow write arrives after this one.
  const { matchedCount } = await SessionModel.updateOne({ _id: sessionId, userId }, { $max: revoked(now) })
  return matchedCount > 0
}

/**
 * Lets one session continue after all sessions of its user were ended. It gets a new refresh token, so that a
 * stolen one stops working, as after a refresh (OWASP ASVS 5.0, 7.2.4).
 * @param user the user after the sessions were ended
 * @param key HMAC key of the refresh tokens
 * @returns the refresh token, or undefined if the session had already ended by itself
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

/** Removes a session whose tokens were never handed out. */
export async function removeSession(sessionId: string): Promise<void> {
  await SessionModel.deleteOne({ _id: sessionId })
}

/**
 * Ends all sessions of a user who is about to be deleted. Afterwards there is no sessionVersion left to
 * compare.
 */
export async function revokeSessions(userId: string, now: Date): Promise<void> {
  await SessionModel.updateMany({ userId }, { $max: revoked(now) })
}

/** Returns the live sessions of a user, most recently used first, at most 100. */
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

/** Returns the sessionVersion of a user's session, or undefined if the session is over. */
export async function versionOfSession(sessionId: string, userId: string): Promise<number | undefined> {
  const session = await SessionModel.findOne({ _id: sessionId, userId, revokedAt: null }).lean()
  return session?.sessionVersion
}

/** Returns whether a session exists and is not revoked. */
export const isNotRevoked = async (sessionId: string): Promise<boolean> =>
  (await SessionModel.exists({ _id: sessionId, revokedAt: null })) !== null

/**
 * Returns the ids of the sessions that were revoked after a point in time, oldest first, grouped by minute.
 * For 100,000 sessions, groups take a tenth of the time of single documents.
 * @param limit the most ids to return, over all groups
 * @returns the groups, each with the time of its last revocation
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

/** Takes the same time wherever the two differ, so that nobody can guess the HMAC of a sid byte by byte. */
function equal(one: string, other: string): boolean {
  const [a, b] = [Buffer.from(one), Buffer.from(other)]
  return a.length === b.length && timingSafeEqual(a, b)
}

const shortened = ({ userAgent, address }: Device): Device => ({
  userAgent: userAgent && userAgent.slice(0, 256),
  address,
})
