/**
 * The limits on guessing and flooding: what is counted for each kind of attempt, and what success does to
 * each counter (OWASP ASVS 5.0, 6.3.1; OWASP Authentication Cheat Sheet, "Login Throttling"). The numbers are
 * in the setting LIMITS (docs/limits.md).
 */
import { createHash } from 'node:crypto'
import type { Limits } from '../api/Settings.ts'
import { networkOf } from '../lib/Network.ts'

const SECOND = 1000
const MINUTE = 60 * SECOND

/** The timeout of the mail function (serverless.yml), in milliseconds. */
const SENDING_TIME = 30 * SECOND

/** How often something may be tried. */
export interface Rule extends Policy {
  limit: keyof Limits
  /** The id of the counter. It is a hash, because people type all kinds of things into an email field. */
  id: string
  /** How many attempts need no wait. */
  free: number
}

interface Policy {
  /**
   * What a successful attempt does to its counter: `forget` sets it to zero, `takeBack` undoes this one
   * attempt, `keep` leaves it counted.
   */
  onSuccess: 'forget' | 'takeBack' | 'keep'
  /**
   * The wait after the free attempts, in milliseconds. It doubles each time. Without one, the counter opens
   * after an hour.
   */
  firstWait?: number
  /** Blocks further attempts until this one is settled or taken back, for at most this many milliseconds. */
  underWay?: number
}

const policies: Record<Exclude<keyof Limits, 'refreshesPerSession'>, Policy> = {
  loginsPerAddress: { onSuccess: 'takeBack' },
  loginFailures: { onSuccess: 'forget', firstWait: SECOND },
  loginsPerEmail: { onSuccess: 'keep' },
  // Only a correct code clears it. A correct password does not, because the password, or the mailbox that can
  // reset it, may be in the wrong hands.
  codesPerUser: { onSuccess: 'forget' },
  confirmationFailures: { onSuccess: 'forget', firstWait: SECOND },
  registrationsPerAddress: { onSuccess: 'keep' },
  forgotsPerEmail: { onSuccess: 'keep' },
  forgotsPerAddress: { onSuccess: 'keep' },
  resendsPerEmail: { onSuccess: 'keep' },
  resendsPerAddress: { onSuccess: 'keep' },
  emailChangesPerUser: { onSuccess: 'keep' },
  mailsPerEmail: { onSuccess: 'keep', firstWait: MINUTE },
}

const rule = (limits: Limits, limit: keyof typeof policies, ...subject: string[]): Rule => ({
  limit,
  id: createHash('sha256')
    .update(JSON.stringify([limit, ...subject]))
    .digest('base64url'),
  free: limits[limit],
  ...policies[limit],
})

/**
 * A login. Each failure with one email from one address slows down the next. Wider limits catch distributed
 * guessing.
 */
export const loginRules = (email: string, address: string | null, limits: Limits): Rule[] => [
  rule(limits, 'loginsPerAddress', networkOf(address)),
  rule(limits, 'loginFailures', email, networkOf(address)),
  rule(limits, 'loginsPerEmail', email),
]

export const registrationRules = (address: string | null, limits: Limits): Rule[] => [
  rule(limits, 'registrationsPerAddress', networkOf(address)),
]

/**
 * Requests for an email. No limit counts requests for one email from anywhere: an attacker could use it up
 * and keep the owner from recovering the account.
 */
export const mailRequestRules = (
  route: 'forgots' | 'resends',
  email: string,
  address: string | null,
  limits: Limits,
): Rule[] => [
  rule(limits, `${route}PerAddress`, networkOf(address)),
  rule(limits, `${route}PerEmail`, email, networkOf(address)),
]

/** Emails that a user has us send to an address of their choice. */
export const emailChangeRules = (userId: string, limits: Limits): Rule[] => [
  rule(limits, 'emailChangesPerUser', userId),
]

/** Notices of one kind, about one user, to one email. */
export const noticeRules = (
  { notice, email, subjectId = '' }: { notice: string; email: string; subjectId?: string },
  limits: Limits,
): Rule[] => [rule(limits, 'mailsPerEmail', 'notice', notice, email, subjectId)]

/**
 * Emails with a link of one kind to one address, whoever requests them. They are sent one after the other: if
 * two were sent at the same time, the one that arrives last could contain a link that the other one has
 * already replaced.
 */
export const mailRules = (mail: string, email: string, limits: Limits): Rule[] => [
  { ...rule(limits, 'mailsPerEmail', mail, email), underWay: SENDING_TIME },
]

/**
 * Wrong passwords and codes of a signed-in user, counted per session. They are not counted per email, so that
 * guessing from outside cannot affect the owner's open session, nor per address, because a thief could use
 * thousands.
 */
export const confirmationRules = (sessionId: string, limits: Limits): Rule[] => [
  rule(limits, 'confirmationFailures', sessionId),
]

/** Second-factor codes. Only someone with the password or a session gets this far. */
export const codeRules = (userId: string, limits: Limits): Rule[] => [rule(limits, 'codesPerUser', userId)]

/**
 * The counters of an email that are cleared when its owner resets the password. They include the reset
 * emails, because the link in the last one is now used up, so the owner would have to wait without a working
 * link.
 */
export const ownerRules = (email: string, address: string | null, limits: Limits): Rule[] => [
  ...loginRules(email, address, limits).filter(({ limit }) => limit !== 'loginsPerAddress'),
  ...mailRules('passwordReset', email, limits),
]
