/**
 * The database's side of the revocation feed. VerifyToken loads it, and the database client with it, when the first
 * valid token comes.
 */
import { withDatabase } from '../db.ts'
import { findUserById, outdatedUsers } from '../user/User.ts'
import type { Source } from './RevocationFeed.ts'
import { isNotRevoked, revokedSessions } from './Sessions.ts'

/** @throws Problem `unavailable` (503), as every function here */
export const revocationsSince: Source['revocationsSince'] = (since, limit) =>
  withDatabase(async () => {
    const [sessions, users] = await Promise.all([revokedSessions(since, limit), outdatedUsers(since, limit)])
    return { sessions, users }
  })

export const isRevoked: Source['isRevoked'] = ({ sid, sub, ver }) =>
  withDatabase(async () => {
    const [sessionStands, user] = await Promise.all([isNotRevoked(sid), findUserById(sub)])
    return !sessionStands || !user || ver < user.tokenVersion
  })
