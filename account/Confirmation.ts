/**
 * Asks somebody who is signed in for the password once more, before a change that a stolen session must not make
 * (OWASP ASVS 5.0, 6.2.3 and 7.5.1).
 */
import { verifyPassword } from '../auth/Passwords.ts'
import { versionOfSession } from '../auth/Sessions.ts'
import { codeRules, confirmationRules, countAttempt, forgive } from '../throttle/Counters.ts'
import { withDatabase } from '../db.ts'
import { audit } from '../api/Events.ts'
import { setting } from '../api/Environment.ts'
import type { Request } from '../api/Route.ts'
import { Problem } from '../api/Problem.ts'
import { findEnabledUser } from '../user/User.ts'
import type { User } from '../user/UserModel.ts'
import { useCode } from '../user/SecondFactor.ts'

/** Throws a Problem where something that the caller has given is wrong. */
type Check = (user: User) => Promise<void>

/**
 * Confirms that the caller is the owner of the account. Failures are counted and slow each other down.
 * @param checks of what the caller has given, one after the other
 * @returns the caller
 * @throws Problem of a check, `too_many_attempts` (429), `invalid_token` (401) when the account or
 *   the session is gone
 */
export async function confirmCaller(caller: Request['caller'], ...checks: Check[]): Promise<User> {
  const rules = confirmationRules(caller.sessionId, setting('LIMITS'))
  const user = await withDatabase(async () => {
    await countAttempt(rules, new Date())
    const [found, sessionVersion] = await Promise.all([
      findEnabledUser(caller.id),
      versionOfSession(caller.sessionId, caller.id),
    ])
    // The token outlives the account and, for some seconds, its session: to the client it is no longer good.
    if (!found || found.sessionVersion !== sessionVersion) throw new Problem('invalid_token')
    return found
  })
  for (const check of checks) await check(user)
  await withDatabase(() => forgive(rules, new Date()))
  return user
}

/** @throws Problem `wrong_password` (403), from the check */
export const hasPassword =
  (password: string): Check =>
  async (user) => {
    const hashSettings = { pepper: setting('PEPPER'), cost: setting('BCRYPT_COST') }
    const { matches } = await verifyPassword(password, user.passwordHash, hashSettings)
    if (!matches) throw failed('wrong_password')
  }

/**
 * Takes a code of the second factor.
 * @throws Problem `wrong_code` (403), `mfa_not_enabled` (409), from the check
 */
export const hasCode =
  (code: string): Check =>
  async (user) => {
    if (!user.totp) throw new Problem('mfa_not_enabled')
    const rules = codeRules(user.id, setting('LIMITS'))
    const factor = await withDatabase(async () => {
      await countAttempt(rules, new Date())
      const used = await useCode(user, code, setting('PEPPER'), new Date())
      if (used) await forgive(rules, new Date())
      return used
    })
    if (!factor) throw failed('wrong_code')
    if (factor === 'recovery_code') audit('authn_recovery_code_used')
  }

/**
 * Takes a code where the second factor is on.
 * @throws Problem `invalid_request` (400) where it is and there is no code, `wrong_code` (403), from the check
 */
export const hasCodeIfAny =
  (code: string | undefined): Check =>
  async (user) => {
    if (!user.totp) return
    if (code === undefined) {
      throw new Problem('invalid_request', { errors: [{ path: 'code', message: 'is required' }] })
    }
    await hasCode(code)(user)
  }

export function failed(reason: 'wrong_password' | 'wrong_code'): Problem {
  audit('authn_confirmation_fail', { reason })
  return new Problem(reason)
}
