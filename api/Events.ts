/**
 * The audit trail: what happened to an account or a session, one line of the log each, with a name that does not
 * change. Names are those of the OWASP Logging Vocabulary where it has one. Every line also says where it came from
 * (requestId and address) and holds nothing secret: no e-mail, no password, no token, no code, no hash.
 * docs/events.md is made from this file (`npm run docs`).
 * @see https://cheatsheetseries.owasp.org/cheatsheets/Logging_Vocabulary_Cheat_Sheet.html
 */
import { log } from '../lib/Log.ts'

/** What a line can hold beside requestId and address. */
export const fields = {
  userId: 'whose doing it is; where nobody is signed in, whose account it is about',
  sessionId: 'the session in which it was done, or which it is about',
  subjectId: 'the user to whom it was done',
  revokedSessionId: 'the session that has ended',
  roles: 'the roles of the user from now on',
  reason: 'why, in a few words',
  factor: '`totp` or `recovery_code`: the second factor of the sign-in',
  usedGeneration: 'which refresh token of the session was used, counted from 0',
  currentGeneration: 'which one was the newest',
  limit: 'a name of the setting LIMITS',
  mail: 'which mail: a link or a notice of mail/MailJobs.ts',
  error: 'what the server or the database said, without e-mails',
} as const

type Field = keyof typeof fields

/** How much each event matters: everyday business, worth a look after an attack, the operator's. */
export const levels = {
  user_created: 'info',
  user_updated: 'info',
  user_deleted: 'warn',
  user_disabled: 'warn',
  user_enabled: 'warn',
  user_email_verified: 'info',
  user_email_change_requested: 'warn',
  user_email_changed: 'warn',
  authz_change: 'warn',
  authz_token_refused: 'info',
  authn_login_success: 'info',
  authn_login_fail: 'info',
  authn_mfa_required: 'info',
  authn_mfa_enabled: 'warn',
  authn_mfa_disabled: 'warn',
  authn_recovery_code_used: 'warn',
  authn_recovery_codes_created: 'warn',
  authn_confirmation_fail: 'warn',
  authn_password_reset_requested: 'info',
  authn_password_reset: 'warn',
  authn_password_reset_fail: 'warn',
  authn_password_change: 'warn',
  authn_token_reuse: 'warn',
  session_renewed: 'info',
  session_refused: 'info',
  session_revoked: 'info',
  sessions_revoked: 'warn',
  excess_rate_limit_exceeded: 'warn',
  mail_sent: 'info',
  mail_suppressed: 'warn',
  mail_failed: 'error',
} as const satisfies Record<string, 'info' | 'warn' | 'error'>

export type EventName = keyof typeof levels

/**
 * When each is logged, and what the line holds; a field with a question mark is not always known. For docs/events.md:
 * no function carries these words along.
 */
export const events = {
  user_created: ['Somebody has registered.', ['userId']],
  user_updated: ['A user has changed their name.', ['userId', 'sessionId']],
  user_deleted: ['A user has deleted their account.', ['userId', 'sessionId']],
  user_disabled: [
    'An admin has disabled an account; its sessions have ended.',
    ['userId', 'sessionId', 'subjectId'],
  ],
  user_enabled: ['An admin has enabled an account.', ['userId', 'sessionId', 'subjectId']],
  user_email_verified: ['An e-mail was confirmed by the link in a mail.', ['userId']],
  user_email_change_requested: [
    'A user wants another e-mail, which is not confirmed yet.',
    ['userId', 'sessionId'],
  ],
  user_email_changed: [
    'The e-mail of an account is another one now; follows on `user_email_verified`.',
    ['userId'],
  ],
  authz_change: [
    'An admin has changed the roles of a user. (`npm run admin` writes to the database and logs nothing.)',
    ['userId', 'sessionId', 'subjectId', 'roles'],
  ],
  authz_token_refused: [
    'The authorizer has refused an access token. Whose it was is known of one that was revoked; requestId is that of the authorizer itself, and there is no address: API Gateway tells it neither.',
    ['reason', 'userId?', 'sessionId?'],
  ],
  authn_login_success: [
    'Somebody has signed in, by registering or logging in.',
    ['userId', 'sessionId', 'factor?'],
  ],
  authn_login_fail: [
    'A login has failed: `unknown_email`, `wrong_password`, `disabled`, `email_not_verified`, `invalid_challenge` or `wrong_code`.',
    ['reason', 'userId?'],
  ],
  authn_mfa_required: ['A password was right, and the second factor is asked for.', ['userId']],
  authn_mfa_enabled: ['A second factor was set up.', ['userId', 'sessionId']],
  authn_mfa_disabled: ['The second factor was turned off.', ['userId', 'sessionId']],
  authn_recovery_code_used: [
    'A recovery code has stood in for the app, at a login or for a change that needs a code.',
    ['userId', 'sessionId?'],
  ],
  authn_recovery_codes_created: [
    'New recovery codes have taken the place of the old ones.',
    ['userId', 'sessionId'],
  ],
  authn_confirmation_fail: [
    'Somebody who is signed in gave a `wrong_password` or a `wrong_code` for a change that needs it.',
    ['userId', 'sessionId', 'reason'],
  ],
  authn_password_reset_requested: ['A mail with a link to reset the password was made.', ['userId']],
  authn_password_reset: [
    'A password was replaced by the link in a mail; all sessions have ended.',
    ['userId'],
  ],
  authn_password_reset_fail: [
    'A link to reset a password was made up, used before, replaced or too old.',
    ['userId?'],
  ],
  authn_password_change: [
    'A user has changed their password; the other sessions have ended.',
    ['userId', 'sessionId'],
  ],
  authn_token_reuse: [
    'A refresh token was used twice: it may have been stolen, and the session has ended.',
    ['userId', 'sessionId', 'usedGeneration', 'currentGeneration'],
  ],
  session_renewed: ['A session was refreshed.', ['userId', 'sessionId']],
  session_refused: [
    'A refresh token was refused; one with a sessionId was genuine, and its session is over.',
    ['userId?', 'sessionId?'],
  ],
  session_revoked: [
    'A user has ended a session: this one by logging out, or another.',
    ['userId', 'sessionId', 'revokedSessionId'],
  ],
  sessions_revoked: [
    'All sessions of a user were ended, by the user or by an admin.',
    ['userId', 'sessionId', 'subjectId'],
  ],
  excess_rate_limit_exceeded: [
    'Something was tried too often, and refused.',
    ['limit', 'userId?', 'sessionId?'],
  ],
  mail_sent: ['A mail was handed over to the server.', ['mail', 'userId', 'sessionId?']],
  mail_suppressed: [
    'A mail was not sent, since many of its kind went to the same address, or one is on its way.',
    ['mail', 'userId', 'sessionId?'],
  ],
  mail_failed: [
    'A mail could not be sent; Lambda tries twice more.',
    ['mail', 'error', 'userId?', 'sessionId?'],
  ],
} as const satisfies Record<
  EventName,
  readonly [description: string, holds: readonly (Field | `${Field}?`)[]]
>

type Known<Name> = Name extends `${infer Known_}?` ? Known_ : Name
type FieldOf<Name extends EventName> = Known<(typeof events)[Name][1][number]>

/**
 * Logs an event.
 * @param details what it holds, but for what the request says (lib/Log.ts)
 */
export const audit = <Name extends EventName>(
  event: Name,
  details: Partial<Record<FieldOf<Name>, unknown>> = {},
): void => log[levels[event]](event, { event, ...details })
