/**
 * The packaged functions in this process, as containers of their own, and somebody who uses them.
 */
import { randomBytes } from 'node:crypto'
import { cpSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { APIGatewayProxyEvent, APIGatewayProxyResult } from 'aws-lambda'
import { request } from '../../support/events.ts'
import type { Packages } from '../../support/packages.ts'

type Handler = (event: APIGatewayProxyEvent) => Promise<APIGatewayProxyResult>
export type Route = 'register' | 'login' | 'refresh' | 'me' | 'users'

const PASSWORD = 'a horse on the moon'
let copies = 0

/**
 * Loads functions and calls each once: they are then connected.
 * @param environment the settings, which the functions read while they load
 */
export async function loadApi(packages: Packages, environment: Record<string, string>) {
  Object.assign(process.env, environment)
  const copy = ++copies
  const load = async (name: Route, ...file: string[]) => {
    // A module is loaded once from each path.
    const folder = `${packages.folderOf(name)}-${copy}`
    cpSync(packages.folderOf(name), folder, { recursive: true })
    return (await import(pathToFileURL(join(folder, ...file)).href)) as Record<Route, Handler>
  }
  const handlers = {
    ...(await load('login', 'auth', 'AuthHandler.mjs')),
    ...(await load('refresh', 'auth', 'SessionHandler.mjs')),
    ...(await load('users', 'user', 'UserHandler.mjs')),
  }
  const call = async (route: Route, json?: unknown, id?: string) => {
    const { statusCode, body } = await handlers[route](request({ json, ...(id && { authorizer: { id } }) }))
    if (statusCode >= 300) throw new Error(`${route} answers ${statusCode}: ${body}`)
    return JSON.parse(body) as unknown
  }

  const newEmail = () => `${randomBytes(8).toString('hex')}@example.com`
  const register = (email = newEmail()) => call('register', { name: 'Ann', email, password: PASSWORD })
  const email = newEmail()
  await register(email)
  const login = () => call('login', { email, password: PASSWORD })
  let { refreshToken } = (await login()) as { refreshToken: string }
  const routes = {
    register: () => register(),
    login,
    refresh: async () => {
      ;({ refreshToken } = (await call('refresh', { refreshToken })) as { refreshToken: string })
    },
    users: () => call('users'),
  }
  await routes.refresh()
  const [user] = (await routes.users()) as [{ id: string }]
  return { ...routes, me: () => call('me', undefined, user.id) } satisfies Record<
    Route,
    () => Promise<unknown>
  >
}
