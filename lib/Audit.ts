/**
 * The audit trail: what happened to an account or a session, one line of the log each, with a name that does not
 * change. Names are those of the OWASP Logging Vocabulary where it has one. Every line also says whose doing it was
 * (requestId, address and, where they are known, userId and sessionId) and holds nothing secret: no e-mail, no
 * password, no token, no code. docs/events.md is made from this file (`npm run docs`).
 * @see https://cheatsheetseries.owasp.org/cheatsheets/Logging_Vocabulary_Cheat_Sheet.html
 */
import { log, type Origin } from './Log.ts'

/** Level, when it is logged, and what it holds beside whose doing it was. */
export const events = {
  user_created: ['info', 'Somebody has registered.', ['userId']],
  user_updated: ['info', 'A user has changed their name.', ['userId']],
  user_deleted: ['warn', 'A user has deleted their account.', ['userId']],
  user_disabled: ['warn', 'An admin has disabled an account; its sessions have ended.', ['subjectId']],
  user_enabled: ['warn', 'An admin has enabled an account.', ['subjectId']],
  user_email_verified: ['info', 'An e-mail was confirmed by the link in a mail.', ['userId']],
  user_email_change_requested: ['warn', 'A user wants another e-mail; it is not confirmed yet.', ['userId']],
  user_email_changed: ['warn', 'The e-mail of an account is another one now.', ['userId']],
  authz_change: ['warn', 'The roles of a user were changed.', ['subjectId', 'roles']],
  authz_token_refused: ['info', 'The authorizer has refused an access token.', ['reason']],
  authn_login_success: ['info', 'Somebody has signed in; `factor` is the second one, if any.', ['factor']],
  authn_login_fail: [
    'info',
    'A login has failed: unknown_email, wrong_password, disabled, email_not_verified, invalid_challenge or wrong_code.',
    ['reason'],
  ],
  authn_mfa_required: ['info', 'A password was right, and the second factor is asked for.', ['userId']],
  authn_mfa_enabled: ['warn', 'A second factor was set up.', ['userId']],
  authn_mfa_disabled: ['warn', 'The second factor was turned off.', ['userId']],
  authn_recovery_code_used: ['warn', 'A recovery code has stood in for the second factor.', ['userId']],
  authn_recovery_codes_created: ['warn', 'New recovery codes have taken the place of the old.', ['userId']],
  authn_confirmation_fail: [
    'warn',
    'Somebody who is signed in gave a wrong_password or a wrong_code for a change that needs it.',
    ['reason'],
  ],
  authn_password_reset_requested: ['info', 'A mail with a link to reset the password was made.', ['userId']],
  authn_password_reset: [
    'warn',
    'A password was replaced by the link in a mail; all sessions have ended.',
    ['userId'],
  ],
  authn_password_reset_fail: ['warn', 'A link to reset a password was not good.', []],
  authn_password_change: [
    'warn',
    'A user has changed their password; the other sessions have ended.',
    ['userId'],
  ],
  authn_token_reuse: [
    'warn',
    'A refresh token was used twice: it may have been stolen, and the session has ended.',
    ['userId', 'sessionId', 'usedGeneration', 'currentGeneration'],
  ],
  session_renewed: ['info', 'A session was refreshed.', ['userId', 'sessionId']],
  session_refused: ['info', 'A refresh token was refused.', []],
  session_revoked: ['info', 'A session was ended by its user.', ['revokedSessionId']],
  sessions_revoked: ['warn', 'All sessions of a user were ended, by the user or by an admin.', ['subjectId']],
  excess_rate_limit_exceeded: [
    'warn',
    'Something was tried too often; `limit` is a name of the setting LIMITS.',
    ['limit'],
  ],
  mail_sent: ['info', 'A mail was handed over.', ['mail']],
  mail_suppressed: ['warn', 'A mail was not sent, since many of its kind went to the same e-mail.', ['mail']],
  mail_failed: ['error', 'A mail could not be sent.', ['mail', 'error']],
} as const satisfies Record<
  string,
  readonly [level: 'info' | 'warn' | 'error', description: string, holds: readonly string[]]
>

export type EventName = keyof typeof events

type Details = Origin & Record<string, unknown>

/**
 * Logs an event.
 * @param details what the event holds; userId and sessionId where the request does not say them
 */
export const audit = (event: EventName, details: Details = {}): void =>
  log[events[event][0]](event, { event, ...details })
