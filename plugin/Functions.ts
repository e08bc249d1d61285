/**
 * Completes the functions of serverless.yml from what their handlers declare (api/Route.ts): environment, memory,
 * timeout and CORS. A function gets the settings of its routes and no others.
 */
import type { Declaration } from '../api/Route.ts'

/** bcrypt needs a whole vCPU, and a Lambda has one from 1,769 MB on. */
const HASHING = { memorySize: 1769, timeout: 15 }

/** What is read and completed of a function in serverless.yml. */
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
  /** Of a single route, of the authorizer or of the function that sends mail. */
  declaration?: Declaration
  /** Of a function with several routes. */
  routes?: Record<string, { declaration: Declaration }>
}

/** A route with the function that serves it. */
export interface DeclaredRoute {
  /** `GET /admin/users/{id}` */
  key: string
  functionName: string
  declaration: Declaration
}

/**
 * @param functions of serverless.yml; they are completed in place
 * @param settings the value of each setting in the template
 * @param cors of every route
 * @param load gives the exports of a handler's file, named without its ending
 * @returns every route
 * @throws Error with a sentence when a handler declares nothing, or serverless.yml and a declaration contradict
 */
export function completeFunctions(
  functions: Record<string, FunctionConfig>,
  settings: Record<string, unknown>,
  cors: unknown,
  load: (file: string) => Record<string, unknown>,
): DeclaredRoute[] {
  return Object.entries(functions).flatMap(([name, config]) => {
    const [file, member] = config.handler.split('.') as [string, string]
    const handler = load(file)[member] as Handler | undefined
    const keys = (config.events ?? []).flatMap(({ http }) => (http ? [keyOf(http)] : []))
    const byKey = handler?.routes ?? Object.fromEntries(keys.map((key) => [key, handler]))
    const declared = keys.map((key) => {
      const declaration = byKey[key]?.declaration
      if (!declaration)
        throw new Error(`${config.handler} does not declare the route ${key} of serverless.yml.`)
      return { key, functionName: name, declaration }
    })
    for (const key of Object.keys(handler?.routes ?? {})) {
      if (!keys.includes(key)) throw new Error(`serverless.yml lacks the route ${key} of ${config.handler}.`)
    }
    const declarations = handler?.declaration
      ? [handler.declaration]
      : declared.map(({ declaration }) => declaration)
    if (declarations.length === 0) throw new Error(`${config.handler} is not a declared handler.`)

    const names = new Set(declarations.flatMap((declaration) => declaration.settings))
    config.environment = { ...pick(settings, names), ...config.environment }
    if (declarations.some(({ hashesPasswords }) => hashesPasswords)) {
      config.memorySize ??= HASHING.memorySize
      config.timeout ??= HASHING.timeout
    }
    for (const { http } of config.events ?? []) {
      if (!http) continue
      const isProtected = byKey[keyOf(http)]!.declaration!.role !== undefined
      if (isProtected !== (http.authorizer !== undefined)) {
        throw new Error(
          isProtected
            ? `${keyOf(http)} declares a role, so it needs the authorizer in serverless.yml.`
            : `${keyOf(http)} has an authorizer in serverless.yml, so its handler must declare a role.`,
        )
      }
      http.cors ??= cors
    }
    return declared
  })
}

const keyOf = ({ method, path }: HttpEvent) => `${method.toUpperCase()} /${path}`

const pick = (settings: Record<string, unknown>, names: Set<string>) =>
  Object.fromEntries(
    [...names].map((name) => {
      if (!(name in settings)) throw new Error(`serverless.yml gives no value for the setting ${name}.`)
      return [name, settings[name]]
    }),
  )
