/**
 * Completes the functions in serverless.yml with what their handlers declare (api/Route.ts): environment,
 * memory, timeout and CORS. A function gets the settings of its routes and no others.
 */
import type { Declaration } from '../api/Route.ts'
import { routesFor } from '../auth/Permissions.ts'

/** bcrypt needs a whole vCPU, and a Lambda function with 1,769 MB has one. */
const HASHING = { memorySize: 1769, timeout: 15 }

/** The part of a function in serverless.yml that is read or completed here. */
export interface FunctionConfig {
  handler: string
  memorySize?: number
  timeout?: number
  environment?: Record<string, unknown>
  events?: { http?: HttpEvent }[]
}

interface HttpEvent {
  method: string
  path: string
  authorizer?: unknown
  cors?: unknown
}

interface Handler {
  /** Of a single route, the authorizer or the mail function. */
  declaration?: Declaration
  /** Of a function with several routes. */
  routes?: Record<string, { declaration: Declaration }>
}

/** A route and the function that serves it. */
export interface DeclaredRoute {
  /** For example, `GET /admin/users/{id}`. */
  key: string
  functionName: string
  handler: unknown
  declaration: Declaration
}

/**
 * Returns the routes of a function.
 * @param load returns the exports of a handler's file, given its name without the extension
 * @throws Error with a message for the user if serverless.yml and the handler disagree
 */
export function declaredRoutes(
  functionName: string,
  { handler: name, events = [] }: FunctionConfig,
  load: Load,
): DeclaredRoute[] {
  const handler = handlerOf(name, load)
  const httpEvents = events.flatMap(({ http }) => (http ? [http] : []))
  const missing = Object.keys(handler.routes ?? {}).filter(
    (key) => !httpEvents.some((http) => keyOf(http) === key),
  )
  if (missing.length > 0) throw new Error(`serverless.yml does not list the route ${missing[0]} of ${name}.`)
  return httpEvents.map((http) => {
    const key = keyOf(http)
    const route = handler.routes ? handler.routes[key] : handler
    const declaration = route?.declaration
    if (!declaration)
      throw new Error(`${name} does not declare the route ${key}, which serverless.yml lists.`)
    if (declaration.role !== undefined && http.authorizer === undefined) {
      throw new Error(`${key} declares a role, so it needs the authorizer in serverless.yml.`)
    }
    if (declaration.role === undefined && http.authorizer !== undefined) {
      throw new Error(`${key} has the authorizer in serverless.yml, so its handler must declare a role.`)
    }
    return { key, functionName, handler: route, declaration }
  })
}

/**
 * Completes functions in place.
 * @param functions the functions in serverless.yml
 * @param settings the value of each setting in the template
 * @param cors the CORS configuration of every route
 * @throws Error with a message for the user if serverless.yml and a handler disagree
 */
export function completeFunctions(
  functions: Record<string, FunctionConfig>,
  settings: Record<string, unknown>,
  cors: unknown,
  load: Load,
): void {
  const all: DeclaredRoute[] = []
  for (const [name, config] of Object.entries(functions)) {
    const { declaration } = handlerOf(config.handler, load)
    const routes = declaredRoutes(name, config, load)
    all.push(...routes)
    const declarations = declaration ? [declaration] : routes.map((route) => route.declaration)
    const names = new Set(declarations.flatMap((each) => each.settings))
    config.environment = { ...pick(settings, names), ...config.environment }
    if (declarations.some(({ hashesPasswords }) => hashesPasswords)) {
      config.memorySize ??= HASHING.memorySize
      config.timeout ??= HASHING.timeout
    }
    for (const { http } of config.events ?? []) if (http) http.cors ??= cors
  }
  checkPermissions(all)
}

/** The authorizer's table cannot be made from the handlers, which it must not load; so it is held against them. */
function checkPermissions(routes: DeclaredRoute[]): void {
  for (const role of ['user', 'admin'] as const) {
    const allowed = new Set<string>(routesFor([role]))
    const declared = routes.filter(({ declaration }) => ['user', role].includes(declaration.role ?? ''))
    for (const { key } of declared) {
      if (!allowed.delete(key))
        throw new Error(`auth/Permissions.ts does not let the role ${role} call ${key}.`)
    }
    const [extra] = allowed
    if (extra)
      throw new Error(`auth/Permissions.ts lets the role ${role} call ${extra}, which is not its route.`)
  }
}

/** Returns the exports of a handler's file, given its name without the extension. */
type Load = (file: string) => Record<string, unknown>

function handlerOf(name: string, load: Load): Handler {
  const [file, member] = name.split('.') as [string, string]
  const handler = load(file)[member] as Handler | undefined
  if (!handler) throw new Error(`${name} of serverless.yml is not exported.`)
  return handler
}

const keyOf = ({ method, path }: HttpEvent) => `${method.toUpperCase()} /${path}`

const pick = (settings: Record<string, unknown>, names: Set<string>) =>
  Object.fromEntries(
    [...names].map((name) => {
      if (!(name in settings)) throw new Error(`serverless.yml has no value for the setting ${name}.`)
      return [name, settings[name]]
    }),
  )
