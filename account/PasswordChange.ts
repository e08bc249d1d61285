/**
 * Changing the password. All sessions end except the current one.
 */
import { audit } from '../api/Events.ts'
import { Problem } from '../api/Problem.ts'
import type { Caller, Context } from '../api/Route.ts'
import { hashNewPassword, type NEW_PASSWORD } from '../auth/Passwords.ts'
import type { SignedIn } from '../auth/SessionAnswer.ts'
import { keepSession } from '../auth/Sessions.ts'
import { log, loggable } from '../lib/Log.ts'
import { mailLater } from '../mail/MailJobs.ts'
import { replacePassword } from '../user/Account.ts'
import { confirmCaller, type Confirming, hasCodeIfAny, hasPassword } from './Confirmation.ts'

/**
 * Changes the caller's password.
 * @returns the current session with a new refresh token. The refresh token is missing if the database failed
 *   after the change: the password has still changed, and the client signs in again once the access token
 *   expires
 * @throws Problem of confirmCaller; `invalid_request` (400) for a password that breaks a rule;
 *   `invalid_token` (401) if the session ended in the meantime
 */
export async function changePassword(
  {
    currentPassword,
    newPassword,
    code,
  }: { currentPassword: string; newPassword: string; code?: string | undefined },
  caller: Caller,
  context: Context<Confirming | (typeof NEW_PASSWORD)[number] | 'REFRESH_TOKEN_KEY'>,
): Promise<SignedIn> {
  const { settings, database, now } = context
  const checks = [hasPassword(currentPassword, context), hasCodeIfAny(code, context)]
  return confirmCaller(caller, context, checks, async (user) => {
    const passwordHash = await hashNewPassword('newPassword', newPassword, user, settings)
    const changed = await database(async () => {
      const replaced = await replacePassword(user, passwordHash, now)
      audit('authn_password_change')
      return replaced
    })

    const { sessionId } = caller
    const [kept] = await Promise.all([
      database(() => keepSession(sessionId, changed, settings.REFRESH_TOKEN_KEY, now)).catch(
        (error: unknown) => {
          log.warn('could not keep the session', { error: loggable(error) })
          return { refreshToken: undefined }
        },
      ),
      mailLater(context, { mail: 'notice', notice: 'passwordChanged', email: user.email }),
    ])
    // The session ended at the same moment, so the client signs in with the new password.
    if (!kept) throw new Problem('invalid_token')
    return { user: changed, sessionId, ...kept }
  })
}
