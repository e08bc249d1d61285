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
import { networkOf } from '../lib/Network.ts'
import { tooMany } from '../throttle/Counters.ts'

const SECOND = 1000
const HOUR = 60 * 60 * SECOND
const DAY = 24 * HOUR
/** A session ends after this long without a refresh, in milliseconds. */
export const IDLE_LIFETIME = 7 * DAY
/** A session ends this long after it began, even if it is in use, in milliseconds. */
const ABSOLUTE_LIFETIME = 30 * DAY
/**
 * How long a used refresh token still gives the same successor, in milliseconds, to the same user agent from
 * the same network. The answer may have been lost, or a second tab may have sent the same token.
 */
const GRACE = 10 * SECOND
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
    /**
     * When the current refresh token replaced the one before, and which client may get it again within the
     * grace: none after a re-authentication. Sessions of earlier versions lack both.
     */
    replacedAt: { type: Date },
    replacedFor: { type: String },
    /** What the last use of a refresh token led to: the name of a branch of the rotation. */
    outcome: { type: String },
    /** Its cookie is `__Host-`. Sessions of earlier versions, which lack this, may still have the older cookie. */
    hasHostCookie: { type: Boolean },
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
    hasHostCookie: true,
    ...shortened(device),
  })
  return { sessionId, refreshToken: refreshToken(sessionId, 0, key) }
}

/** A used refresh token was refused, but its session continues with the token that replaced it. */
export class SupersededToken extends Problem {}

/** A used refresh token was refused, and its session has ended: one of the two who used it is a thief. */
export class ReusedToken extends Problem {
  readonly userId: string

  constructor(userId: string, events: AuditEvent[]) {
    super('invalid_refresh_token', { events })
    this.userId = userId
  }
}

/**
 * Uses a refresh token and returns its successor, in one atomic database operation. Of many requests of one
 * client with the same token, one moves the session on, and the others get the same successor.
 * @param device must be the same client within the grace: the same user agent in the same network
 * @param key HMAC key of the refresh tokens
 * @param limit how often the tokens of a session may be used within an hour. The same operation counts it
 * @param fromOldCookie whether the token came in the cookie of earlier versions, which a neighbouring subdomain
 *   can plant. Only sessions that began with an earlier version accept it
 * @returns the session, and whether its answer was only repeated. The caller must check it against the user: it
 *   has ended if the user's sessionVersion differs
 * @throws Problem `invalid_refresh_token` (401) for a token that is forged, expired or revoked;
 *   SupersededToken (401) and ReusedToken (401) for a used one; `too_many_attempts` (429) for a valid token
 *   that must wait
 */
export async function rotateRefreshToken(
  token: string,
  device: Device,
  key: Buffer,
  limit: number,
  now: Date,
  fromOldCookie = false,
): Promise<{
  sessionId: string
  userId: string
  sessionVersion: number
  refreshToken: string
  isRepeated: boolean
}> {
  const [sessionId = '', digits] = token.split('.', 2)
  const generation = Number(digits)
  if (!equal(token, refreshToken(sessionId, generation, key))) throw refused()

  const session = await SessionModel.findOneAndUpdate(
    {
      _id: sessionId,
      revokedAt: null,
      expiresAt: mongoose.trusted({ $gt: now }),
      ...(fromOldCookie && { hasHostCookie: null }),
    },
    rotation(generation, device, limit, now),
    { returnDocument: 'after', updatePipeline: true },
  ).lean()
  if (!session) throw refused({ sessionId })
  const userId = session.userId.toHexString()
  const outcome = session.outcome as Outcome
  const refusal = event('session_refused', { userId, sessionId })
  if (outcome === 'endedAsStolen') {
    const reuse = { sessionId, userId, usedGeneration: generation, currentGeneration: session.generation }
    throw new ReusedToken(userId, [event('authn_token_reuse', reuse), refusal])
  }
  if (outcome === 'superseded') throw new SupersededToken('invalid_refresh_token', { events: [refusal] })
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
    isRepeated: outcome === 'repeated',
  }
}

/** The branches of a rotation. */
type Outcome = 'tooOften' | 'rotated' | 'repeated' | 'superseded' | 'endedAsStolen'

/**
 * The update that uses the refresh token of a generation: it counts the use, and then takes one of five
 * branches, whose name it stores.
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
      { $gt: [{ $ifNull: ['$replacedAt', '$lastUsedAt'] }, new Date(now.getTime() - GRACE)] },
    ],
  }
  // Without $literal, text that starts with $ would name a field.
  const { userAgent, address } = shortened(device)
  const [agent, from] = [{ $literal: userAgent }, { $literal: address }]
  const client = { $literal: clientOf(device) }
  const isSameClient = {
    $cond: [
      { $eq: [{ $type: '$replacedFor' }, 'missing'] },
      { $and: [{ $eq: ['$userAgent', agent] }, { $eq: ['$address', from] }] },
      { $eq: ['$replacedFor', client] },
    ],
  }
  const becomes = (outcome: Outcome, change: object = {}) => ({
    $mergeObjects: ['$$ROOT', change, { outcome }],
  })

  // oxlint-disable-next-line no-thenable -- MongoDB's word, and nothing awaits it
  const branch = (when: object, then: object) => ({ case: when, then })
  const tooOften = branch({ $and: [isCurrent, { $gt: ['$uses', limit] }] }, becomes('tooOften'))
  const moveOn = branch(
    isCurrent,
    becomes('rotated', {
      generation: generation + 1,
      replacedAt: now,
      replacedFor: client,
      lastUsedAt: now,
      expiresAt: {
        $min: [new Date(now.getTime() + IDLE_LIFETIME), { $add: ['$createdAt', ABSOLUTE_LIFETIME] }],
      },
      userAgent: agent,
      address: from,
    }),
  )
  /** The answer was lost, or a second tab sent the same token. It gets the same successor. */
  const answerAgain = branch({ $and: [isJustReplaced, isSameClient] }, becomes('repeated'))
  /** Too early to call it theft: a request may have been under way when the client re-authenticated. */
  const refuse = branch(isJustReplaced, becomes('superseded'))
  const endAsStolen = becomes('endedAsStolen', {
    revokedAt: now,
    expiresAt: new Date(now.getTime() + REVOKED_LIFETIME),
  })
  return [
    { $set: countedUse },
    {
      $replaceWith: { $switch: { branches: [tooOften, moveOn, answerAgain, refuse], default: endAsStolen } },
    },
  ] as mongoose.PipelineStage[]
}

/** Creates the refusal of a refresh token, with its event. */
const refused = (whose: { sessionId?: string } = {}): Problem =>
  new Problem('invalid_refresh_token', { events: [event('session_refused', whose)] })

/**
 * Ends a session of a user: the refresh token immediately, the access tokens once the authorizers learn of
 * it.
 * @returns whether the user has such a session
 */
export async function revokeSession(sessionId: string, userId: string, now: Date): Promise<boolean> {
  // This also updates a session that is already revoked. A client retries after a 503, and the authorizers go
  // by the time.
  const { matchedCount } = await SessionModel.updateOne({ _id: sessionId, userId }, revoked(now), PIPELINE)
  return matchedCount > 0
}

/**
 * Lets one session continue after all sessions of its user were ended. It gets a new refresh token, and no
 * earlier one is honoured again, not even within the grace: it may be in the hands of a thief (OWASP ASVS 5.0,
 * 7.2.4).
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
    {
      $set: {
        sessionVersion: user.sessionVersion,
        lastUsedAt: now,
        replacedAt: now,
        replacedFor: NO_CLIENT,
      },
      $inc: { generation: 1 },
    },
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
  await SessionModel.updateMany({ userId }, revoked(now), PIPELINE)
}

/**
 * Returns the live sessions of a user, most recently used first, at most 100. Times that move with each refresh
 * are shown to the hour: a thief could otherwise see when to send a stolen refresh token.
 */
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
    lastUsedAt: hourOf(lastUsedAt),
    expiresAt: hourOf(expiresAt),
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

/** The update that revokes a session. It keeps the later time if a slow write arrives after this one. */
const revoked = (now: Date): mongoose.UpdateWithAggregationPipeline => [
  { $set: { revokedAt: { $max: ['$revokedAt', now] } } },
  { $set: { expiresAt: { $add: ['$revokedAt', REVOKED_LIFETIME] } } },
]
const PIPELINE = { updatePipeline: true } as const

/** The client that a refresh token belongs to: its user agent, and its IPv4 /24 or IPv6 /48. */
const clientOf = (device: Device) =>
  JSON.stringify([shortened(device).userAgent, networkOf(device.address, { v4: 24, v6: 48 })])
/** Equals no client. */
const NO_CLIENT = ''

const hourOf = (time: Date) => new Date(Math.floor(time.getTime() / HOUR) * HOUR)

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
