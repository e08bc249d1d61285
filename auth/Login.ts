/**
 * Signing in: first the password, then a code if the second factor is on.
 */
import { audit, event } from '../api/Events.ts'
import { Problem } from '../api/Problem.ts'
import type { Context, Device } from '../api/Route.ts'
import type { Settings } from '../api/Settings.ts'
import { alongside, bestEffort } from '../lib/BestEffort.ts'
import { identify } from '../lib/Log.ts'
import { mailLater } from '../mail/MailJobs.ts'
import { countAttempt, succeed, takeBack } from '../throttle/Counters.ts'
import { codeRules, loginRules, type Rule } from '../throttle/Rules.ts'
import { findByVerification, verifyEmail } from '../user/Account.ts'
import { useCode } from '../user/SecondFactor.ts'
import { findEnabledUser, findUserByEmail, upgradePasswordHash } from '../user/User.ts'
import type { User } from '../user/UserModel.ts'
import { CHALLENGE_SECONDS, newChallenge, readChallenge } from './MfaChallenge.ts'
import { hashPassword, verifyPassword } from './Passwords.ts'
import type { SignedIn } from './SessionAnswer.ts'
import { startSession } from './Sessions.ts'

type LoginSettings =
  'LIMITS' | 'PEPPER' | 'BCRYPT_COST' | 'REFRESH_TOKEN_KEY' | 'REGISTRATION' | 'EMAIL_VERIFICATION'

/**
 * Signs in with a password. An unknown email, a wrong password and a disabled account take the same time and
 * get the same answer.
 * @throws Problem `invalid_credentials` (401); `mfa_required` (401) with a challenge if the second factor is
 *   on; `email_not_verified` (403), only to someone who knows the password; `too_many_attempts` (429)
 */
export async function logIn(
  { email, password }: { email: string; password: string },
  device: Device,
  context: Context<LoginSettings>,
): Promise<SignedIn> {
  const { settings, database, now } = context
  const rules = loginRules(email, device.address, settings.LIMITS)
  const user = await database(async () => {
    await countAttempt(rules, now)
    return findUserByEmail(email)
  })
  if (user) identify({ userId: user.id })
  const hashing = { pepper: settings.PEPPER, cost: settings.BCRYPT_COST }
  // A disabled account has no correct password. Otherwise, a match with a cheap hash would show in the
  // response time.
  const stored = user?.disabled ? undefined : user?.passwordHash
  const { matches, outdated } = await verifyPassword(password, stored, hashing)
  const reason = failure(user, matches, settings)
  if (!user || reason) throw loginFailed(reason, settings)

  return enter(user, { rules, password, outdated }, device, context)
}

/**
 * Signs in with the link that verifies a new account's email, and the password that its owner chose. The link
 * alone proves nothing about the password: a stranger may have registered with somebody else's address. A wrong
 * password counts as a failed login and does not use up the link.
 * @throws Problem `invalid_one_time_token` (400) and those of logIn
 */
export async function verifyAndLogIn(
  { token, password }: { token: string; password: string },
  device: Device,
  context: Context<LoginSettings>,
): Promise<SignedIn> {
  const { settings, database, now } = context
  const { user, rules } = await database(async () => {
    const found = await findByVerification(token, now)
    const limits = loginRules(found.email, device.address, settings.LIMITS)
    await countAttempt(limits, now)
    return { user: found, rules: limits }
  })
  identify({ userId: user.id })
  const hashing = { pepper: settings.PEPPER, cost: settings.BCRYPT_COST }
  const { matches, outdated } = await verifyPassword(password, user.passwordHash, hashing)
  if (!matches) throw loginFailed('wrong_password', settings)
  const verified = await database(async () => {
    const changed = await verifyEmail(user, token, now)
    audit('user_email_verified')
    return changed
  })
  return enter(verified, { rules, password, outdated }, device, context)
}

/**
 * Lets someone in whose password is right, unless a second factor is on.
 * @param rules the limits that counted the attempt
 * @param outdated whether the password needs a stronger hash
 * @throws Problem `mfa_required` (401) with a challenge
 */
async function enter(
  user: User,
  { rules, password, outdated }: { rules: Rule[]; password: string; outdated: boolean },
  device: Device,
  { settings, database, now }: Context<LoginSettings>,
): Promise<SignedIn> {
  const hashing = { pepper: settings.PEPPER, cost: settings.BCRYPT_COST }
  const upgraded = outdated ? await hashPassword(password, hashing) : undefined
  if (user.totp) {
    // Earlier failures stay: otherwise, someone who knows the password could guess codes forever. This attempt
    // does not count, because its wait could outlast the challenge.
    const undone = rules.filter(({ onSuccess }) => onSuccess !== 'keep')
    await Promise.all([
      bestEffort('take back an attempt', () => database(() => takeBack(undone, now))),
      bestEffort('upgrade a password hash', upgrade),
    ])
    throw new Problem('mfa_required', {
      extensions: {
        challenge: newChallenge(user, settings.REFRESH_TOKEN_KEY, now),
        expiresIn: CHALLENGE_SECONDS,
      },
      events: [event('authn_mfa_required')],
    })
  }
  return alongside(
    database(() => signIn(user, device, settings.REFRESH_TOKEN_KEY, now)),
    bestEffort('forget failed logins', () => database(() => succeed(rules, now))),
    bestEffort('upgrade a password hash', upgrade),
  )

  async function upgrade(): Promise<void> {
    if (upgraded) await database(() => upgradePasswordHash(user, upgraded))
  }
}

/** The reason of a failed login for the audit trail, or undefined if the login is fine. */
function failure(
  user: User | undefined,
  matches: boolean,
  settings: Pick<Settings, 'REGISTRATION' | 'EMAIL_VERIFICATION'>,
): LoginFailure | undefined {
  if (!user) return 'unknown_email'
  if (user.disabled) return 'disabled'
  if (!matches) return 'wrong_password'
  return needsVerification(settings) && !user.emailVerified ? 'email_not_verified' : undefined
}

type LoginFailure = 'unknown_email' | 'disabled' | 'wrong_password' | 'email_not_verified'

/**
 * Only someone who knows the password learns that the email is not verified. With REGISTRATION=private,
 * nobody does.
 */
function loginFailed(reason: LoginFailure | undefined, { REGISTRATION }: Pick<Settings, 'REGISTRATION'>) {
  const revealsReason = reason === 'email_not_verified' && REGISTRATION === 'open'
  return new Problem(revealsReason ? 'email_not_verified' : 'invalid_credentials', {
    events: [event('authn_login_fail', { reason })],
  })
}

/**
 * Private registration needs it too: someone who can sign in right away knows that the email was not taken.
 */
export const needsVerification = ({
  REGISTRATION,
  EMAIL_VERIFICATION,
}: Pick<Settings, 'REGISTRATION' | 'EMAIL_VERIFICATION'>): boolean =>
  REGISTRATION === 'private' || EMAIL_VERIFICATION === 'required'

/**
 * Finishes a login with a code from the authenticator app or a recovery code. Each code works once. A wrong
 * code counts as a failed login.
 * @throws Problem `invalid_challenge` (401), `wrong_code` (403), `too_many_attempts` (429)
 */
export async function logInWithCode(
  { challenge, code }: { challenge: string; code: string },
  device: Device,
  context: Context<'LIMITS' | 'PEPPER' | 'REFRESH_TOKEN_KEY' | 'MAIL_FUNCTION_URL'>,
): Promise<SignedIn> {
  const { settings, database, now } = context
  const refused = (reason: 'invalid_challenge' | 'wrong_code') =>
    new Problem(reason, { events: [event('authn_login_fail', { reason })] })

  const subject = readChallenge(challenge, settings.REFRESH_TOKEN_KEY, now)
  if (!subject) throw refused('invalid_challenge')
  identify({ userId: subject.id })
  const { user, rules, factor } = await database(async () => {
    const found = await findEnabledUser(subject.id)
    if (!found?.totp || found.sessionVersion !== subject.sessionVersion) throw refused('invalid_challenge')
    const limits = [
      ...loginRules(found.email, device.address, settings.LIMITS),
      ...codeRules(found.id, settings.LIMITS),
    ]
    await countAttempt(limits, now)
    const used = await useCode(found, code, settings.PEPPER, now)
    if (!used) throw refused('wrong_code')
    if (used === 'recovery_code') audit('authn_recovery_code_used')
    return { user: found, rules: limits, factor: used }
  })
  return alongside(
    database(() => signIn(user, device, settings.REFRESH_TOKEN_KEY, now, factor)),
    bestEffort('forget failed logins', () => database(() => succeed(rules, now))),
    // The code is used up, whatever happens to the session, and its owner should know.
    factor === 'recovery_code'
      ? mailLater(context, { mail: 'notice', notice: 'recoveryCodeUsed', email: user.email })
      : Promise.resolve(),
  )
}

/** @param key HMAC key of the refresh tokens */
async function signIn(
  user: User,
  device: Device,
  key: Buffer,
  now: Date,
  factor?: 'totp' | 'recovery_code',
): Promise<SignedIn> {
  const session = await startSession(user, device, key, now)
  identify({ userId: user.id, sessionId: session.sessionId })
  audit('authn_login_success', { ...(factor && { factor }) })
  return { user, ...session }
}
