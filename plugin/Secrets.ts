/**
 * The settings of a deployment: secrets.json, with environment variables of the same names before it.
 */
import { createPrivateKey, createPublicKey, randomBytes, sign, verify } from 'node:crypto'
import { readFileSync, realpathSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { publicKeys, type KeyRing } from '../auth/Tokens.ts'
import { parseSetting, schema, type SettingName } from '../api/Settings.ts'
import { addKey, generateKey, type RecordedKeyRing, withoutRecords } from './Keys.ts'

/** Never set by hand: VERIFICATION_KEYS are made from SIGNING_KEYS, and the others by the deployment or the laptop. */
const derived = ['VERIFICATION_KEYS', 'API_ID', 'MAIL_FUNCTION_URL'] as const
type Name = Exclude<SettingName, (typeof derived)[number]>
const names = Object.keys(schema).filter((name): name is Name => !derived.some((other) => other === name))

/** Without these nothing can be deployed; the others have defaults in serverless.yml. */
const required: readonly Name[] = [
  'DB',
  'SIGNING_KEYS',
  'PEPPER',
  'REFRESH_TOKEN_KEY',
  'SMTP_URL',
  'MAIL_FROM',
]

/** What a laptop has a way without: a database and a mailbox of its own. */
export const DEPLOYED_ONLY: readonly string[] = ['DB', 'SMTP_URL', 'MAIL_FROM']

/** The stage of `sls offline`, and of `sls deploy` where none is named. */
export const LOCAL_STAGE = 'dev'
const LOCAL_FILE = 'secrets.json'

/** The name of a stage's secrets file. */
export const fileOf = (stage: string) => (stage === LOCAL_STAGE ? LOCAL_FILE : `secrets.${stage}.json`)

/** Whether a name can be that of a stage; `example` would take secrets.example.json for its file. */
export const isStage = (name: string) => /^\w[\w-]*$/.test(name) && name !== 'example'

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
    this.file = fileOf(stage)
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
        const text = check(name, value, environment[name] ? 'the environment' : this.file)
        if (name !== 'SIGNING_KEYS') return [[name, text]]
        return [[name, JSON.stringify(withoutRecords(JSON.parse(text) as RecordedKeyRing))]]
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
export function newSecrets(SIGNING_KEYS: RecordedKeyRing = { keys: [generateKey()] }) {
  const random = () => randomBytes(32).toString('base64url')
  return { SIGNING_KEYS, PEPPER: random(), REFRESH_TOKEN_KEY: random() }
}

/**
 * Makes a secrets file with new random keys, readable by its owner only.
 * @param file `secrets.json`, or `secrets.<stage>.json` for a deployment, which has what is deployed only to fill in
 * @returns whether there was none before: it never replaces one
 */
export function generateSecrets(folder: string, file = LOCAL_FILE): boolean {
  const { keyRing } = addKey({ keys: [] }, new Date())
  const secrets = {
    ...(file !== LOCAL_FILE && { DB: '', SMTP_URL: '', MAIL_FROM: '' }),
    ...newSecrets(keyRing),
  }
  try {
    writeFileSync(join(folder, file), toJson(secrets), OWN_AND_NEW)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw new Error(`${file} cannot be written: ${(error as Error).message}.`, { cause: error })
  }
}

/**
 * Changes the key ring of a secrets file, with what is recorded of its keys, and nothing else in it.
 * @param change gives the new ring; where it throws or changes nothing, nothing is written
 * @returns the new ring
 * @throws Error with a sentence when the file has no valid ring or cannot be written; it is never left half-written
 */
export function updateKeyRing(
  folder: string,
  file: string,
  change: (keyRing: RecordedKeyRing) => RecordedKeyRing,
): RecordedKeyRing {
  const content = readJson(folder, file)
  const value = content?.['SIGNING_KEYS']
  if (!value) {
    throw new Error(
      `There are no SIGNING_KEYS in ${file}: npm start makes secrets.json, and npm run secrets -- prod that of a stage.`,
    )
  }
  const before = JSON.parse(check('SIGNING_KEYS', value, file)) as RecordedKeyRing
  const after = change(before)
  if (toJson(after) !== toJson(before)) replace(folder, file, toJson({ ...content, SIGNING_KEYS: after }))
  return after
}

/** Writes beside the file and moves it there, so that there is a whole one at any time. */
function replace(folder: string, file: string, text: string): void {
  let draft
  try {
    // A link stays a link.
    const path = realpathSync(join(folder, file))
    // A name that git ignores.
    draft = `${path.replace(/\.json$/, '')}.${randomBytes(6).toString('hex')}.json`
    writeFileSync(draft, text, { ...OWN_AND_NEW, flush: true })
    renameSync(draft, path)
  } catch (error) {
    if (draft) rmSync(draft, { force: true })
    throw new Error(`${file} cannot be written: ${(error as Error).message}.`, { cause: error })
  }
}

const OWN_AND_NEW = { mode: 0o600, flag: 'wx' } as const

const toJson = (value: object) => `${JSON.stringify(value, null, 2)}\n`

/**
 * Checks a setting.
 * @param source where it is from, for the error
 * @returns it as an environment variable holds it
 * @throws Error with a sentence that names the setting and the source; never with the value
 */
function check(name: Name, value: unknown, source: string): string {
  try {
    const text = toText(name, value)
    parseSetting(name, text)
    if (name === 'SIGNING_KEYS') checkPairs(JSON.parse(text) as KeyRing)
    return text
  } catch (error) {
    throw new Error(`${(error as Error).message} It is read from ${source}.`, { cause: error })
  }
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
  if (name === 'SIGNING_KEYS' || name === 'LIMITS' || typeof value === 'number') return JSON.stringify(value)
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
