/**
 * Errors that a client may see: RFC 9457 problem details, one class with a stable code each.
 * Codes are part of the contract (docs/errors.md): add, never rename.
 */

export const problems = {
  invalid_json: [400, 'The body is not valid JSON.'],
  invalid_request: [400, 'Some fields are missing or not allowed.'],
  invalid_one_time_token: [400, 'This link has expired, was used before or is not valid: ask for a new one.'],
  invalid_credentials: [401, 'The e-mail or the password is wrong.'],
  invalid_token: [401, 'The access token is missing, expired or not valid.'],
  invalid_refresh_token: [
    401,
    'The refresh token has expired, was used before or is not valid: sign in again.',
  ],
  mfa_required: [401, 'The password is right; now send the challenge and a code to POST /login/mfa.'],
  invalid_challenge: [401, 'The challenge has expired or is not valid: log in again.'],
  wrong_password: [403, 'The current password is wrong.'],
  wrong_code: [403, 'The code is wrong, has expired or was used before.'],
  email_not_verified: [403, 'The e-mail is not verified yet: follow the link in the mail.'],
  forbidden: [403, 'You may not do this.'],
  not_found: [404, 'There is nothing here.'],
  email_taken: [409, 'There is an account with this e-mail already.'],
  mfa_enabled: [409, 'The second factor is on already: turn it off before you set up another.'],
  mfa_not_enabled: [409, 'The second factor is not on.'],
  last_admin: [409, 'Somebody must be left who can administer: make another user admin first.'],
  body_too_large: [413, 'The body is larger than 8 KiB.'],
  unsupported_media_type: [
    415,
    'The body must be sent as application/json in UTF-8, without content encoding.',
  ],
  too_many_attempts: [429, 'Too many attempts; Retry-After says in how many seconds to come back.'],
  internal: [500, 'Something went wrong on our side.'],
  unavailable: [503, 'The service cannot answer right now; try again in a moment.'],
} as const satisfies Record<string, readonly [status: number, detail: string]>

export type ProblemCode = keyof typeof problems

/** RFC 9110 reason phrases; RFC 9457 section 4.2.1 asks for them as the title of an `about:blank` problem. */
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
  /** Where in the input: `email`, `roles.0`; empty for the input as a whole. */
  path: string
  message: string
}

interface ProblemOptions {
  detail?: string
  errors?: FieldError[]
  headers?: Record<string, string>
  /** Members of its own (RFC 9457 section 3.2). */
  extensions?: Record<string, string | number>
  /** What really happened; goes to the log, never to the client. */
  cause?: unknown
}

export class Problem extends Error {
  readonly code: ProblemCode
  readonly status: number
  readonly errors: FieldError[] | undefined
  readonly headers: Record<string, string>
  readonly extensions: Record<string, string | number>

  constructor(
    code: ProblemCode,
    { detail, errors, headers = {}, extensions = {}, cause }: ProblemOptions = {},
  ) {
    super(detail ?? problems[code][1], cause === undefined ? {} : { cause })
    this.name = 'Problem'
    this.code = code
    this.status = problems[code][0]
    this.errors = errors
    this.headers = { ...challenge(code), ...headers }
    this.extensions = extensions
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

/** A 401 says how to authenticate (RFC 9110 section 15.5.2), and what was wrong with a token (RFC 6750 section 3.1). */
function challenge(code: ProblemCode): Record<string, string> {
  if (problems[code][0] !== 401) return {}
  return { 'WWW-Authenticate': code === 'invalid_token' ? 'Bearer error="invalid_token"' : 'Bearer' }
}
