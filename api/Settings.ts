/**
 * What each setting must look like. Held against secrets.json before anything starts or deploys
 * (plugin/Secrets.ts), and against the environment in every cold start (Config.ts).
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

/** With what a secrets file records of a key (plugin/Keys.ts); none of it is deployed. */
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
        z.minLength(1, 'must hold at least one key'),
        z.refine(
          (keys) => new Set(keys.map(({ kid }) => kid)).size === keys.length,
          'must not hold two keys of one kid',
        ),
      ),
    }),
  )

const webOrigin = z
  .string()
  .check(z.regex(/^https?:\/\/[^/?#\s'"]+$/, 'must be an origin such as https://app.example.com, or *'))

const url = (message: string) => z.string().check(z.regex(/^https?:\/\/[^?#\s'"]*[^/?#\s'"]$/, message))

/** One address: no list, no comment (RFC 5322), and nothing that ends a header. */
const mailbox = String.raw`[^\s\p{C}<>@"\\:;(),]+@[\p{L}\p{N}.-]+`

/**
 * How often something may be tried before the answer is 429 (throttle/Counters.ts): what it is when LIMITS does not say,
 * and the most that a deployment takes. So the guessing of a password cannot be left open by accident.
 */
export const limits = {
  /** Failed logins with one e-mail from one address; then each failure doubles the wait, from 1 s to 15 min. */
  loginFailures: [5, 20],
  /** Logins with one e-mail from anywhere, an hour. */
  loginsPerEmail: [100, 1000],
  /** Failed logins from one address, over all e-mails, an hour. */
  loginsPerAddress: [300, 1_000_000],
  /** Wrong passwords or codes of somebody who is signed in, in one session; then the wait doubles as above. */
  confirmationFailures: [5, 20],
  /** Codes of one user's second factor, at a login or for a change, from anywhere, an hour; a right one forgets them. */
  codesPerUser: [20, 100],
  /** Registrations from one address, an hour. */
  registrationsPerAddress: [30, 1_000_000],
  /** POST /password/forgot for one e-mail from one address, an hour. */
  forgotsPerEmail: [5, 100],
  /** POST /password/forgot from one address, an hour. */
  forgotsPerAddress: [30, 1_000_000],
  /** POST /email/verify/resend for one e-mail from one address, an hour. */
  resendsPerEmail: [5, 100],
  /** POST /email/verify/resend from one address, an hour. */
  resendsPerAddress: [30, 1_000_000],
  /** POST /me/email of one user, an hour: each sends a mail to an address of their choice. */
  emailChangesPerUser: [10, 100],
  /** Uses of the refresh tokens of one session, an hour. */
  refreshesPerSession: [120, 10_000],
  /** Mails of one kind to one e-mail; then each doubles the wait for the next, from 1 min to 15 min. */
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

/** Every setting, in the order of secrets.example.json, which says what each is for. */
export const schema = {
  /** MongoDB connection string. */
  DB: z
    .string()
    .check(
      z.regex(
        /^mongodb(\+srv)?:\/\/[^\s/?#]+(\/[^\s/?#@]*)?(\?\S*)?$/,
        'must be a connection string that begins with mongodb:// or mongodb+srv://, its password percent-encoded',
      ),
    ),
  /** JWK Set (RFC 7517) of private ES256 keys: the first signs. */
  SIGNING_KEYS: keyRing(privateJwk),
  /** The public halves of SIGNING_KEYS, made from them at deployment. */
  VERIFICATION_KEYS: keyRing(publicJwk),
  /** HMAC key over every password before bcrypt. */
  PEPPER: key,
  /** HMAC key of the refresh tokens. */
  REFRESH_TOKEN_KEY: key,
  /** `iss`: the base URL of this API, without a slash at its end. */
  ISSUER: url('must be the URL of this API, without a query and without a slash at its end'),
  /** `aud`: who the access tokens are for. */
  AUDIENCE: z.string().check(z.regex(/^\S{1,200}$/, 'must be 1 to 200 characters without spaces')),
  /** API Gateway's id of this API; made by the deployment, never set by hand. */
  API_ID: z.string().check(z.regex(/^[\w-]+$/, 'must be the id of an API')),
  /** Access-Control-Allow-Origin of every answer. */
  CORS_ORIGIN: z.union([z.literal('*'), webOrigin], {
    error: 'must be an origin such as https://app.example.com, or *',
  }),
  /** Where mail is handed over: any SMTP server. */
  SMTP_URL: z
    .string()
    .check(
      z.refine(
        (text) => /^smtps?:\/\/[^\s/?#]+\/?(\?\S*)?$/.test(text) && URL.canParse(text),
        'must be a URL such as smtps://USER:PASSWORD@smtp.example.com:465, its user and password percent-encoded',
      ),
    ),
  /** Sender of every mail. */
  MAIL_FROM: z
    .string()
    .check(
      z.regex(
        new RegExp(`^(${mailbox}|[^\\p{C}<>@"\\\\:;()]+<${mailbox}>)$`, 'u'),
        'must be an address, or a plain name with an address such as Example <no-reply@example.com>',
      ),
    ),
  /** What the mails and authenticator apps call the product. */
  PRODUCT_NAME: z
    .string()
    .check(
      z.regex(
        /^(?! )[^\p{C}\p{Zl}\p{Zp}<>:]{1,50}(?<! )$/u,
        'must be 1 to 50 printable characters other than <, > and :, with no space at either end',
      ),
    ),
  /** Where the links in mails lead. */
  APP_URL: url('must be the URL of your pages, without a query and without a slash at its end'),
  /** Where the function that sends mail is invoked; made by the deployment, never set by hand. */
  MAIL_FUNCTION_URL: url('must be the URL at which a function is invoked'),
  /** Whether POST /register tells that an e-mail is taken. */
  REGISTRATION: z.enum(['open', 'private'], { error: 'must be open or private' }),
  /** Whether a login needs a verified e-mail. */
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
  /** bcrypt's cost: the hash takes 2^cost rounds. */
  BCRYPT_COST: wholeNumber(4, 15, 6),
  /** Least length of a new password, in characters. */
  PASSWORD_MIN_LENGTH: wholeNumber(8, 64, 6),
} as const

export type SettingName = keyof typeof schema
export type Settings = { [Name in SettingName]: z.output<(typeof schema)[Name]> }

/**
 * Checks one setting.
 * @returns its value as the code uses it (keys as Buffers, numbers as numbers)
 * @throws Error with a sentence that names the setting and what is wrong; never with the value
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
