/**
 * Structured logs: one JSON object a line, as CloudWatch Logs Insights reads them.
 * Never hand it a token, a password, a hash, an e-mail or a whole event (OWASP ASVS 5.0, 16.2.5).
 */
import { Logger } from '@aws-lambda-powertools/logger'

export const log = new Logger({ serviceName: process.env['AWS_LAMBDA_FUNCTION_NAME'] ?? 'local' })

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

/** Both an e-mail address and `user:password@host` are text around an @. */
const redact = (text: string) => text.replaceAll(/[^\s"'<>{}]+@[^\s"'<>{}]+/g, '[redacted]')
