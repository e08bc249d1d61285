/**
 * Structured logs: one JSON object a line, as CloudWatch Logs Insights reads them.
 * Never hand it a token, a password, a hash, an e-mail or a whole event (OWASP ASVS 5.0, 16.2.5).
 */
import { Logger } from '@aws-lambda-powertools/logger'

export const log = new Logger({ serviceName: process.env['AWS_LAMBDA_FUNCTION_NAME'] ?? 'local' })
