/**
 * API Gateway's own errors, made to look like ours: each is a problem (RFC 9457) from the table in api/Problem.ts.
 */
import { Problem, type ProblemCode } from '../api/Problem.ts'

/** API Gateway's name of each error, and what clients get for it. */
const responses: Record<string, { code: ProblemCode; headers?: Record<string, string> }> = {
  UNAUTHORIZED: { code: 'invalid_token', headers: { 'WWW-Authenticate': 'Bearer' } },
  ACCESS_DENIED: { code: 'forbidden' },
  WAF_FILTERED: { code: 'forbidden' },
  // The authorizer threw: it could not ask the database what is revoked.
  AUTHORIZER_CONFIGURATION_ERROR: { code: 'unavailable', headers: { 'Retry-After': '5' } },
  AUTHORIZER_FAILURE: { code: 'unavailable', headers: { 'Retry-After': '5' } },
  // API Gateway's word for a route that it does not have; a 404 says more than its 403.
  MISSING_AUTHENTICATION_TOKEN: { code: 'not_found' },
  REQUEST_TOO_LARGE: { code: 'body_too_large' },
  THROTTLED: { code: 'too_many_requests', headers: { 'Retry-After': '1' } },
  // Everything else. A template cannot know the status, so there is one.
  DEFAULT_4XX: { code: 'invalid_request' },
  DEFAULT_5XX: { code: 'internal' },
}

export interface GatewayResponse {
  Type: string
  Properties: {
    RestApiId: object
    ResponseType: string
    StatusCode: number
    ResponseParameters: Record<string, string>
    ResponseTemplates: { 'application/json': string }
  }
}

/**
 * @param corsOrigin the setting CORS_ORIGIN
 * @returns CloudFormation resources by their logical ids
 */
export const gatewayResponses = (corsOrigin: string): Record<string, GatewayResponse> =>
  Object.fromEntries(
    Object.entries(responses).map(([type, { code, headers = {} }]) => {
      const problem = new Problem(code)
      return [
        logicalId(type),
        {
          Type: 'AWS::ApiGateway::GatewayResponse',
          Properties: {
            RestApiId: { Ref: 'ApiGatewayRestApi' },
            ResponseType: type,
            StatusCode: problem.status,
            ResponseParameters: Object.fromEntries(
              Object.entries({ ...commonHeaders(corsOrigin), ...headers }).map(([name, value]) => [
                `gatewayresponse.header.${name}`,
                `'${value}'`,
              ]),
            ),
            ResponseTemplates: { 'application/json': JSON.stringify(problem.toBody('$context.requestId')) },
          },
        },
      ]
    }),
  )

const commonHeaders = (corsOrigin: string) => ({
  'Content-Type': 'application/problem+json',
  'Cache-Control': 'no-store',
  'Access-Control-Allow-Origin': corsOrigin,
  'Access-Control-Allow-Credentials': 'true',
  'Access-Control-Expose-Headers': 'Link, Retry-After, WWW-Authenticate',
})

/** `MISSING_AUTHENTICATION_TOKEN` -> `MissingAuthenticationToken`; `DEFAULT_4XX` -> `Default4xx` */
const logicalId = (type: string) =>
  type
    .toLowerCase()
    .split('_')
    .map((word) => word[0]!.toUpperCase() + word.slice(1))
    .join('')
