/**
 * The database side of the revocation feed. VerifyToken loads it, and the database client with it, when the
 * first valid token arrives.
 */
import { database } from '../db.ts'
import { findUserById, outdatedUsers } from '../user/User.ts'
import { UserModel } from '../user/UserModel.ts'
import type { Source } from './RevocationFeed.ts'
import { isNotRevoked, revokedSessions, SessionModel } from './Sessions.ts'

const openDatabase = database(UserModel, SessionModel)

/**
 * Creates the source of the feed.
 * @param uri the connection string of the database
 * @returns the source, whose methods throw Problem `unavailable` (503) after 5 s without an answer
 */
export const revocations = (uri: string): Source => ({
  revocationsSince: (since, limit) =>
    openDatabase(uri)(async () => {
      const [sessions, users] = await Promise.all([
        revokedSessions(since, limit),
        outdatedUsers(since, limit),
      ])
      return { sessions, users }
    }),
  isRevoked: ({ sid, sub, ver }) =>
    openDatabase(uri)(async () => {
      const [sessionStands, user] = await Promise.all([isNotRevoked(sid), findUserById(sub)])
      return !sessionStands || !user || ver < user.tokenVersion
    }),
})
