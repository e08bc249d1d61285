/**
 * The codes of the contract: stable, each with its status and title (RFC 9457 section 3.1, RFC 9110 section 15).
 */
import { Problem, type ProblemCode } from '../../api/Problem.ts'

/** Complete, since a code without a row does not compile. Rows may be added, never changed. */
const contract: Record<ProblemCode, [status: number, title: string]> = {
  invalid_json: [400, 'Bad Request'],
  invalid_request: [400, 'Bad Request'],
  invalid_one_time_token: [400, 'Bad Request'],
  invalid_credentials: [401, 'Unauthorized'],
  mfa_required: [401, 'Unauthorized'],
  invalid_challenge: [401, 'Unauthorized'],
  invalid_token: [401, 'Unauthorized'],
  invalid_refresh_token: [401, 'Unauthorized'],
  wrong_password: [403, 'Forbidden'],
  wrong_code: [403, 'Forbidden'],
  email_not_verified: [403, 'Forbidden'],
  forbidden: [403, 'Forbidden'],
  not_found: [404, 'Not Found'],
  email_taken: [409, 'Conflict'],
  mfa_enabled: [409, 'Conflict'],
  mfa_not_enabled: [409, 'Conflict'],
  last_admin: [409, 'Conflict'],
  body_too_large: [413, 'Content Too Large'],
  unsupported_media_type: [415, 'Unsupported Media Type'],
  too_many_attempts: [429, 'Too Many Requests'],
  too_many_requests: [429, 'Too Many Requests'],
  internal: [500, 'Internal Server Error'],
  bad_gateway: [502, 'Bad Gateway'],
  unavailable: [503, 'Service Unavailable'],
  gateway_timeout: [504, 'Gateway Timeout'],
}

test.each(Object.entries(contract) as [ProblemCode, [number, string]][])(
  '%s is %j',
  (code, [status, title]) => {
    expect(new Problem(code).toBody('request-1')).toEqual({
      type: 'about:blank',
      title,
      status,
      detail: expect.stringMatching(/^[A-Z].*\.$/),
      code,
      requestId: 'request-1',
    })
  },
)

test('a cause and headers are never part of the body', () => {
  const problem = new Problem('unavailable', {
    cause: new Error('hunter2'),
    headers: { 'X-Secret': 'hunter2' },
  })
  expect(JSON.stringify(problem.toBody('request-1'))).not.toContain('hunter2')
  expect(problem.cause).toEqual(new Error('hunter2'))
})
