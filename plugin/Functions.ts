/**
 * Completes the functions in serverless.yml with what their handlers declare (api/Route.ts): environment,
 * memory, timeout and CORS. A function gets the settings of its routes and no others.
 */
import type { Declaration } from '../api/Route.ts'
import { routesFor } from '../auth/Permissions.ts'
import { ROLES } from '../user/Roles.ts'

/** bcrypt needs a whole vCPU, and a Lambda function with 1,769 MB has one. */
const HASHING = { memorySize: 1769, timeout: 15 }
/** Longer than the 5 s that a request may wait for the database (db.ts), in seconds. */
const LEAST_TIMEOUT = 8
/** The name of our authorizer in serverless.yml. */
const AUTHORIZER = 'verifyToken'

/** The part of a function in serverless.yml that is read or completed here. */
export interface FunctionConfig {
  /** Functions from container images have none. */
  handler?: string
  memorySize?: number
  timeout?: number
  environment?: Record<string, unknown>
  /** Its IAM role, and whether it is in a VPC of its own (plugin/Roles.ts). */
  role?: unknown
  vpc?: unknown
  /** Where events go that it has failed to process. */
  destinations?: unknown
  events?: { http?: HttpEvent | string }[] | null
}

interface HttpEvent {
  method: string
  path: string
  authorizer?: string | { name?: string } | null
  cors?: unknown
}

interface Handler {
  /** Of a single route, the authorizer or the mail function. */
  declaration?: Declaration
  /** Of a function with several routes. */
  routes?: Record<string, { declaration: Declaration }>
}

/** A route, its handler and what that declares. */
export interface DeclaredRoute {
  /** For example, `GET /admin/users/{id}`. */
  key: string
  handler: unknown
  declaration: Declaration
}

/**
 * Returns the routes of a function. A handler that is not one of our TypeScript modules has none.
 * @throws Error with a message for the user if serverless.yml and the handler disagree
 */
export function declaredRoutes(config: FunctionConfig, load: Load): DeclaredRoute[] {
  const handler = handlerOf(config, load)
  if (!handler) return []
  const httpEvents = httpEventsOf(config)
  const missing = Object.keys(handler.routes ?? {}).filter(
    (key) => !httpEvents.some((http) => keyOf(http) === key),
  )
  if (missing.length > 0) {
    throw new Error(`serverless.yml does not list the route ${missing[0]} of ${config.handler}.`)
  }
  return httpEvents.map((http) => {
    const key = keyOf(http)
    const route = handler.routes ? handler.routes[key] : handler
    const declaration = route?.declaration
    if (!declaration) {
      throw new Error(`${config.handler} does not declare the route ${key}, which serverless.yml lists.`)
    }
    const authorizer = typeof http.authorizer === 'string' ? http.authorizer : http.authorizer?.name
    if (declaration.role !== undefined && authorizer !== AUTHORIZER) {
      throw new Error(`${key} declares a role, so it needs the authorizer in serverless.yml.`)
    }
    if (declaration.role === undefined && authorizer === AUTHORIZER) {
      throw new Error(`${key} has the authorizer in serverless.yml, so its handler must declare a role.`)
    }
    return { key, handler: route, declaration }
  })
}

interface Service {
  functions: Record<string, FunctionConfig>
  provider: { timeout?: number }
  custom: {
    /** The value of each setting in the template. */
    settings: Record<string, unknown>
    /** The CORS configuration of every route. */
    cors: unknown
  }
}

/**
 * Completes the functions of a service in place. Those whose handlers declare nothing stay as they are.
 * @returns the completed functions, and all their routes
 * @throws Error with a message for the user if serverless.yml and a handler disagree
 */
export function completeFunctions(
  { functions, provider, custom }: Service,
  load: Load,
): { completed: Record<string, FunctionConfig>; routes: DeclaredRoute[] } {
  const completed: Record<string, FunctionConfig> = {}
  const all: DeclaredRoute[] = []
  for (const [name, config] of Object.entries(functions)) {
    const declaration = handlerOf(config, load)?.declaration
    const routes = declaredRoutes(config, load)
    all.push(...routes)
    const declarations = declaration ? [declaration] : routes.map((route) => route.declaration)
    if (declarations.length === 0) continue
    completed[name] = config
    const settings = pick(custom.settings, new Set(declarations.flatMap((each) => each.settings)))
    const extra = Object.keys(config.environment ?? {}).find(
      (key) => key in custom.settings && !(key in settings),
    )
    if (extra)
      throw new Error(`${name} is given ${extra} in serverless.yml, which its handler does not declare.`)
    config.environment = { ...settings, ...config.environment }

    const least = declarations.some(({ hashesPasswords }) => hashesPasswords)
      ? HASHING
      : { memorySize: 0, timeout: 'DB' in settings ? LEAST_TIMEOUT : 0 }
    if (least === HASHING) {
      config.memorySize ??= HASHING.memorySize
      config.timeout ??= HASHING.timeout
    }
    const { memorySize = least.memorySize, timeout = provider.timeout ?? least.timeout } = config
    if (memorySize < least.memorySize || timeout < least.timeout) {
      throw new Error(
        `${name} needs at least ${least.timeout} s${least === HASHING ? ` and ${least.memorySize} MB` : ''} in serverless.yml.`,
      )
    }
    for (const http of httpEventsOf(config)) http.cors ??= custom.cors
  }
  checkPermissions(all)
  return { completed, routes: all }
}

/**
 * Compares the authorizer's table of permissions with the roles that the handlers declare. The authorizer must not
 * load the handlers, so the table cannot be generated from them.
 */
function checkPermissions(routes: DeclaredRoute[]): void {
  const roles = new Map(routes.map(({ key, declaration }) => [key, declaration.role]))
  for (const [key, role] of roles) {
    if (role !== undefined && !routesFor([role]).some((route) => route === key)) {
      throw new Error(`auth/Permissions.ts does not let the role ${role} call ${key}.`)
    }
  }
  for (const role of ROLES) {
    const extra = routesFor([role]).find((route) => !['user', role].includes(roles.get(route) ?? ''))
    if (extra)
      throw new Error(`auth/Permissions.ts lets the role ${role} call ${extra}, which is not its route.`)
  }
}

/** Returns the exports of a handler's TypeScript module, given its path without the extension; undefined if there is none. */
type Load = (file: string) => Record<string, unknown> | undefined

/** The path of the module in `auth/AuthHandler.login`. */
export const moduleOf = (handler: string) => handler.slice(0, handler.lastIndexOf('.'))

function handlerOf({ handler: name }: FunctionConfig, load: Load): Handler | undefined {
  if (name === undefined) return undefined
  const file = moduleOf(name)
  const exported = load(file)
  if (!exported) return undefined
  const handler = exported[name.slice(file.length + 1)] as Handler | undefined
  if (!handler) throw new Error(`${name} of serverless.yml is not exported.`)
  return handler
}

/** The HTTP events of a function, those in the short form (`http: GET /users`) as objects. */
function httpEventsOf({ events }: FunctionConfig): HttpEvent[] {
  return (events ?? []).flatMap((event) => {
    if (typeof event.http === 'string') {
      const [method = '', path = ''] = event.http.split(' ')
      event.http = { method, path }
    }
    return event.http ? [event.http] : []
  })
}

const keyOf = ({ method, path }: HttpEvent) => `${method.toUpperCase()} /${path.replace(/^\//, '')}`

const pick = (settings: Record<string, unknown>, names: Set<string>) =>
  Object.fromEntries(
    [...names].map((name) => {
      if (!(name in settings)) throw new Error(`serverless.yml has no value for the setting ${name}.`)
      return [name, settings[name]]
    }),
  )
