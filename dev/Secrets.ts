/**
 * The settings of a deployment: secrets.json, with environment variables of the same names before it.
 */
import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  randomBytes,
  sign,
  verify,
} from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { publicKeys, type KeyRing } from '../auth/Tokens.ts'
import { parseSetting, schema, type SettingName } from '../lib/Settings.ts'

/** Never set by hand: VERIFICATION_KEYS are made from SIGNING_KEYS, and API_ID by the deployment. */
const derived: readonly string[] = ['VERIFICATION_KEYS', 'API_ID']
type Name = Exclude<SettingName, 'VERIFICATION_KEYS' | 'API_ID'>
const names = Object.keys(schema).filter((name): name is Name => !derived.includes(name))

/** Without these nothing can run; the others have defaults in serverless.yml. */
const required: readonly Name[] = ['DB', 'SIGNING_KEYS', 'PEPPER', 'REFRESH_TOKEN_KEY']

/** The stage of `sls offline`, and of `sls deploy` where none is named. */
export const LOCAL_STAGE = 'dev'
const LOCAL_FILE = 'secrets.json'

export class Secrets {
  readonly #values: ReadonlyMap<Name, string>
  /** Where a person looks for these settings: a file's name. */
  readonly file: string

  /**
   * Reads `secrets.json` for the stage dev and `secrets.<stage>.json` for any other, and the environment over it.
   * A stage never falls back on another's file: it would run on keys that are not its own.
   * @throws Error with a sentence that names the file or the setting
   */
  constructor(folder: string, stage: string, environment: NodeJS.ProcessEnv) {
    this.file = stage === LOCAL_STAGE ? LOCAL_FILE : `secrets.${stage}.json`
    const fromFile = readJson(folder, this.file) ?? {}
    for (const name of Object.keys(fromFile)) {
      // "// ..." is a comment, as in secrets.example.json.
      if (!name.startsWith('//') && !names.includes(name as Name)) {
        throw new Error(`Setting ${name} in ${this.file} is unknown. The settings are ${names.join(', ')}.`)
      }
    }
    this.#values = new Map(
      names.flatMap((name): [Name, string][] => {
        const value = environment[name] || fromFile[name]
        if (value === undefined || value === '') return []
        try {
          const text = toText(name, value)
          parseSetting(name, text)
          if (name === 'SIGNING_KEYS') checkPairs(JSON.parse(text) as KeyRing)
          return [[name, text]]
        } catch (error) {
          const source = environment[name] ? 'the environment' : this.file
          throw new Error(`${(error as Error).message} It is read from ${source}.`, { cause: error })
        }
      }),
    )
  }

  /** @returns the value as an environment variable holds it, or undefined where it is not set */
  get(name: SettingName): string | undefined {
    if (name !== 'VERIFICATION_KEYS') return this.#values.get(name as Name)
    const signingKeys = this.#values.get('SIGNING_KEYS')
    return signingKeys && JSON.stringify(publicKeys(JSON.parse(signingKeys) as KeyRing))
  }

  /** The required settings that are not set. */
  missing(): Name[] {
    return required.filter((name) => !this.#values.has(name))
  }
}

/** New random keys for everything that must be secret. */
export function newSecrets() {
  const random = () => randomBytes(32).toString('base64url')
  return { SIGNING_KEYS: { keys: [generateKey()] }, PEPPER: random(), REFRESH_TOKEN_KEY: random() }
}

/**
 * Makes a secrets file with new random keys, readable by its owner only.
 * @param file `secrets.json`, or `secrets.<stage>.json` for a deployment, which has a DB to fill in
 * @returns whether there was none before: it never replaces one
 */
export function generateSecrets(folder: string, file = LOCAL_FILE): boolean {
  const secrets = { ...(file !== LOCAL_FILE && { DB: '' }), ...newSecrets() }
  try {
    writeFileSync(join(folder, file), `${JSON.stringify(secrets, null, 2)}\n`, { mode: 0o600, flag: 'wx' })
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw new Error(`${file} cannot be written: ${(error as Error).message}.`, { cause: error })
  }
}

/** A new private JWK for ES256; its `kid` is the thumbprint of RFC 7638. */
function generateKey(): KeyRing['keys'][number] {
  const { crv, d, kty, x, y } = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({
    format: 'jwk',
  })
  const kid = createHash('sha256').update(JSON.stringify({ crv, kty, x, y })).digest('base64url')
  return { kty, crv, kid, alg: 'ES256', use: 'sig', x, y, d } as KeyRing['keys'][number]
}

/** A public half that belongs to another private key would make every token unverifiable. */
function checkPairs({ keys }: KeyRing): void {
  for (const jwk of keys) {
    let matches = false
    try {
      const signature = sign('sha256', Buffer.from('pair'), createPrivateKey({ key: jwk, format: 'jwk' }))
      matches = verify('sha256', Buffer.from('pair'), createPublicKey({ key: jwk, format: 'jwk' }), signature)
    } catch {
      // not a point of the curve, or not a key at all
    }
    if (!matches)
      throw new Error(`Setting SIGNING_KEYS holds ${jwk.kid}, which is not a valid pair of P-256 keys.`)
  }
}

/** A setting as an environment variable holds it; keys and numbers may stand in the file as JSON has them. */
function toText(name: Name, value: unknown): string {
  if (typeof value === 'string') {
    // The Serverless Framework would put something else in its place.
    if (value.includes('${')) throw new Error(`Setting ${name} must not hold "\${".`)
    return value
  }
  if (name === 'SIGNING_KEYS' || typeof value === 'number') return JSON.stringify(value)
  throw new Error(`Setting ${name} must be text.`)
}

function readJson(folder: string, file: string): Record<string, unknown> | undefined {
  let text
  try {
    text = readFileSync(join(folder, file), 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw new Error(`${file} cannot be read: ${(error as Error).message}.`, { cause: error })
  }
  try {
    // Windows' editors begin a file with a byte order mark.
    const value: unknown = JSON.parse(text.replace(/^\uFEFF/, ''))
    if (typeof value === 'object' && value !== null && !Array.isArray(value))
      return value as Record<string, unknown>
  } catch {
    // said below; JSON.parse's own message quotes the text, which is secret
  }
  throw new Error(`${file} is not a JSON object. Mend it: its keys and its pepper cannot be made again.`)
}
