/**
 * Refreshing a session: the client trades its refresh token for the next one and a new access token.
 */
import { audit, event } from '../api/Events.ts'
import { Problem } from '../api/Problem.ts'
import type { Context, Device } from '../api/Route.ts'
import { identify } from '../lib/Log.ts'
import { findEnabledUser } from '../user/User.ts'
import type { SignedIn } from './SessionAnswer.ts'
import { rotateRefreshToken } from './Sessions.ts'

/**
 * Refreshes a session. If the database fails between the two operations, the client gets a 503 and tries
 * again, and the same refresh token gives the same successor.
 * @throws Problem `invalid_refresh_token` (401), `too_many_attempts` (429)
 */
export const refreshSession = (
  token: string,
  device: Device,
  { settings, database, now }: Context<'REFRESH_TOKEN_KEY' | 'LIMITS'>,
): Promise<SignedIn> =>
  database(async () => {
    const { refreshesPerSession } = settings.LIMITS
    const session = await rotateRefreshToken(
      token,
      device,
      settings.REFRESH_TOKEN_KEY,
      refreshesPerSession,
      now,
    )
    identify({ userId: session.userId, sessionId: session.sessionId })
    // Read the user only after the token is used: any later change outdates the new access token.
    const user = await findEnabledUser(session.userId)
    if (!user || user.sessionVersion !== session.sessionVersion) {
      throw new Problem('invalid_refresh_token', { events: [event('session_refused')] })
    }
    audit('session_renewed')
    return { user, sessionId: session.sessionId, refreshToken: session.refreshToken }
  })
