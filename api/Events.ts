/**
 * The audit trail: one log line for each thing that happens to an account or a session, with a name that
 * never changes. Names come from the OWASP Logging Vocabulary where it has one. Every line also says where
 * the request came from (requestId and address). No line holds an email address, a password, a token, a code
 * or a hash. `npm run docs` generates docs/events.md from this file.
 * @see https://cheatsheetseries.owasp.org/cheatsheets/Logging_Vocabulary_Cheat_Sheet.html
 */
import { log } from '../lib/Log.ts'

/** What a line can hold besides requestId and address. */
export const fields = {
  userId: 'the user who did it or, if nobody is signed in, the user whose account it concerns',
  sessionId: 'the session in which it was done, or the session it concerns',
  subjectId: 'the user it was done to',
  revokedSessionId: 'the session that ended',
  roles: "the user's new roles",
  reason: 'the reason, in a few words',
  factor: 'the second factor that was used: `totp` or `recovery_code`',
  usedGeneration: "the number of the session's refresh token that was used, counting from 0",
  currentGeneration: 'the number of the latest refresh token',
  limit: 'the limit, a member of the setting LIMITS',
  mail: 'the kind of email: a link or a notice (mail/MailJobs.ts)',
  error: 'what the mail server or the database reported, without email addresses',
} as const

type Field = keyof typeof fields

/**
 * How much each event matters: `info` is everyday business, `warn` is worth a look after an attack, and
 * `error` needs an operator.
 */
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
  authn_mfa_removed: 'warn',
  authn_recovery_code_used: 'warn',
  authn_recovery_codes_created: 'warn',
  authn_confirmation_fail: 'warn',
  authn_password_reset_requested: 'info',
  authn_password_reset: 'warn',
  authn_password_reset_fail: 'warn',
  authn_password_change: 'warn',
  authn_token_reuse: 'warn',
  session_renewed: 'info',
  session_renewal_repeated: 'info',
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
 * When each event is logged, and which fields its line holds. A field with a question mark is not always
 * known. Only docs/events.md needs these sentences, and bundling drops them from the functions.
 */
export const events = {
  user_created: ['Someone registered.', ['userId']],
  user_updated: ['A user changed their name.', ['userId', 'sessionId']],
  user_deleted: ['A user deleted their account.', ['userId', 'sessionId']],
  user_disabled: [
    'An admin disabled an account. Its sessions have ended.',
    ['userId', 'sessionId', 'subjectId'],
  ],
  user_enabled: ['An admin enabled an account.', ['userId', 'sessionId', 'subjectId']],
  user_email_verified: ['A user verified their email address with an emailed link.', ['userId']],
  user_email_change_requested: [
    'A user asked to change their email address. The new one is not verified yet.',
    ['userId', 'sessionId'],
  ],
  user_email_changed: ['The email address of an account changed. Follows `user_email_verified`.', ['userId']],
  authz_change: [
    'An admin changed the roles of a user. (`npm run admin` writes to the database and logs nothing.)',
    ['userId', 'sessionId', 'subjectId', 'roles'],
  ],
  authz_token_refused: [
    "The authorizer refused an access token. The user is known only if the token was revoked. requestId is the authorizer's own, and there is no address, because API Gateway passes neither to it.",
    ['reason', 'userId?', 'sessionId?'],
  ],
  authn_login_success: [
    'Someone signed in, by registering or logging in.',
    ['userId', 'sessionId', 'factor?'],
  ],
  authn_login_fail: [
    'A login failed: `unknown_email`, `wrong_password`, `disabled`, `email_not_verified`, `invalid_challenge` or `wrong_code`.',
    ['reason', 'userId?'],
  ],
  authn_mfa_required: ['The password was correct, and a second factor is required.', ['userId']],
  authn_mfa_enabled: ['A second factor was turned on.', ['userId', 'sessionId']],
  authn_mfa_disabled: ['The second factor was turned off.', ['userId', 'sessionId']],
  authn_mfa_removed: ['An admin removed the second factor of a user.', ['userId', 'sessionId', 'subjectId']],
  authn_recovery_code_used: [
    'A recovery code was used instead of the app, to sign in or for a change that requires a code.',
    ['userId', 'sessionId?'],
  ],
  authn_recovery_codes_created: ['New recovery codes replaced the old ones.', ['userId', 'sessionId']],
  authn_confirmation_fail: [
    'A signed-in user failed to confirm a change: `wrong_password` or `wrong_code`.',
    ['userId', 'sessionId', 'reason'],
  ],
  authn_password_reset_requested: ['A password reset link was created.', ['userId']],
  authn_password_reset: ['A password was reset with an emailed link. All sessions have ended.', ['userId']],
  authn_password_reset_fail: [
    'A password reset link was refused: not valid, already used, replaced or expired.',
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
  session_renewal_repeated: [
    'A used refresh token got the same answer again, within 10 seconds and from the same client: the answer was lost, or two tabs refreshed at once.',
    ['userId', 'sessionId'],
  ],
  session_refused: [
    'A refresh token was refused. If there is a sessionId, the token was genuine and its session has ended.',
    ['userId?', 'sessionId?'],
  ],
  session_revoked: [
    'A user ended a session: the current one by logging out, or another one.',
    ['userId', 'sessionId', 'revokedSessionId'],
  ],
  sessions_revoked: [
    'All sessions of a user were ended, by the user or by an admin.',
    ['userId', 'sessionId', 'subjectId'],
  ],
  excess_rate_limit_exceeded: [
    'A limit was reached, and the attempt was refused.',
    ['limit', 'userId?', 'sessionId?'],
  ],
  mail_sent: ['An email was handed to the mail server.', ['mail', 'userId', 'sessionId?']],
  mail_suppressed: [
    'An email was not sent, because too many of its kind went to the same address, or another one is being sent.',
    ['mail', 'userId', 'sessionId?'],
  ],
  mail_failed: [
    'An email could not be sent. Lambda retries twice.',
    ['mail', 'error', 'userId?', 'sessionId?'],
  ],
} as const satisfies Record<
  EventName,
  readonly [description: string, holds: readonly (Field | `${Field}?`)[]]
>

type WithoutMark<Name> = Name extends `${infer Bare}?` ? Bare : Name
type FieldOf<Name extends EventName> = WithoutMark<(typeof events)[Name][1][number]>

type Details<Name extends EventName> = Partial<Record<FieldOf<Name>, unknown>>

/** An event that travels with a Problem until the HTTP edge logs it. */
export interface AuditEvent {
  name: EventName
  details: object
}

/** Creates an event without logging it. */
export const event = <Name extends EventName>(name: Name, details: Details<Name> = {}): AuditEvent => ({
  name,
  details,
})

/**
 * Logs an event. Call it as a statement of its own, right after the write that it reports. The event of a
 * refusal travels with its Problem instead, and the HTTP edge (api/Route.ts) logs it.
 * @param details the fields of the line, besides those that the request adds (lib/Log.ts)
 */
export const audit = <Name extends EventName>(name: Name, details: Details<Name> = {}): void =>
  write({ name, details })

/** Logs an event that a Problem carried. */
export const write = ({ name, details }: AuditEvent): void =>
  log[levels[name]](name, { event: name, ...details })
