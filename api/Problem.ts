/**
 * The errors that clients see: RFC 9457 problem details with a stable `code`.
 * Codes are part of the contract (docs/errors.md): add new ones, never rename or remove one.
 */
import type { AuditEvent } from './Events.ts'

/**
 * The status and sentence of each code. Handlers, the gateway's own responses and the docs all use this
 * table.
 */
export const problems = {
  invalid_json: [400, 'The body is not valid JSON.'],
  invalid_request: [400, 'The request is not valid.'],
  invalid_one_time_token: [
    400,
    'This link is not valid, has expired or was already used. Request a new one.',
  ],
  invalid_credentials: [401, 'The email or password is wrong.'],
  invalid_token: [401, 'The access token is missing, expired or not valid.'],
  invalid_refresh_token: [
    401,
    'The refresh token is not valid, has expired or was already used. Sign in again.',
  ],
  mfa_required: [401, 'Enter a code to finish signing in: send it with the challenge to POST /login/mfa.'],
  invalid_challenge: [401, 'The challenge has expired or is not valid. Sign in again.'],
  wrong_password: [403, 'The current password is wrong.'],
  wrong_code: [403, 'The code is wrong, has expired or was already used.'],
  email_not_verified: [403, 'This email address is not verified yet. Follow the link we sent to it.'],
  forbidden: [403, 'You are not allowed to do this.'],
  not_found: [404, 'There is nothing here.'],
  email_taken: [409, 'An account with this email address already exists.'],
  mfa_enabled: [409, 'The second factor is already on. Turn it off before you set up another one.'],
  mfa_not_enabled: [409, 'The second factor is not on.'],
  last_admin: [409, 'This is the last admin. Make another user an admin first.'],
  body_too_large: [413, 'The body is larger than 8 KiB.'],
  unsupported_media_type: [415, 'Send the body as application/json in UTF-8, without a content encoding.'],
  too_many_attempts: [429, 'Too many attempts. Try again after the number of seconds in Retry-After.'],
  too_many_requests: [429, 'Too many requests. Try again in a moment.'],
  internal: [500, 'Something went wrong on our side.'],
  unavailable: [503, 'The service is unavailable right now. Try again in a moment.'],
} as const satisfies Record<string, readonly [status: number, detail: string]>

export type ProblemCode = keyof typeof problems

/** RFC 9110 reason phrases. RFC 9457 section 4.2.1 asks for them as the title of an `about:blank` problem. */
const titles: Record<number, string> = {
  400: 'Bad Request',
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'Not Found',
  409: 'Conflict',
  413: 'Content Too Large',
  415: 'Unsupported Media Type',
  429: 'Too Many Requests',
  500: 'Internal Server Error',
  503: 'Service Unavailable',
}

export interface FieldError {
  /** The path of the field, such as `email` or `roles.0`. Empty for the input as a whole. */
  path: string
  message: string
}

interface ProblemOptions {
  errors?: FieldError[]
  headers?: Record<string, string | string[]>
  /** Additional members of the problem (RFC 9457 section 3.2). */
  extensions?: Record<string, string | number>
  /** Events for the audit trail. The HTTP edge logs them when it answers; creating a Problem logs nothing. */
  events?: AuditEvent[]
  /** What really happened. It goes to the log, never to the client. */
  cause?: unknown
}

export class Problem extends Error {
  readonly code: ProblemCode
  readonly status: number
  readonly errors: FieldError[] | undefined
  readonly headers: Record<string, string | string[]>
  readonly extensions: Record<string, string | number>
  readonly events: AuditEvent[]

  constructor(
    code: ProblemCode,
    { errors, headers = {}, extensions = {}, events = [], cause }: ProblemOptions = {},
  ) {
    super(problems[code][1], cause === undefined ? {} : { cause })
    this.name = 'Problem'
    this.code = code
    this.status = problems[code][0]
    this.errors = errors
    this.headers = { ...challenge(code), ...headers }
    this.extensions = extensions
    this.events = events
  }

  /** The body of the answer (RFC 9457 section 3). */
  toBody(requestId: string) {
    return {
      type: 'about:blank',
      title: titles[this.status],
      status: this.status,
      detail: this.message,
      code: this.code,
      requestId,
      ...(this.errors && { errors: this.errors }),
      ...this.extensions,
    }
  }
}

/** Creates an `invalid_request` (400) for one field of the input. */
export const invalidField = (path: string, message: string): Problem =>
  new Problem('invalid_request', { errors: [{ path, message }] })

/**
 * A 401 says how to authenticate (RFC 9110 section 15.5.2) and what was wrong with a token (RFC 6750 section
 * 3.1).
 */
function challenge(code: ProblemCode): Record<string, string> {
  if (problems[code][0] !== 401) return {}
  return { 'WWW-Authenticate': code === 'invalid_token' ? 'Bearer error="invalid_token"' : 'Bearer' }
}
