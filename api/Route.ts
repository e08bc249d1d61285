/**
 * The HTTP edge: turns a declared route into a Lambda handler. A handler parses its input, calls one function
 * and answers. A Problem becomes its response. Any other error becomes a 500 that reveals nothing; the log
 * has the cause.
 */
import type { APIGatewayProxyEvent, APIGatewayProxyResult } from 'aws-lambda'
import * as z from 'zod/mini'
import { identify, inRequest, log, loggable } from '../lib/Log.ts'
import { type AwsCredentials, atColdStart, awsCredentials, settingsOf } from './Environment.ts'
import { write } from './Events.ts'
import { type FieldError, Problem } from './Problem.ts'
import type { SettingName, Settings } from './Settings.ts'

const MAX_BODY_BYTES = 8 * 1024
/** Keeps an answer from being many times the size of its request. */
const MAX_ERRORS = 20
/** Default `Retry-After` of a 503, in seconds. */
const RETRY_AFTER = 5

/**
 * Runs database work. All work of one request shares one deadline (db.ts).
 * @throws Problem `unavailable` (503) when the database is unreachable or too slow
 */
export type Database = <Result>(work: () => Promise<Result>) => Promise<Result>

/** Opens the database for one request, given a connection string. */
export type OpenDatabase = (uri: string) => Database

/** What the modules behind a handler need. These are plain values, so a test can pass its own. */
export interface Context<Name extends SettingName> {
  /** The settings that the route declared, and no others. */
  settings: Pick<Settings, Name>
  database: Database
  /** The time of the request. */
  now: Date
  /** The credentials of this function's role. */
  credentials: AwsCredentials
}

/**
 * What a handler needs, declared once. The plugin derives the function's environment, memory and timeout from
 * it.
 */
export interface Declaration {
  settings: readonly SettingName[]
  /** The role that callers must have. Without one, the route is public. */
  role?: string | undefined
  /** bcrypt needs a whole vCPU, so the function gets more memory and time. */
  hashesPasswords?: boolean | undefined
  /** Schemas of the JSON body, the query string and the path parameters. */
  body?: z.ZodMiniType | undefined
  query?: z.ZodMiniType | undefined
  path?: z.ZodMiniType | undefined
}

/** A declared route. */
export interface Route {
  (event: APIGatewayProxyEvent): Promise<APIGatewayProxyResult>
  declaration: Declaration
}

/** What a handler gets. Members that the route does not declare are undefined. */
export interface Request<
  Name extends SettingName = never,
  Body = unknown,
  Query = unknown,
  Path = unknown,
  Role = unknown,
  Open = unknown,
> {
  body: Body
  query: Query
  path: Path
  /** Returns the value of a header. The case of the name does not matter. */
  header: (name: string) => string | undefined
  /** The caller, as identified by the authorizer. */
  caller: Role extends string ? Caller : undefined
  device: Device
  settings: Pick<Settings, Name>
  database: Open extends OpenDatabase ? Database : undefined
  now: Date
  credentials: AwsCredentials
}

export interface Caller {
  id: string
  sessionId: string
  roles: string[]
}

/** The client that a request comes from. */
export interface Device {
  userAgent: string | null
  /** IP address. */
  address: string | null
}

/** What a handler answers. */
export interface Answer {
  status: number
  /** Sent as JSON. */
  body?: unknown
  /** Replaces or adds to the usual headers. A list is sent as one header per value. */
  headers?: Record<string, string | string[]>
}

/** Creates a 202. The work happens later, and the answer does not reveal whether there is any. */
export const accepted = (message: string): Answer => ({ status: 202, body: { message } })

/**
 * Declares a route.
 * @param declaration what the handler needs
 * - `settings`: the names of the settings that it reads. The function gets these and no others
 * - `database`: how it reaches the database (`database` in db.ts). Implies the setting DB
 * - `body`, `query`, `path`: schemas of the JSON body, the query string and the path parameters. A route
 *   without a schema ignores that part. A body is optional if its schema accepts undefined
 * - `role`: who may call it. `user` means everyone who is signed in. API Gateway checks the authorizer's
 *   policy first
 * - `hashesPasswords`: whether it hashes passwords
 * - `retryAfter`: `Retry-After` of a 503, in seconds. The default is 5
 * @param respond returns the answer or throws a Problem
 */
export function route<
  const Name extends SettingName = never,
  Body = undefined,
  Query = undefined,
  Path = undefined,
  Role extends string | undefined = undefined,
  Open extends OpenDatabase | undefined = undefined,
>(
  declaration: {
    // A list whose names are not known could hide one: `SettingName[]` does not compile.
    settings?: SettingName extends Name ? never : readonly Name[]
    database?: Open
    body?: z.ZodMiniType<Body>
    query?: z.ZodMiniType<Query>
    path?: z.ZodMiniType<Path>
    role?: Role
    hashesPasswords?: boolean
    retryAfter?: number
  },
  respond: (request: Request<Name, Body, Query, Path, Role, Open>) => Promise<Answer>,
): Route {
  const { settings: own = [], database, body, query, path, role, hashesPasswords } = declaration
  const settings = atColdStart(() => settingsOf(own))
  const uri = atColdStart(() => (database ? settingsOf(['DB']).DB : ''))

  const answer = async (event: APIGatewayProxyEvent, caller: Caller, device: Device): Promise<Answer> => {
    // The gateway has already checked both. If it ever lets someone through by mistake, the route still stays
    // closed.
    if (role !== undefined && role !== 'user' && !caller.roles.includes(role)) throw new Problem('forbidden')
    if (role !== undefined && caller.id === '') throw new Problem('invalid_token')
    const request: Request = {
      body: body && readBody(event, body),
      query: query && parse(query, readQuery(event)),
      path: path && parse(path, event.pathParameters ?? {}),
      header: (name) => header(event, name.toLowerCase()),
      caller: (role && caller) as undefined,
      device,
      settings: settings(),
      database: database?.(uri()) as undefined,
      now: new Date(),
      credentials: awsCredentials(),
    }
    return respond(request as unknown as Request<Name, Body, Query, Path, Role, Open>)
  }

  const handler = (event: APIGatewayProxyEvent): Promise<APIGatewayProxyResult> => {
    // Tools that invoke a function by hand leave out the request context.
    const requestId = event.requestContext?.requestId ?? ''
    const caller = readCaller(event)
    const device = readDevice(event)
    return inRequest({ requestId, address: device.address }, async () => {
      if (caller.id) identify({ userId: caller.id, sessionId: caller.sessionId })
      try {
        return toResult(await answer(event, caller, device))
      } catch (error) {
        return toResult(refusal(error, requestId, declaration.retryAfter))
      }
    })
  }
  const names: SettingName[] = ['CORS_ORIGIN', ...own, ...(database ? ['DB' as const] : [])]
  return Object.assign(handler, {
    declaration: { settings: names, role, hashesPasswords, body, query, path },
  })
}

/**
 * Combines several routes into one Lambda handler. Use it for routes that are rarely called and need about
 * the same settings.
 * @param byKey a route for each `METHOD /path`, in API Gateway's notation: `GET /admin/users/{id}`
 */
export function routes(byKey: Record<`${'GET' | 'POST' | 'PATCH' | 'DELETE'} /${string}`, Route>) {
  const table = new Map<string, Route>(Object.entries(byKey))
  const unknown = route({}, () => Promise.reject(new Problem('not_found')))
  const handler = (event: APIGatewayProxyEvent) =>
    (table.get(`${event.httpMethod} ${event.resource}`) ?? unknown)(event)
  return Object.assign(handler, { routes: byKey })
}

/** Logs an error and turns it into an answer. */
function refusal(error: unknown, requestId: string, retryAfter = RETRY_AFTER): Answer {
  const problem = error instanceof Problem ? error : new Problem('internal', { cause: error })
  for (const event of problem.events) write(event)
  if (problem.status >= 500) {
    log.error(problem.message, { code: problem.code, error: loggable(problem.cause) })
  }
  return {
    status: problem.status,
    body: problem.toBody(requestId),
    headers: {
      ...(problem.status === 503 && { 'Retry-After': String(retryAfter) }),
      ...problem.headers,
      'Content-Type': 'application/problem+json',
    },
  }
}

/** @throws Problem `invalid_request` (400) that lists every bad field */
function parse<Output>(schema: z.ZodMiniType<Output>, input: unknown): Output {
  const result = z.safeParse(schema, input)
  if (result.success) return result.data
  throw new Problem('invalid_request', {
    errors: result.error.issues.flatMap((issue) => toFieldErrors(issue, input)).slice(0, MAX_ERRORS),
  })
}

function toFieldErrors(issue: z.core.$ZodIssue, input: unknown): FieldError[] {
  const error = (path: PropertyKey[], message: string) => ({ path: path.join('.').slice(0, 100), message })
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => error([...issue.path, key], 'is not a field of this request'))
  }
  if (issue.code !== 'invalid_type') return [error(issue.path, issue.message)]
  const value = issue.path.reduce<unknown>(
    (parent, key) => (parent as Record<PropertyKey, unknown>)[key],
    input,
  )
  return [error(issue.path, value === undefined ? 'is required' : `must be of type ${issue.expected}`)]
}

function readBody<Body>(event: APIGatewayProxyEvent, schema: z.ZodMiniType<Body>): Body {
  const text = bodyText(event)
  if (text === '') {
    const nothing = z.safeParse(schema, undefined)
    if (nothing.success) return nothing.data
  }
  return parse(schema, readJson(event, text))
}

/** API Gateway passes text or null, but serverless-offline parses a JSON body of `0` or `false`. */
function bodyText(event: APIGatewayProxyEvent): string {
  const body: unknown = event.body ?? ''
  return typeof body === 'string' ? body : JSON.stringify(body)
}

/** @throws Problem 400, 413 or 415 */
function readJson(event: APIGatewayProxyEvent, text: string): unknown {
  const bytes = Buffer.from(text, event.isBase64Encoded ? 'base64' : 'utf8')
  if (bytes.length > MAX_BODY_BYTES) throw new Problem('body_too_large')
  if (
    !/^application\/json\s*(;\s*charset="?utf-8"?\s*)?$/i.test(header(event, 'content-type') ?? '') ||
    (header(event, 'content-encoding') ?? 'identity').toLowerCase() !== 'identity'
  ) {
    throw new Problem('unsupported_media_type')
  }
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch (cause) {
    throw new Problem('invalid_json', { cause })
  }
}

/**
 * A parameter that is given twice becomes an array, which no schema accepts: we do not guess which one is
 * meant.
 */
function readQuery(event: APIGatewayProxyEvent): Record<string, unknown> {
  const all = event.multiValueQueryStringParameters ?? {}
  return Object.fromEntries(
    Object.entries(all).map(([name, values]) => [name, values?.length === 1 ? values[0] : values]),
  )
}

function readCaller(event: APIGatewayProxyEvent): Caller {
  const context = event.requestContext?.authorizer ?? {}
  const text = (name: string) => (typeof context[name] === 'string' ? context[name] : '')
  return { id: text('id'), sessionId: text('sessionId'), roles: text('roles').split(' ').filter(Boolean) }
}

/** The address comes from the connection, never from a header, because a client can set headers. */
const readDevice = (event: APIGatewayProxyEvent): Device => ({
  userAgent: header(event, 'user-agent') ?? null,
  address: event.requestContext?.identity?.sourceIp ?? null,
})

/** Header names are case-insensitive (RFC 9110 section 5.1), and API Gateway passes them on unchanged. */
function header(event: APIGatewayProxyEvent, name: string): string | undefined {
  return Object.entries(event.headers ?? {}).find(([key]) => key.toLowerCase() === name)?.[1]
}

function toResult({ status, body, headers = {} }: Answer): APIGatewayProxyResult {
  const single = Object.entries(headers).filter(([, value]) => !Array.isArray(value))
  const lists = Object.entries(headers).filter(([, value]) => Array.isArray(value))
  return {
    statusCode: status,
    headers: {
      'Content-Type': 'application/json',
      'Cache-Control': 'no-store',
      'X-Content-Type-Options': 'nosniff',
      ...crossOrigin(),
      ...(Object.fromEntries(single) as Record<string, string>),
    },
    ...(lists.length > 0 && { multiValueHeaders: Object.fromEntries(lists) as Record<string, string[]> }),
    body: body === undefined ? '' : JSON.stringify(body),
  }
}

const crossOrigin = atColdStart(() => ({
  'Access-Control-Allow-Origin': settingsOf(['CORS_ORIGIN']).CORS_ORIGIN,
  // For the refresh token cookie. Has no effect with an origin of *, because browsers then send no cookies.
  'Access-Control-Allow-Credentials': 'true',
  'Access-Control-Expose-Headers': 'Link, Retry-After, WWW-Authenticate',
}))
