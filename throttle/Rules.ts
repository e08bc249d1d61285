/**
 * The limits on guessing and flooding: what is counted for what, and what success does to each counter (OWASP ASVS 5.0,
 * 6.3.1; OWASP Authentication Cheat Sheet, "Login Throttling"). The numbers are the setting LIMITS (docs/limits.md).
 */
import { createHash } from 'node:crypto'
import type { Limits } from '../api/Settings.ts'
import { networkOf } from '../lib/Network.ts'

const SECOND = 1000
const MINUTE = 60 * SECOND

/** The function that sends mail is stopped after this time (mail/MailHandler.ts), in milliseconds. */
const SENDING_TIME = 30 * SECOND

/** How often something may be tried. */
export interface Rule extends Policy {
  limit: keyof Limits
  /** The id of the counter: a hash, since people type all kinds of things into an email field. */
  id: string
  /** Attempts that need no wait. */
  free: number
}

interface Policy {
  /**
   * What a successful attempt does to its counter: `forget` sets it to zero, `takeBack` undoes this one attempt, `keep`
   * leaves it counted.
   */
  onSuccess: 'forget' | 'takeBack' | 'keep'
  /** The wait after the free attempts, in milliseconds, which doubles each time. Without one the counter opens after its hour. */
  firstWait?: number
  /** Blocks further attempts until this one is settled or taken back, for this many milliseconds at most. */
  underWay?: number
}

const policies: Record<Exclude<keyof Limits, 'refreshesPerSession'>, Policy> = {
  loginsPerAddress: { onSuccess: 'takeBack' },
  loginFailures: { onSuccess: 'forget', firstWait: SECOND },
  loginsPerEmail: { onSuccess: 'keep' },
  // Only a right code forgets the wrong ones: a password may be stolen, and others may read the mail that resets it.
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

/** A login. Failures with one email from one address slow each other down; wider limits catch spread-out guessing. */
export const loginRules = (email: string, address: string | null, limits: Limits): Rule[] => [
  rule(limits, 'loginsPerAddress', networkOf(address)),
  rule(limits, 'loginFailures', email, networkOf(address)),
  rule(limits, 'loginsPerEmail', email),
]

export const registrationRules = (address: string | null, limits: Limits): Rule[] => [
  rule(limits, 'registrationsPerAddress', networkOf(address)),
]

/**
 * Asking for a mail. There is no limit for an email from anywhere: others could use it up and keep its owner from
 * recovering the account.
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

/** Mails that a user has sent to addresses of their choice. */
export const emailChangeRules = (userId: string, limits: Limits): Rule[] => [
  rule(limits, 'emailChangesPerUser', userId),
]

/** Notices of one kind to one email. */
export const noticeRules = (notice: string, email: string, limits: Limits): Rule[] => [
  rule(limits, 'mailsPerEmail', 'notice', notice, email),
]

/**
 * Mails of one kind with a link to one email, whoever asks for them. One after the other: if two were sent at the same
 * time, the one that arrives last could hold the link that the other has replaced.
 */
export const mailRules = (mail: string, email: string, limits: Limits): Rule[] => [
  { ...rule(limits, 'mailsPerEmail', mail, email), underWay: SENDING_TIME },
]

/**
 * Wrong passwords and codes of somebody who is signed in. Counted by session: not by email, so that guessing from
 * outside cannot lock the owner out of an open session; not by address, since a thief could use thousands of them.
 */
export const confirmationRules = (sessionId: string, limits: Limits): Rule[] => [
  rule(limits, 'confirmationFailures', sessionId),
]

/** Codes of a second factor. Only whoever has the password or a session gets this far. */
export const codeRules = (userId: string, limits: Limits): Rule[] => [rule(limits, 'codesPerUser', userId)]

/**
 * The counters of an email that its owner clears by resetting the password. The reset mails too: a wait is bearable only
 * while the link in the last mail is good.
 */
export const ownerRules = (email: string, address: string | null, limits: Limits): Rule[] => [
  ...loginRules(email, address, limits).filter(({ limit }) => limit !== 'loginsPerAddress'),
  ...mailRules('passwordReset', email, limits),
]
