/**
 * The Lambda that sends mail. The other functions invoke it and do not wait (lib/Invoke.ts); when it throws, Lambda
 * invokes it again after one and two minutes.
 */
import { countAttempt, mailRules, noticeRules, type Rule, settle, takeBack } from '../throttle/Counters.ts'
import { withDatabase } from '../db.ts'
import { audit } from '../api/Events.ts'
import { setting } from '../api/Environment.ts'
import { identify, inRequest, loggable } from '../lib/Log.ts'
import { type Mail, sendBySmtp } from './Smtp.ts'
import { Problem } from '../api/Problem.ts'
import type { Limits } from '../api/Settings.ts'
import { findUserByEmail } from '../user/User.ts'
import type { User } from '../user/UserModel.ts'
import { issueEmailConfirmation, issuePasswordReset } from '../user/Account.ts'
import { type MailEvent, type MailJob, nameOf } from './MailJobs.ts'
import { type Facts, linkMails, noticeMail, registeredAlready, render } from './MailTemplates.ts'

/**
 * Makes a mail and sends it, if there is one to be sent.
 * @throws Error when it could not be sent: Lambda tries again
 */
export const mail = (event: MailEvent): Promise<void> =>
  inRequest(event.origin, async () => {
    const facts: Facts = {
      product: setting('PRODUCT_NAME'),
      appUrl: setting('APP_URL'),
      time: new Date(event.time),
      address: event.origin.address ?? undefined,
    }
    const rules = rulesOf(event, setting('LIMITS'))
    try {
      const message = await compose(event, facts, rules)
      if (!message) return
      await sendBySmtp(message, setting('SMTP_URL'), setting('MAIL_FROM'))
    } catch (error) {
      if (error instanceof Problem && error.code === 'too_many_attempts') {
        audit('mail_suppressed', { mail: nameOf(event) })
        return
      }
      audit('mail_failed', { mail: nameOf(event), error: loggable(error) })
      // It may have made the link of the one before void: the next must not wait for a mail that nobody got. (Without a
      // database the counter opens by itself.)
      await withDatabase(() => takeBack(rules, new Date())).catch(() => undefined)
      // Lambda logs what is thrown as it is, and mail servers quote the address that they refuse.
      // oxlint-disable-next-line preserve-caught-error -- it is logged above, redacted
      throw new Error('The mail could not be sent.')
    }
    audit('mail_sent', { mail: nameOf(event) })
    // Never a reason to send it again.
    await withDatabase(() => settle(rules, new Date())).catch(() => undefined)
  })

const rulesOf = (job: MailJob, limits: Limits) =>
  job.mail === 'notice' ? noticeRules(job.notice, job.email, limits) : mailRules(job.mail, job.email, limits)

/** @returns undefined where nobody should get one */
async function compose(job: MailJob, facts: Facts, rules: Rule[]): Promise<Mail | undefined> {
  const { email } = job
  const content = await withDatabase(async () => {
    const now = new Date()
    if (job.mail === 'notice') {
      // Who has an account under somebody else's address could fill that mailbox with them.
      await countAttempt(rules, now)
      return noticeMail(facts, job.notice)
    }
    const user = job.mail === 'emailChange' ? { ...job, id: job.userId } : await recipient(job.mail, email)
    if (!user) return undefined
    identify({ userId: user.id })
    await countAttempt(rules, now)
    if (job.mail === 'registeredAlready') return registeredAlready(facts)
    if (job.mail === 'passwordReset') {
      audit('authn_password_reset_requested')
      return linkMails.passwordReset(facts, await issuePasswordReset(user, now))
    }
    const token = await issueEmailConfirmation(user, email, now)
    return token && linkMails[job.mail](facts, token)
  })
  return content ? render(content, facts.product, email) : undefined
}

async function recipient(
  mail: 'emailVerification' | 'registeredAlready' | 'passwordReset',
  email: string,
): Promise<User | undefined> {
  const user = await findUserByEmail(email)
  const isWanted = user && !user.disabled && !(mail === 'emailVerification' && user.emailVerified)
  return isWanted ? user : undefined
}
