/**
 * Sessions: one document for each sign-in. Its id is the `sid` of the access tokens, and its generation
 * counts the refresh tokens handed out. A refresh token is `sid.generation.HMAC-SHA-256(key, sid.generation)`:
 * nothing secret is stored, so a leaked database gives no session away.
 */
import { createHmac, randomBytes } from 'node:crypto'
import mongoose from 'mongoose'

const DAY = 24 * 60 * 60 * 1000
/** A session ends when it was not used for so long, in milliseconds. */
const IDLE_LIFETIME = 7 * DAY

const schema = new mongoose.Schema(
  {
    _id: { type: String, required: true },
    userId: { type: mongoose.Schema.Types.ObjectId, required: true, index: true },
    generation: { type: Number, required: true },
    createdAt: { type: Date, required: true },
    lastUsedAt: { type: Date, required: true },
    expiresAt: { type: Date, required: true, index: { expireAfterSeconds: 0 } },
    userAgent: { type: String, default: null },
    address: { type: String, default: null },
  },
  { versionKey: false, autoIndex: false, autoCreate: false },
)

const Session = mongoose.model('Session', schema)

/** The device that signs in, as its owner will see it in the list of sessions. */
export interface Device {
  userAgent: string | null
  address: string | null
}

/**
 * Starts a session: one database operation.
 * @param key HMAC key of the refresh tokens
 * @returns the session's id and its first refresh token
 */
export async function startSession(
  userId: string,
  { userAgent, address }: Device,
  key: Buffer,
  now: Date,
): Promise<{ sessionId: string; refreshToken: string }> {
  const sessionId = randomBytes(16).toString('base64url')
  await Session.create({
    _id: sessionId,
    userId,
    generation: 0,
    createdAt: now,
    lastUsedAt: now,
    expiresAt: new Date(now.getTime() + IDLE_LIFETIME),
    userAgent: userAgent && userAgent.slice(0, 256),
    address,
  })
  return { sessionId, refreshToken: refreshToken(sessionId, 0, key) }
}

function refreshToken(sessionId: string, generation: number, key: Buffer): string {
  const text = `${sessionId}.${generation}`
  return `${text}.${createHmac('sha256', key).update(text).digest('base64url')}`
}
