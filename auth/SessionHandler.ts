/**
 * Handlers for existing sessions: refresh, log out, list and end.
 */
import * as z from 'zod/mini'
import { audit } from '../api/Events.ts'
import { invalidField, Problem } from '../api/Problem.ts'
import { route, routes } from '../api/Route.ts'
import { database } from '../db.ts'
import { endSessions, findEnabledUser } from '../user/User.ts'
import { UserModel } from '../user/UserModel.ts'
import { refreshSession } from './Refresh.ts'
import {
  expiredCookies,
  expiredOldCookie,
  readCookie,
  sessionAnswer,
  SIGNING,
  usesCookie,
} from './SessionAnswer.ts'
import { listSessions, revokeSession, SessionModel, SupersededToken } from './Sessions.ts'

const sessionsOfUsers = database(UserModel, SessionModel)

/** POST /refresh: 200 session. The refresh token is in the body, or in the cookie if the header says so. */
export const refresh = route(
  {
    settings: [...SIGNING, 'LIMITS', 'MAIL_FUNCTION_URL'],
    database: sessionsOfUsers,
    body: z.optional(z.strictObject({ refreshToken: z.string() })),
    // Well within the time in which a used refresh token still gives the same successor.
    retryAfter: 1,
  },
  async (request) => {
    const { body, header, settings, device } = request
    const inCookie = usesCookie(header)
    const fromCookie = inCookie ? readCookie(header) : { token: undefined, fromOldCookie: false }
    const { fromOldCookie } = fromCookie
    try {
      const token = refreshTokenOf(body?.refreshToken, fromCookie.token, inCookie)
      const signedIn = await refreshSession({ token, fromOldCookie }, device, request)
      const answer = sessionAnswer(200, signedIn, inCookie, request)
      if (!fromOldCookie) return answer
      const cookies = [answer.headers!['Set-Cookie']!, expiredOldCookie(settings.ISSUER)].flat()
      return { ...answer, headers: { ...answer.headers, 'Set-Cookie': cookies } }
    } catch (error) {
      if (!inCookie || !(error instanceof Problem) || error.code !== 'invalid_refresh_token') throw error
      // The browser may have the successor by now.
      if (error instanceof SupersededToken) throw error
      // Stop the browser from sending a useless token again.
      throw new Problem(error.code, { headers: expiredCookies(settings.ISSUER), events: error.events })
    }
  },
)

/** POST /logout: 204. */
export const logout = route(
  { role: 'user', database: sessionsOfUsers, settings: ['ISSUER'] },
  async ({ caller, header, settings, database: onDatabase, now }) => {
    const headers = usesCookie(header) ? expiredCookies(settings.ISSUER) : {}
    await onDatabase(async () => {
      await revokeSession(caller.sessionId, caller.id, now)
      audit('session_revoked', { revokedSessionId: caller.sessionId })
    })
    return { status: 204, headers }
  },
)

/** POST /logout-all: 204. */
export const logoutAll = route(
  { role: 'user', database: sessionsOfUsers, settings: ['ISSUER'] },
  async ({ caller, header, settings, database: onDatabase, now }) => {
    const headers = usesCookie(header) ? expiredCookies(settings.ISSUER) : {}
    await onDatabase(async () => {
      await endSessions(caller.id, now)
      audit('sessions_revoked', { subjectId: caller.id })
    })
    return { status: 204, headers }
  },
)

/** GET /me/sessions: 200 array of the caller's live sessions. */
export const sessions = route(
  { role: 'user', database: sessionsOfUsers },
  ({ caller, database: onDatabase, now }) =>
    onDatabase(async () => {
      const user = await findEnabledUser(caller.id)
      if (!user) throw new Problem('invalid_token')
      const list = await listSessions(user, now)
      return {
        status: 200,
        body: list.map((session) => Object.assign(session, { current: session.id === caller.sessionId })),
      }
    }),
)

/** DELETE /me/sessions/{id}: 204. */
export const endSession = route(
  {
    role: 'user',
    database: sessionsOfUsers,
    path: z.strictObject({ id: z.string().check(z.regex(/^[\w-]{22}$/, 'must be the id of a session')) }),
  },
  async ({ caller, path, database: onDatabase, now }) => {
    await onDatabase(async () => {
      if (!(await revokeSession(path.id, caller.id, now))) throw new Problem('not_found')
      audit('session_revoked', { revokedSessionId: path.id })
    })
    return { status: 204 }
  },
)

/** The routes for signed-in users as one Lambda function. */
export const session = routes({
  'POST /logout': logout,
  'POST /logout-all': logoutAll,
  'GET /me/sessions': sessions,
  'DELETE /me/sessions/{id}': endSession,
})

/**
 * Picks the refresh token from the body or the cookie.
 * @throws Problem `invalid_request` (400) if it is missing from the body, or in the body although the cookie
 *   is used; `invalid_refresh_token` (401) if the cookie is missing, because a page cannot see whether it has
 *   one
 */
function refreshTokenOf(inBody: string | undefined, cookie: string | undefined, inCookie: boolean): string {
  if (!inCookie && !inBody) throw invalidField('refreshToken', 'is required')
  if (inCookie && inBody !== undefined) {
    throw invalidField('refreshToken', 'must not be sent with Refresh-Token-In: cookie')
  }
  const token = inCookie ? cookie : inBody
  if (!token) throw new Problem('invalid_refresh_token')
  return token
}
