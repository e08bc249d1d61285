/**
 * What the plugin makes of the handlers' declarations, and what it refuses (plugin/Functions.ts).
 */
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { readFunctions } from '../../commands/Routes.ts'
import { completeFunctions, type FunctionConfig } from '../../plugin/Functions.ts'
import { schema } from '../../api/Settings.ts'

const settings = Object.fromEntries(Object.keys(schema).map((name) => [name, `value of ${name}`]))
const cors = { origin: '*' }
const load = (file: string) => {
  const path = join(process.cwd(), `${file}.ts`)
  return existsSync(path) ? (createRequire(__filename)(path) as Record<string, unknown>) : undefined
}

/** The functions of serverless.yml, completed. */
function complete(
  change: (functions: Record<string, FunctionConfig>) => void = () => undefined,
  given: Record<string, unknown> = settings,
) {
  const functions = readFunctions()
  change(functions)
  completeFunctions({ functions, provider: { timeout: 10 }, custom: { settings: given, cors } }, load)
  return functions
}

test.each([
  ['me', ['CORS_ORIGIN', 'DB']],
  ['users', ['CORS_ORIGIN', 'DB', 'ISSUER', 'REGISTRATION']],
  ['discovery', ['CORS_ORIGIN', 'ISSUER', 'VERIFICATION_KEYS']],
  ['verifyToken', ['API_ID', 'AUDIENCE', 'DB', 'ISSUER', 'VERIFICATION_KEYS']],
  ['mail', ['APP_URL', 'DB', 'LIMITS', 'MAIL_FROM', 'PRODUCT_NAME', 'SMTP_URL']],
  ['email', ['CORS_ORIGIN', 'DB', 'LIMITS', 'MAIL_FUNCTION_URL']],
])('%s gets the settings of its routes and no others', (name, want) => {
  const { environment } = complete()[name]!
  expect(Object.keys(environment!).toSorted()).toEqual(want)
  for (const setting of want) expect(environment![setting]).toBe(`value of ${setting}`)
})

test.each([
  ['SIGNING_KEYS', ['register', 'login', 'loginMfa', 'refresh', 'changePassword']],
  ['SMTP_URL', ['mail']],
  ['API_ID', ['verifyToken']],
])('%s goes to those that need it, and nowhere else', (setting, want) => {
  const holders = Object.entries(complete()).filter(([, { environment }]) => setting in environment!)
  expect(holders.map(([name]) => name).toSorted()).toEqual(want.toSorted())
})

test('what hashes passwords gets a whole vCPU and time for it, and nothing else does', () => {
  const large = Object.entries(complete()).filter(([, { memorySize }]) => memorySize === 1769)
  expect(large.map(([name]) => name).toSorted()).toEqual(
    ['register', 'login', 'account', 'changePassword', 'mfa', 'resetPassword'].toSorted(),
  )
  for (const [, { timeout }] of large) expect(timeout).toBe(15)
})

test('every route answers other origins alike', () => {
  const events = Object.values(complete()).flatMap(({ events: each }) => each ?? [])
  expect(events.length).toBeGreaterThan(20)
  for (const { http } of events) expect(http).toMatchObject({ cors })
})

const event = (functions: Record<string, FunctionConfig>, name: string, index = 0) =>
  functions[name]!.events![index]!.http as { path: string; authorizer?: { name: string } | string }

test.each<{ name: string; change: (functions: Record<string, FunctionConfig>) => void; want: string }>([
  {
    name: 'a protected route without the authorizer',
    change: (functions) => delete event(functions, 'me').authorizer,
    want: 'GET /me declares a role, so it needs the authorizer in serverless.yml.',
  },
  {
    name: 'a public route with the authorizer',
    change: (functions) => (event(functions, 'login').authorizer = 'verifyToken'),
    want: 'POST /login has the authorizer in serverless.yml, so its handler must declare a role.',
  },
  {
    name: 'a protected route with another authorizer',
    change: (functions) => (event(functions, 'me').authorizer = 'aws_iam'),
    want: 'GET /me declares a role, so it needs the authorizer in serverless.yml.',
  },
  {
    name: 'a setting that no handler of the function declares',
    change: (functions) => (functions['me']!.environment = { PEPPER: 'x' }),
    want: 'me is given PEPPER in serverless.yml, which its handler does not declare.',
  },
  {
    name: 'a function that ends before the database has had its time',
    change: (functions) => (functions['me']!.timeout = 6),
    want: 'me needs at least 8 s in serverless.yml.',
  },
  {
    name: 'less memory than a hash needs',
    change: (functions) => (functions['login']!.memorySize = 512),
    want: 'login needs at least 15 s and 1769 MB in serverless.yml.',
  },
  {
    name: 'a route that its handler does not know',
    change: (functions) => (event(functions, 'admin').path = 'admin/people'),
    want: 'serverless.yml does not list the route GET /admin/users of admin/AdminHandler.admin.',
  },
  {
    name: 'one route more than its handler knows',
    change: (functions) => functions['email']!.events!.push({ http: { method: 'get', path: 'email' } }),
    want: 'account/RecoveryHandler.email does not declare the route GET /email, which serverless.yml lists.',
  },
  {
    name: 'a handler that is not there',
    change: (functions) => (functions['me']!.handler = 'auth/AuthHandler.you'),
    want: 'auth/AuthHandler.you of serverless.yml is not exported.',
  },
  {
    name: 'a handler that declares nothing',
    change: (functions) => (functions['me']!.handler = 'auth/Tokens.signer'),
    want: 'auth/Tokens.signer does not declare the route GET /me, which serverless.yml lists.',
  },
  {
    name: 'a protected route that no role may call',
    change: (functions) => (event(functions, 'me').path = 'you'),
    want: 'auth/Permissions.ts does not let the role user call GET /you.',
  },
  {
    name: 'a permission for no route',
    change: (functions) => delete functions['me'],
    want: 'auth/Permissions.ts lets the role user call GET /me, which is not its route.',
  },
])('packaging refuses $name', ({ change, want }) => {
  expect(() => complete(change)).toThrow(new Error(want))
})

test('packaging refuses a setting that serverless.yml gives no value', () => {
  const { PEPPER: _, ...others } = settings
  expect(() => complete(undefined, others)).toThrow(
    new Error('serverless.yml has no value for the setting PEPPER.'),
  )
})

test.each<{ name: string; config: FunctionConfig }>([
  { name: 'in JavaScript', config: { handler: 'jobs/report.main' } },
  { name: 'from a container image', config: {} },
  {
    name: 'with another authorizer',
    config: {
      handler: 'jobs/report.main',
      events: [{ http: { method: 'get', path: 'report', authorizer: 'aws_iam' } }],
    },
  },
  { name: 'with no events', config: { handler: 'auth/Tokens.signer', events: null } },
])("a function of one's own $name stays as it is", ({ config }) => {
  const before = structuredClone(config)
  expect(complete((functions) => (functions['own'] = config))['own']).toEqual(before)
})

test('routes may be written in the short form, and with a slash', () => {
  const { users, login } = complete((functions) => {
    functions['users']!.events = [{ http: 'GET /users' }]
    event(functions, 'login').path = '/login'
  })
  expect(users!.events).toEqual([{ http: { method: 'GET', path: '/users', cors } }])
  expect(login!.environment).toHaveProperty('PEPPER')
})
