/**
 * Who may call what: a table from roles to routes, and the IAM policy derived from it.
 * The table has exactly the protected routes of serverless.yml. A test keeps the two in sync.
 */
import type { APIGatewayAuthorizerResult } from 'aws-lambda'
import type { Role } from '../user/Roles.ts'

type Route = `${'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'} /${string}`

/** The routes that everyone who is signed in may call. */
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
    'DELETE /admin/users/{id}/mfa',
  ],
}

/** Returns the routes that these roles may call. An unknown role adds none. */
export function routesFor(roles: readonly string[]): Route[] {
  return [
    ...new Set(
      roles.flatMap((role) => (Object.hasOwn(routesOfRole, role) ? routesOfRole[role as Role] : [])),
    ),
  ]
}

/**
 * Creates the policy for API Gateway. It covers all routes of the caller's roles, because API Gateway may
 * cache it and apply it to other routes: a policy for just the requested route would refuse the next one. If
 * another API uses this authorizer, its routes are not in the table. There, everyone who is signed in may
 * call the whole stage, and that API checks the roles itself.
 * @param roles the caller's roles
 * @param methodArn `arn:aws:execute-api:region:account:api/stage/METHOD/path` from the authorizer's event
 * @param apiId the id of this API, whose routes are in the table
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
