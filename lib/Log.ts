/**
 * Structured logs: one JSON object per line, as CloudWatch Logs Insights expects.
 * Never log a token, a password, a hash, an email address or a whole event (OWASP ASVS 5.0, 16.2.5).
 */
import { AsyncLocalStorage } from 'node:async_hooks'
import { Logger } from '@aws-lambda-powertools/logger'

/** Who caused a log line. */
export interface Origin {
  requestId?: string
  /** The IP address of the connection. */
  address?: string | null
  userId?: string
  sessionId?: string
}

const origins = new AsyncLocalStorage<Origin>()

/** Runs work and adds its origin to every line that it logs. */
export const inRequest = <Result>(origin: Origin, work: () => Promise<Result>): Promise<Result> =>
  origins.run({ ...origin }, work)

/** The origin of the current request. Empty outside of one. */
export const origin = (): Origin => origins.getStore() ?? {}

/** Adds a user and session to all lines from here on, once the work has found out who they are. */
export const identify = (who: Pick<Origin, 'userId' | 'sessionId'>): void => void Object.assign(origin(), who)

const logger = new Logger({ serviceName: process.env['AWS_LAMBDA_FUNCTION_NAME'] ?? 'local' })

const at =
  (level: 'info' | 'warn' | 'error') =>
  (message: string, details: object = {}): void =>
    logger[level](message, { ...origin(), ...details })

export const log = { info: at('info'), warn: at('warn'), error: at('error') }

/**
 * Returns what may be logged of an error. Messages from libraries quote what they failed on, such as the
 * email address of a duplicate key, or the connection string with its password.
 * @param depth how many nested causes to include
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

/** Both an email address and `user:password@host` are text around an @. */
const redact = (text: string) => text.replaceAll(/[^\s"<>]+@[^\s"<>]+/g, '[redacted]')
