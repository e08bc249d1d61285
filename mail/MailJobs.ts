/**
 * What the function that sends mail is asked to do. Whoever asks neither waits for it nor looks up whether there is an
 * account, so neither the answer nor its time can reveal that.
 */
import { audit } from '../api/Events.ts'
import type { Context } from '../api/Route.ts'
import { invokeLater } from '../lib/Invoke.ts'
import { loggable, origin, type Origin } from '../lib/Log.ts'

/** Mails that report what has happened to an account. */
export type Notice =
  | 'passwordChanged'
  | 'passwordReset'
  | 'emailChangeRequested'
  | 'emailChanged'
  | 'mfaEnabled'
  | 'mfaDisabled'
  | 'recoveryCodeUsed'
  | 'recoveryCodesReplaced'
  | 'accountDeleted'

export type MailJob =
  /** A link that confirms the email, if there is an account whose email is not verified. */
  | { mail: 'emailVerification'; email: string }
  /** Tells whoever registers again that there already is an account (REGISTRATION=private). */
  | { mail: 'registeredAlready'; email: string }
  /** A link that resets the password, if there is an account. */
  | { mail: 'passwordReset'; email: string }
  /** A link that makes this the user's email, unless the sessions were ended since. */
  | { mail: 'emailChange'; userId: string; sessionVersion: number; email: string }
  | { mail: 'notice'; notice: Notice; email: string }

/** The event of the function that sends mail. */
export type MailEvent = MailJob & {
  /** Who asked. */
  origin: Origin
  /** When, as ISO 8601. */
  time: string
}

/** What the log calls a mail. */
export const nameOf = (job: MailJob) => (job.mail === 'notice' ? job.notice : job.mail)

/** Asks for a mail. A failure is logged and cannot change the answer. */
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
