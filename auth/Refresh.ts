/**
 * Refreshing a session: the client trades its refresh token for the next one and a new access token.
 */
import { audit, event } from '../api/Events.ts'
import { Problem } from '../api/Problem.ts'
import type { Context, Device } from '../api/Route.ts'
import { bestEffort } from '../lib/BestEffort.ts'
import { identify } from '../lib/Log.ts'
import { mailLater } from '../mail/MailJobs.ts'
import { findEnabledUser } from '../user/User.ts'
import type { SignedIn } from './SessionAnswer.ts'
import { ReusedToken, rotateRefreshToken } from './Sessions.ts'

/**
 * Refreshes a session. If the database fails between the two operations, the client gets a 503 and tries
 * again, and the same refresh token gives the same successor.
 * @param fromOldCookie whether the token came in the cookie of earlier versions
 * @throws Problem `invalid_refresh_token` (401), as SupersededToken if the session continues, or as ReusedToken if
 *   it has ended because of theft, of which the owner is notified; `too_many_attempts` (429)
 */
export function refreshSession(
  { token, fromOldCookie }: { token: string; fromOldCookie: boolean },
  device: Device,
  context: Context<'REFRESH_TOKEN_KEY' | 'LIMITS' | 'MAIL_FUNCTION_URL'>,
): Promise<SignedIn> {
  const { settings, database, now } = context
  const rotated = database(async () => {
    const { refreshesPerSession } = settings.LIMITS
    const session = await rotateRefreshToken(
      token,
      device,
      settings.REFRESH_TOKEN_KEY,
      refreshesPerSession,
      now,
      fromOldCookie,
    )
    identify({ userId: session.userId, sessionId: session.sessionId })
    // Read the user only after the token is used: any later change outdates the new access token.
    const user = await findEnabledUser(session.userId)
    if (!user || user.sessionVersion !== session.sessionVersion) {
      throw new Problem('invalid_refresh_token', { events: [event('session_refused')] })
    }
    audit(session.isRepeated ? 'session_renewal_repeated' : 'session_renewed')
    return { user, sessionId: session.sessionId, refreshToken: session.refreshToken }
  })
  return rotated.catch(async (error: unknown) => {
    if (error instanceof ReusedToken) await tellOwner(error.userId, context)
    throw error
  })
}

const tellOwner = (userId: string, context: Context<'MAIL_FUNCTION_URL'>): Promise<void> =>
  bestEffort('tell the owner of a stolen session', async () => {
    const user = await context.database(() => findEnabledUser(userId))
    if (user) await mailLater(context, { mail: 'notice', notice: 'sessionStolen', email: user.email })
  })
