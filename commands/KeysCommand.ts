/**
 * Manages the key ring of a stage: `npm run keys -- list | add | promote <kid> | remove <kid>`. It never
 * shows private keys.
 */
import { parseArgs } from 'node:util'
import type { KeyRing } from '../auth/Tokens.ts'
import { parseSetting } from '../api/Settings.ts'
import { addKey, describeKeys, promoteKey, recordDeployment, removeKey } from '../plugin/Keys.ts'
import { fileOf, isStage, LOCAL_STAGE, updateKeyRing } from '../plugin/Secrets.ts'

const HELP = `Usage:
  npm run keys -- list            shows what is known about each key, and what you can do with it
  npm run keys -- add             creates a key, which can verify tokens after the next deployment
  npm run keys -- promote <kid>   makes a key the one that signs
  npm run keys -- remove <kid>    removes a key

  --stage prod                      uses secrets.prod.json instead of secrets.json
  --url https://auth.example.com    first records which keys this API has; use it after a pipeline has deployed
  --force                           promotes or removes without waiting; use it if a key has leaked

Deploy after each change.
`

/** The command line is not valid. */
class Misuse extends Error {}

/** Where a command prints to; `process` is one. */
interface Terminal {
  stdout: { write: (text: string) => unknown }
  stderr: { write: (text: string) => unknown }
}

/**
 * Runs `npm run keys`.
 * @param args the words after `--`
 * @param folder the project's folder, which has the secrets files
 * @returns the exit status: 0, or 1 if the command was refused or misspelt
 */
export async function keys(args: string[], folder: string, { stdout, stderr }: Terminal): Promise<number> {
  try {
    stdout.write(`${await run(args, folder)}\n`)
    return 0
  } catch (error) {
    stderr.write(error instanceof Misuse ? HELP : `${(error as Error).message}\n`)
    return 1
  }
}

/**
 * Runs a command.
 * @returns what to print
 * @throws Misuse; or Error with a message for the user, in which case the ring is unchanged
 */
async function run([command = '', ...args]: string[], folder: string): Promise<string> {
  const takesKid = command === 'promote' || command === 'remove'
  // Taken by position, because a thumbprint may start with a hyphen.
  const kid = takesKid ? args.shift() : ''
  const { stage, url, force } = options(args)
  if (!/^(list|add|promote|remove)$/.test(command) || kid === undefined || (force && !takesKid)) {
    throw new Misuse()
  }

  const now = new Date()
  const update = (change: Parameters<typeof updateKeyRing>[2]) => updateKeyRing(folder, fileOf(stage), change)
  if (url !== undefined) {
    const deployed = await publishedKeys(url)
    // This is kept even if the change is refused, because the waiting time in the refusal counts from here.
    update((keyRing) => recordDeployment(keyRing, deployed, now))
  }

  if (command === 'list')
    return describeKeys(
      update((keyRing) => keyRing),
      now,
    ).join('\n')
  let said = ''
  update((before) => {
    const { keyRing, says } =
      command === 'add'
        ? addKey(before, now)
        : (command === 'promote' ? promoteKey : removeKey)(before, kid, now, force)
    said = says
    return keyRing
  })
  return said
}

function options(args: string[]) {
  try {
    const { values } = parseArgs({
      args,
      options: {
        stage: { type: 'string', default: LOCAL_STAGE },
        url: { type: 'string' },
        force: { type: 'boolean', default: false },
      },
    })
    if (isStage(values.stage)) return values
  } catch {
    // An unknown option, or an option without its value.
  }
  throw new Misuse()
}

/** Fetches the JWKS of an API. */
async function publishedKeys(url: string): Promise<KeyRing> {
  const address = `${url.replace(/\/$/, '')}/.well-known/jwks.json`
  const advice = 'Pass the URL that clients use for the API: --url https://auth.example.com'
  let text
  try {
    const response = await fetch(address, { signal: AbortSignal.timeout(10_000) })
    text = await response.text()
  } catch {
    throw new Error(`Cannot reach ${address}. ${advice}`)
  }
  try {
    return parseSetting('VERIFICATION_KEYS', text)
  } catch {
    throw new Error(`${address} does not return the public keys of this API. ${advice}`)
  }
}
