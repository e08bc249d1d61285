/**
 * The jobs of the mail function. The functions that request an email neither wait for it nor look up whether
 * there is an account, so neither their answers nor their timing can reveal that.
 */
import { audit } from '../api/Events.ts'
import type { Context } from '../api/Route.ts'
import { invokeLater } from '../lib/Invoke.ts'
import { loggable, origin, type Origin } from '../lib/Log.ts'

/** Emails that report what happened to an account. */
export type Notice =
  | 'passwordChanged'
  | 'passwordReset'
  | 'emailChangeRequested'
  | 'emailChanged'
  | 'mfaEnabled'
  | 'mfaDisabled'
  | 'mfaRemoved'
  | 'recoveryCodeUsed'
  | 'recoveryCodesReplaced'
  | 'sessionStolen'
  | 'accountDeleted'
  | 'adminAdded'

export type MailJob =
  /** A link that confirms the email, if there is an account whose email is not verified. */
  | { mail: 'emailVerification'; email: string }
  /** Tells someone who registers again that they already have an account (REGISTRATION=private). */
  | { mail: 'registeredAlready'; email: string }
  /** A link that resets the password, if there is an account. */
  | { mail: 'passwordReset'; email: string }
  /** A link that makes this the user's email, unless the sessions were ended in the meantime. */
  | { mail: 'emailChange'; userId: string; sessionVersion: number; email: string }
  | {
      mail: 'notice'
      notice: Notice
      email: string
      /** The id of the user that the notice is about, if it is not its reader. */
      subjectId?: string
    }

/** The event of the mail function. */
export type MailEvent = MailJob & {
  /** Who requested the email. */
  origin: Origin
  /** When they requested it, in ISO 8601. */
  time: string
}

/** Returns the name of an email in the log. */
export const nameOf = (job: MailJob) => (job.mail === 'notice' ? job.notice : job.mail)

/** Requests an email. A failure is logged and cannot change the answer. */
export async function mailLater(
  { settings, now, credentials }: Omit<Context<'MAIL_FUNCTION_URL'>, 'database'>,
  job: MailJob,
): Promise<void> {
  const event: MailEvent = { ...job, origin: origin(), time: now.toISOString() }
  try {
    await invokeLater(settings.MAIL_FUNCTION_URL, event, credentials)
  } catch (error) {
    audit('mail_failed', { mail: nameOf(job), error: loggable(error) })
  }
}
