/**
 * Structured logs: one JSON object a line, as CloudWatch Logs Insights reads them.
 * Never hand it a token, a password, a hash, an e-mail or a whole event (OWASP ASVS 5.0, 16.2.5).
 */
import { AsyncLocalStorage } from 'node:async_hooks'
import { Logger } from '@aws-lambda-powertools/logger'

/** Whose doing a line of the log is. */
export interface Origin {
  requestId?: string
  /** The IP address of the connection. */
  address?: string | null
  userId?: string
  sessionId?: string
}

const origins = new AsyncLocalStorage<Origin>()

/** Does some work whose lines in the log all say whose doing they are. */
export const inRequest = <Result>(origin: Origin, work: () => Promise<Result>): Promise<Result> =>
  origins.run({ ...origin }, work)

/** Of the request that is being answered; empty outside of one. */
export const origin = (): Origin => origins.getStore() ?? {}

/** Tells the lines from here on whose doing they are, where it is known only in the course of the work. */
export const identify = (who: Pick<Origin, 'userId' | 'sessionId'>): void => void Object.assign(origin(), who)

const logger = new Logger({ serviceName: process.env['AWS_LAMBDA_FUNCTION_NAME'] ?? 'local' })

const at =
  (level: 'info' | 'warn' | 'error') =>
  (message: string, details: object = {}): void =>
    logger[level](message, { ...origin(), ...details })

export const log = { info: at('info'), warn: at('warn'), error: at('error') }

/**
 * What may be logged of an error: other people's messages quote what they failed on, such as the e-mail of a
 * duplicate key or the connection string with its password.
 */
export function loggable(error: unknown, depth = 3): object {
  if (!(error instanceof Error)) return { message: `thrown: ${typeof error}` }
  const { code, cause } = error as Error & { code?: unknown }
  return {
    name: error.name,
    message: redact(error.message),
    ...(typeof code === 'number' || typeof code === 'string' ? { code } : {}),
    ...(error.stack && { stack: redact(error.stack) }),
    ...(cause !== undefined && depth > 0 && { cause: loggable(cause, depth - 1) }),
  }
}

/**
 * Does work after the write that has decided the request: it is logged when it fails, and cannot change the answer.
 * @param what for the log, such as "forget the failed logins"
 */
export async function bestEffort(what: string, work: () => Promise<unknown>): Promise<void> {
  try {
    await work()
  } catch (error) {
    log.warn(`could not ${what}`, { error: loggable(error) })
  }
}

/** Both an email address and `user:password@host` are text around an @. */
const redact = (text: string) => text.replaceAll(/[^\s"<>]+@[^\s"<>]+/g, '[redacted]')
