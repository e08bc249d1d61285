/**
 * Moving a session on: a refresh token for the next one and a new access token.
 */
import { audit, event } from '../api/Events.ts'
import { Problem } from '../api/Problem.ts'
import type { Context, Device } from '../api/Route.ts'
import { identify } from '../lib/Log.ts'
import { findEnabledUser } from '../user/User.ts'
import type { SignedIn } from './SessionAnswer.ts'
import { rotateRefreshToken } from './Sessions.ts'

/**
 * @throws Problem `invalid_refresh_token` (401), `too_many_attempts` (429). Should the database go away between the two
 *   operations, the 503 tells the client to come again, and the same refresh token gives the same successor
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
    // Read after the token was taken: what changes from here on outdates the access token.
    const user = await findEnabledUser(session.userId)
    if (!user || user.sessionVersion !== session.sessionVersion) {
      throw new Problem('invalid_refresh_token', { events: [event('session_refused')] })
    }
    audit('session_renewed')
    return { user, sessionId: session.sessionId, refreshToken: session.refreshToken }
  })
