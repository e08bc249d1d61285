/**
 * A database that holds revoked sessions, for the authorizers that ask it.
 */
import { randomBytes } from 'node:crypto'
import mongoose from 'mongoose'
import { ACCESS_TOKEN_SECONDS } from '../../auth/Tokens.ts'

const HOUR = 60 * 60 * 1000
const BATCH = 10_000

export const newSid = () => randomBytes(16).toString('base64url')

/**
 * Stores sessions as auth/Sessions.ts does, which were revoked one after another within the lifetime of an access
 * token, the last one just now: what an authorizer that starts has to know.
 * @returns the id of the last one
 */
export async function storeRevokedSessions(uri: string, count: number): Promise<string> {
  const now = Date.now()
  const session = (index: number) => {
    const revokedAt = new Date(now - ((count - index) / count) * ACCESS_TOKEN_SECONDS * 1000)
    return {
      _id: newSid(),
      userId: new mongoose.Types.ObjectId(),
      sessionVersion: 0,
      generation: 0,
      createdAt: revokedAt,
      lastUsedAt: revokedAt,
      userAgent: 'Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0',
      address: '192.0.2.1',
      expiresAt: new Date(now + HOUR),
      revokedAt,
    }
  }
  let last = ''
  const client = await mongoose.mongo.MongoClient.connect(uri)
  try {
    const sessions = client.db().collection<ReturnType<typeof session>>('sessions')
    for (let first = 0; first < count; first += BATCH) {
      const size = Math.min(BATCH, count - first)
      const batch = Array.from({ length: size }, (_, index) => session(first + index + 1))
      await sessions.insertMany(batch)
      last = batch.at(-1)!._id
    }
    return last
  } finally {
    await client.close()
  }
}
