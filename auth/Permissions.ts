/**
 * Who may call what: one table from role to routes, and the IAM policy made from it.
 * Every protected route of serverless.yml stands here, and nothing else; a test holds the two together.
 */
import type { APIGatewayAuthorizerResult } from 'aws-lambda'
import type { Role } from '../user/Roles.ts'

type Route = `${'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'} /${string}`

/** What everybody who is signed in may call. */
const own: readonly Route[] = [
  'GET /me',
  'PATCH /me',
  'DELETE /me',
  'POST /me/password',
  'POST /me/email',
  'GET /me/mfa',
  'POST /me/mfa/totp',
  'POST /me/mfa/totp/confirm',
  'DELETE /me/mfa/totp',
  'POST /me/mfa/recovery-codes',
  'GET /me/sessions',
  'DELETE /me/sessions/{id}',
  'POST /logout',
  'POST /logout-all',
]

const routesOfRole: Record<Role, readonly Route[]> = {
  user: own,
  admin: [
    ...own,
    'GET /admin/users',
    'GET /admin/users/{id}',
    'PATCH /admin/users/{id}',
    'DELETE /admin/users/{id}/sessions',
  ],
}

/** The routes that these roles may call; a role that is not in the table adds none. */
export function routesFor(roles: readonly string[]): Route[] {
  return [
    ...new Set(
      roles.flatMap((role) => (Object.hasOwn(routesOfRole, role) ? routesOfRole[role as Role] : [])),
    ),
  ]
}

/**
 * The policy for API Gateway: all routes of the caller's roles, across the whole stage. API Gateway may cache
 * it for other routes of the same token, so a policy for the one route asked for would refuse the next.
 * Another API that uses this authorizer has routes that are not in the table: there, whoever is signed in may call
 * all of its stage, and it looks at the roles itself.
 * @param roles of the caller
 * @param methodArn `arn:aws:execute-api:region:account:api/stage/METHOD/path`, as the authorizer's event has it
 * @param apiId of the API whose routes are in the table
 * @see https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-lambda-authorizer-output.html
 */
export function policyFor(
  roles: readonly string[],
  methodArn: string,
  apiId: string,
): APIGatewayAuthorizerResult['policyDocument'] {
  const [apiArn = '', stage = ''] = methodArn.split('/')
  const stageArn = `${apiArn}/${stage}`
  const isOwn = apiArn.endsWith(`:${apiId}`)
  const resources = isOwn ? routesFor(roles).map((route) => toArn(stageArn, route)) : [`${stageArn}/*`]
  return {
    Version: '2012-10-17',
    Statement: [
      resources.length > 0
        ? { Effect: 'Allow', Action: 'execute-api:Invoke', Resource: resources }
        : { Effect: 'Deny', Action: 'execute-api:Invoke', Resource: `${stageArn}/*` },
    ],
  }
}

function toArn(stageArn: string, route: Route): string {
  const [method, path] = route.split(' ') as [string, string]
  return `${stageArn}/${method}${path.replaceAll(/\{[^}]+\}/g, '*')}`
}
