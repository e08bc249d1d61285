/**
 * What the function that sends mail is asked to do. Whoever asks does not wait for it, and does not look up whether
 * there is an account: so neither the answer nor its time can tell.
 */
import { audit } from '../api/Events.ts'
import { setting } from '../api/Environment.ts'
import { invokeLater } from '../lib/Invoke.ts'
import { loggable, origin, type Origin } from '../lib/Log.ts'

/** Mails that tell what has happened to an account. */
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
  /** A link that confirms the e-mail, if there is an account whose e-mail is not verified. */
  | { mail: 'emailVerification'; email: string }
  /** Word that there is an account already, for whoever tries to register again (REGISTRATION=private). */
  | { mail: 'registeredAlready'; email: string }
  /** A link that resets the password, if there is an account. */
  | { mail: 'passwordReset'; email: string }
  /** A link that makes this the e-mail of the user, unless the sessions were ended since. */
  | { mail: 'emailChange'; userId: string; sessionVersion: number; email: string }
  | { mail: 'notice'; notice: Notice; email: string }

/** The event of the function that sends mail. */
export type MailEvent = MailJob & {
  /** Who has asked. */
  origin: Origin
  /** When, as ISO 8601. */
  time: string
}

/** What the log calls a mail. */
export const nameOf = (job: MailJob) => (job.mail === 'notice' ? job.notice : job.mail)

/** Asks for a mail. What goes wrong is logged and nothing else: no answer depends on it. */
export async function mailLater(job: MailJob): Promise<void> {
  const event: MailEvent = { ...job, origin: origin(), time: new Date().toISOString() }
  const url = setting('MAIL_FUNCTION_URL')
  try {
    await invokeLater(url, event)
  } catch (error) {
    audit('mail_failed', { mail: nameOf(job), error: loggable(error) })
  }
}
