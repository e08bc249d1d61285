/**
 * The mail function. Other functions invoke it asynchronously (lib/Invoke.ts). If it throws, Lambda retries
 * after about one minute, and again two minutes later.
 */
import { atColdStart, settingsOf } from '../api/Environment.ts'
import { audit, write } from '../api/Events.ts'
import { Problem } from '../api/Problem.ts'
import type { Declaration } from '../api/Route.ts'
import type { Limits } from '../api/Settings.ts'
import { database } from '../db.ts'
import { bestEffort } from '../lib/BestEffort.ts'
import { identify, inRequest, loggable } from '../lib/Log.ts'
import { AttemptsModel, countAttempt, settle, takeBack } from '../throttle/Counters.ts'
import { mailRules, noticeRules, type Rule } from '../throttle/Rules.ts'
import { issueEmailConfirmation, issuePasswordReset } from '../user/Account.ts'
import { findUserByEmail } from '../user/User.ts'
import { type User, UserModel } from '../user/UserModel.ts'
import { type MailEvent, type MailJob, nameOf } from './MailJobs.ts'
import { type Facts, linkMails, noticeMail, registeredAlready, render } from './MailTemplates.ts'
import { type Mail, sendBySmtp } from './Smtp.ts'

const names = ['DB', 'PRODUCT_NAME', 'APP_URL', 'LIMITS', 'SMTP_URL', 'MAIL_FROM'] as const
const settings = atColdStart(() => settingsOf(names))
const openDatabase = database(UserModel, AttemptsModel)

/**
 * Sends the requested email, if anyone should get it.
 * @throws Error if it could not be sent, so that Lambda retries
 */
export const mail = Object.assign((event: MailEvent) => inRequest(event.origin, () => handle(event)), {
  declaration: { settings: names } satisfies Declaration,
})

async function handle(event: MailEvent): Promise<void> {
  const { PRODUCT_NAME, APP_URL, LIMITS, SMTP_URL, MAIL_FROM, DB } = settings()
  const now = new Date()
  const onDatabase = openDatabase(DB)
  const facts: Facts = {
    product: PRODUCT_NAME,
    appUrl: APP_URL,
    time: new Date(event.time),
    address: event.origin.address ?? undefined,
  }
  const rules = rulesOf(event, LIMITS)
  try {
    const message = await onDatabase(() => compose(event, facts, rules, now))
    if (!message) return
    await sendBySmtp(message, SMTP_URL, MAIL_FROM)
  } catch (error) {
    if (error instanceof Problem && error.code === 'too_many_attempts') {
      for (const refused of error.events) write(refused)
      audit('mail_suppressed', { mail: nameOf(event) })
      return
    }
    audit('mail_failed', { mail: nameOf(event), error: loggable(error) })
    // This attempt may have replaced the link in the previous email, so the next one must not wait because of
    // an email that nobody got. (If the database is away, the counter opens by itself.)
    await bestEffort('take back a mail', () => onDatabase(() => takeBack(rules, now)))
    // Lambda logs a thrown error unredacted, and mail servers quote the address that they refuse.
    // oxlint-disable-next-line preserve-caught-error -- it is logged above, redacted
    throw new Error('The mail could not be sent.')
  }
  audit('mail_sent', { mail: nameOf(event) })
  await bestEffort('settle a mail', () => onDatabase(() => settle(rules, now)))
}

const rulesOf = (job: MailJob, limits: Limits) =>
  job.mail === 'notice' ? noticeRules(job, limits) : mailRules(job.mail, job.email, limits)

/** @returns the email, or undefined if nobody should get one */
async function compose(job: MailJob, facts: Facts, rules: Rule[], now: Date): Promise<Mail | undefined> {
  const content = await contentOf(job, facts, rules, now)
  return content ? render(content, facts.product, job.email) : undefined
}

async function contentOf(job: MailJob, facts: Facts, rules: Rule[], now: Date) {
  if (job.mail === 'notice') {
    // Limited, because someone who registered with another person's address could flood that mailbox with
    // notices.
    await countAttempt(rules, now)
    return noticeMail(facts, job)
  }
  const user = job.mail === 'emailChange' ? { ...job, id: job.userId } : await recipient(job.mail, job.email)
  if (!user) return undefined
  identify({ userId: user.id })
  await countAttempt(rules, now)
  if (job.mail === 'registeredAlready') return registeredAlready(facts)
  if (job.mail === 'passwordReset') {
    const token = await issuePasswordReset(user, now)
    audit('authn_password_reset_requested')
    return linkMails.passwordReset(facts, token)
  }
  const token = await issueEmailConfirmation(user, job.email, now)
  return token && linkMails[job.mail](facts, token)
}

async function recipient(
  kind: 'emailVerification' | 'registeredAlready' | 'passwordReset',
  email: string,
): Promise<User | undefined> {
  const user = await findUserByEmail(email)
  const isWanted = user && !user.disabled && !(kind === 'emailVerification' && user.emailVerified)
  return isWanted ? user : undefined
}
