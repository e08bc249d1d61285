/**
 * The routes in docs/routes.md. The routes, their parameters and who may call them come from the code. This
 * file adds what they answer.
 */
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import type * as z from 'zod/mini'
import { type DeclaredRoute, declaredRoutes, type FunctionConfig } from '../plugin/Functions.ts'

/** Returns every route in serverless.yml, with its handler's declaration. */
export const readRoutes = (): DeclaredRoute[] =>
  Object.values(readFunctions()).flatMap((config) => declaredRoutes(config, load))

const load = (file: string) =>
  createRequire(import.meta.url)(join(process.cwd(), `${file}.ts`)) as Record<string, unknown>

/** Reads the functions in serverless.yml: their handlers, routes and authorizers. */
export function readFunctions(): Record<string, FunctionConfig> {
  const [, section = ''] = /^functions:\n((?: .*\n|\n)*)/m.exec(readFileSync('serverless.yml', 'utf8')) ?? []
  const entries = section.split(/^ {2}(?=\w+:$)/m).slice(1)
  return Object.fromEntries(
    entries.map((text) => {
      const [, name = '', handler = ''] = /^(\w+):\n {4}handler: (\S+)$/m.exec(text)!
      const events = [
        ...text.matchAll(/- http: \{ method: (\w+), path: '?([^',\s]+?)'?( \}|,(.*)\})$/gm),
      ].map(([, method = '', path = '', , more = '']) => ({
        http: {
          method,
          path,
          ...(more.includes('authorizer: *authorizer') && { authorizer: { name: 'verifyToken' } }),
        },
      }))
      return [name, { handler, events }]
    }),
  )
}

/** Returns the names of a schema's fields. Optional fields get a question mark. */
export function fieldsOf(schema: z.ZodMiniType | undefined): string[] {
  let type = schema?._zod
  while (type && 'innerType' in type.def) type = (type.def.innerType as z.ZodMiniType)._zod
  const shape = type && 'shape' in type.def ? (type.def.shape as Record<string, z.ZodMiniType>) : {}
  return Object.entries(shape).map(([name, field]) => (field._zod.optin === 'optional' ? `${name}?` : name))
}

/** What each route answers, in the order of docs/routes.md. */
export const routeGroups: Record<string, Record<string, string>> = {
  'Registering and signing in': {
    'POST /register':
      '201 session; 202 if [signing in requires a verified email](mail.md#email-verification)',
    'POST /login':
      '200 session; 401 `mfa_required` with a `challenge` if a [second factor](second-factor.md) is on',
    'POST /login/mfa': '200 session',
    'POST /refresh': '200 session',
    'POST /logout': '204; this session has ended',
    'POST /logout-all': '204; all sessions of the caller have ended',
  },
  'Email and recovery': {
    'POST /email/verify': '204; the email is verified',
    'POST /email/verify/resend': '202, and an email if there is an account whose email is not verified',
    'POST /password/forgot': '202, and an email if there is an account',
    'POST /password/reset': '204; all sessions have ended',
  },
  'Your own account': {
    'GET /me': '200 `{ id, name, email, emailVerified, roles, createdAt }`',
    'PATCH /me': '200, the same',
    'DELETE /me': '204; the account and its sessions are gone',
    'POST /me/password': '200, the current session with new tokens; all others have ended',
    'POST /me/email':
      '202, and an email to the new address, which takes effect once confirmed; `code` is required if a second factor is on',
    'GET /me/sessions':
      '200 array of `{ id, createdAt, lastUsedAt, expiresAt, userAgent, address, current }`, most recently used first',
    'DELETE /me/sessions/{id}': '204; that session has ended',
  },
  'Second factor': {
    'GET /me/mfa': '200 `{ totp, recoveryCodesLeft }`',
    'POST /me/mfa/totp': '200 `{ secret, uri }` for an authenticator app',
    'POST /me/mfa/totp/confirm': '200 `{ recoveryCodes }`; the second factor is on',
    'DELETE /me/mfa/totp': '204; the second factor is off',
    'POST /me/mfa/recovery-codes': '200 `{ recoveryCodes }`, which replace the old ones',
  },
  'Users and administration': {
    'GET /users': '200 array of `{ id, name, createdAt }`, [paginated](#pagination)',
    'GET /admin/users':
      '200 array of users whose email starts with `email`, with `disabled` and `mfa`, [paginated](#pagination)',
    'GET /admin/users/{id}': '200 user',
    'PATCH /admin/users/{id}':
      '200 user; at least one of the two is required; an admin needs a verified email',
    'DELETE /admin/users/{id}/sessions': '204; all sessions of the user have ended',
    'DELETE /admin/users/{id}/mfa': '204; the second factor of another user is off',
  },
  Discovery: {
    'GET /.well-known/jwks.json': '200, the public keys; cacheable',
    'GET /.well-known/openid-configuration': '200, the issuer and the address of the public keys; cacheable',
  },
}
