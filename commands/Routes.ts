/**
 * The routes as docs/routes.md lists them: which there are and who may call them comes from the code, what they take
 * and answer is said here.
 */
import { readFileSync } from 'node:fs'

export type Access = 'public' | 'user' | 'admin'

interface Route {
  /** `GET /me` */
  route: string
  access: Access
}

/** Every route of the API, from serverless.yml. The one place to change when a route is declared elsewhere. */
export function readRoutes(): Route[] {
  const lines = readFileSync('serverless.yml', 'utf8').match(/- http: \{.*\}/g) ?? []
  return lines.map((line) => {
    const [, method = '', path = ''] = /method: (\w+), path: '?([^',\s]+\w\}?)'?[,\s]/.exec(line)!
    const isProtected = line.includes('authorizer:')
    return {
      route: `${method.toUpperCase()} /${path}`,
      access: !isProtected ? 'public' : path.startsWith('admin/') ? 'admin' : 'user',
    }
  })
}

interface Note {
  query?: string
  body: string[]
  answer: string
}

/** What each route takes and answers, in the order of the page. */
export const routeGroups: Record<string, Record<string, Note>> = {
  'Registering and signing in': {
    'POST /register': {
      body: ['name', 'email', 'password'],
      answer: '201 session; 202 if [signing in requires a verified email](mail.md#email-verification)',
    },
    'POST /login': {
      body: ['email', 'password'],
      answer:
        '200 session; 401 `mfa_required` with a `challenge` if a [second factor](second-factor.md) is on',
    },
    'POST /login/mfa': { body: ['challenge', 'code'], answer: '200 session' },
    'POST /refresh': { body: ['refreshToken'], answer: '200 session' },
    'POST /logout': { body: [], answer: '204; this session has ended' },
    'POST /logout-all': { body: [], answer: '204; all sessions of the caller have ended' },
  },
  'Email and recovery': {
    'POST /email/verify': { body: ['token'], answer: '204; the email is verified' },
    'POST /email/verify/resend': {
      body: ['email'],
      answer: '202, and a mail if there is an account whose email is not verified',
    },
    'POST /password/forgot': { body: ['email'], answer: '202, and a mail if there is an account' },
    'POST /password/reset': { body: ['token', 'password'], answer: '204; all sessions have ended' },
  },
  'Your own account': {
    'GET /me': { body: [], answer: '200 `{ id, name, email, emailVerified, roles, createdAt }`' },
    'PATCH /me': { body: ['name'], answer: '200, the same' },
    'DELETE /me': { body: ['currentPassword'], answer: '204; the account and its sessions are gone' },
    'POST /me/password': {
      body: ['currentPassword', 'newPassword'],
      answer: '200 session: this one, with new tokens; all others have ended',
    },
    'POST /me/email': {
      body: ['email', 'currentPassword', 'code?'],
      answer:
        '202, and a mail to the new address, which takes effect once confirmed; `code` is required if a second factor is on',
    },
    'GET /me/sessions': {
      body: [],
      answer:
        '200 array of `{ id, createdAt, lastUsedAt, expiresAt, userAgent, address, current }`, most recently used first',
    },
    'DELETE /me/sessions/{id}': { body: [], answer: '204; that session has ended' },
  },
  'Second factor': {
    'GET /me/mfa': { body: [], answer: '200 `{ totp, recoveryCodesLeft }`' },
    'POST /me/mfa/totp': {
      body: ['currentPassword'],
      answer: '200 `{ secret, uri }` for an authenticator app',
    },
    'POST /me/mfa/totp/confirm': {
      body: ['code'],
      answer: '200 `{ recoveryCodes }`; the second factor is on',
    },
    'DELETE /me/mfa/totp': { body: ['currentPassword', 'code'], answer: '204; the second factor is off' },
    'POST /me/mfa/recovery-codes': {
      body: ['currentPassword', 'code'],
      answer: '200 `{ recoveryCodes }`, which replace the old ones',
    },
  },
  'Users and administration': {
    'GET /users': {
      query: '?limit=&after=',
      body: [],
      answer: '200 array of `{ id, name, createdAt }`, [paginated](#pagination)',
    },
    'GET /admin/users': {
      query: '?email=&limit=&after=',
      body: [],
      answer:
        '200 array of users whose email starts with `email`, including `disabled`, [paginated](#pagination)',
    },
    'GET /admin/users/{id}': { body: [], answer: '200 user' },
    'PATCH /admin/users/{id}': {
      body: ['roles?', 'disabled?'],
      answer: '200 user; at least one of the two is required',
    },
    'DELETE /admin/users/{id}/sessions': { body: [], answer: '204; all sessions of the user have ended' },
  },
  Discovery: {
    'GET /.well-known/jwks.json': { body: [], answer: '200, the public keys; cacheable' },
    'GET /.well-known/openid-configuration': {
      body: [],
      answer: '200, the issuer and the address of the public keys; cacheable',
    },
  },
}
