/**
 * Makes API Gateway's own errors look like ours: each is a problem (RFC 9457) from the table in
 * api/Problem.ts.
 */
import { Problem, type ProblemCode } from '../api/Problem.ts'

/**
 * API Gateway's name for each error, and what clients get for it. Each of its 5xx keeps its status, except the two of
 * the authorizer.
 * @see https://docs.aws.amazon.com/apigateway/latest/developerguide/supported-gateway-response-types.html
 */
const responses: Record<string, { code: ProblemCode; headers?: Record<string, string> }> = {
  UNAUTHORIZED: { code: 'invalid_token', headers: { 'WWW-Authenticate': 'Bearer' } },
  ACCESS_DENIED: { code: 'forbidden' },
  WAF_FILTERED: { code: 'forbidden' },
  // The authorizer threw, because it could not load revocations from the database.
  AUTHORIZER_CONFIGURATION_ERROR: { code: 'unavailable', headers: { 'Retry-After': '5' } },
  AUTHORIZER_FAILURE: { code: 'unavailable', headers: { 'Retry-After': '5' } },
  // API Gateway's name for an unknown route. A 404 is clearer than its 403.
  MISSING_AUTHENTICATION_TOKEN: { code: 'not_found' },
  REQUEST_TOO_LARGE: { code: 'body_too_large' },
  THROTTLED: { code: 'too_many_requests', headers: { 'Retry-After': '1' } },
  // The function was throttled, or Lambda failed before it ran.
  INTEGRATION_FAILURE: { code: 'gateway_timeout' },
  INTEGRATION_TIMEOUT: { code: 'gateway_timeout' },
  API_CONFIGURATION_ERROR: { code: 'internal' },
  // Everything else. A template cannot tell the statuses apart, so all of them become one.
  DEFAULT_4XX: { code: 'invalid_request' },
  // The types above are all that have another 5xx than 502. What is left is a function that crashed, ran out of time or
  // answered in another format.
  DEFAULT_5XX: { code: 'bad_gateway' },
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
 * Creates the gateway responses.
 * @param corsOrigin the setting CORS_ORIGIN
 * @returns CloudFormation resources by logical id
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

/**
 * The headers of every answer of the gateway itself.
 * @param corsOrigin the setting CORS_ORIGIN
 */
export const commonHeaders = (corsOrigin: string): Record<string, string> => ({
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
