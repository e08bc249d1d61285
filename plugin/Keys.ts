/**
 * The key ring and its rotation: add a key, deploy, promote it, deploy, remove the old one, deploy. All
 * verifiers know a key before it signs, and it stays until its last token has expired, so nobody is signed
 * out.
 */
import { createHash, createPrivateKey, generateKeyPairSync } from 'node:crypto'
import { ACCESS_TOKEN_SECONDS, type KeyRing, SKEW_SECONDS } from '../auth/Tokens.ts'

/** The history of a key, as ISO 8601 times. It is only in the secrets file. */
interface Records {
  createdAt?: string | undefined
  /** The first deployment with the key in its JWKS. */
  publishedAt?: string | undefined
  /** The deployment that made the key sign. If there were several, the last one. */
  signingSince?: string | undefined
  /** The deployment that made the key stop signing. */
  signedUntil?: string | undefined
}

type Key = KeyRing['keys'][number] & Records

/** A key ring in the format of the secrets file. */
export interface RecordedKeyRing {
  keys: Key[]
}

interface Change {
  keyRing: RecordedKeyRing
  /** Tells the user what was done and what to do next. */
  says: string
}

const MINUTE = 60_000
/**
 * How long verifiers may cache the JWKS, in milliseconds. Ours allows 5 minutes, but API Gateway's own JWT
 * authorizer caches for this long.
 * @see https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-jwt-authorizer.html
 */
const JWKS_CACHED = 2 * 60 * MINUTE
/** How long a token may still be valid after its key stopped signing, in milliseconds. */
const TOKEN_ALIVE = (ACCESS_TOKEN_SECONDS + SKEW_SECONDS) * 1000

const PUBLISHED_FIRST = `${JWKS_CACHED / MINUTE / 60} hours`
const OUTLIVED = `${TOKEN_ALIVE / MINUTE} minutes`
const DEPLOY = 'deploy first or, if a pipeline has already deployed it, pass --url with the URL of the API'

/** Generates a private JWK for ES256. Its `kid` is its RFC 7638 thumbprint. */
export function generateKey(): KeyRing['keys'][number] {
  // Encoded and parsed again, because exporting the generated KeyObject itself can hang forever in Node 20:
  // garbage collection of the generator waits for a lock that the export holds.
  const { privateKey } = generateKeyPairSync('ec', {
    namedCurve: 'P-256',
    publicKeyEncoding: { format: 'der', type: 'spki' },
    privateKeyEncoding: { format: 'der', type: 'pkcs8' },
  })
  const key = createPrivateKey({ key: privateKey, format: 'der', type: 'pkcs8' })
  const { crv, d, kty, x, y } = key.export({ format: 'jwk' })
  const kid = createHash('sha256').update(JSON.stringify({ crv, kty, x, y })).digest('base64url')
  return { kty, crv, kid, alg: 'ES256', use: 'sig', x, y, d } as KeyRing['keys'][number]
}

/**
 * Returns the ring that is deployed. The members are listed one by one, so that no history goes with them.
 */
export function withoutRecords({ keys }: RecordedKeyRing): KeyRing {
  return {
    keys: keys.map(({ kty, crv, kid, alg, use, x, y, d }) => ({ kty, crv, kid, alg, use, x, y, d }) as Key),
  }
}

/** Generates a key and adds it at the end of the ring. */
export function addKey({ keys }: RecordedKeyRing, now: Date): Change {
  const key = { ...generateKey(), createdAt: now.toISOString() }
  return {
    keyRing: { keys: [...keys, key] },
    says: `Added ${key.kid}. Deploy now to publish it. You can promote it ${PUBLISHED_FIRST} later.`,
  }
}

/**
 * Moves a key to the front of the ring, so that it signs after the next deployment.
 * @param force whether to do so even before all verifiers know the key
 * @throws Error with a message that says what to do instead, and when
 */
export function promoteKey(keyRing: RecordedKeyRing, kid: string, now: Date, force = false): Change {
  const key = find(keyRing, kid)
  const [first, ...others] = keyRing.keys as [Key, ...Key[]]
  if (key === first) {
    const state = isSigning(key)
      ? `has been signing since ${minute(key.signingSince!)}`
      : 'already signs, or will after the next deployment'
    throw new Error(`${kid} ${state}. There is nothing to promote.`)
  }
  const early = tooEarlyToPromote(key, now)
  if (early && !force) throw new Error(early)
  return {
    keyRing: {
      // If a pipeline deployed the old key, there may be no record that it signs.
      keys: [key, asSigning(first, now), ...others.filter((other) => other !== key)],
    },
    says:
      `${kid} will sign after the next deployment. Keep ${first.kid} for the tokens that it has signed. ` +
      `You can remove it ${OUTLIVED} after that deployment.` +
      (early
        ? ` Because you used --force, this API refuses some tokens of the new key until the deployment is done, ` +
          `and services that cache the JWKS refuse them for up to ${PUBLISHED_FIRST}.`
        : ''),
  }
}

/**
 * Removes a key from the ring.
 * @param force whether to do so even while tokens that it signed are still valid
 * @throws Error with a message that says what to do instead, and when
 */
export function removeKey(keyRing: RecordedKeyRing, kid: string, now: Date, force = false): Change {
  const key = find(keyRing, kid)
  if (keyRing.keys.length === 1) {
    throw new Error(`${kid} is the only key. Add another one and promote it before you remove this one.`)
  }
  if (key === keyRing.keys[0]) {
    throw new Error(`${kid} is the key that signs. Promote another one before you remove this one.`)
  }
  const early = tooEarlyToRemove(key, now)
  if (early && !force) throw new Error(early)
  return {
    keyRing: { keys: keyRing.keys.filter((other) => other !== key) },
    says:
      `Removed ${kid}. Deploy now to remove it from the JWKS.` +
      (early
        ? ' Because you used --force, access tokens that it signed stop working with that deployment. Clients can refresh to get new ones.'
        : ''),
  }
}

/**
 * Records in the ring which keys a deployment has.
 * @param deployed the public keys of the deployment, in order. The first one signs
 * @throws Error with a message for the user if none of the keys is from this ring
 */
export function recordDeployment(keyRing: RecordedKeyRing, deployed: KeyRing, now: Date): RecordedKeyRing {
  const places = keyRing.keys.map(({ kid, x, y }) =>
    deployed.keys.findIndex((other) => other.kid === kid && other.x === x && other.y === y),
  )
  if (places.every((place) => place < 0)) {
    throw new Error('None of the deployed keys is in the secrets file. They belong to another stage.')
  }
  return {
    keys: keyRing.keys.map((key, index) => {
      const place = places[index]!
      // A key that is not there now must be published again before anyone can rely on it.
      const publishedAt = place < 0 ? undefined : (key.publishedAt ?? now.toISOString())
      const { signingSince, signedUntil } = place === 0 ? asSigning(key, now) : asNotSigning(key, now)
      return { ...key, publishedAt, signingSince, signedUntil }
    }),
  }
}

/** Returns one line per key, which says what is known about it and what can be done with it. */
export function describeKeys({ keys }: RecordedKeyRing, now: Date): string[] {
  const when = (at: number | undefined, wait: string) => {
    if (at === undefined) return `${wait} after the next deployment`
    return at > now.getTime() ? fromOn(at) : 'now'
  }
  return keys.map((key, index) => {
    const next =
      index > 0
        ? `can be promoted ${when(promotableAt(key), PUBLISHED_FIRST)}, removed ${when(removableAt(key), OUTLIVED)}`
        : isSigning(key)
          ? 'stays until another key is promoted'
          : 'will sign after the next deployment'
    return `${key.kid}  ${facts(key)}; ${next}`
  })
}

function facts(key: Key): string {
  const signing = () => {
    if (key.signedUntil) return `not signing since ${minute(key.signedUntil)}`
    return key.signingSince ? `signing since ${minute(key.signingSince)}` : 'not known to sign'
  }
  return [
    key.createdAt ? `created ${minute(key.createdAt)}` : 'created at an unknown time',
    key.publishedAt ? `published since ${minute(key.publishedAt)}` : 'not known to be published',
    signing(),
  ].join(', ')
}

function find({ keys }: RecordedKeyRing, kid: string): Key {
  const key = keys.find((other) => other.kid === kid)
  if (!key) throw new Error(`There is no key ${kid} in the ring. To list the keys: npm run keys -- list`)
  return key
}

/** @returns why a key cannot be promoted yet, or undefined */
function tooEarlyToPromote(key: Key, now: Date): string | undefined {
  const at = promotableAt(key)
  if (at === undefined) {
    return (
      `${key.kid} is not known to be published, so nobody could verify its tokens: ${DEPLOY}. ` +
      `You can promote it ${PUBLISHED_FIRST} after that.`
    )
  }
  if (at <= now.getTime()) return undefined
  return (
    `${key.kid} was published at ${minute(key.publishedAt!)}, and verifiers may cache older keys for ` +
    `${PUBLISHED_FIRST}. You can promote it ${fromOn(at)}.`
  )
}

/** @returns why a key that no longer signs cannot be removed yet, or undefined */
function tooEarlyToRemove(key: Key, now: Date): string | undefined {
  const at = removableAt(key)
  if (at === undefined) {
    return (
      `${key.kid} may still sign, because no deployment with another signing key is on record: ${DEPLOY}. ` +
      `You can remove it ${OUTLIVED} after that.`
    )
  }
  if (at <= now.getTime()) return undefined
  return (
    `${key.kid} signed until ${minute(key.signedUntil!)}, and its tokens are valid for ${OUTLIVED}. ` +
    `You can remove it ${fromOn(at)}.`
  )
}

/** When all verifiers know the key, in milliseconds since the epoch. Undefined while it is not published. */
const promotableAt = ({ publishedAt }: Key) =>
  publishedAt === undefined ? undefined : Date.parse(publishedAt) + JWKS_CACHED

/** When all tokens of the key have expired, in milliseconds since the epoch. Undefined while it may sign. */
function removableAt(key: Key): number | undefined {
  if (!mayHaveSigned(key)) return 0
  return key.signedUntil === undefined ? undefined : Date.parse(key.signedUntil) + TOKEN_ALIVE
}

/** A key without createdAt was added to the file by hand, and nobody knows whether it signed before. */
const mayHaveSigned = ({ createdAt, signingSince }: Key) =>
  createdAt === undefined || signingSince !== undefined

const isSigning = ({ signingSince, signedUntil }: Key) =>
  signingSince !== undefined && signedUntil === undefined

const asSigning = (key: Key, now: Date): Key =>
  isSigning(key) ? key : { ...key, signingSince: now.toISOString(), signedUntil: undefined }

const asNotSigning = (key: Key, now: Date): Key =>
  mayHaveSigned(key) ? { ...key, signedUntil: key.signedUntil ?? now.toISOString() } : key

const minute = (time: string | number) => `${new Date(time).toISOString().slice(0, 16)}Z`

/** Rounds up, so that it really is possible at the minute that the message names. */
const fromOn = (at: number) => `from ${minute(Math.ceil(at / MINUTE) * MINUTE)} on`
