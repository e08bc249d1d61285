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
  userId: 'the user who did it; if nobody is signed in, the user whose account it is about',
  sessionId: 'the session in which it was done, or that it is about',
  subjectId: 'the user to whom it was done',
  revokedSessionId: 'the session that ended',
  roles: 'the new roles of the user',
  reason: 'the reason, in a few words',
  factor: 'the second factor that was used: `totp` or `recovery_code`',
  usedGeneration: 'which refresh token of the session was used, counting from 0',
  currentGeneration: 'which one was the latest',
  limit: 'which member of the setting LIMITS',
  mail: 'which mail: a link or a notice (mail/MailJobs.ts)',
  error: 'what the mail server or the database reported, without emails',
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
  user_created: ['Somebody registered.', ['userId']],
  user_updated: ['A user changed their name.', ['userId', 'sessionId']],
  user_deleted: ['A user deleted their account.', ['userId', 'sessionId']],
  user_disabled: [
    'An admin disabled an account. Its sessions have ended.',
    ['userId', 'sessionId', 'subjectId'],
  ],
  user_enabled: ['An admin enabled an account.', ['userId', 'sessionId', 'subjectId']],
  user_email_verified: ['An email was verified with the link in a mail.', ['userId']],
  user_email_change_requested: [
    'A user asked to change their email. The new one is not verified yet.',
    ['userId', 'sessionId'],
  ],
  user_email_changed: ['The email of an account changed. Follows `user_email_verified`.', ['userId']],
  authz_change: [
    'An admin changed the roles of a user. (`npm run admin` writes to the database and logs nothing.)',
    ['userId', 'sessionId', 'subjectId', 'roles'],
  ],
  authz_token_refused: [
    'The authorizer refused an access token. The user is known only if the token was revoked. requestId is that of the authorizer itself, and there is no address, because API Gateway passes neither to it.',
    ['reason', 'userId?', 'sessionId?'],
  ],
  authn_login_success: [
    'Somebody signed in, by registering or logging in.',
    ['userId', 'sessionId', 'factor?'],
  ],
  authn_login_fail: [
    'A login failed: `unknown_email`, `wrong_password`, `disabled`, `email_not_verified`, `invalid_challenge` or `wrong_code`.',
    ['reason', 'userId?'],
  ],
  authn_mfa_required: ['The password was right, and a second factor is required.', ['userId']],
  authn_mfa_enabled: ['A second factor was turned on.', ['userId', 'sessionId']],
  authn_mfa_disabled: ['The second factor was turned off.', ['userId', 'sessionId']],
  authn_recovery_code_used: [
    'A recovery code was used in place of the app, at a login or for a change that requires a code.',
    ['userId', 'sessionId?'],
  ],
  authn_recovery_codes_created: ['New recovery codes replaced the old ones.', ['userId', 'sessionId']],
  authn_confirmation_fail: [
    'A signed-in user gave a `wrong_password` or a `wrong_code` for a change that requires it.',
    ['userId', 'sessionId', 'reason'],
  ],
  authn_password_reset_requested: ['A link to reset the password was created.', ['userId']],
  authn_password_reset: [
    'A password was reset with the link in a mail. All sessions have ended.',
    ['userId'],
  ],
  authn_password_reset_fail: [
    'A link to reset a password was not valid, used before, replaced or expired.',
    ['userId?'],
  ],
  authn_password_change: [
    'A user changed their password. The other sessions have ended.',
    ['userId', 'sessionId'],
  ],
  authn_token_reuse: [
    'A refresh token was used twice. It may have been stolen, so the session has ended.',
    ['userId', 'sessionId', 'usedGeneration', 'currentGeneration'],
  ],
  session_renewed: ['A session was refreshed.', ['userId', 'sessionId']],
  session_refused: [
    'A refresh token was refused. If there is a sessionId, the token was genuine and its session has ended.',
    ['userId?', 'sessionId?'],
  ],
  session_revoked: [
    'A user ended a session: this one by logging out, or another one.',
    ['userId', 'sessionId', 'revokedSessionId'],
  ],
  sessions_revoked: [
    'The user or an admin ended all sessions of the user.',
    ['userId', 'sessionId', 'subjectId'],
  ],
  excess_rate_limit_exceeded: [
    'A limit was reached, and the attempt was refused.',
    ['limit', 'userId?', 'sessionId?'],
  ],
  mail_sent: ['A mail was handed to the mail server.', ['mail', 'userId', 'sessionId?']],
  mail_suppressed: [
    'A mail was not sent, because too many of its kind went to the same address, or one is being sent.',
    ['mail', 'userId', 'sessionId?'],
  ],
  mail_failed: [
    'A mail could not be sent. Lambda tries twice more.',
    ['mail', 'error', 'userId?', 'sessionId?'],
  ],
} as const satisfies Record<
  EventName,
  readonly [description: string, holds: readonly (Field | `${Field}?`)[]]
>

type Known<Name> = Name extends `${infer Known_}?` ? Known_ : Name
type FieldOf<Name extends EventName> = Known<(typeof events)[Name][1][number]>

type Details<Name extends EventName> = Partial<Record<FieldOf<Name>, unknown>>

/** An event that travels with a Problem until the HTTP edge writes it. */
export interface AuditEvent {
  name: EventName
  details: object
}

/** Makes an event and logs nothing. */
export const event = <Name extends EventName>(name: Name, details: Details<Name> = {}): AuditEvent => ({
  name,
  details,
})

/**
 * Writes an event to the log. Call it as a statement of its own, right after the write that it reports. What is
 * refused travels with its Problem instead, and the HTTP edge (api/Route.ts) writes it.
 * @param details what the line holds beside what the request adds (lib/Log.ts)
 */
export const audit = <Name extends EventName>(name: Name, details: Details<Name> = {}): void =>
  write({ name, details })

/** Writes an event that a Problem carries. */
export const write = ({ name, details }: AuditEvent): void =>
  log[levels[name]](name, { event: name, ...details })
