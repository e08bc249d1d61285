/**
 * Asks a signed-in user for the password again, before a change that must not be possible with a stolen
 * session (OWASP ASVS 5.0, 6.2.3 and 7.5.1).
 */
import { audit, event } from '../api/Events.ts'
import { invalidField, Problem } from '../api/Problem.ts'
import type { Caller, Context } from '../api/Route.ts'
import { verifyPassword } from '../auth/Passwords.ts'
import { versionOfSession } from '../auth/Sessions.ts'
import { bestEffort } from '../lib/Log.ts'
import { countAttempt, succeed } from '../throttle/Counters.ts'
import { codeRules, confirmationRules } from '../throttle/Rules.ts'
import { useCode } from '../user/SecondFactor.ts'
import { findEnabledUser } from '../user/User.ts'
import type { User } from '../user/UserModel.ts'

/** The settings of a route that asks for the password or a code and notifies the owner by email. */
export const CONFIRMING = ['PEPPER', 'BCRYPT_COST', 'LIMITS', 'MAIL_FUNCTION_URL'] as const
export type Confirming = (typeof CONFIRMING)[number]

/**
 * Confirms that the caller owns the account. Failures are counted, and each one makes the next attempt wait
 * longer.
 * @param check checks the caller's input and throws a Problem if it is wrong
 * @returns what the check returns
 * @throws Problem of the check; `too_many_attempts` (429); `invalid_token` (401) if the account or the
 *   session is gone
 */
export async function confirmCaller<Result>(
  caller: Caller,
  { settings, database, now }: Context<'LIMITS'>,
  check: (user: User) => Promise<Result>,
): Promise<Result> {
  const rules = confirmationRules(caller.sessionId, settings.LIMITS)
  const user = await database(async () => {
    await countAttempt(rules, now)
    const [found, sessionVersion] = await Promise.all([
      findEnabledUser(caller.id),
      versionOfSession(caller.sessionId, caller.id),
    ])
    // The token outlives the account and, for a few seconds, its session. To the client, it is no longer
    // valid.
    if (!found || found.sessionVersion !== sessionVersion) throw new Problem('invalid_token')
    return found
  })
  const result = await check(user)
  await bestEffort('forget failed confirmations', () => database(() => succeed(rules, now)))
  return result
}

/**
 * Confirms the caller with the password.
 * @param alsoCheck a further check, which runs once the password is correct
 * @returns the caller's account
 * @throws Problem `wrong_password` (403), or a Problem of confirmCaller
 */
export const confirmPassword = (
  caller: Caller,
  password: string,
  context: Context<'PEPPER' | 'BCRYPT_COST' | 'LIMITS'>,
  alsoCheck: (user: User) => Promise<void> = async () => undefined,
): Promise<User> =>
  confirmCaller(caller, context, async (user) => {
    await checkPassword(user, password, context)
    await alsoCheck(user)
    return user
  })

async function checkPassword(
  user: User,
  password: string,
  { settings }: Pick<Context<'PEPPER' | 'BCRYPT_COST'>, 'settings'>,
): Promise<void> {
  const hashing = { pepper: settings.PEPPER, cost: settings.BCRYPT_COST }
  const { matches } = await verifyPassword(password, user.passwordHash, hashing)
  if (!matches) throw notConfirmed('wrong_password')
}

/**
 * Checks a second-factor code and uses it up.
 * @throws Problem `wrong_code` (403), `mfa_not_enabled` (409), `too_many_attempts` (429)
 */
export async function checkCode(
  user: User,
  code: string,
  { settings, database, now }: Context<'PEPPER' | 'LIMITS'>,
): Promise<void> {
  if (!user.totp) throw new Problem('mfa_not_enabled')
  const rules = codeRules(user.id, settings.LIMITS)
  const factor = await database(async () => {
    await countAttempt(rules, now)
    return useCode(user, code, settings.PEPPER, now)
  })
  if (!factor) throw notConfirmed('wrong_code')
  if (factor === 'recovery_code') audit('authn_recovery_code_used')
  await bestEffort('forget wrong codes', () => database(() => succeed(rules, now)))
}

/**
 * Checks a second-factor code if the second factor is on.
 * @throws Problem `invalid_request` (400) if it is on and the code is missing, or a Problem of checkCode
 */
export async function checkCodeIfAny(
  user: User,
  code: string | undefined,
  context: Context<'PEPPER' | 'LIMITS'>,
): Promise<void> {
  if (!user.totp) return
  if (code === undefined) throw invalidField('code', 'is required')
  await checkCode(user, code, context)
}

/** Creates the refusal of a password or a code, with its event. */
export const notConfirmed = (reason: 'wrong_password' | 'wrong_code'): Problem =>
  new Problem(reason, { events: [event('authn_confirmation_fail', { reason })] })
