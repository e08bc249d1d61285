/**
 * What a deployment does not accept although a laptop does: settings that would give up what the documents promise.
 */
import { limits, parseSetting, type SettingName } from '../api/Settings.ts'
import { isThisMachine } from '../lib/Network.ts'

/** Lower bcrypt costs are only for tests (OWASP Password Storage Cheat Sheet). */
const LEAST_COST = 10

/** Pages and links that anybody on the way could change. */
const WEB_SETTINGS = ['ISSUER', 'APP_URL', 'CORS_ORIGIN'] as const

/** Parameters of an SMTP URL with which nodemailer would send in clear text or to a server that it cannot identify. */
const LAX_SMTP = /^(requireTLS|ignoreTLS|opportunisticTLS|secure|tls\.rejectUnauthorized)$/i

/**
 * Finds the settings that a deployment refuses.
 * @param setting returns the value of a setting that has passed its schema, or undefined if it is not set
 * @returns a sentence for each; it never shows a value
 */
export async function deploymentErrors(
  setting: (name: SettingName) => string | undefined,
): Promise<string[]> {
  const cost = Number(setting('BCRYPT_COST') ?? LEAST_COST)
  return [
    ...(cost < LEAST_COST ? [`Setting BCRYPT_COST must be at least ${LEAST_COST} in a deployment.`] : []),
    ...limitErrors(setting('LIMITS')),
    ...(await databaseErrors(setting('DB'))),
    ...WEB_SETTINGS.filter((name) => isOpenToAll(setting(name))).map(
      (name) => `Setting ${name} must start with https:// in a deployment.`,
    ),
    ...smtpErrors(setting('SMTP_URL')),
  ]
}

/** Returns an error for each limit that is too high to be one. */
const limitErrors = (text = '{}'): string[] =>
  Object.entries(parseSetting('LIMITS', text)).flatMap(([name, value]) => {
    const most = limits[name as keyof typeof limits][1]
    return value > most ? [`Setting LIMITS.${name} must be at most ${most} in a deployment.`] : []
  })

async function databaseErrors(uri: string | undefined): Promise<string[]> {
  const wrong = await connectionStringError(uri)
  if (wrong || !uri) return wrong ? [wrong] : []
  const { mongo } = (await import('mongoose')).default
  // The driver knows every spelling of these options. This only parses the string and does not connect.
  const { hosts, srvHost, tls, rejectUnauthorized, checkServerIdentity } = new mongo.MongoClient(uri).options
  const isLocal =
    !srvHost && hosts.every(({ host, socketPath }) => socketPath !== undefined || isThisMachine(host ?? ''))
  if (isLocal) return []
  if (!tls) return ['Setting DB must use TLS in a deployment: add tls=true, or use mongodb+srv://.']
  // The driver makes these two of tlsInsecure, tlsAllowInvalidCertificates and tlsAllowInvalidHostnames.
  if (rejectUnauthorized === false || checkServerIdentity) {
    return [
      'Setting DB must check the certificate of the database in a deployment: remove tlsInsecure and tlsAllowInvalid...',
    ]
  }
  return []
}

/**
 * Checks a connection string with the driver, which knows more than the setting's schema.
 * @returns the error, if any
 */
export async function connectionStringError(uri: string | undefined): Promise<string | undefined> {
  if (!uri) return undefined
  const { mongo } = (await import('mongoose')).default
  try {
    // This only parses it and does not connect.
    void new mongo.MongoClient(uri)
    return undefined
  } catch (error) {
    const { message } = error as Error
    // Some of its messages quote the string, which contains a password.
    return `Setting DB is not a valid connection string${message.includes('://') ? '' : `: ${message}`}.`
  }
}

const isOpenToAll = (text: string | undefined): boolean =>
  text !== undefined && text.startsWith('http:') && !isThisMachine(new URL(text).hostname)

function smtpErrors(text: string | undefined): string[] {
  if (text === undefined) return []
  const { hostname, searchParams } = new URL(text)
  const lax = [...searchParams.keys()].find((name) => LAX_SMTP.test(name))
  return lax && !isThisMachine(hostname)
    ? [`Setting SMTP_URL must not set ${lax} in a deployment: mail is always encrypted.`]
    : []
}
