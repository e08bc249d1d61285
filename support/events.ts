/**
 * API Gateway's events, as the Lambdas get them.
 */
import type { APIGatewayProxyEvent, APIGatewayTokenAuthorizerEvent } from 'aws-lambda'

/** A request for a handler; `json` is sent as API Gateway would send it. */
export function request({
  json,
  query = {},
  authorizer,
  ...rest
}: {
  json?: unknown
  query?: Record<string, string | string[]>
  authorizer?: Record<string, string>
} & Partial<APIGatewayProxyEvent> = {}): APIGatewayProxyEvent {
  return {
    body: json === undefined ? null : JSON.stringify(json),
    headers: json === undefined ? {} : { 'Content-Type': 'application/json' },
    multiValueQueryStringParameters: Object.fromEntries(
      Object.entries(query).map(([name, value]) => [name, [value].flat()]),
    ),
    isBase64Encoded: false,
    requestContext: { requestId: 'request-1', identity: { sourceIp: '192.0.2.1' }, authorizer },
    ...rest,
  } as unknown as APIGatewayProxyEvent
}

export const METHOD_ARN = 'arn:aws:execute-api:eu-central-1:123456789012:abcdef1234/dev/GET/me'

/** What the authorizer gets. */
export const authorizerEvent = (
  authorizationToken: string,
  methodArn = METHOD_ARN,
): APIGatewayTokenAuthorizerEvent => ({ type: 'TOKEN', authorizationToken, methodArn })
