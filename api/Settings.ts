/**
 * The schema of each setting. It is checked against secrets.json before anything starts or deploys
 * (plugin/Secrets.ts), and against the environment at every cold start (api/Environment.ts).
 */
import * as z from 'zod/mini'
import { wholeNumber } from '../lib/WholeNumber.ts'

const key = z.pipe(
  z.string().check(z.regex(/^[A-Za-z0-9_-]{43,}$/, 'must be at least 32 random bytes in base64url')),
  z.transform((text) => Buffer.from(text, 'base64url')),
)

const coordinate = z.string().check(z.regex(/^[A-Za-z0-9_-]{43}$/, 'must be 32 bytes in base64url'))

const publicJwk = z.strictObject({
  kty: z.literal('EC'),
  crv: z.literal('P-256'),
  kid: z.string().check(z.regex(/^[\w-]{1,64}$/, 'must be 1 to 64 letters, digits, - or _')),
  alg: z.literal('ES256'),
  use: z.literal('sig'),
  x: coordinate,
  y: coordinate,
})

const time = z.optional(
  z
    .string()
    .check(
      z.refine(
        (text) => /^\d{4}-\d\d-\d\dT[\d:.]+Z$/.test(text) && !Number.isNaN(Date.parse(text)),
        'must be a time such as 2026-01-31T12:00:00Z',
      ),
    ),
)

/** Includes the history of a key that the secrets file records (plugin/Keys.ts). None of that is deployed. */
const privateJwk = z.extend(publicJwk, {
  d: coordinate,
  createdAt: time,
  publishedAt: time,
  signingSince: time,
  signedUntil: time,
})

const keyRing = <Key extends typeof publicJwk | typeof privateJwk>(jwk: Key) =>
  z.pipe(
    z.pipe(z.string(), z.transform(parseJson)),
    z.strictObject({
      keys: z.array(jwk).check(
        z.minLength(1, 'must contain at least one key'),
        z.refine(
          (keys) => new Set(keys.map(({ kid }) => kid)).size === keys.length,
          'must not contain two keys with the same kid',
        ),
      ),
    }),
  )

const webOrigin = z
  .string()
  .check(z.regex(/^https?:\/\/[^/?#\s'"]+$/, 'must be an origin such as https://app.example.com, or *'))

const url = (message: string) => z.string().check(z.regex(/^https?:\/\/[^?#\s'"]*[^/?#\s'"]$/, message))

/** A single address: no list, no comment (RFC 5322), and nothing that could end the header. */
const mailbox = String.raw`[^\s\p{C}<>@"\\:;(),]+@[\p{L}\p{N}.-]+`

/**
 * How often something may be tried before the answer is 429 (throttle/Counters.ts): the default, and the
 * maximum that a deployment accepts. The maximum keeps an operator from allowing unlimited password guessing
 * by mistake.
 */
export const limits = {
  /**
   * Failed logins with one email from one address. After that, each failure doubles the wait, from 1 s to 15
   * min.
   */
  loginFailures: [5, 20],
  /** Logins per hour with one email, from anywhere. */
  loginsPerEmail: [100, 1000],
  /** Failed logins per hour from one address, with any email. */
  loginsPerAddress: [300, 1_000_000],
  /**
   * Wrong passwords or codes in one session of someone who is signed in. After that, the wait doubles as
   * above.
   */
  confirmationFailures: [5, 20],
  /**
   * Second-factor codes per hour for one user, from anywhere, at login or to confirm a change. A correct one
   * resets it.
   */
  codesPerUser: [20, 100],
  /** Registrations per hour from one address. */
  registrationsPerAddress: [30, 1_000_000],
  /** POST /password/forgot per hour for one email from one address. */
  forgotsPerEmail: [5, 100],
  /** POST /password/forgot per hour from one address. */
  forgotsPerAddress: [30, 1_000_000],
  /** POST /email/verify/resend per hour for one email from one address. */
  resendsPerEmail: [5, 100],
  /** POST /email/verify/resend per hour from one address. */
  resendsPerAddress: [30, 1_000_000],
  /** POST /me/email per hour by one user: each one sends a message to an address of their choice. */
  emailChangesPerUser: [10, 100],
  /** Refreshes per hour of one session. */
  refreshesPerSession: [120, 10_000],
  /**
   * Messages of one kind to one email. After that, each one doubles the wait for the next, from 1 min to 15
   * min.
   */
  mailsPerEmail: [3, 20],
} as const

export type Limits = { [Name in keyof typeof limits]: number }

const limitNames = Object.keys(limits) as (keyof Limits)[]
const defaultLimits = Object.fromEntries(limitNames.map((name) => [name, limits[name][0]])) as Limits

const limit = z
  .number({ error: 'must be a whole number from 1 to 1000000' })
  .check(
    z.refine(
      (value) => Number.isInteger(value) && value >= 1 && value <= 1_000_000,
      'must be a whole number from 1 to 1000000',
    ),
  )

/** Every setting, in the order of secrets.example.json, which explains them. */
export const schema = {
  /** MongoDB connection string. */
  DB: z
    .string()
    .check(
      z.regex(
        /^mongodb(\+srv)?:\/\/[^\s/?#]+(\/[^\s/?#@]*)?(\?\S*)?$/,
        'must be a connection string that starts with mongodb:// or mongodb+srv://, with a percent-encoded password',
      ),
    ),
  /** JWK Set (RFC 7517) of private ES256 keys. The first one signs. */
  SIGNING_KEYS: keyRing(privateJwk),
  /** The public halves of SIGNING_KEYS, derived when deploying. */
  VERIFICATION_KEYS: keyRing(publicJwk),
  /** HMAC key applied to every password before bcrypt. */
  PEPPER: key,
  /** HMAC key of the refresh tokens. */
  REFRESH_TOKEN_KEY: key,
  /** `iss`: the base URL of this API, without a trailing slash. */
  ISSUER: url('must be the URL of this API, without a query or a trailing slash'),
  /** `aud`: who the access tokens are for. */
  AUDIENCE: z.string().check(z.regex(/^\S{1,200}$/, 'must be 1 to 200 characters without spaces')),
  /** API Gateway's id of this API. The deployment sets it. */
  API_ID: z.string().check(z.regex(/^[\w-]+$/, 'must be the id of an API')),
  /** `Access-Control-Allow-Origin` of every answer. */
  CORS_ORIGIN: z.union([z.literal('*'), webOrigin], {
    error: 'must be an origin such as https://app.example.com, or *',
  }),
  /** The SMTP server that takes the mail. */
  SMTP_URL: z
    .string()
    .check(
      z.refine(
        (text) => /^smtps?:\/\/[^\s/?#]+\/?(\?\S*)?$/.test(text) && URL.canParse(text),
        'must be a URL such as smtps://USER:PASSWORD@smtp.example.com:465, with a percent-encoded user and password',
      ),
    ),
  /** Sender of every email. */
  MAIL_FROM: z
    .string()
    .check(
      z.regex(
        new RegExp(`^(${mailbox}|[^\\p{C}<>@"\\\\:;()]+<${mailbox}>)$`, 'u'),
        'must be an address, or a plain name and an address such as Example <no-reply@example.com>',
      ),
    ),
  /** What emails and authenticator apps call the product. */
  PRODUCT_NAME: z
    .string()
    .check(
      z.regex(
        /^(?! )[^\p{C}\p{Zl}\p{Zp}<>:]{1,50}(?<! )$/u,
        'must be 1 to 50 printable characters other than <, > and :, with no space at either end',
      ),
    ),
  /** Base URL of the links in emails. */
  APP_URL: url('must be the URL of your pages, without a query or a trailing slash'),
  /** The URL that invokes the mail function. The deployment sets it. */
  MAIL_FUNCTION_URL: url('must be the URL that invokes a function'),
  /** Whether POST /register reveals that an email is taken. */
  REGISTRATION: z.enum(['open', 'private'], { error: 'must be open or private' }),
  /** Whether a login requires a verified email. */
  EMAIL_VERIFICATION: z.enum(['optional', 'required'], { error: 'must be optional or required' }),
  /** How often something may be tried. */
  LIMITS: z.pipe(
    z.pipe(z.string(), z.transform(parseJson)),
    z.pipe(
      z.strictObject(
        Object.fromEntries(limitNames.map((name) => [name, z.optional(limit)])) as {
          [Name in keyof Limits]: z.ZodMiniOptional<typeof limit>
        },
        { error: 'must be a JSON object such as {"loginFailures": 5}' },
      ),
      z.transform((given): Limits => ({ ...defaultLimits, ...(given as Partial<Limits>) })),
    ),
  ),
  /** Whether a web ACL limits the requests of each address. Only the plugin reads it. */
  WAF: z.enum(['on', 'off'], { error: 'must be on or off' }),
  /** Whether API Gateway writes access logs. Only the plugin reads it. */
  ACCESS_LOGS: z.enum(['on', 'off'], { error: 'must be on or off' }),
  /** bcrypt's cost: a hash takes 2^cost rounds. */
  BCRYPT_COST: wholeNumber(4, 15, 6),
  /** Minimum length of a new password, in characters. */
  PASSWORD_MIN_LENGTH: wholeNumber(8, 64, 6),
} as const

export type SettingName = keyof typeof schema
export type Settings = { [Name in SettingName]: z.output<(typeof schema)[Name]> }

/**
 * Parses and checks one setting.
 * @returns the value as the code uses it (keys as Buffers, numbers as numbers)
 * @throws Error that says which setting is wrong and why, but never shows the value
 */
export function parseSetting<Name extends SettingName>(name: Name, text: string): Settings[Name] {
  const result = z.safeParse(schema[name], text)
  if (result.success) return result.data as Settings[Name]
  const [issue] = result.error.issues
  const where = [name, ...(issue?.path ?? [])].join('.')
  const hint = issue?.code === 'unrecognized_keys' ? `has an unknown member ${issue.keys[0]}` : undefined
  throw new Error(`Setting ${where} ${hint ?? sentence(issue?.message)}.`)
}

const sentence = (message = '') => (message.startsWith('must') ? message : 'is missing or malformed')

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
