/**
 * HTTP for Lambda proxy events: parse the input with its schema, call one function, answer.
 * Every Problem becomes its response, every other error a 500 that says nothing; the log says why.
 */
import type { APIGatewayProxyEvent, APIGatewayProxyResult } from 'aws-lambda'
import * as z from 'zod/mini'
import { setting } from './Environment.ts'
import { inRequest, log, loggable } from '../lib/Log.ts'
import { type FieldError, Problem } from './Problem.ts'

const MAX_BODY_BYTES = 8 * 1024
/** An answer should not be many times the size of its request. */
const MAX_ERRORS = 20

/** What a route gets. Members are undefined where the route gives no schema. */
export interface Request<Body = unknown, Query = unknown, Path = unknown> {
  body: Body
  query: Query
  path: Path
  /** A header's value, whatever the case of its name. */
  header: (name: string) => string | undefined
  /** Who calls, as the authorizer says; empty strings on a public route. */
  caller: Caller
  device: Device
}

interface Caller {
  id: string
  sessionId: string
  roles: string[]
}

/** What a request comes from. */
export interface Device {
  userAgent: string | null
  /** IP address. */
  address: string | null
}

/** What a route answers. */
export interface Answer {
  status: number
  /** Sent as JSON. */
  body?: unknown
  /** Replaces or adds to the usual headers. */
  headers?: Record<string, string>
}

/** 202: what was asked for is done later, and the answer does not tell whether there is anything to do. */
export const accepted = (message: string): Answer => ({ status: 202, body: { message } })

/**
 * Makes a Lambda handler of a route.
 * @param schemas of the JSON body, the query string and the path's parameters; a route without one takes none. A
 *   body whose schema takes undefined may be left out
 * @param respond gives the answer or throws a Problem
 */
export function route<Body = undefined, Query = undefined, Path = undefined>(
  schemas: {
    body?: z.ZodMiniType<Body>
    query?: z.ZodMiniType<Query>
    path?: z.ZodMiniType<Path>
    /** The caller must have it; the gateway's policy says so first. */
    role?: string
  },
  respond: (request: Request<Body, Query, Path>) => Promise<Answer>,
) {
  const answer = async (event: APIGatewayProxyEvent, caller: Caller, device: Device): Promise<Answer> => {
    if (schemas.role !== undefined && !caller.roles.includes(schemas.role)) throw new Problem('forbidden')
    return respond({
      body: schemas.body ? readBody(event, schemas.body) : (undefined as Body),
      query: schemas.query ? parse(schemas.query, readQuery(event)) : (undefined as Query),
      path: schemas.path ? parse(schemas.path, event.pathParameters ?? {}) : (undefined as Path),
      header: (name) => header(event, name.toLowerCase()),
      caller,
      device,
    })
  }
  return (event: APIGatewayProxyEvent): Promise<APIGatewayProxyResult> => {
    const { requestId } = event.requestContext
    const caller = readCaller(event)
    const device = readDevice(event)
    const origin = {
      requestId,
      address: device.address,
      ...(caller.id && { userId: caller.id, sessionId: caller.sessionId }),
    }
    return inRequest(origin, async () => {
      try {
        return toResult(await answer(event, caller, device))
      } catch (error) {
        const problem = error instanceof Problem ? error : new Problem('internal', { cause: error })
        if (problem.status >= 500) {
          log.error(problem.message, { code: problem.code, error: loggable(problem.cause) })
        }
        return toResult({
          status: problem.status,
          body: problem.toBody(requestId),
          headers: { ...problem.headers, 'Content-Type': 'application/problem+json' },
        })
      }
    })
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
  if (!event.body) {
    const nothing = z.safeParse(schema, undefined)
    if (nothing.success) return nothing.data
  }
  return parse(schema, readJson(event))
}

/** @throws Problem 400, 413 or 415 */
function readJson(event: APIGatewayProxyEvent): unknown {
  const bytes = Buffer.from(event.body ?? '', event.isBase64Encoded ? 'base64' : 'utf8')
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

/** A parameter given twice becomes an array, which no schema takes: which of the two is meant is not ours to guess. */
function readQuery(event: APIGatewayProxyEvent): Record<string, unknown> {
  const all = event.multiValueQueryStringParameters ?? {}
  return Object.fromEntries(
    Object.entries(all).map(([name, values]) => [name, values?.length === 1 ? values[0] : values]),
  )
}

function readCaller(event: APIGatewayProxyEvent): Caller {
  const context = event.requestContext.authorizer ?? {}
  const text = (name: string) => (typeof context[name] === 'string' ? context[name] : '')
  return { id: text('id'), sessionId: text('sessionId'), roles: text('roles').split(' ').filter(Boolean) }
}

/** The address comes from the connection, never from a header that a client can write. */
const readDevice = (event: APIGatewayProxyEvent): Device => ({
  userAgent: header(event, 'user-agent') ?? null,
  address: event.requestContext.identity?.sourceIp ?? null,
})

/** Header names are case-insensitive (RFC 9110 section 5.1), and API Gateway passes them as they came. */
function header(event: APIGatewayProxyEvent, name: string): string | undefined {
  return Object.entries(event.headers ?? {}).find(([key]) => key.toLowerCase() === name)?.[1]
}

function toResult({ status, body, headers }: Answer): APIGatewayProxyResult {
  return {
    statusCode: status,
    headers: {
      'Content-Type': 'application/json',
      'Cache-Control': 'no-store',
      'X-Content-Type-Options': 'nosniff',
      'Access-Control-Allow-Origin': setting('CORS_ORIGIN'),
      // For the cookie with the refresh token; without effect beside an origin of *, where browsers send none.
      'Access-Control-Allow-Credentials': 'true',
      'Access-Control-Expose-Headers': 'Link, Retry-After, WWW-Authenticate',
      ...headers,
    },
    body: body === undefined ? '' : JSON.stringify(body),
  }
}
