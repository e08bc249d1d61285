/**
 * Lambdas of a session that has begun: refresh, log out, look at one's sessions and end them.
 */
import * as z from 'zod/mini'
import { withDatabase } from '../db.ts'
import { audit } from '../api/Events.ts'
import { setting } from '../api/Environment.ts'
import { type Request, route } from '../api/Route.ts'
import { identify } from '../lib/Log.ts'
import { Problem } from '../api/Problem.ts'
import { endSessions, findEnabledUser } from '../user/User.ts'
import { expiredCookie, readCookie, sessionAnswer, usesCookie } from './SessionAnswer.ts'
import { listSessions, revokeSession, rotateRefreshToken } from './Sessions.ts'

/** POST /refresh: 200 session. The refresh token is in the body, or in the cookie where the header says so. */
export const refresh = route(
  { body: z.optional(z.strictObject({ refreshToken: z.string() })) },
  async ({ body, device, header }) => {
    const inCookie = usesCookie(header)
    const token = refreshTokenOf(body?.refreshToken, inCookie ? readCookie(header) : undefined, inCookie)
    const answer = withDatabase(async () => {
      const now = new Date()
      const { refreshesPerSession } = setting('LIMITS')
      const session = await rotateRefreshToken(
        token,
        device,
        setting('REFRESH_TOKEN_KEY'),
        refreshesPerSession,
        now,
      )
      identify({ userId: session.userId, sessionId: session.sessionId })
      // Read after the token was taken: what changes from here on outdates the access token.
      const user = await findEnabledUser(session.userId)
      if (!user || user.sessionVersion !== session.sessionVersion) {
        audit('session_refused')
        throw new Problem('invalid_refresh_token')
      }
      audit('session_renewed')
      return sessionAnswer(200, user, session, inCookie, now)
    })
    return inCookie ? answer.catch(forgetCookie) : answer
  },
)

/** POST /logout: 204. */
export const logout = route({}, async ({ caller, header }) => {
  const answer = signedOut(header)
  await withDatabase(() => revokeSession(caller.sessionId, caller.id, new Date()))
  audit('session_revoked', { revokedSessionId: caller.sessionId })
  return answer
})

/** POST /logout-all: 204. */
export const logoutAll = route({}, async ({ caller, header }) => {
  const answer = signedOut(header)
  await withDatabase(() => endSessions(caller.id, new Date()))
  audit('sessions_revoked', { subjectId: caller.id })
  return answer
})

/** GET /me/sessions: 200 array of the caller's live sessions. */
export const sessions = route({}, ({ caller }) =>
  withDatabase(async () => {
    const user = await findEnabledUser(caller.id)
    if (!user) throw new Problem('invalid_token')
    const list = await listSessions(user, new Date())
    return {
      status: 200,
      body: list.map((session) => Object.assign(session, { current: session.id === caller.sessionId })),
    }
  }),
)

/** DELETE /me/sessions/{id}: 204. */
export const endSession = route(
  { path: z.strictObject({ id: z.string().check(z.regex(/^[\w-]{22}$/, 'must be the id of a session')) }) },
  ({ caller, path }) =>
    withDatabase(async () => {
      if (!(await revokeSession(path.id, caller.id, new Date()))) throw new Problem('not_found')
      audit('session_revoked', { revokedSessionId: path.id })
      return { status: 204 }
    }),
)

/**
 * @throws Problem `invalid_request` (400) where there should be one in the body, or is one beside the cookie;
 *   `invalid_refresh_token` (401) without a cookie: a page cannot see whether it has one
 */
function refreshTokenOf(inBody: string | undefined, cookie: string | undefined, inCookie: boolean): string {
  const complain = (message: string) =>
    new Problem('invalid_request', { errors: [{ path: 'refreshToken', message }] })
  if (!inCookie && !inBody) throw complain('is required')
  if (inCookie && inBody !== undefined) throw complain('must not be beside Refresh-Token-In: cookie')
  const token = inCookie ? cookie : inBody
  if (!token) throw new Problem('invalid_refresh_token')
  return token
}

/** A browser should not come again with a token that is good for nothing. */
function forgetCookie(error: unknown): never {
  if (!(error instanceof Problem) || error.code !== 'invalid_refresh_token') throw error
  throw new Problem('invalid_refresh_token', { headers: expiredCookie() })
}

const signedOut = (header: Request['header']) => ({
  status: 204,
  headers: usesCookie(header) ? expiredCookie() : {},
})
