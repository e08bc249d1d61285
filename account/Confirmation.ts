/**
 * Asks a signed-in user for the password again, before a change that must not be possible with a stolen
 * session (OWASP ASVS 5.0, 6.2.3 and 7.5.1).
 */
import { audit, event } from '../api/Events.ts'
import { invalidField, Problem } from '../api/Problem.ts'
import type { Caller, Context } from '../api/Route.ts'
import { verifyPassword } from '../auth/Passwords.ts'
import { versionOfSession } from '../auth/Sessions.ts'
import { alongside, bestEffort } from '../lib/BestEffort.ts'
import { countAttempt, succeed } from '../throttle/Counters.ts'
import { codeRules, confirmationRules, type Rule } from '../throttle/Rules.ts'
import { useCode } from '../user/SecondFactor.ts'
import { findEnabledUser } from '../user/User.ts'
import type { User } from '../user/UserModel.ts'

/** The settings of a route that asks for the password or a code and notifies the owner by email. */
export const CONFIRMING = ['PEPPER', 'BCRYPT_COST', 'LIMITS', 'MAIL_FUNCTION_URL'] as const
export type Confirming = (typeof CONFIRMING)[number]

/**
 * Checks one thing that the caller gave.
 * @returns the limits that a success forgets
 * @throws Problem if it is wrong
 */
export type Check = (user: User) => Promise<Rule[]>

/**
 * Confirms that the caller owns the account, then makes a change. Failures are counted, and each one makes the
 * next attempt wait longer.
 * @param checks run one after the other
 * @param change runs once all checks have passed
 * @returns what the change returns
 * @throws Problem of a check or of the change, or a Problem of findConfirming
 */
export async function confirmCaller<Result>(
  caller: Caller,
  context: Context<'LIMITS'>,
  checks: Check[],
  change: (user: User) => Promise<Result>,
): Promise<Result> {
  const { user, rules } = await findConfirming(caller, context)
  const passed = [...rules]
  for (const check of checks) passed.push(...(await check(user)))
  // Beside the change, not before it: it must not use up the time that the change has.
  return alongside(change(user), forgetFailures(passed, context))
}

/**
 * Counts an attempt to confirm, and finds the caller.
 * @returns the caller's account, and the limits that a success forgets
 * @throws Problem `too_many_attempts` (429); `invalid_token` (401) if the account or the session is gone
 */
export async function findConfirming(
  caller: Caller,
  { settings, database, now }: Context<'LIMITS'>,
): Promise<{ user: User; rules: Rule[] }> {
  const rules = confirmationRules(caller.sessionId, settings.LIMITS)
  return database(async () => {
    await countAttempt(rules, now)
    return { user: await findCaller(caller), rules }
  })
}

/**
 * Finds the caller. An access token outlives the account and, for a few seconds, its session. To the client, it
 * is then no longer valid.
 * @throws Problem `invalid_token` (401) if the account or the session is gone
 */
export async function findCaller(caller: Caller): Promise<User> {
  const [user, sessionVersion] = await Promise.all([
    findEnabledUser(caller.id),
    versionOfSession(caller.sessionId, caller.id),
  ])
  if (!user || user.sessionVersion !== sessionVersion) throw new Problem('invalid_token')
  return user
}

/** Forgets the failures of attempts that succeeded. Never fails. */
export const forgetFailures = (rules: Rule[], { database, now }: Context<never>): Promise<void> =>
  bestEffort('forget failed confirmations', () => database(() => succeed(rules, now)))

/** Checks the password. Throws Problem `wrong_password` (403). */
export const hasPassword =
  (password: string, { settings }: Context<'PEPPER' | 'BCRYPT_COST'>): Check =>
  async (user) => {
    const hashing = { pepper: settings.PEPPER, cost: settings.BCRYPT_COST }
    const { matches } = await verifyPassword(password, user.passwordHash, hashing)
    if (!matches) throw notConfirmed('wrong_password')
    return []
  }

/**
 * Checks a second-factor code and uses it up. Throws Problem `wrong_code` (403), `mfa_not_enabled` (409) or
 * `too_many_attempts` (429).
 */
export const hasCode =
  (code: string, { settings, database, now }: Context<'PEPPER' | 'LIMITS'>): Check =>
  async (user) => {
    if (!user.totp) throw new Problem('mfa_not_enabled')
    const rules = codeRules(user.id, settings.LIMITS)
    const factor = await database(async () => {
      await countAttempt(rules, now)
      const used = await useCode(user, code, settings.PEPPER, now)
      if (used === 'recovery_code') audit('authn_recovery_code_used')
      return used
    })
    if (!factor) throw notConfirmed('wrong_code')
    return rules
  }

/**
 * Checks a second-factor code if the second factor is on. Throws Problem `invalid_request` (400) if it is on
 * and the code is missing, and otherwise as hasCode.
 */
export const hasCodeIfAny =
  (code: string | undefined, context: Context<'PEPPER' | 'LIMITS'>): Check =>
  async (user) => {
    if (!user.totp) return []
    if (code === undefined) throw invalidField('code', 'is required')
    return hasCode(code, context)(user)
  }

/** Creates the refusal of a password or a code, with its event. */
export const notConfirmed = (reason: 'wrong_password' | 'wrong_code'): Problem =>
  new Problem(reason, { events: [event('authn_confirmation_fail', { reason })] })
